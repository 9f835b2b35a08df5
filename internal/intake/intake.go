// Package intake turns bytes into drafts of claims, one file for each format. It
// judges form only: what does not parse is refused here, with the place; whether
// what parses is a valid claim is for package claim to say.
package intake

import (
	"fmt"

	"github.com/claimrail/claimrail/internal/claim"
)

// SyntaxError says that the input is not of its format at all. It holds no text
// of the input.
type SyntaxError struct {
	Line    int    // of the input, from 1
	Column  int    // byte within the line, from 1
	Problem string // what is wrong
}

// Error gives place and problem in one line.
func (e *SyntaxError) Error() string {
	return fmt.Sprintf("line %d, column %d: %s", e.Line, e.Column, e.Problem)
}

// Refused says that the input is of its format, but not of the shape of a claim.
type Refused struct{ Violations []claim.Violation }

// Error gives the first violation.
func (e *Refused) Error() string {
	return "not a claim: " + e.Violations[0].Message
}

func refuse(field claim.Field, code, message string) *Refused {
	return &Refused{[]claim.Violation{{
		Line: claim.WholeClaim, Field: field, Code: code, Severity: claim.Error, Message: message,
	}}}
}

// fieldAliases are names, folded, that mean a field beside its canonical one.
var fieldAliases = map[string]claim.Field{
	"plan_group":        claim.PlanGroupField,
	"group_plan":        claim.PlanGroupField,
	"subscriber":        claim.SubscriberField,
	"subscriber_id":     claim.SubscriberField,
	"claim_number":      claim.ExternalIDField,
	"claim_id":          claim.ExternalIDField,
	"external_claim_id": claim.ExternalIDField,
}

// FieldOf finds the field that a key or a column header means: folded, it is a
// field's name or an alias. claim.ExternalIDField is among them; only formats of
// rows look for it.
func FieldOf(name string) (claim.Field, bool) {
	return fieldOf([]byte(name))
}

// maxNameBytes bounds the names that are looked at; no field's name is near it.
const maxNameBytes = 128

// maxFoldedBytes is beyond the longest name that means a field.
const maxFoldedBytes = 24

// fieldOf is FieldOf. It runs for every name of every line, so it allocates
// nothing, and a name that needs no folding is not folded.
func fieldOf(name []byte) (claim.Field, bool) {
	if len(name) <= maxFoldedBytes {
		if field, ok := claim.FieldNamed(string(name)); ok {
			return field, true
		}
	}
	var buffer [maxFoldedBytes]byte
	folded := fold(buffer[:0], name)
	if field, ok := claim.FieldNamed(string(folded)); ok {
		return field, true
	}
	field, ok := fieldAliases[string(folded)]
	if !ok {
		field = claim.NoField
	}
	return field, ok
}

// fold appends a name in the form in which names are compared: lower case, "#" as
// "number", every run of other characters as one "_", the ends trimmed. It gives
// nil for a name that, folded, is longer than any that is known.
func fold(dst, name []byte) []byte {
	if len(name) > maxNameBytes {
		return nil
	}
	gap := false
	for _, c := range name {
		switch {
		case c >= 'A' && c <= 'Z':
			c += 'a' - 'A'
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9', c == '#':
		default:
			gap = true
			continue
		}
		if (gap || c == '#') && len(dst) > 0 {
			dst = append(dst, '_')
		}
		gap = c == '#' // "Subscriber#" is two words
		if c == '#' {
			dst = append(dst, "number"...)
		} else {
			dst = append(dst, c)
		}
		if len(dst) > maxFoldedBytes {
			return nil
		}
	}
	return dst
}
