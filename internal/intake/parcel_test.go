package intake_test

import (
	"testing"

	"github.com/claimrail/claimrail/internal/intake"
)

// A mask shows the form of a value and no digit or letter of it, however long it is.
func TestMask(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":                          "",
		"3/28/18 0:00":              "9/99/99 9:99",
		"$1,234.567 ":               "$9,999.999 ",
		"149777553":                 "999999999",
		"D01x":                      "A99A",
		"Zoë\x00\n":                 "AA???",
		"123456789012345678901234":  "999999999999999999999999",
		"1234567890123456789012345": "999999999999999999999...",
	} {
		if got := intake.Mask(text); got != want {
			t.Errorf("mask of %q: got %q, want %q", text, got, want)
		}
	}
}
