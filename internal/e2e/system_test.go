package e2e_test

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Bounds of what is waited for.
const (
	startTimeout  = 30 * time.Second
	stopTimeout   = 20 * time.Second // what the program promises
	answerTimeout = 30 * time.Second // for one request; longer than the server's own bounds
	// settleTimeout bounds the way of the last claim. A message that a killed server had
	// in hand comes again only after the broker's wait for its ack, 30 s.
	settleTimeout = 90 * time.Second
	pollEvery     = 50 * time.Millisecond
)

// logTail is how much of the servers' log is shown of a test that failed, in bytes.
const logTail = 6 << 10

// system is a data directory, and the servers that run on it, one after the other.
type system struct {
	*testing.T
	name    string // in what is said of it
	dir     string
	home    string   // where the servers run; there is no .env in it
	program string   // of the servers
	place   place    // where they run
	args    []string // that start one
	environ []string // its settings
	log     *journal
	http    *http.Client
	server  *server // nil while none runs
}

// server is one process.
type server struct {
	cmd   *exec.Cmd
	url   string        // once it is ready
	ended chan struct{} // closed when the process is gone
}

// newSystem makes an empty data directory. What runs on it ends with the test.
func newSystem(t *testing.T) *system {
	t.Helper()
	folder := t.TempDir()
	s := &system{T: t, name: "servers", dir: filepath.Join(folder, "data"), home: filepath.Join(folder, "home"), log: newJournal()}
	s.program, s.place = os.Getenv(programVariable), place{host: "127.0.0.1"}
	s.args = []string{"serve", "--listen", "127.0.0.1:0", "--data-dir", s.dir, "--log-level", "debug"}
	if err := os.Mkdir(s.home, 0o700); err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{MaxIdleConnsPerHost: 256}
	s.http = &http.Client{Transport: transport, Timeout: answerTimeout}
	t.Cleanup(func() {
		if s.server != nil {
			s.kill()
		}
		transport.CloseIdleConnections()
		if t.Failed() {
			t.Logf("the end of the log of the %s:\n%s", s.name, s.log.tail(logTail))
		}
	})
	return s
}

// spawn starts the program. It runs until it ends by itself or is killed.
func (s *system) spawn(stderr *journal, args ...string) *server {
	s.Helper()
	cmd := s.place.command(s.program, args...)
	cmd.Dir = s.home
	cmd.Env = append([]string{"HOME=" + s.home, "USER=tester"}, s.environ...)
	cmd.Stderr = stderr
	return launch(s, cmd)
}

// place is where a process runs.
type place struct {
	host   string   // its address
	prefix []string // what a command there begins with
}

// command gives a command that runs there.
func (p place) command(name string, args ...string) *exec.Cmd {
	all := append(append(slices.Clone(p.prefix), name), args...)
	return exec.Command(all[0], all[1:]...)
}

// launch starts a process, which ends with this one at the latest.
func launch(t testing.TB, cmd *exec.Cmd) *server {
	t.Helper()
	dieWithParent(cmd)
	p := &server{cmd: cmd, ended: make(chan struct{})}
	started := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // see dieWithParent
		defer runtime.UnlockOSThread()
		defer close(p.ended)
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // ProcessState has the outcome
		}
	}()
	if err := <-started; err != nil {
		t.Fatalf("start %q: %v", cmd.Args, err)
	}
	return p
}

// start starts a server and waits until it is ready.
func (s *system) start() {
	s.Helper()
	from := s.log.size()
	s.server = s.spawn(s.log, s.args...)
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	ready, err := s.log.await(ctx, from, regexp.MustCompile(`msg="claimrail is ready" url=(\S+)`), s.server.ended)
	if err != nil {
		s.Fatalf("wait for one of the %s to be ready: %v", s.name, err)
	}
	s.server.url = ready[1]
}

// kill ends the server as a power cut would end it, as far as a process can see.
func (s *system) kill() {
	s.Helper()
	_ = s.server.cmd.Process.Kill() // it may be gone
	<-s.server.ended
	s.server = nil
}

// stop sends SIGTERM and gives the exit code and how long it took.
func (s *system) stop() (code int, took time.Duration) {
	s.Helper()
	begin := time.Now()
	if err := s.server.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		s.Fatalf("stop the server: %v", err)
	}
	late := time.NewTimer(stopTimeout)
	defer late.Stop()
	select {
	case <-s.server.ended:
	case <-late.C:
		s.Fatalf("stop the server: still there after %v", stopTimeout)
	}
	code = s.server.cmd.ProcessState.ExitCode()
	s.server = nil
	return code, time.Since(begin)
}

// until polls until the condition is true.
func (s *system) until(what string, limit time.Duration, condition func() bool) {
	s.Helper()
	if !within(limit, condition) {
		s.Fatalf("%s: not so after %v", what, limit)
	}
}

// within polls until the condition is true, or the time is over.
func within(limit time.Duration, condition func() bool) bool {
	ticker := time.NewTicker(pollEvery)
	defer ticker.Stop()
	late := time.NewTimer(limit)
	defer late.Stop()
	for !condition() {
		select {
		case <-ticker.C:
		case <-late.C:
			return false
		}
	}
	return true
}

// journal keeps what servers write, and lets tests wait for it.
type journal struct {
	mu    sync.Mutex
	text  []byte
	grown chan struct{} // closed at the next write
}

func newJournal() *journal { return &journal{grown: make(chan struct{})} }

// Write implements io.Writer.
func (j *journal) Write(text []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.text = append(j.text, text...)
	close(j.grown)
	j.grown = make(chan struct{})
	return len(text), nil
}

func (j *journal) size() int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return len(j.text)
}

// read gives what stands from the offset on, and what is closed when there is more.
func (j *journal) read(from int) (text []byte, grown <-chan struct{}) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return bytes.Clone(j.text[from:]), j.grown
}

func (j *journal) tail(length int) string {
	text, _ := j.read(max(0, j.size()-length))
	return string(text)
}

// await waits until the pattern stands behind the offset, and gives what its groups
// matched.
func (j *journal) await(ctx context.Context, from int, pattern *regexp.Regexp, ended <-chan struct{}) ([]string, error) {
	for over := false; ; {
		text, grown := j.read(from)
		if found := pattern.FindStringSubmatch(string(text)); found != nil {
			return found, nil
		}
		if over {
			return nil, fmt.Errorf("the server has ended: %s", strings.TrimSpace(string(text)))
		}
		select {
		case <-grown:
		case <-ended:
			over = true // one last look
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for %q in the log: %w", pattern, ctx.Err())
		}
	}
}
