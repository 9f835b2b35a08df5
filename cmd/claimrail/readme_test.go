package main

import (
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// The README's session works as printed: each command, run in a shell against a server
// of its own, gives the lines below it.
func TestReadmeSession(t *testing.T) {
	t.Parallel()
	for _, tool := range []string{"bash", "curl", "grep", "cut", "go"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("the session uses %s, which is not installed", tool)
		}
	}
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	steps := sessionSteps(string(text))
	if len(steps) < 6 {
		t.Fatalf("found %d commands in the README, want the whole session", len(steps))
	}
	folder := t.TempDir()
	build := exec.CommandContext(t.Context(), "go", "build", "-o", filepath.Join(folder, "bin", "claimrail"), ".")
	if output, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, output)
	}
	address := strings.TrimPrefix(startServer(t, t.TempDir()), "http://")
	// One shell, for a command uses what one before it has set.
	var script, want strings.Builder
	for _, step := range steps {
		script.WriteString(strings.ReplaceAll(step.command, "localhost:8000", address) + "\n")
		want.WriteString(step.output)
	}
	shell := exec.CommandContext(t.Context(), "bash", "-eu", "-o", "pipefail", "-c", script.String())
	shell.Dir = folder
	shell.Env = append(os.Environ(), "HOME="+folder)
	output, err := shell.CombinedOutput()
	if err != nil {
		t.Errorf("the session ends with %v", err)
	}
	if got := string(output); got != want.String() {
		t.Errorf("the session prints\n%s\nand the README says\n%s", got, want.String())
	}
}

// step is a command of the session and what it prints.
type step struct{ command, output string }

// sessionSteps reads the blocks marked console. A command goes on as long as a quotation is open.
func sessionSteps(text string) []step {
	var steps []step
	for _, block := range regexp.MustCompile("(?s)```console\n(.*?)```").FindAllStringSubmatch(text, -1) {
		open := false
		for line := range strings.Lines(block[1]) {
			switch command, isCommand := strings.CutPrefix(line, "$ "); {
			case isCommand && !open:
				steps = append(steps, step{command: command})
				open = strings.Count(command, "'")%2 == 1
			case open:
				last := &steps[len(steps)-1]
				last.command += line
				open = strings.Count(last.command, "'")%2 == 1
			default:
				steps[len(steps)-1].output += line
			}
		}
	}
	return steps
}

// startServer runs serve on a free port until the test ends, and gives its URL.
func startServer(t *testing.T, dataDir string, flags ...string) string {
	t.Helper()
	url, _ := startServerToStop(t, dataDir, flags...)
	return url
}

// startServerToStop is startServer, with what stops it earlier; it is waited for at the end of the test.
func startServerToStop(t *testing.T, dataDir string, flags ...string) (url string, stop func()) {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	reader, writer := io.Pipe()
	log := &serverLog{url: make(chan string, 1)}
	code := make(chan int, 1)
	go func() {
		args := append([]string{"serve", "--listen", "127.0.0.1:0", "--data-dir", dataDir}, flags...)
		code <- run(ctx, args, strings.NewReader(""), io.Discard, writer, nil)
		_ = writer.Close()
	}()
	go log.read(reader)
	t.Cleanup(func() {
		stop()
		if got := <-code; got != exitDone {
			t.Errorf("serve: got exit code %d", got)
		}
	})
	url, ok := <-log.url
	if !ok {
		t.Fatal("the server did not get ready")
	}
	return url, stop
}

// serverLog finds the URL in what a server writes.
type serverLog struct{ url chan string }

func (l *serverLog) read(from io.Reader) {
	defer close(l.url)
	ready := regexp.MustCompile(`msg="claimrail is ready" url=(\S+)`)
	var text []byte
	buffer := make([]byte, 4096)
	for found := false; ; {
		n, err := from.Read(buffer)
		text = append(text, buffer[:n]...)
		if match := ready.FindSubmatch(text); match != nil && !found {
			found = true
			l.url <- string(match[1])
		}
		if err != nil {
			return
		}
	}
}
