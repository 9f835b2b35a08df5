package e2e_test

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
)

// dieWithParent has the process killed when the thread that starts it ends, as it does
// with this process, however that ends.
func dieWithParent(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}

// processState gives the letter of what a process does, as in proc(5); 0 where there is none.
func processState(pid int) byte {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	at := strings.LastIndex(string(text), ") ") + len(") ") // the name may hold one as well
	if err != nil || at >= len(text) {
		return 0
	}
	return text[at]
}

// isOver tells whether a process is gone, or dead and its parent has not asked about it yet.
func isOver(pid int) bool {
	state := processState(pid)
	return state == 0 || state == 'Z' || state == 'X'
}
