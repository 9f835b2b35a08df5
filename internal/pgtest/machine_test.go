package pgtest_test

import (
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/claimrail/claimrail/internal/pgtest"
)

// A server that is named is used and nothing else; then binaries that are there; then what
// can be had, the packages first.
func TestWays(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		url, binaries string
		apt, docker   bool
		want          []string
	}{
		{"postgres://somewhere", "/bin", true, true, []string{"named"}},
		{"", "/bin", true, true, []string{"installed"}},
		{"", "", true, true, []string{"packaged", "composed"}},
		{"", "", true, false, []string{"packaged"}},
		{"", "", false, true, []string{"composed"}},
		{"", "", false, false, nil},
	} {
		if diff := cmp.Diff(test.want, pgtest.Ways(test.url, test.binaries, test.apt, test.docker)); diff != "" {
			t.Errorf("%+v (-want +got):\n%s", test, diff)
		}
	}
}

// program writes a shell script into the folder.
func program(t *testing.T, folder, name, text string) {
	t.Helper()
	if err := os.MkdirAll(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(folder, name), []byte("#!/bin/sh\n"+text), 0o755); err != nil {
		t.Fatal(err)
	}
}

// Of several versions that are installed the newest is taken, and a folder that has half
// of what is needed is none.
func TestBinaries(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	for _, installed := range []string{"9.6/bin/initdb", "9.6/bin/postgres", "15/bin/initdb", "15/bin/postgres", "17/bin/initdb"} {
		program(t, filepath.Join(root, filepath.Dir(installed)), filepath.Base(installed), "")
	}
	machine := pgtest.NewMachine("", []string{filepath.Join(root, "*/bin")}, "")
	if got, want := machine.Binaries(), filepath.Join(root, "15/bin"); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// On a machine without lists of packages apt-get gets them and installs, once though two
// processes ask for it. What it says when it can not is passed on, with what to do instead.
func TestInstall(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	bin, log := filepath.Join(root, "bin"), filepath.Join(root, "log")
	program(t, bin, "apt-get", `echo "$DEBIAN_FRONTEND $*" >>`+log+`
case $1 in
update) touch `+root+`/lists ;;
install)
	[ -e `+root+`/lists ] || { echo 'E: Unable to locate package postgresql'; exit 100; }
	mkdir -p `+root+`/15/bin && touch `+root+`/15/bin/initdb `+root+`/15/bin/postgres
	;;
esac
`)
	machine := pgtest.NewMachine(bin+":/usr/bin:/bin", []string{filepath.Join(root, "*/bin")}, "")
	for range 2 {
		if err := machine.Install(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := machine.Binaries(), filepath.Join(root, "15/bin"); got != want {
		t.Errorf("binaries: got %q, want %q", got, want)
	}
	text, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	const install = "noninteractive install -y --no-install-recommends -o DPkg::Lock::Timeout=120 postgresql\n"
	if diff := cmp.Diff(install+"noninteractive update\n"+install, string(text)); diff != "" {
		t.Errorf("calls of apt-get (-want +got):\n%s", diff)
	}

	program(t, bin, "apt-get", "echo 'E: no network'; exit 100\n")
	_, err = pgtest.NewMachine(bin+":/usr/bin:/bin", nil, "").Find(t.Context())
	if err == nil || !strings.Contains(err.Error(), "apt-get update: exit status 100: E: no network") {
		t.Errorf("got %v, want what apt-get says", err)
	}
}

// A machine that can not have a server is told what to do.
func TestNoServer(t *testing.T) {
	t.Parallel()
	_, err := pgtest.NewMachine("", nil, "").Find(t.Context())
	for _, want := range []string{"set " + pgtest.Variable, "apt-get install postgresql", "docker compose up --build db-test"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q in it", err, want)
		}
	}
}

// With docker alone, the server is that of the compose file, at the port it says.
func TestCompose(t *testing.T) {
	t.Parallel()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := listener.Addr().(*net.TCPAddr).Port
	_ = listener.Close()
	pgtest.StartOwn(t, "listen_addresses=127.0.0.1", "port="+strconv.Itoa(port))
	root := t.TempDir()
	program(t, root, "docker-compose.yml", "")
	program(t, filepath.Join(root, "bin"), "docker", `[ -f docker-compose.yml ] || exit 1
case "$*" in
"compose up -d --wait db-test") ;;
"compose port db-test 5432") echo 127.0.0.1:`+strconv.Itoa(port)+` ;;
*) exit 1 ;;
esac
`)
	below := filepath.Join(root, "internal", "pgtest")
	if err := os.MkdirAll(below, 0o755); err != nil {
		t.Fatal(err)
	}
	server, err := pgtest.NewMachine(filepath.Join(root, "bin"), nil, below).Find(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got := query[int](t, server.Database(t), "SELECT inet_server_port()"); got != port {
		t.Errorf("port: got %d, want %d", got, port)
	}
}
