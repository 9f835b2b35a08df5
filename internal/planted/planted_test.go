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
	for _, b := range bugs() {
		for _, c := range b.caught {
			if _, ran := sound[c]; !ran {
				sound[c] = run(t.Context(), root, "", c)
			}
		}
	}
	caught := 0
	var table strings.Builder
	for _, b := range bugs() {
		verdict := "caught"
		if err := b.plant(t, root, sound); err != nil {
			t.Errorf("%s: %v", b.name, err)
			verdict = "NOT caught"
		} else {
			caught++
		}
		fmt.Fprintf(&table, "%-10s  %-44s  %s\n", verdict, b.name, join(b.caught))
	}
	t.Logf("planted bugs, %d of %d caught\n%s", caught, len(bugs()), &table)
	if want := 15; len(bugs()) < want {
		t.Errorf("there are %d bugs, want %d at least", len(bugs()), want)
	}
}

func join(checks []check) string {
	texts := make([]string, len(checks))
	for i, c := range checks {
		texts[i] = c.String()
	}
	return strings.Join(texts, ", ")
}

// plant builds with the bug and runs its tests. It gives an error unless each of them fails.
func (b *bug) plant(t *testing.T, root string, sound map[check]error) error {
	overlay, err := b.overlay(t.TempDir(), root)
	if err != nil {
		return err
	}
	for _, c := range b.caught {
		if sound[c] != nil {
			return fmt.Errorf("%v does not pass without any bug: %w", c, sound[c])
		}
		switch err := run(t.Context(), root, overlay, c); {
		case err == nil:
			return fmt.Errorf("%v passes, though %s", c, b.harm)
		case !errors.Is(err, errFailed):
			return fmt.Errorf("%v: %w", c, err)
		}
	}
	return nil
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

// errFailed is a test that ran, and failed.
var errFailed = errors.New("the test failed")

// run runs a test: nil where it passed, errFailed where it failed, and another error where
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
		return errFailed
	default:
		return fmt.Errorf("there is no such test, or it was skipped or not built (%v): %s", failure, tail(string(output)))
	}
}

// tail gives the end of what a command wrote.
func tail(output string) string {
	const most = 2000
	return output[max(0, len(output)-most):]
}
