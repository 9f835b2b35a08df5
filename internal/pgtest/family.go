package pgtest

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// process is one process of this machine.
type process struct {
	pid, parent int
	state       string // one letter, as in proc(5)
}

// isOver tells whether a process does nothing any more: it is dead, and only its parent has not
// asked about it yet.
func (p *process) isOver() bool { return p.state == "Z" || p.state == "X" }

// processes lists the processes of this machine; none where there is no /proc.
func processes() (all []process) {
	files, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, file := range files {
		text, _ := os.ReadFile(file)                      // it may be gone
		before, rest, _ := strings.Cut(string(text), "(") // of the name, which may hold more of them
		fields := strings.Fields(rest[strings.LastIndex(rest, ")")+1:])
		pid, err := strconv.Atoi(strings.TrimSpace(before))
		if err != nil || len(fields) < 2 {
			continue
		}
		parent, _ := strconv.Atoi(fields[1]) // the kernel wrote it
		all = append(all, process{pid, parent, fields[0]})
	}
	return all
}

// family gives what descends from a process and is not over, the older first.
func family(pid int) (found []process) {
	all := processes()
	for wave := []int{pid}; len(wave) > 0; {
		var next []int
		for _, p := range all {
			if slices.Contains(wave, p.parent) && !p.isOver() {
				found, next = append(found, p), append(next, p.pid)
			}
		}
		wave = next
	}
	return found
}

// Processes gives the numbers of all processes of the server, that of the one which starts the
// others first; none where there is no /proc.
func (o *Own) Processes() (pids []int) {
	for _, p := range family(o.running.Process.Pid) {
		pids = append(pids, p.pid)
	}
	return pids
}

// kill kills all processes of the server, so that none of them learns of it: the one that starts the
// others is stopped first, or it would see them die, and start again what it could.
func (o *Own) kill(t testing.TB) {
	t.Helper()
	pids := o.Processes()
	if len(pids) == 0 {
		t.Log("stop server: its processes can not be listed here, so it is shut down at once (SIGQUIT) instead of killed")
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), stopTimeout)
	defer cancel()
	first := pids[0]
	signal(t, first, syscall.SIGSTOP)
	await(ctx, t, "the first process stands still", func() bool {
		return slices.ContainsFunc(processes(), func(p process) bool { return p.pid == first && p.state == "T" })
	})
	await(ctx, t, "the processes are gone", func() bool {
		others := family(first)
		for _, p := range others {
			signal(t, p.pid, syscall.SIGKILL)
		}
		return len(others) == 0
	})
	signal(t, first, syscall.SIGKILL)
	await(ctx, t, "the first process is gone", func() bool {
		return !slices.ContainsFunc(processes(), func(p process) bool { return p.pid == first && !p.isOver() })
	})
}

// signal sends a signal to a process that may be gone.
func signal(t testing.TB, pid int, with syscall.Signal) {
	t.Helper()
	if err := syscall.Kill(pid, with); err != nil && !errors.Is(err, syscall.ESRCH) {
		t.Errorf("stop server: send %v to process %d: %v", with, pid, err)
	}
}

// await polls until something is so.
func await(ctx context.Context, t testing.TB, what string, isSo func() bool) {
	t.Helper()
	poll := time.NewTicker(startPoll)
	defer poll.Stop()
	for !isSo() {
		select {
		case <-poll.C:
		case <-ctx.Done():
			t.Errorf("stop server: %s: not so after %v", what, stopTimeout)
			return
		}
	}
}
