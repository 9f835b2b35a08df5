package main

import (
	"log/slog"
	"os"
	"strings"
	"testing"
)

// docs/operating.md names every setting, with its flag, and every metric of ours.
func TestOperatingPageIsComplete(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../docs/operating.md")
	if err != nil {
		t.Fatal(err)
	}
	page := string(text)
	for _, s := range newSettings() {
		if !strings.Contains(page, "| `"+s.variable+"` | `--"+s.flag+"` |") {
			t.Errorf("setting %s (--%s) is not in docs/operating.md", s.variable, s.flag)
		}
	}
	l, err := openLine(t.Context(), config{DataDir: t.TempDir()}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.close() }()
	families, err := newMeter(l).registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	ours := 0
	for _, family := range families {
		if name := family.GetName(); strings.HasPrefix(name, "claimrail_") {
			ours++
			if !strings.Contains(page, "`"+name+"`") {
				t.Errorf("metric %s is not in docs/operating.md", name)
			}
		}
	}
	if ours < 20 {
		t.Errorf("got %d metrics of ours, want more than 20", ours)
	}
}
