package pgtest

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// stopTimeout bounds the end of a server that is stopped at once.
const stopTimeout = 30 * time.Second

// logTail is how much of the server's log is shown of a test that failed, in bytes.
const logTail = 4 << 10

// Own is a server that one test has for itself: it may stop it, and start it again. It is
// always made here, whatever TEST_DATABASE_URL says. Not for more than one goroutine.
type Own struct {
	Server
	cluster cluster
	options []string
	running *exec.Cmd // the watchdog; nil while the server is stopped
	keep    int       // as in cluster.start
}

// StartOwn makes a server with settings such as "max_connections=20", and starts it; one
// that listens needs listen_addresses and port. It ends with the test.
func StartOwn(t testing.TB, settings ...string) *Own {
	t.Helper()
	folder, err := os.MkdirTemp("", "claimrail-postgres-own-")
	if err != nil {
		t.Fatalf("make cluster: %v", err)
	}
	return StartOwnIn(t, folder, settings...)
}

// StartOwnIn is StartOwn with the files in a folder, which is there and empty, with a path short
// enough for that of a socket, and goes with the test.
func StartOwnIn(t testing.TB, folder string, settings ...string) *Own {
	t.Helper()
	here := thisMachine()
	if here.binaries() == "" && here.facts().apt {
		if err := here.install(t.Context()); err != nil {
			t.Log(err)
		}
	}
	binaries := here.binaries()
	if binaries == "" {
		t.Fatal("no Postgres server of its own for this test: install Postgres (apt-get install postgresql)")
	}
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	o := &Own{cluster: cluster{binaries: binaries, folder: folder}}
	for _, setting := range settings {
		o.options = append(o.options, "-c", setting)
		if port, ok := strings.CutPrefix(setting, "port="); ok {
			o.cluster.port = port
		}
	}
	o.Server = Server{url: o.cluster.url(), private: true}
	if err := o.cluster.make(ctx); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			log, _ := os.ReadFile(filepath.Join(folder, logFile))
			t.Logf("the end of the log of Postgres:\n%s", log[max(0, len(log)-logTail):])
		}
		o.end(t, "gone")
		_ = os.RemoveAll(folder) // where no watchdog was there to do it
	})
	o.Start(t)
	return o
}

// Start starts the server on what it had when it was stopped, and waits until it takes
// connections.
func (o *Own) Start(t testing.TB) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), startTimeout)
	defer cancel()
	var err error
	if o.running, o.keep, err = o.cluster.start(o.options...); err != nil {
		t.Fatal(err)
	}
	if err := waitFor(ctx, o.url); err != nil {
		t.Fatal(err)
	}
}

// Stop kills all processes of the server (SIGKILL) and leaves its files as they are, its lock file
// included: what was not committed is gone, and the next start finds a crash, and recovers.
func (o *Own) Stop(t testing.TB) {
	t.Helper()
	if o.running != nil {
		o.kill(t)
	}
	o.end(t, keepWord)
}

// end gives the watchdog a word, and waits until it has done what that says.
func (o *Own) end(t testing.TB, word string) {
	t.Helper()
	if o.running == nil {
		return
	}
	if _, err := syscall.Write(o.keep, []byte(word+"\n")); err != nil {
		t.Errorf("stop server: %v", err) // the end of the pipe tells it as well
	}
	_ = syscall.Close(o.keep)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = o.running.Wait() // how it ended is in the log
	}()
	select {
	case <-ended:
	case <-time.After(stopTimeout):
		t.Errorf("stop server: it is still there after %v", stopTimeout)
	}
	o.running = nil
}
