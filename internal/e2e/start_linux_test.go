package e2e_test

import (
	"fmt"
	"strings"
	"testing"
)

// What is asked for is what runs: a seed that is no number is an error, and not another seed; only
// where none is given one is drawn.
func TestSeedIsWhatWasAskedFor(t *testing.T) {
	t.Parallel()
	if seed, err := readSeed("6255610090031149741"); err != nil || seed != 6255610090031149741 {
		t.Errorf("a seed: got %d, %v", seed, err)
	}
	one, errOne := readSeed("")
	two, errTwo := readSeed("")
	if errOne != nil || errTwo != nil || one == two {
		t.Errorf("no seed: got %d, %v and %d, %v, want two that differ", one, errOne, two, errTwo)
	}
	for _, text := range []string{"x", "-1", "1.5", "0x10", " 7", "18446744073709551616"} {
		if seed, err := readSeed(text); err == nil || !strings.Contains(err.Error(), seedVariable) {
			t.Errorf("seed %q: got %d, %v, want an error that names the variable", text, seed, err)
		}
	}
}

// A rig that is asked for and not there is an error that names those that are.
func TestRigThatIsNotThere(t *testing.T) {
	t.Parallel()
	names := []string{"kill", "poison"}
	if err := noRig(nil, names); err == nil || !strings.Contains(err.Error(), "kill, poison") {
		t.Errorf("no rig ran: got %v, want an error with the names", err)
	}
	if err := noRig([]*row{{name: "kill"}}, names); err != nil {
		t.Errorf("one rig ran: got %v, want none", err)
	}
}

// ending is a test that only tells how it would have ended.
type ending struct {
	testing.TB
	said string
}

// Helper implements testing.TB.
func (v *ending) Helper() {}

// Fatalf implements testing.TB.
func (v *ending) Fatalf(format string, args ...any) { v.end("failed: " + fmt.Sprintf(format, args...)) }

// Skip implements testing.TB.
func (v *ending) Skip(args ...any) { v.end("skipped: " + fmt.Sprint(args...)) }

// end notes the first end, behind which a real test does not go on.
func (v *ending) end(how string) {
	if v.said == "" {
		v.said = how
	}
}

// A test that can not run here is skipped where somebody works, and fails in CI.
func TestLackingFailsInCI(t *testing.T) {
	t.Parallel()
	for ci, want := range map[string]string{"": "skipped: no disk", "true": "failed: no disk"} {
		v := &ending{TB: t}
		if lacking(v, ci, "no disk"); !strings.HasPrefix(v.said, want) {
			t.Errorf("CI=%q: got %q, want %q", ci, v.said, want)
		}
	}
}

// Where there are no rigs, make torture fails and says where they are; a run of all tests passes over it.
func TestTortureElsewhere(t *testing.T) {
	t.Parallel()
	for asked, want := range map[string]string{"": "skipped: it takes Linux", "1": "failed: the rigs of make torture"} {
		v := &ending{TB: t}
		if elsewhere(v, asked); !strings.HasPrefix(v.said, want) {
			t.Errorf("%s=%q: got %q, want %q", tortureVariable, asked, v.said, want)
		}
	}
}
