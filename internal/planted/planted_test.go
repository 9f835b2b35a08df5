//go:build plant

package planted_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// bug is a mistake that somebody might make.
type bug struct {
	name string // what is done
	harm string // what comes of it
	// edits make the mistake; all together.
	edits []edit
	// caught are the tests that are there against it; each must fail.
	caught []check
}

// edit replaces a text that stands exactly once in a file, below the root of the project.
type edit struct{ file, from, to string }

// check is a test, or a subtest.
type check struct{ folder, test string }

func (c check) String() string { return c.folder + " " + c.test }

// runTimeout bounds one run of one test, its build included.
const runTimeout = 5 * time.Minute

// Every planted bug makes each of its tests fail, and without it the same tests pass: it is
// the bug that they see, and nothing else.
func TestPlantedBugs(t *testing.T) {
	t.Parallel()
	root, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	sound := map[check]error{}
	caught, simulated := 0, 0
	var table strings.Builder
	for _, b := range bugs() {
		t.Run(b.name, func(t *testing.T) {
			how, err := b.plant(t, root, sound)
			verdict := "caught"
			if err != nil {
				t.Error(err)
				verdict = "NOT caught"
			} else {
				caught++
				if slices.Contains(b.caught, check{simulation, seeds}) {
					simulated++
				}
			}
			fmt.Fprintf(&table, "%-10s  %-44s  %s\n", verdict, b.name, strings.Join(how, ", "))
		})
	}
	t.Logf("planted bugs, %d of %d caught, %d of them by the simulation as well\n%s", caught, len(bugs()), simulated, &table)
	if want := 16; len(bugs()) < want {
		t.Errorf("there are %d bugs, want %d at least", len(bugs()), want)
	}
}

// plant builds with the bug and runs its tests. It tells how they caught it, and gives an error
// unless each of them did. sound is what the tests came to without any bug, of those that ran.
func (b *bug) plant(t *testing.T, root string, sound map[check]error) (how []string, err error) {
	overlay, err := b.overlay(t.TempDir(), root)
	if err != nil {
		return nil, err
	}
	for _, c := range b.caught {
		if _, ran := sound[c]; !ran {
			sound[c] = run(t.Context(), root, "", c)
		}
		if sound[c] != nil {
			return how, fmt.Errorf("%v does not pass without any bug: %w", c, sound[c])
		}
		err := run(t.Context(), root, overlay, c)
		var found failed
		switch {
		case err == nil:
			return how, fmt.Errorf("%v passes, though %s", c, b.harm)
		case !errors.As(err, &found):
			return how, fmt.Errorf("%v: %w", c, err)
		case c.folder == simulation && found.seed == "":
			return how, fmt.Errorf("%v fails, and names no seed", c)
		case c.folder == simulation:
			how = append(how, fmt.Sprintf("%v (seed %s)", c, found.seed))
		default:
			how = append(how, c.String())
		}
	}
	return how, nil
}

// overlay writes the changed files, and gives the name of the file that tells the go
// command of them.
func (b *bug) overlay(folder, root string) (string, error) {
	changed := map[string]string{} // text by path
	for _, e := range b.edits {
		path := filepath.Join(root, filepath.FromSlash(e.file))
		text, again := changed[path]
		if !again {
			bytes, err := os.ReadFile(path)
			if err != nil {
				return "", err
			}
			text = string(bytes)
		}
		if n := strings.Count(text, e.from); n != 1 {
			return "", fmt.Errorf("its text stands %d times in %s, want once; the code has changed, so change the bug: %q", n, e.file, e.from)
		}
		changed[path] = strings.Replace(text, e.from, e.to, 1)
	}
	replace := map[string]string{}
	for path, text := range changed {
		name := filepath.Join(folder, fmt.Sprintf("%d%s", len(replace), filepath.Ext(path)))
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			return "", err
		}
		replace[path] = name
	}
	list, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	name := filepath.Join(folder, "overlay.json")
	return name, os.WriteFile(name, list, 0o600)
}

// failed is a test that ran, and failed.
type failed struct {
	seed string // of the simulation: the one that showed the bug, of those from 1; empty: none
}

func (failed) Error() string { return "the test failed" }

// seedShown finds what the simulation says of a seed that failed.
var seedShown = regexp.MustCompile(`seed [0-9]+ \(the ([0-9]+)\. of this run\)`)

// run runs a test: nil where it passed, failed where it failed, and another error where
// it did not run at all: a bug that does not compile is not caught.
func run(ctx context.Context, root, overlay string, c check) error {
	ctx, cancel := context.WithTimeout(ctx, runTimeout)
	defer cancel()
	var levels []string
	for level := range strings.SplitSeq(c.test, "/") {
		levels = append(levels, "^"+regexp.QuoteMeta(level)+"$")
	}
	arguments := []string{"test", "-json", "-vet=off", "-count=1", "-run", strings.Join(levels, "/")}
	if overlay != "" {
		arguments = append(arguments, "-overlay", overlay)
	}
	command := exec.CommandContext(ctx, "go", append(arguments, "./"+c.folder)...)
	command.Dir = root
	output, failure := command.Output()
	ran := map[string]string{} // last action by test
	for line := range strings.Lines(string(output)) {
		var event struct{ Action, Test string }
		if json.Unmarshal([]byte(line), &event) == nil && event.Test != "" {
			ran[event.Test] = event.Action
		}
	}
	switch action := ran[strings.ReplaceAll(c.test, " ", "_")]; {
	case ctx.Err() != nil:
		return fmt.Errorf("not over after %v", runTimeout)
	case failure == nil && action == "pass":
		return nil
	case failure != nil && (action == "fail" || action == "output"): // the latter: it panicked
		found := failed{}
		if shown := seedShown.FindSubmatch(output); shown != nil {
			found.seed = string(shown[1])
		}
		return found
	default:
		return fmt.Errorf("there is no such test, or it was skipped or not built (%v): %s", failure, tail(string(output)))
	}
}

// tail gives the end of what a command wrote.
func tail(output string) string {
	const most = 2000
	return output[max(0, len(output)-most):]
}
