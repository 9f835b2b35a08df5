package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// Ctrl-C of an import says what to do next and fails, with nothing half written; the same command goes on
// from there to the end, and counts what was stored before.
func TestImportInterrupted(t *testing.T) {
	t.Parallel()
	const claims = 15_000 // for some hundred milliseconds
	folder := t.TempDir()
	file, data := filepath.Join(folder, "big.csv"), filepath.Join(folder, "data")
	ours := func(stderr io.Writer, args ...string) (code int, stdout string) {
		var out bytes.Buffer
		code = run(t.Context(), args, strings.NewReader(""), &out, stderr, nil)
		return code, out.String()
	}
	if code, _ := ours(t.Output(), "generate", "--claims", fmt.Sprint(claims), "--lines", "1", "--output", file); code != exitDone {
		t.Fatalf("generate: got exit code %d", code)
	}
	args := []string{"import", file, "--rejects", filepath.Join(folder, "rejects.csv"), "--data-dir", data}
	command := exec.CommandContext(t.Context(), "claimrail", args...)
	var stdout, stderr bytes.Buffer
	command.Stdout, command.Stderr = &stdout, &stderr
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for stored := ""; !strings.Contains(stored, `"status"`); <-tick.C {
		_, stored = ours(io.Discard, "claims", "list", "--limit", "1", "--json", "--data-dir", data)
	}
	if err := command.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	_ = command.Wait()
	if code := command.ProcessState.ExitCode(); code != exitFailed ||
		!strings.HasSuffix(stderr.String(), "claimrail: import "+file+": interrupted\nhint: "+goOnHint+"\n") {
		t.Errorf("got exit code %d and %q, want that it was interrupted, and what to do", code, &stderr)
	}
	if got := strings.Join(namesIn(t, folder), " "); got != "big.csv data" {
		t.Errorf("got %s, want no rejects", got)
	}
	before := regexp.MustCompile(` ([1-9][0-9]*) accepted, 0 duplicates, 0 rejected`).FindStringSubmatch(stdout.String())
	if before == nil {
		t.Fatalf("got %q, want what was stored", &stdout)
	}
	stderr.Reset()
	code, told := ours(&stderr, args...)
	if want := fmt.Sprintf(": %d rows, %d claims: %d accepted, 0 duplicates, 0 rejected", claims, claims, claims); code != exitDone || !strings.Contains(told, want) {
		t.Errorf("again: got exit code %d and %q, want %q", code, told, want)
	}
	if want := "which had accepted " + before[1] + " claims"; !strings.Contains(stderr.String(), want) {
		t.Errorf("again: got %q, want %q", &stderr, want)
	}
}

// Elsewhere than on a terminal a line every five seconds tells how far a file has come, and nothing does of
// one that is shorter.
func TestProgressLines(t *testing.T) {
	t.Parallel()
	for took, want := range map[time.Duration]string{
		lineEvery - 1:   "",
		2*lineEvery - 1: "a.csv: 5.0 of 20.0 MiB, 25 %, 1.0 MiB/s, 15s left\n",
	} {
		synctest.Test(t, func(t *testing.T) {
			var told bytes.Buffer
			p, began := &program{stderr: &told}, time.Now()
			shown := p.follow(t.Context(), "a.csv", 20<<20, func() int64 { return int64(time.Since(began).Seconds()) << 20 })
			<-time.After(took)
			shown.end()
			if told.String() != want {
				t.Errorf("in %v: got %q, want %q", took, &told, want)
			}
		})
	}
}
