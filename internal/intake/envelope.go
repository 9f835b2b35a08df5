package intake

import (
	"encoding/hex"
	"strconv"
	"unicode/utf8"

	"github.com/claimrail/claimrail/internal/claim"
)

// envelope reads {"external_claim_id", "lines", "source"}. Names stand here as
// they are: this form is ours, and a name that means nothing is refused.
func (r *jsonReader) envelope(draft *claim.Draft) error {
	refused := &Refused{}
	seen := map[string]bool{}
	err := r.members(func(name string) error {
		if seen[name] {
			refused.add(claim.NoField, claim.CodeRepeated, "a name of the claim stands twice")
			return r.skip()
		}
		seen[name] = true
		switch name {
		case "external_claim_id":
			found, err := r.value()
			draft.ExternalID = found
			return err
		case "lines":
			if r.decoder.PeekKind() == '[' {
				return r.lines(draft)
			}
			refused.add(claim.NoField, claim.CodeType, `"lines" must be a list`)
			return r.skip()
		case "source":
			return r.source(draft, refused)
		default:
			refused.add(claim.NoField, CodeUnknownField,
				`a claim has "external_claim_id", "lines" and "source"; remove or correct the other name`)
			return r.skip()
		}
	})
	if err != nil {
		return err
	}
	if !seen["lines"] {
		refused.add(claim.NoField, claim.CodeRequired, `"lines" is required`)
	}
	if len(refused.Violations) > 0 {
		return refused
	}
	return nil
}

func (e *Refused) add(field claim.Field, code, message string) {
	e.Violations = append(e.Violations, refuse(field, code, message).Violations...)
}

// source reads {"file_sha256", "row"}: where in a file the claim came from.
func (r *jsonReader) source(draft *claim.Draft, refused *Refused) error {
	const form = `"source" is {"file_sha256": 64 hex digits, "row": number from 1}`
	if r.decoder.PeekKind() != '{' {
		refused.add(claim.NoField, claim.CodeType, form)
		return r.skip()
	}
	var sum, row claim.Raw
	err := r.members(func(name string) (err error) {
		switch name {
		case "file_sha256":
			sum, err = r.value()
		case "row":
			row, err = r.value()
		default:
			refused.add(claim.NoField, CodeUnknownField, form)
			err = r.skip()
		}
		return err
	})
	if err != nil {
		return err
	}
	number, rowErr := strconv.Atoi(row.Text)
	_, sumErr := hex.DecodeString(sum.Text)
	if rowErr != nil || sumErr != nil || row.Shape != claim.Number || sum.Shape != claim.Text || number < 1 || len(sum.Text) != 64 {
		refused.add(claim.NoField, claim.CodeType, form)
		return nil
	}
	draft.Source = claim.Source{FileSHA256: sum.Text, Row: number}
	return nil
}

// validUTF8Until tells whether the bytes up to and around offset are UTF-8.
func validUTF8Until(body []byte, offset int) bool {
	return utf8.Valid(body[:min(offset+utf8.UTFMax, len(body))])
}
