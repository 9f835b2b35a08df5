//go:build !linux

package e2e_test

import (
	"os/exec"
	"syscall"
)

// dieWithParent is not there on this system: a test that is killed leaves its server.
func dieWithParent(*exec.Cmd) {}

// isOver tells whether a process is gone.
func isOver(pid int) bool { return syscall.Kill(pid, 0) != nil }
