package intake

import (
	"bytes"
	"errors"
	"io"
	"strconv"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/claimrail/claimrail/internal/claim"
)

// MaxDepth is how deep JSON may nest.
const MaxDepth = 32

// CodeUnknownField is the violation of a name in a claim's envelope that means nothing: a
// mistyped external_claim_id would otherwise cost the claim its identity.
const CodeUnknownField = "unknown-field"

// usualLines is how many lines of a claim need but one allocation.
const usualLines = 4

// byteOrderMark may stand in front of UTF-8, and says nothing.
const byteOrderMark = "\ufeff"

// ReadLines reads a bare JSON list of lines: one claim. Names in a line are
// folded (see FieldOf); those that mean no field are ignored. Errors: *SyntaxError,
// *Refused.
func ReadLines(body []byte) (*claim.Draft, error) {
	return new(JSON).ReadLines(body)
}

// ReadClaim reads either a bare list of lines or an object
// {"external_claim_id": ..., "lines": [...], "source": {"file_sha256": ..., "row": ...}}. Errors: *SyntaxError, *Refused.
func ReadClaim(body []byte) (*claim.Draft, error) {
	return new(JSON).ReadClaim(body)
}

// ReadLines is the function ReadLines.
func (r *JSON) ReadLines(body []byte) (*claim.Draft, error) { return r.read(body, false) }

// ReadClaim is the function ReadClaim.
func (r *JSON) ReadClaim(body []byte) (*claim.Draft, error) { return r.read(body, true) }

// read reads one body; the next may follow. The draft keeps nothing of the reader.
func (r *JSON) read(body []byte, envelopeAllowed bool) (*claim.Draft, error) {
	value := bytes.TrimPrefix(body, []byte(byteOrderMark))
	r.body, r.start = body, len(body)-len(value)
	// Repeated names are found by their folded form, and reported as violations.
	if r.input = *bytes.NewBuffer(value); r.decoder == nil {
		r.decoder = jsontext.NewDecoder(&r.input, jsontext.AllowDuplicateNames(true))
	} else {
		r.decoder.Reset(&r.input, jsontext.AllowDuplicateNames(true))
	}
	draft := &claim.Draft{}
	r.claims = false
	var err error
	switch kind := r.decoder.PeekKind(); {
	case kind == '[':
		err = r.lines(draft)
	case kind == '{' && envelopeAllowed:
		err = r.envelope(draft)
	default:
		if err = r.skip(); err != nil {
			break
		}
		form := "send a JSON list of lines"
		if envelopeAllowed {
			form = `send a JSON list of lines, or an object that holds it as "lines"`
		}
		err = refuse(claim.NoField, claim.CodeType, form)
	}
	if err == nil && r.claims {
		err = refuse(claim.NoField, claim.CodeType, "a list has the lines of one claim, and this one has claims: send each by itself, in a file on a line of its own")
	}
	if refused := (*Refused)(nil); err != nil && !errors.As(err, &refused) {
		return nil, r.syntaxError(err)
	}
	// What follows is looked at first: unparsable JSON is not refused as a claim.
	end := r.decoder.InputOffset()
	if _, trailing := r.decoder.ReadToken(); trailing != io.EOF {
		return nil, r.trailing(int(end))
	}
	if err != nil {
		return nil, err
	}
	return draft, nil
}

// JSON walks the tokens of one body after the other. Whoever reads many bodies, one at a time,
// keeps one: it keeps what it has allocated. The zero value is ready.
type JSON struct {
	input   bytes.Buffer // from which the decoder reads in place
	body    []byte
	start   int // of the JSON in the body, in bytes: behind a byte order mark
	decoder *jsontext.Decoder
	scratch []byte // a name that had to be unquoted
	texts   []byte // the texts of one line, one behind the other
	claims  bool   // an element of the list has lines of its own: it is a claim
}

var errTooDeep = errors.New("nested deeper than " + strconv.Itoa(MaxDepth))

// lines reads the list of lines. It goes on behind the limit, so that Validate
// can refuse the claim for it.
func (r *JSON) lines(draft *claim.Draft) error {
	if _, err := r.decoder.ReadToken(); err != nil {
		return err
	}
	for r.decoder.PeekKind() != ']' {
		if r.decoder.PeekKind() == 0 || len(draft.Lines) > claim.MaxLines {
			if err := r.skip(); err != nil {
				return err
			}
			continue
		}
		if draft.Lines == nil {
			draft.Lines = make([]claim.RawLine, 0, usualLines)
		}
		draft.Lines = append(draft.Lines, claim.RawLine{})
		if err := r.line(&draft.Lines[len(draft.Lines)-1]); err != nil {
			return err
		}
	}
	_, err := r.decoder.ReadToken()
	return err
}

// line reads one element of the list. Its texts share one string, so that a line
// costs one allocation, not ten.
func (r *JSON) line(line *claim.RawLine) error {
	r.texts = r.texts[:0]
	if r.decoder.PeekKind() != '{' {
		shape, err := r.value()
		line.Shape = shape
		return err
	}
	line.Shape = claim.Object
	if _, err := r.decoder.ReadToken(); err != nil {
		return err
	}
	var begin, end [claim.FieldCount]int // of each field's text in r.texts
	for {
		name, err := r.name()
		if err != nil {
			return err
		}
		if name == nil {
			break
		}
		field, known := fieldOf(name)
		if !known || field == claim.ExternalIDField {
			r.claims = r.claims || string(name) == "lines" && r.decoder.PeekKind() == '['
			if err := r.skip(); err != nil {
				return err
			}
			continue
		}
		begin[field] = len(r.texts)
		shape, err := r.value()
		if err != nil {
			return err
		}
		if line.Fields[field].Shape != claim.Absent {
			shape, r.texts = claim.Repeated, r.texts[:begin[field]]
		}
		line.Fields[field].Shape = shape
		end[field] = len(r.texts)
	}
	texts := string(r.texts)
	for i := range line.Fields {
		line.Fields[i].Text = texts[begin[i]:end[i]]
	}
	return nil
}

// name reads the next name of the object that was entered, or its end: then it
// gives nil. The name is good until the next call of the reader.
func (r *JSON) name() ([]byte, error) {
	if r.decoder.PeekKind() == '}' {
		_, err := r.decoder.ReadToken()
		return nil, err
	}
	quoted, err := r.decoder.ReadValue()
	if err != nil {
		return nil, err
	}
	if inner := quoted[1 : len(quoted)-1]; bytes.IndexByte(inner, '\\') < 0 {
		return inner, nil
	}
	if r.scratch, err = jsontext.AppendUnquote(r.scratch[:0], quoted); err != nil {
		return nil, err
	}
	return r.scratch, nil
}

// value reads one value, and appends its text to r.texts; of lists and objects
// only the shape is kept.
func (r *JSON) value() (claim.Shape, error) {
	kind := r.decoder.PeekKind()
	switch kind {
	case '{':
		return claim.Object, r.skip()
	case '[':
		return claim.List, r.skip()
	}
	found, err := r.decoder.ReadValue()
	if err != nil {
		return claim.Absent, err
	}
	switch kind {
	case '"':
		if inner := found[1 : len(found)-1]; bytes.IndexByte(inner, '\\') < 0 {
			r.texts = append(r.texts, inner...)
		} else if r.texts, err = jsontext.AppendUnquote(r.texts, found); err != nil {
			return claim.Absent, err
		}
		return claim.Text, nil
	case '0':
		r.texts = append(r.texts, found...)
		return claim.Number, nil
	case 'n':
		return claim.Null, nil
	default:
		r.texts = append(r.texts, found...)
		return claim.Bool, nil
	}
}

// single reads one value that stands outside the lines.
func (r *JSON) single() (claim.Raw, error) {
	r.texts = r.texts[:0]
	shape, err := r.value()
	return claim.Raw{Shape: shape, Text: string(r.texts)}, err
}

// skip passes over one value of any shape, token by token, to bound its depth.
func (r *JSON) skip() error {
	base := r.decoder.StackDepth()
	for {
		if _, err := r.decoder.ReadToken(); err != nil {
			return err
		}
		switch depth := r.decoder.StackDepth(); {
		case depth > MaxDepth:
			return errTooDeep
		case depth <= base:
			return nil
		}
	}
}

// syntaxError gives the place at which reading stopped, and what is wrong there.
func (r *JSON) syntaxError(err error) *SyntaxError {
	var syntactic *jsontext.SyntacticError
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		if len(bytes.TrimSpace(r.body[r.start:])) == 0 {
			return r.at(len(r.body), "empty: there is no JSON")
		}
		return r.at(len(r.body), "the JSON ends too early")
	case errors.As(err, &syntactic):
		offset := min(r.start+int(syntactic.ByteOffset), len(r.body))
		return r.at(offset, problemAt(r.body[offset:]))
	default: // errTooDeep, behind the bracket that was one too many
		return r.at(r.start+int(r.decoder.InputOffset())-1, err.Error())
	}
}

// trailing gives the place of what follows the JSON, which ends at offset.
func (r *JSON) trailing(offset int) *SyntaxError {
	rest := bytes.TrimLeft(r.body[r.start+offset:], " \t\r\n")
	return r.at(len(r.body)-len(rest), "text behind the end of the JSON value")
}

// problemAt says what is wrong with JSON at the first of these bytes.
func problemAt(rest []byte) string {
	first, size := utf8.DecodeRune(rest)
	switch {
	case first == utf8.RuneError && size == 1:
		return "not UTF-8"
	case first == '\\':
		return "not JSON: no such escape, or half of a surrogate pair"
	case first < ' ':
		return "not JSON: a control character; in a string, write it as an escape"
	default:
		return "not JSON: this character can not stand here"
	}
}

// at makes the error for an offset in the body.
func (r *JSON) at(offset int, problem string) *SyntaxError {
	before := r.body[:offset]
	return &SyntaxError{
		Line:    bytes.Count(before, []byte("\n")) + 1,
		Column:  offset - (bytes.LastIndexByte(before, '\n') + 1) + 1,
		Problem: problem,
	}
}
