package verify_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The documentation has every check with its rule, as a report tells them, and no other.
func TestDocs(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "delivery.md"))
	if err != nil {
		t.Fatal(err)
	}
	var want strings.Builder
	for _, check := range newSystem(t).run().Checks {
		fmt.Fprintf(&want, "| `%s` | %s |\n", check.Name, check.Rule)
	}
	if table := "\n|---|---|\n" + want.String() + "\n"; !strings.Contains(string(page), table) {
		t.Errorf("docs/delivery.md has not this table:%s", table)
	}
}
