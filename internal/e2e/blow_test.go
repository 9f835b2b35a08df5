package e2e_test

import (
	"errors"
	"fmt"
	"runtime"
	"testing"
	"time"
)

// effectTimeout bounds how long a blow is given to be felt, or to be over.
const effectTimeout = 90 * time.Second

// blow is one thing that is done to the line, and undone later.
type blow struct {
	what     string
	kill     func()
	felt     func() error // nil as soon as it has its effect: a blow without one would show nothing
	restart  func()
	undone   func() error  // nil as soon as it is over; no function: restart waits for that
	standing bool          // claims are taken meanwhile
	hold     time.Duration // how long it lasts, where that is not measured in claims
}

// deal deals the blow, does something meanwhile, and undoes it.
func (b *blow) deal(t testing.TB, meanwhile func()) {
	t.Helper()
	b.kill()
	shows(t, b.what+": it has no effect", b.felt)
	meanwhile()
	b.restart()
	if b.undone != nil {
		shows(t, b.what+": it is not over", b.undone)
	}
}

// shows asks until it is so. What is not so does not end the test at once, for the blow has to be undone.
func shows(t testing.TB, otherwise string, isSo func() error) {
	t.Helper()
	err := errors.New("nobody can tell")
	if isSo == nil || !within(effectTimeout, func() bool { err = isSo(); return err == nil }) {
		t.Errorf("%s: %v", otherwise, err)
	}
}

// deadly is a blow that has to end processes, which are asked for before it.
func deadly(b blow, pids func() []int) blow {
	kill := b.kill
	var victims []int
	b.kill = func() {
		victims = pids()
		kill()
	}
	b.felt = func() error { return gone(victims...) }
	return b
}

// gone is the error of processes that should have been killed, and are there.
func gone(pids ...int) error {
	if len(pids) == 0 && runtime.GOOS == "linux" { // elsewhere those of Postgres can not be listed
		return errors.New("there is no process to kill")
	}
	for _, pid := range pids {
		if !isOver(pid) {
			return fmt.Errorf("process %d is still there", pid)
		}
	}
	return nil
}

// pid is the number of the process that runs.
func (s *system) pid() int { return s.server.cmd.Process.Pid }

// pids is pid, for a blow.
func (i *instance) pids() []int { return []int{i.pid()} }

// pid is the number of a server's process.
func (c *cluster) pid(node int) int { return c.nodes[node].cmd.Process.Pid }

// wantKilled does what has to end the process that runs.
func (s *system) wantKilled(by func()) {
	s.Helper()
	pid := s.pid()
	by()
	if err := gone(pid); err != nil {
		s.Errorf("kill the server: %v", err)
	}
}
