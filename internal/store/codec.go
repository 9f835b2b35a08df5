package store

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/claimrail/claimrail/internal/claim"
	"github.com/claimrail/claimrail/internal/event"
	"github.com/claimrail/claimrail/internal/money"
)

// storedWarning is a warning as its column holds it. What was found is left out: it
// stands in the line. The severity is always claim.Warning.
type storedWarning struct {
	Line    int    `json:"line"`
	Field   string `json:"field,omitempty"` // empty: claim.NoField
	Code    string `json:"code"`
	Message string `json:"message"`
}

// EncodeWarnings gives warnings as an engine keeps them: JSON, or an empty text where there
// are none.
func EncodeWarnings(warnings []claim.Violation) (string, error) {
	if len(warnings) == 0 {
		return "", nil
	}
	stored := make([]storedWarning, len(warnings))
	for i, w := range warnings {
		stored[i] = storedWarning{w.Line, w.Field.String(), w.Code, w.Message}
	}
	text, err := json.Marshal(stored)
	if err != nil {
		return "", fmt.Errorf("encode warnings: %w", err)
	}
	return string(text), nil
}

// DecodeWarnings reads what EncodeWarnings gave.
func DecodeWarnings(text string) ([]claim.Violation, error) {
	if text == "" {
		return nil, nil
	}
	var stored []storedWarning
	if err := json.Unmarshal([]byte(text), &stored); err != nil {
		return nil, fmt.Errorf("decode warnings: %w", err)
	}
	warnings := make([]claim.Violation, len(stored))
	for i, w := range stored {
		warnings[i] = claim.Violation{
			Line: w.Line, Field: warnedField(w.Field), Code: w.Code, Severity: claim.Warning, Message: w.Message,
		}
	}
	return warnings, nil
}

func warnedField(name string) claim.Field {
	if name == claim.ExternalIDField.String() {
		return claim.ExternalIDField
	}
	field, _ := claim.FieldNamed(name) // claim.NoField where there is none
	return field
}

// EncodePostings gives postings as an engine keeps them: "npi cents,npi cents".
func EncodePostings(postings []event.Posting) string {
	text := make([]byte, 0, 24*len(postings))
	for i, posting := range postings {
		if i > 0 {
			text = append(text, ',')
		}
		text = append(text, posting.ProviderNPI...)
		text = append(text, ' ')
		text = strconv.AppendInt(text, int64(posting.NetFee), 10)
	}
	return string(text)
}

// DecodePostings reads what EncodePostings gave.
func DecodePostings(text string) ([]event.Posting, error) {
	postings := make([]event.Posting, 0, 1+strings.Count(text, ","))
	for item := range strings.SplitSeq(text, ",") {
		npi, cents, _ := strings.Cut(item, " ")
		amount, err := strconv.ParseInt(cents, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("decode postings: %w", err)
		}
		postings = append(postings, event.Posting{ProviderNPI: npi, NetFee: money.Cents(amount)})
	}
	return postings, nil
}
