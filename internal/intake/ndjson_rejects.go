package intake

import (
	"bytes"

	"github.com/go-json-experiment/json/jsontext"
)

// The names under which a file of rejects says what is wrong: columns of CSV, members of
// JSON. Who reads such a file, once it is repaired, passes over them.
const (
	ErrorFieldName   = "error_field"
	ErrorCodeName    = "error_code"
	ErrorMessageName = "error_message"
)

// isErrorName tells whether a name is one of the three.
func isErrorName(name string) bool {
	return name == ErrorFieldName || name == ErrorCodeName || name == ErrorMessageName
}

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
	token, err := decoder.ReadToken()
	return members, int(decoder.InputOffset()) - 1, err == nil && token.Kind() == '}'
}

// isNote tells whether a line is an object that says only what is wrong with the line behind it.
func isNote(raw []byte) bool {
	members, _, ok := spans(raw)
	for _, one := range members {
		ok = ok && one.isError
	}
	return ok && len(members) > 0
}
