package e2e_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Variables that hold the paths of what is built once.
const (
	programVariable = "E2E_PROGRAM"     // the program under test
	natsVariable    = "E2E_NATS_SERVER" // the NATS server, of the version that is embedded
)

// tortureVariable has TestTorture run, where it is not empty.
const tortureVariable = "E2E_TORTURE"

// elsewhere is TestTorture on a system that has no rigs: there it must not pass for one that found nothing.
func elsewhere(t testing.TB, asked string) {
	t.Helper()
	if asked != "" {
		t.Fatalf("the rigs of make torture mount disks and cut networks of Linux: run it there, as root or in a container that may")
	}
	t.Skip("it takes Linux, minutes, and root: make torture runs it there")
}

// TestMain builds the program once, as it ships, and the NATS server.
func TestMain(m *testing.M) {
	os.Exit(buildAndRun(m))
}

func buildAndRun(m *testing.M) int {
	folder, err := os.MkdirTemp("", "claimrail-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(folder) }()
	for variable, source := range map[string]string{
		programVariable: "github.com/claimrail/claimrail/cmd/claimrail",
		natsVariable:    "github.com/nats-io/nats-server/v2",
	} {
		binary := filepath.Join(folder, variable)
		build := exec.Command("go", "build", "-o", binary, source)
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if output, err := build.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "build %s: %v\n%s", source, err, output)
			return 1
		}
		if err := os.Setenv(variable, binary); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	return m.Run()
}
