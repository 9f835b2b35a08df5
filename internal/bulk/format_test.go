package bulk_test

import (
	"testing"

	"github.com/claimrail/claimrail/internal/bulk"
	"github.com/claimrail/claimrail/internal/intake"
)

// Every word that is offered asks for a format, X12 also by the name that the generator gives
// it; any other word is refused, and no word asks for none.
func TestFormatNamed(t *testing.T) {
	t.Parallel()
	wanted := map[string]intake.Format{
		"csv": intake.CSVTable, "ndjson": intake.NDJSON, "x12": intake.X12, "837d": intake.X12, "": intake.UnknownFormat,
	}
	for word, want := range wanted {
		if got, err := bulk.FormatNamed(word); got != want || err != nil {
			t.Errorf("%q: got %v, %v, want %v", word, got, err, want)
		}
	}
	for _, word := range bulk.Formats() {
		if _, known := wanted[word]; !known {
			t.Errorf("%q is offered, and not checked here", word)
		}
	}
	if got, err := bulk.FormatNamed("pdf"); err == nil {
		t.Errorf("pdf: got %v, want an error", got)
	}
}
