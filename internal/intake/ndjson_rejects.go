package intake

import (
	"bufio"
	"bytes"
	"io"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// jsonRejects writes the rejected lines of an NDJSON file, with their bytes. An object says what
// is wrong as members of its own, and a bare list becomes the lines of one; anything else
// stands behind a line that says it.
type jsonRejects struct {
	out  *bufio.Writer
	file *jsonLines
	cut  bool // the line written last has no line end yet
}

func newJSONRejects(w io.Writer, file *jsonLines) *jsonRejects {
	return &jsonRejects{out: bufio.NewWriter(w), file: file}
}

// Add writes a line that was rejected, or the rest of one. The buffer keeps the first error.
func (r *jsonRejects) Add(parcel *Parcel, faults []Fault) error {
	for i := range parcel.Rows {
		row := &parcel.Rows[i]
		if r.cut && !row.Rest {
			_ = r.out.WriteByte('\n')
		}
		if !row.Rest {
			r.line(row.Raw, r.members(faults))
		} else {
			_, _ = r.out.Write(row.Raw)
		}
		r.cut = !bytes.HasSuffix(row.Raw, []byte("\n"))
	}
	_, err := r.out.Write(nil)
	return wrapRejects(err)
}

// Close ends the last line.
func (r *jsonRejects) Close() error {
	if r.cut {
		_ = r.out.WriteByte('\n')
	}
	return wrapRejects(r.out.Flush())
}

// members says what is wrong, as members of an object.
func (r *jsonRejects) members(faults []Fault) []byte {
	var members []byte
	for i, text := range errorTexts(faults, func(f *Fault) string { return f.Column }) {
		if i > 0 {
			members = append(members, ',')
		}
		members = append(append(append(members, '"'), errorNames[i]...), '"', ':')
		members, _ = jsontext.AppendQuote(members, strings.ToValidUTF8(text, "?")) // which is all that it refuses
	}
	return members
}

// line writes a line, and what is wrong with it.
func (r *jsonRejects) line(raw, errors []byte) {
	list := bytes.TrimRight(raw, " \t\r\n")
	members, last, _ := spans(raw)
	members = slices.DeleteFunc(members, func(s span) bool { return s.isError })
	switch {
	case len(members) > 0:
		r.write(raw[:bytes.IndexByte(raw, '{')+1])
		for i, member := range members {
			text := raw[member.start:member.end]
			if i == 0 {
				text = bytes.TrimPrefix(bytes.TrimLeft(text, " \t\r\n"), []byte(","))
			}
			r.write(text)
		}
		r.write([]byte(","), errors, raw[last:])
	case isList(raw):
		r.write([]byte(`{"lines":`), list, []byte(","), errors, []byte("}"), raw[len(list):])
	case r.file.lines.whole: // a line in front of it would make it more than one value
		r.write(raw)
	default:
		r.write([]byte("{"), errors, []byte("}\n"), raw)
	}
}

// write leaves the errors to the buffer, which keeps the first.
func (r *jsonRejects) write(texts ...[]byte) {
	for _, text := range texts {
		_, _ = r.out.Write(text)
	}
}

// isList tells whether a line is a list, and nothing else.
func isList(raw []byte) bool {
	decoder := jsontext.NewDecoder(bytes.NewBuffer(raw), jsontext.AllowDuplicateNames(true))
	if decoder.PeekKind() != '[' || decoder.SkipValue() != nil {
		return false
	}
	_, err := decoder.ReadToken()
	return err == io.EOF
}

// isErrorName tells whether a name is one of the three.
func isErrorName(name string) bool { return slices.Contains(errorNames[:], name) }

// span is the place of one member of an object, from the end of the one before it.
type span struct {
	start, end int
	isError    bool
}

// spans gives the places of an object's members, and of its last brace; not ok for what is no
// object.
func spans(raw []byte) (members []span, last int, ok bool) {
	decoder := jsontext.NewDecoder(bytes.NewBuffer(raw), jsontext.AllowDuplicateNames(true))
	if token, err := decoder.ReadToken(); err != nil || token.Kind() != '{' {
		return nil, 0, false
	}
	for decoder.PeekKind() == '"' {
		one := span{start: int(decoder.InputOffset())}
		name, err := decoder.ReadToken()
		if err != nil {
			return nil, 0, false
		}
		one.isError = isErrorName(name.String())
		if err := decoder.SkipValue(); err != nil {
			return nil, 0, false
		}
		one.end = int(decoder.InputOffset())
		members = append(members, one)
	}
	if token, err := decoder.ReadToken(); err != nil || token.Kind() != '}' {
		return nil, 0, false
	}
	last = int(decoder.InputOffset()) - 1
	if _, err := decoder.ReadToken(); err != io.EOF {
		return nil, 0, false
	}
	return members, last, true
}

// isNote tells whether a line is an object that says only what is wrong with the line behind it.
func isNote(raw []byte) bool {
	members, _, ok := spans(raw)
	for _, one := range members {
		ok = ok && one.isError
	}
	return ok && len(members) > 0
}
