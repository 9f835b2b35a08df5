package e2e_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// SIGTERM under load: every request gets a whole answer or none, the server ends in time
// and well, and everything acknowledged is stored; the next server pays the rest.
func TestStopUnderLoad(t *testing.T) {
	t.Parallel()
	random := newRandom(t)
	s := newSystem(t)
	s.start()
	l := newLoad(s, random)
	for range 3 {
		l.flow(100 + random.Int64N(maxFlow))
		code, took := s.stop()
		if code != 0 || took > stopTimeout {
			t.Errorf("stop under load: got exit code %d after %v, want 0 within %v", code, took, stopTimeout)
		}
		t.Logf("stopped in %d ms, %d requests acknowledged", took.Milliseconds(), l.acknowledged.Load())
		l.restart()
	}
	l.flow(clients)
	l.end()
	if half := l.half.Load(); half != 0 {
		t.Errorf("got %d half answers, want none", half)
	}
	s.finish(l.history)
	log, _ := s.log.read(0)
	if got := strings.Count(string(log), "msg=stopped"); got != 4 {
		t.Errorf("got %d times \"stopped\" in the log, want 4", got)
	}
}

// A second server on the same data directory does not start, says who is there and what to
// do, and does no harm to the first.
func TestSecondServer(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	s.start()
	h := newHistory()
	s.accept(h, randomForm(newRandom(t), "before"))
	second := newJournal()
	p := s.spawn(second, "serve", "--listen", "127.0.0.1:0", "--data-dir", s.dir)
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	select {
	case <-p.ended:
	case <-ctx.Done():
		_ = p.cmd.Process.Kill()
		<-p.ended
		t.Fatal("the second server did not end by itself")
	}
	if code := p.cmd.ProcessState.ExitCode(); code != 1 {
		t.Errorf("got exit code %d, want 1", code)
	}
	want := fmt.Sprintf(`(?m)^claimrail: data directory %s is in use by 'claimrail serve' \(pid %d, %s\)$`,
		regexp.QuoteMeta(s.dir), s.server.cmd.Process.Pid, regexp.QuoteMeta(s.server.url))
	if got := second.tail(logTail); !regexp.MustCompile(want).MatchString(got) || !strings.Contains(got, "hint: ") {
		t.Errorf("got %q, want a match of %s and a hint", got, want)
	}
	if _, err := os.Stat(filepath.Join(s.dir, claimsFile)); err != nil {
		t.Error(err)
	}
	s.accept(h, newForm("external", "after", 100))
	s.finish(h)
}
