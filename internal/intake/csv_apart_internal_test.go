package intake

import (
	"fmt"
	"hash/maphash"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/claimrail/claimrail/internal/claim"
)

// A file of more claims than a look can hold is looked at more than once, and what is found in all
// of the looks is what one alone finds that has room enough.
func TestLooksAreWholeTogether(t *testing.T) {
	t.Parallel()
	var header strings.Builder
	for field := range claim.Field(claim.FieldCount) {
		header.WriteString("," + field.String())
	}
	var text strings.Builder
	text.WriteString("claim number" + header.String() + "\n")
	for i := range 2*WindowRows + 5000 { // every third of the first 5,000 comes again at the end
		if i >= 2*WindowRows {
			i = 3 * (i - 2*WindowRows)
		}
		fmt.Fprintf(&text, "N-%d,x\n", i)
	}
	seed, looks := maphash.MakeSeed(), 0
	again := func() (io.Reader, error) {
		looks++
		return strings.NewReader(text.String()), nil
	}
	want, err := lookForApart(again, Options{}, seed, lookSlots)
	if err != nil || looks != 1 {
		t.Fatalf("got %d looks, %v, want one", looks, err)
	}
	if len(want) < 3000 {
		t.Errorf("got %d claims that stand apart, want those that come again", len(want))
	}
	got, err := lookForApart(again, Options{}, seed, firstSlots)
	if err != nil || looks < 10 {
		t.Errorf("got %d looks, %v, want many", looks-1, err)
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(apartness{})); diff != "" {
		t.Errorf("many looks -, one +:\n%.1000s", diff)
	}
}
