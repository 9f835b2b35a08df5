package intake

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/claimrail/claimrail/internal/claim"
)

// HeaderError says that a header does not name the columns of a claim. There is at
// least one fault; all are of row 0.
type HeaderError struct{ Faults []Fault }

// Error gives the first fault, and how many there are.
func (e *HeaderError) Error() string {
	text := fmt.Sprintf("header, line %d: %s", e.Faults[0].Line, e.Faults[0].Message)
	if more := len(e.Faults) - 1; more > 0 {
		text += fmt.Sprintf(" (and %d more)", more)
	}
	return text
}

// separators are what may stand between cells; the header tells which does.
const separators = ",;\t"

// utf16Marks are the byte order marks of UTF-16, in which spreadsheets save
// "Unicode text".
var utf16Marks = [...]string{"\xff\xfe", "\xfe\xff"}

// readHeader finds the header row and what separates its cells, and passes over it
// and all that stands in front of it. Errors: *SyntaxError, and those of the source.
func (s *rowScanner) readHeader() (head []byte, row scanned, err error) {
	if err := s.fill(); err != nil {
		return nil, scanned{}, err
	}
	data := s.buffer[s.begin:min(s.end, s.begin+MaxRowBytes)]
	for _, mark := range utf16Marks {
		if bytes.HasPrefix(data, []byte(mark)) {
			return nil, scanned{}, csvSyntaxError(data, 0, "not UTF-8: save the file as CSV UTF-8")
		}
	}
	head = bytes.Clone(data[:frontMatter(data)])
	if len(head) == len(data) {
		return nil, scanned{}, csvSyntaxError(data, len(data), "empty: there is no header row")
	}
	s.advance(head, &row)
	if err := s.fill(); err != nil {
		return nil, scanned{}, err
	}
	data = s.buffer[s.begin:s.end]
	s.chooseSeparator(data)
	row = s.scan(data)
	at, problem := 0, "" // at may be behind row.raw: a wrong quote need not be on the first line
	switch nul := bytes.IndexByte(row.raw, 0); {
	case nul >= 0:
		at, problem = nul, "a NUL byte in the header: save the file as CSV UTF-8"
	case row.fault == CodeQuote:
		at, problem = row.faultAt, "this quote is not closed, or text stands behind the quote that closes it"
	case row.fault == CodeRowTooLong:
		problem = "the header row is longer than " + strconv.Itoa(MaxRowBytes) + " bytes"
	default:
		s.advance(row.raw, &row)
		return append(head, row.raw...), row, nil
	}
	at += len(head)
	return nil, scanned{}, csvSyntaxError(append(head, data...), at, problem)
}

// chooseSeparator takes the one with which the header names most fields.
func (s *rowScanner) chooseSeparator(data []byte) {
	best, most := s.separator, -1
	for _, separator := range []byte(separators) {
		s.separator = separator
		if known := s.knownColumns(data); known > most {
			best, most = separator, known
		}
	}
	s.separator = best
}

// frontMatter gives the length of the byte order mark and the blank lines at the
// start of data.
func frontMatter(data []byte) int {
	front := 0
	if bytes.HasPrefix(data, []byte(byteOrderMark)) {
		front = len(byteOrderMark)
	}
	for at := front; at < len(data); at++ {
		switch {
		case isLineEnd(data[at]):
			front = at + 1
		case data[at] == ' ', strings.IndexByte(separators, data[at]) >= 0:
		default:
			return front
		}
	}
	return len(data)
}

// knownColumns ranks a separator: by the fields that the header names with it, as
// far as it can be cut into cells, and then by whether it can be cut to its end.
func (s *rowScanner) knownColumns(data []byte) int {
	row := s.scan(data)
	s.overlong = false
	rank := 0
	for _, found := range row.cells {
		if _, ok := fieldOf(unquoted(nil, row.raw, found)); ok {
			rank += 2
		}
	}
	if row.fault == "" {
		rank++
	}
	return rank
}

// unquoted appends the text of a cell.
func unquoted(dst, raw []byte, found cell) []byte {
	text := raw[found.start:found.end]
	for found.escaped {
		quote := bytes.Index(text, []byte(`""`))
		if quote < 0 {
			break
		}
		dst = append(dst, text[:quote+1]...)
		text = text[quote+2:]
	}
	return append(dst, text...)
}

// csvSyntaxError makes the error for an offset in data, which starts with the input.
func csvSyntaxError(data []byte, offset int, problem string) *SyntaxError {
	before := data[:offset]
	return &SyntaxError{
		Line:    lineEnds(before) + 1,
		Column:  offset - (bytes.LastIndexAny(before, "\r\n") + 1) + 1,
		Problem: problem,
	}
}

// columns is what a header says.
type columns struct {
	fields []claim.Field // of each column; NoField for those that are ignored
	number int           // the column of the claim number; -1 for none
	key    int           // the column of the claim's key, by which an export is known; -1 for none
	names  map[claim.Field]string
	// errors are the columns of a file of rejects, which say what was wrong; isRejects: all three are there.
	errors    [len(errorNames)]int
	isRejects bool
	// nameless are the columns behind the errors that have no name: a spreadsheet adds them where
	// a row has too many cells.
	nameless []int
}

// isError tells whether cell i of a row of count cells is one of the errors. Of a row that is too
// long the last ones are, as they were written behind it.
func (c *columns) isError(i, count int) bool {
	if extra := count - len(c.fields); extra > 0 && slices.Max(c.errors[:]) == len(c.fields)-1 {
		i -= extra
	}
	return c.isRejects && slices.Contains(c.errors[:], i)
}

// width is how many columns there are, the errors not counted.
func (c *columns) width() int {
	if c.isRejects {
		return len(c.fields) - len(c.errors)
	}
	return len(c.fields)
}

// guarded tells whether cells that look like formulas have an apostrophe in front: see Guard.
func (c *columns) guarded() bool { return c.key >= 0 || c.isRejects }

// readColumns finds the field of every column. Every field but the quadrant must
// have one column; quadrant and claim number may have one. Error: *HeaderError.
func readColumns(row scanned) (columns, error) {
	found := columns{number: -1, key: -1, errors: [...]int{-1, -1, -1}, names: map[claim.Field]string{}}
	wrong := &HeaderError{}
	report := func(field claim.Field, column, code, message string) {
		wrong.Faults = append(wrong.Faults, Fault{
			Line: row.line, Field: field, Column: column, Code: code, Severity: claim.Error, Message: message,
		})
	}
	for i, place := range row.cells {
		text := unquoted(nil, row.raw, place)
		field, known := fieldOf(text)
		found.fields = append(found.fields, field)
		if !known {
			if found.special(string(text), i) {
				report(field, ClaimKeyName, claim.CodeRepeated, "two columns are called "+ClaimKeyName+"; remove one")
			}
			continue
		}
		if _, repeated := found.names[field]; repeated {
			report(field, displayed(text), claim.CodeRepeated, "two columns mean "+field.String()+"; remove or rename one")
			continue
		}
		found.names[field] = displayed(text)
		if field == claim.ExternalIDField {
			found.number = i
		}
	}
	found.isRejects = !slices.Contains(found.errors[:], -1)
	if row.count > MaxColumns && (!found.isRejects || row.count > MaxColumns+len(errorNames)) {
		report(claim.NoField, "", CodeTooManyColumns, "remove columns: at most "+strconv.Itoa(MaxColumns)+" are read")
	}
	for field := claim.Field(0); int(field) < claim.FieldCount; field++ {
		if _, present := found.names[field]; !present && field != claim.QuadrantField {
			report(field, "", claim.CodeRequired, "there is no column "+field.String()+"; add it, or name it so in the first row")
		}
	}
	if len(wrong.Faults) > 0 {
		return columns{}, wrong
	}
	for i := slices.Max(found.errors[:]) + 1; found.isRejects && i < len(row.cells); i++ {
		if len(bytes.Trim(unquoted(nil, row.raw, row.cells[i]), blanks)) == 0 {
			found.nameless = append(found.nameless, i)
		}
	}
	return found, nil
}

// special writes down column i if it is one of an export, or of a file of rejects, and tells
// whether it is a second one for the claim's key.
func (c *columns) special(name string, i int) (repeated bool) {
	switch name {
	case ClaimKeyName:
		repeated, c.key = c.key >= 0, i
	case ErrorFieldName:
		c.errors[0] = i
	case ErrorCodeName:
		c.errors[1] = i
	case ErrorMessageName:
		c.errors[2] = i
	}
	return repeated
}

// displayed gives the name of a column as it may stand in a message: in one line,
// of characters that can be seen. It is called for names that mean a field only:
// in a file without a header the others would be values.
func displayed(name []byte) string {
	visible := strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) && !unicode.IsSpace(r) {
			return -1
		}
		return r
	}, strings.ToValidUTF8(string(name), ""))
	return strings.Join(strings.Fields(visible), " ")
}
