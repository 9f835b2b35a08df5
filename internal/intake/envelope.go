package intake

import (
	"encoding/hex"
	"strconv"
	"strings"

	"github.com/claimrail/claimrail/internal/claim"
)

// The names of an export of claims, beside those that a sender uses.
const (
	// ClaimKeyName is the column, or the member, that carries the claim's key: see claim.Key.Text.
	ClaimKeyName = "claim_key"
	// StoredName is the member for what is known of the claim beside itself, which is not read.
	StoredName = "stored"
)

// envelope reads {"external_claim_id", "lines", "source"}, and of an export "claim_key"; what a
// file of rejects says is wrong is passed over. Names stand here as they are: this form is ours,
// and a name that means nothing is refused.
func (r *JSON) envelope(draft *claim.Draft) error {
	refused := &Refused{}
	seen := map[string]bool{}
	if _, err := r.decoder.ReadToken(); err != nil {
		return err
	}
	for {
		name, err := r.name()
		if err != nil {
			return err
		}
		if name == nil {
			break
		}
		if err := r.member(string(name), seen, draft, refused); err != nil {
			return err
		}
	}
	if !seen["lines"] {
		refused.add(claim.NoField, claim.CodeRequired, `"lines" is required`)
	}
	if len(refused.Violations) > 0 {
		return refused
	}
	return nil
}

// member reads the value of one name of the envelope; seen holds the known names
// that stood before it.
func (r *JSON) member(name string, seen map[string]bool, draft *claim.Draft, refused *Refused) (err error) {
	switch name {
	case "external_claim_id", "lines", "source", ClaimKeyName, StoredName:
	case ErrorFieldName, ErrorCodeName, ErrorMessageName:
		return r.skip()
	default:
		refused.add(claim.NoField, CodeUnknownField,
			`a claim has "external_claim_id", "lines" and "source"; remove or correct the other name`)
		return r.skip()
	}
	if seen[name] {
		refused.add(claim.NoField, claim.CodeRepeated, `"`+name+`" stands twice; send it once`)
		return r.skip()
	}
	seen[name] = true
	switch name {
	case "external_claim_id":
		draft.ExternalID, err = r.single()
		return err
	case "source":
		return r.source(draft, refused)
	case ClaimKeyName:
		return r.claimKey(draft, refused)
	case StoredName:
		return r.skip()
	}
	if r.decoder.PeekKind() != '[' {
		refused.add(claim.NoField, claim.CodeType, `"lines" must be a list`)
		return r.skip()
	}
	return r.lines(draft)
}

// maxRefusals is how many faults of an envelope are listed; the rest would only
// repeat them.
const maxRefusals = 100

func (e *Refused) add(field claim.Field, code, message string) {
	if len(e.Violations) == maxRefusals {
		return
	}
	e.Violations = append(e.Violations, refuse(field, code, message).Violations...)
}

// claimKey reads the key that an export gave; null and an empty text are none.
func (r *JSON) claimKey(draft *claim.Draft, refused *Refused) error {
	found, err := r.single()
	switch found.Shape {
	case claim.Text:
		draft.Given = claim.ParseKey(found.Text)
	case claim.Null:
	default:
		refused.add(claim.NoField, claim.CodeType, `"`+ClaimKeyName+`" must be a string, as it was exported`)
	}
	return err
}

// source reads {"file_sha256", "row"}: where in a file the claim came from.
func (r *JSON) source(draft *claim.Draft, refused *Refused) error {
	const form = `"source" is {"file_sha256": 64 hex digits, "row": number from 1}`
	if r.decoder.PeekKind() != '{' {
		refused.add(claim.NoField, claim.CodeType, form)
		return r.skip()
	}
	if _, err := r.decoder.ReadToken(); err != nil {
		return err
	}
	var sum, row claim.Raw
	for {
		name, err := r.name()
		if err != nil {
			return err
		}
		if name == nil {
			break
		}
		into := &row
		switch string(name) {
		case "file_sha256":
			into = &sum
		case "row":
		default:
			refused.add(claim.NoField, CodeUnknownField, form)
			into = &claim.Raw{}
		}
		if into.Shape != claim.Absent {
			refused.add(claim.NoField, claim.CodeRepeated, `a name in "source" stands twice; send it once`)
		}
		if *into, err = r.single(); err != nil {
			return err
		}
	}
	number, rowErr := strconv.Atoi(row.Text)
	_, sumErr := hex.DecodeString(sum.Text)
	if rowErr != nil || sumErr != nil || row.Shape != claim.Number || sum.Shape != claim.Text || number < 1 || len(sum.Text) != 64 {
		refused.add(claim.NoField, claim.CodeType, form)
		return nil
	}
	// The sum is part of the claim's identity: one file has one spelling of it.
	draft.Source = claim.Source{FileSHA256: strings.ToLower(sum.Text), Row: number}
	return nil
}
