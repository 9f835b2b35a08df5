package intake

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/claimrail/claimrail/internal/claim"
)

// MaxLineBytes is the length of a line of NDJSON, its line end not counted, and of a single
// claim in JSON. With the errors that a file of rejects adds it may be maxAddedBytes more.
const MaxLineBytes = 1 << 20

// Codes of what can be wrong with a line of NDJSON as such, beside those of package claim.
const (
	CodeSyntax      = "syntax"        // it is no JSON
	CodeLineTooLong = "line-too-long" // longer than MaxLineBytes
)

// jsonLines reads claims from lines, each of them what POST /v1/claims takes: a claim, or a bare
// list of lines. A line that can not be read is refused, and reading goes on behind it.
type jsonLines struct {
	lines lineScanner
	json  JSON
	sum   string
	row   int   // number of the row given last
	err   error // what every further Next gives
}

// newJSONLines reads the first claim's bytes; fileSHA256, in hex, will be the source of the claims.
// Where whole is allowed, a value that goes over several lines is one claim. Errors: *SyntaxError,
// and those of r, wrapped.
func newJSONLines(r io.Reader, fileSHA256 string, whole bool) (*jsonLines, error) {
	n := &jsonLines{lines: newLineScanner(r), sum: fileSHA256}
	if err := n.lines.start(whole); err != nil {
		return nil, err
	}
	return n, nil
}

// Next gives the next claim. A claim of which nothing can be read has no Draft. Errors: io.EOF
// behind the last claim, and those of the reader, wrapped.
func (n *jsonLines) Next() (*Parcel, error) {
	for n.err == nil {
		var row Row
		if row, n.err = n.lines.next(); n.err != nil {
			break
		}
		if parcel := n.parcel(row); parcel != nil {
			return parcel, nil
		}
	}
	return nil, n.err
}

// parcel reads one line; of a note, such as stands in a file of rejects, it gives nil.
func (n *jsonLines) parcel(row Row) *Parcel {
	if row.Rest {
		row.Number = n.row
		return &Parcel{Rows: []Row{row}, Refused: lineTooLong()}
	}
	n.row++
	row.Number = n.row
	parcel := &Parcel{Rows: []Row{row}, Claims: 1}
	if n.lines.overlong {
		parcel.Refused = lineTooLong()
		return parcel
	}
	draft, err := n.json.read(row.Raw, true)
	syntax, refused := (*SyntaxError)(nil), (*Refused)(nil)
	switch {
	case err == nil:
		if draft.Source == (claim.Source{}) {
			draft.Source = claim.Source{FileSHA256: n.sum, Row: row.Number}
		}
		parcel.Draft, parcel.Lines = draft, len(draft.Lines)
	case errors.As(err, &syntax):
		parcel.Refused = refuse(claim.NoField, CodeSyntax, "not read: "+n.place(syntax)).Violations
	case errors.As(err, &refused):
		if isNote(row.Raw) {
			n.row--
			return nil
		}
		parcel.Refused = refused.Violations
	}
	return parcel
}

// place says where in its line, or in the whole value, the JSON is wrong.
func (n *jsonLines) place(syntax *SyntaxError) string {
	if n.lines.whole {
		return syntax.Error()
	}
	return fmt.Sprintf("column %d: %s", syntax.Column, syntax.Problem)
}

func lineTooLong() []claim.Violation {
	return refuse(claim.NoField, CodeLineTooLong, "shorten this line, or split the claim: a line is at most 1048576 bytes long").Violations
}

// Faults gives all that is wrong with a claim: what the parcel was refused for, and what
// Validate found, warnings included.
func (n *jsonLines) Faults(parcel *Parcel, found []claim.Violation) []Fault {
	row := parcel.Rows[0]
	faults := make([]Fault, 0, len(parcel.Refused)+len(found))
	for _, list := range [][]claim.Violation{parcel.Refused, found} {
		for i := range list {
			v := &list[i]
			column := v.Field.String()
			if v.Line != claim.WholeClaim {
				column = strings.TrimSuffix("lines["+strconv.Itoa(v.Line)+"]."+column, ".")
			}
			faults = append(faults, Fault{
				Row: row.Number, Line: row.Line, Field: v.Field, Column: column,
				Code: v.Code, Severity: v.Severity, Found: maskOf(v.Found), Message: v.Message,
			})
		}
	}
	return faults
}

// lineScanner cuts a file into lines, in constant memory. It keeps the bytes as they stand.
type lineScanner struct {
	ahead
	offset   int64 // of begin in the input, in bytes
	line     int   // at begin, from 1
	whole    bool  // the file is one value, which goes over several lines
	overlong bool  // the line given last was cut, and begin is inside it
}

// longestLine is what must be in the buffer to see that a line ends within the limit.
const longestLine = MaxLineBytes + maxAddedBytes + len("\r\n")

// fits tells whether a line, or a value, is within the limit.
func fits(line []byte) bool {
	return len(line) <= MaxLineBytes || len(line) <= MaxLineBytes+maxAddedBytes &&
		bytes.Contains(line[MaxLineBytes-maxAddedBytes:], []byte(`"`+ErrorMessageName+`":`))
}

func newLineScanner(source io.Reader) lineScanner {
	return lineScanner{ahead: newAhead(source, longestLine+SniffBytes), line: 1}
}

// start passes over a byte order mark, and finds out whether the file is one value. A value that
// goes over several lines must be complete within the limit. Errors: *SyntaxError, and those of
// the source.
func (s *lineScanner) start(whole bool) error {
	if err := s.fill(); err != nil {
		return err
	}
	if bytes.HasPrefix(s.buffer[:s.end], []byte(byteOrderMark)) {
		s.begin, s.offset = len(byteOrderMark), int64(len(byteOrderMark))
		if err := s.fill(); err != nil {
			return err
		}
	}
	data := s.buffer[s.begin:s.end]
	text := bytes.TrimSpace(data)
	first := bytes.IndexByte(text, '\n')
	switch {
	case !whole, first < 0, !fits(text[:first]), isLineByLine(text):
		return nil
	case !fits(text) || !s.ended:
		line := lineEnds(data[:bytes.Index(data, text)]) + 1
		return &SyntaxError{line, 1, "a claim over several lines is at most 1048576 bytes long: write each claim on one line"}
	default:
		s.whole = true
		return nil
	}
}

// isLineByLine tells whether the first line is a value, or some line ends one and the next
// begins one: see sniffJSON.
func isLineByLine(text []byte) bool {
	first, _, _ := bytes.Cut(text, []byte("\n"))
	if jsontext.Value(first).IsValid(jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true)) {
		return true
	}
	closed := false
	for line := range bytes.SplitSeq(text, []byte("\n")) {
		line = bytes.TrimSpace(line)
		if len(line) == 0 {
			continue
		}
		if closed && (line[0] == '{' || line[0] == '[') {
			return true
		}
		last := line[len(line)-1]
		closed = last == '}' || last == ']'
	}
	return false
}

// next gives the next line that is not blank, or the whole file. Errors: io.EOF at the end,
// and those of the source.
func (s *lineScanner) next() (Row, error) {
	for {
		if err := s.fill(); err != nil {
			return Row{}, err
		}
		data := s.buffer[s.begin:s.end]
		if len(data) == 0 {
			return Row{}, io.EOF
		}
		row := Row{Line: s.line, Offset: s.offset, Rest: s.overlong}
		row.Raw = s.cut(data)
		s.begin += len(row.Raw)
		s.offset += int64(len(row.Raw))
		s.line += bytes.Count(row.Raw, []byte("\n"))
		if row.Rest || s.overlong || len(bytes.TrimLeft(row.Raw, " \t\r\n")) > 0 {
			row.Raw = bytes.Clone(row.Raw)
			return row, nil
		}
	}
}

// cut gives the line at the start of data, or as much of it as the limit allows.
func (s *lineScanner) cut(data []byte) []byte {
	if s.whole {
		return data
	}
	stop := bytes.IndexByte(data[:min(len(data), longestLine)], '\n')
	length := stop
	if stop < 0 {
		length = min(len(data), longestLine)
	} else if stop > 0 && data[stop-1] == '\r' {
		length--
	}
	switch {
	case !fits(data[:length]):
		s.overlong = true
		return data[:MaxLineBytes]
	case stop < 0:
		s.overlong = false
		return data
	default:
		s.overlong = false
		return data[:stop+1]
	}
}

// fill reads on until a line of any allowed length, and the line end behind it, is in the
// buffer, or the input ends.
func (s *lineScanner) fill() error { return s.read("NDJSON", longestLine) }
