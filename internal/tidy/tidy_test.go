package tidy_test

import (
	"os"
	"path/filepath"
	"testing"
)

// rule is one house rule. It reports each breach with where it is and what to do.
type rule struct {
	name  string
	check func(project) []string
}

// rules are all house rules.
func rules(t *testing.T) []rule {
	t.Helper()
	return []rule{
		{"imports", importRule},
		{"sizes", sizeRule},
		{"names", nameRule(standardNames(t))},
		{"aliases", aliasRule},
		{"state", stateRule},
		{"calls", callRule},
		{"package comments", packageCommentRule},
		{"comments", commentRule},
		{"parallel", parallelRule},
		{"texts", textRule},
		{"modules", moduleRule},
	}
}

// The project keeps its house rules.
func TestHouseRules(t *testing.T) {
	t.Parallel()
	p, err := readProject(os.DirFS(filepath.Join("..", "..")))
	if err != nil {
		t.Fatal(err)
	}
	if len(p.files) < 50 {
		t.Fatalf("read %d Go files, want the whole project", len(p.files))
	}
	for _, rule := range rules(t) {
		t.Run(rule.name, func(t *testing.T) {
			t.Parallel()
			for _, breach := range rule.check(p) {
				t.Error(breach)
			}
		})
	}
}
