// Package intake turns bytes into drafts of claims, one file for each format. It
// judges form only: what does not parse is refused here, with the place; whether
// what parses is a valid claim is for package claim to say.
package intake

import (
	"fmt"
	"strings"

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
	folded := fold(name)
	if field, ok := claim.FieldNamed(folded); ok {
		return field, true
	}
	field, ok := fieldAliases[folded]
	return field, ok
}

// maxNameBytes bounds the names that are looked at; no field's name is near it.
const maxNameBytes = 128

// fold brings a name to the form in which names are compared: lower case, "#" as
// "number", every run of other characters as one "_", the ends trimmed.
func fold(name string) string {
	if len(name) > maxNameBytes {
		return ""
	}
	var folded strings.Builder
	gap := false
	word := func(text string) {
		if gap && folded.Len() > 0 {
			folded.WriteByte('_')
		}
		gap = false
		folded.WriteString(text)
	}
	for i := 0; i < len(name); i++ {
		switch c := name[i]; {
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9':
			word(name[i : i+1])
		case c >= 'A' && c <= 'Z':
			word(string(rune(c + 'a' - 'A')))
		case c == '#':
			gap = true // "Subscriber#" is two words
			word("number")
			gap = true
		default:
			gap = true
		}
	}
	return folded.String()
}
