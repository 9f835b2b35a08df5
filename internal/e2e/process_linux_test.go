package e2e_test

import (
	"os/exec"
	"syscall"
)

// dieWithParent has the process killed when the thread that starts it ends, as it does
// with this process, however that ends.
func dieWithParent(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
