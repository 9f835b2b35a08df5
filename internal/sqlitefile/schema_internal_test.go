package sqlitefile

import "testing"

// Versions are compared as numbers, part by part, and what is no version is too old.
func TestAtLeast(t *testing.T) {
	t.Parallel()
	for version, want := range map[string]bool{
		"3.51.3": true, "3.51.10": true, "3.100.0": true, "4.0.0": true,
		"3.51.2": false, "3.9.9": false, "2.99.99": false, "3.51": false, "3.51.x": false, "": false,
	} {
		if got := atLeast(version, "3.51.3"); got != want {
			t.Errorf("atLeast(%q): got %t, want %t", version, got, want)
		}
	}
}
