//go:build !linux

package e2e_test

import "os/exec"

// dieWithParent is not there on this system: a test that is killed leaves its server.
func dieWithParent(*exec.Cmd) {}
