package intake

import (
	"bytes"
	"errors"
	"io"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/claimrail/claimrail/internal/claim"
)

// MaxDepth is how deep JSON may nest.
const MaxDepth = 32

// CodeUnknownField is the violation of a name in a claim's envelope that means nothing: a
// mistyped external_claim_id would otherwise cost the claim its identity.
const CodeUnknownField = "unknown-field"

// ReadLines reads a bare JSON list of lines: one claim. Names in a line are
// folded (see FieldOf); those that mean no field are ignored. Errors: *SyntaxError,
// *Refused.
func ReadLines(body []byte) (*claim.Draft, error) {
	return readJSON(body, false)
}

// ReadClaim reads either a bare list of lines or an object
// {"external_claim_id": ..., "lines": [...], "source": {"file_sha256": ..., "row": ...}}. Errors: *SyntaxError, *Refused.
func ReadClaim(body []byte) (*claim.Draft, error) {
	return readJSON(body, true)
}

func readJSON(body []byte, envelopeAllowed bool) (*claim.Draft, error) {
	r := jsonReader{
		body: body,
		// Repeated names are found by their folded form, and reported as violations.
		decoder: jsontext.NewDecoder(bytes.NewBuffer(body), jsontext.AllowDuplicateNames(true)),
	}
	draft := &claim.Draft{}
	var err error
	switch kind := r.decoder.PeekKind(); {
	case kind == '[':
		err = r.lines(draft)
	case kind == '{' && envelopeAllowed:
		err = r.envelope(draft)
	default:
		err = r.skip()
		if err == nil {
			err = refuse(claim.NoField, claim.CodeType, "send a JSON list of lines")
		}
	}
	if refused := (*Refused)(nil); err != nil && !errors.As(err, &refused) {
		return nil, r.syntaxError(err)
	}
	// What follows is looked at first: unparsable JSON is not refused as a claim.
	if _, trailing := r.decoder.ReadToken(); trailing != io.EOF {
		return nil, r.syntaxError(errors.New("text behind the end of the JSON value"))
	}
	if err != nil {
		return nil, err
	}
	return draft, nil
}

// jsonReader walks the tokens of one body, once.
type jsonReader struct {
	body    []byte
	decoder *jsontext.Decoder
}

var errTooDeep = errors.New("nested deeper than " + strconv.Itoa(MaxDepth))

// lines reads the list of lines. It goes on behind the limit, so that Validate
// can refuse the claim for it.
func (r *jsonReader) lines(draft *claim.Draft) error {
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
		draft.Lines = append(draft.Lines, claim.RawLine{})
		if err := r.line(&draft.Lines[len(draft.Lines)-1]); err != nil {
			return err
		}
	}
	_, err := r.decoder.ReadToken()
	return err
}

// line reads one element of the list.
func (r *jsonReader) line(line *claim.RawLine) error {
	if r.decoder.PeekKind() != '{' {
		raw, err := r.value()
		line.Shape = raw.Shape
		return err
	}
	line.Shape = claim.Object
	return r.members(func(name string) error {
		field, known := FieldOf(name)
		if !known || field == claim.ExternalIDField {
			return r.skip()
		}
		found, err := r.value()
		if line.Fields[field].Shape != claim.Absent {
			found = claim.Raw{Shape: claim.Repeated}
		}
		line.Fields[field] = found
		return err
	})
}

// members reads an object, calling each with every name, in order. The callback
// must read the value.
func (r *jsonReader) members(each func(name string) error) error {
	if _, err := r.decoder.ReadToken(); err != nil {
		return err
	}
	for r.decoder.PeekKind() != '}' {
		name, err := r.decoder.ReadToken()
		if err != nil {
			return err
		}
		if err := each(name.String()); err != nil {
			return err
		}
	}
	_, err := r.decoder.ReadToken()
	return err
}

// value reads one value; of lists and objects only the shape is kept.
func (r *jsonReader) value() (claim.Raw, error) {
	switch kind := r.decoder.PeekKind(); kind {
	case '{':
		return claim.Raw{Shape: claim.Object}, r.skip()
	case '[':
		return claim.Raw{Shape: claim.List}, r.skip()
	default:
		token, err := r.decoder.ReadToken()
		if err != nil {
			return claim.Raw{}, err
		}
		switch kind {
		case '"':
			return claim.Raw{Shape: claim.Text, Text: token.String()}, nil
		case '0':
			return claim.Raw{Shape: claim.Number, Text: token.String()}, nil
		case 'n':
			return claim.Raw{Shape: claim.Null}, nil
		default:
			return claim.Raw{Shape: claim.Bool, Text: token.String()}, nil
		}
	}
}

// skip passes over one value of any shape, token by token, to bound its depth.
func (r *jsonReader) skip() error {
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

// syntaxError gives the place at which reading stopped.
func (r *jsonReader) syntaxError(err error) *SyntaxError {
	offset := int(r.decoder.InputOffset())
	problem := err.Error()
	var syntactic *jsontext.SyntacticError
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		offset, problem = len(r.body), "the JSON ends too early"
	case errors.As(err, &syntactic):
		offset, problem = int(syntactic.ByteOffset), "not JSON"
		if !validUTF8Until(r.body, offset) {
			problem = "not UTF-8"
		}
	}
	offset = min(offset, len(r.body))
	before := r.body[:offset]
	return &SyntaxError{
		Line:    bytes.Count(before, []byte("\n")) + 1,
		Column:  offset - (bytes.LastIndexByte(before, '\n') + 1) + 1,
		Problem: problem,
	}
}
