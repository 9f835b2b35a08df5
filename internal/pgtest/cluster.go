package pgtest

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	// startTimeout bounds the making and the start of a private server.
	startTimeout = 2 * time.Minute
	// startPoll is the pause between two looks at a server that starts.
	startPoll = 20 * time.Millisecond
	// maxConnections is what all tests of a process together may open.
	maxConnections = 400
)

// watchdog runs the server until its input ends, which is when the process that holds
// the other end is gone. A server that outlived its tests would be found by nobody.
const watchdog = `
"$1/postgres" -D "$2/data" -k "$2" -c listen_addresses= -c max_connections=$3 -c log_min_messages=fatal </dev/null &
server=$!
read -r _
kill -QUIT $server
wait $server
rm -rf "$2"
`

// privateServer gives the server of this process. It is found by the number of the
// process, so that no variable has to remember it: whoever gets the lock and sees no
// server makes one.
func privateServer(ctx context.Context) (*Server, error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	folder := filepath.Join(os.TempDir(), "claimrail-postgres-"+strconv.Itoa(os.Getpid()))
	lock, err := os.OpenFile(folder+".lock", os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open lock: %w", err)
	}
	defer func() { _ = lock.Close() }()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return nil, fmt.Errorf("lock %s: %w", lock.Name(), err)
	}
	defer func() { _ = os.Remove(lock.Name()) }()
	address := url.URL{Scheme: "postgres", User: url.User("postgres"), Path: "/postgres", RawQuery: url.Values{"host": {folder}}.Encode()}
	server := &Server{url: address.String(), private: true}
	if _, err := os.Stat(filepath.Join(folder, "ready")); err == nil {
		return server, nil
	}
	binaries, err := findBinaries(ctx)
	if err != nil {
		if server, composeErr := composeServer(ctx); composeErr == nil {
			return server, nil
		}
		return nil, err
	}
	if err := makeCluster(ctx, binaries, folder); err != nil {
		return nil, err
	}
	if err := waitFor(ctx, server.url); err != nil {
		return nil, err
	}
	return server, os.WriteFile(filepath.Join(folder, "ready"), nil, 0o600)
}

// findBinaries finds the folder with initdb and postgres, the newest version first, and
// installs them where it may.
func findBinaries(ctx context.Context) (string, error) {
	var folders []string
	if found, err := exec.LookPath("initdb"); err == nil {
		folders = append(folders, filepath.Dir(found))
	}
	look := func() string {
		installed, _ := filepath.Glob("/usr/lib/postgresql/*/bin")
		slices.Reverse(installed)
		for _, folder := range append(append(folders, installed...), "/usr/local/bin", "/usr/local/pgsql/bin") {
			if isFile(filepath.Join(folder, "initdb")) && isFile(filepath.Join(folder, "postgres")) {
				return folder
			}
		}
		return ""
	}
	if folder := look(); folder != "" {
		return folder, nil
	}
	if os.Geteuid() == 0 && isFile("/etc/debian_version") {
		command := exec.CommandContext(ctx, "apt-get", "install", "-y", "--no-install-recommends", "postgresql")
		command.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
		if output, err := command.CombinedOutput(); err != nil {
			return "", fmt.Errorf("apt-get install postgresql: %w: %s", err, lastLine(output))
		}
		if folder := look(); folder != "" {
			return folder, nil
		}
	}
	return "", errors.New("initdb and postgres are not installed")
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && !info.IsDir()
}

// makeCluster makes a cluster in the folder and starts the watchdog with it. A server
// refuses to run as root, so root hands all to somebody else.
func makeCluster(ctx context.Context, binaries, folder string) error {
	if err := os.Mkdir(folder, 0o700); err != nil {
		return fmt.Errorf("make cluster: %w", err)
	}
	attributes := &syscall.SysProcAttr{Setsid: true} // an interrupt is for the tests; the server ends after them
	if os.Geteuid() == 0 {
		owner, err := unprivileged()
		if err != nil {
			return err
		}
		attributes.Credential = owner
		if err := os.Chown(folder, int(owner.Uid), int(owner.Gid)); err != nil {
			return fmt.Errorf("make cluster: %w", err)
		}
	}
	initdb := exec.CommandContext(ctx, filepath.Join(binaries, "initdb"), "-D", filepath.Join(folder, "data"),
		"-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
	initdb.SysProcAttr, initdb.Dir = attributes, folder
	if output, err := initdb.CombinedOutput(); err != nil {
		return errors.Join(fmt.Errorf("initdb: %w: %s", err, lastLine(output)), os.RemoveAll(folder))
	}
	return startWatchdog(binaries, folder, attributes)
}

// startWatchdog starts the server. It is not waited for. The pipe's other end stays
// open until this process ends: it is a bare number, which nothing closes before.
func startWatchdog(binaries, folder string, attributes *syscall.SysProcAttr) error {
	var pipe [2]int
	if err := syscall.Pipe(pipe[:]); err != nil {
		return fmt.Errorf("start server: %w", err)
	}
	syscall.CloseOnExec(pipe[0])
	syscall.CloseOnExec(pipe[1])
	input := os.NewFile(uintptr(pipe[0]), "watchdog")
	defer func() { _ = input.Close() }()
	log, err := os.Create(filepath.Join(folder, "log"))
	if err != nil {
		return fmt.Errorf("start server: %w", err)
	}
	defer func() { _ = log.Close() }()
	command := exec.Command("sh", "-c", watchdog, "watchdog", binaries, folder, strconv.Itoa(maxConnections))
	command.Stdin, command.Stdout, command.Stderr = input, log, log
	command.SysProcAttr, command.Dir = attributes, folder
	if err := command.Start(); err != nil {
		return fmt.Errorf("start server: %w", err)
	}
	return command.Process.Release()
}

// unprivileged gives the user that a server runs as where we are root.
func unprivileged() (*syscall.Credential, error) {
	for _, name := range []string{"postgres", "nobody"} {
		found, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, errUser := strconv.ParseUint(found.Uid, 10, 32)
		gid, errGroup := strconv.ParseUint(found.Gid, 10, 32)
		if errUser == nil && errGroup == nil {
			return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
		}
	}
	return nil, errors.New("a server does not run as root, and there is neither a user postgres nor nobody")
}

// waitFor waits until the server takes connections.
func waitFor(ctx context.Context, address string) error {
	poll := time.NewTicker(startPoll)
	defer poll.Stop()
	for {
		conn, err := pgx.Connect(ctx, address)
		if err == nil {
			return conn.Close(ctx)
		}
		select {
		case <-poll.C:
		case <-ctx.Done():
			return fmt.Errorf("wait for the server: %w", err)
		}
	}
}

// composeServer starts the server that the project's compose file has for tests.
func composeServer(ctx context.Context) (*Server, error) {
	folder, err := os.Getwd()
	if err != nil {
		return nil, err
	}
	for !isFile(filepath.Join(folder, "docker-compose.yml")) {
		if folder == filepath.Dir(folder) {
			return nil, errors.New("no docker-compose.yml")
		}
		folder = filepath.Dir(folder)
	}
	compose := func(arguments ...string) (string, error) {
		command := exec.CommandContext(ctx, "docker", append([]string{"compose"}, arguments...)...)
		command.Dir = folder
		output, err := command.Output()
		return strings.TrimSpace(string(output)), err
	}
	if _, err := compose("up", "-d", "--wait", "db-test"); err != nil {
		return nil, fmt.Errorf("docker compose up db-test: %w", err)
	}
	port, err := compose("port", "db-test", "5432")
	if err != nil {
		return nil, fmt.Errorf("docker compose port db-test: %w", err)
	}
	server := &Server{url: "postgres://postgres:postgres@" + port + "/postgres"}
	return server, waitFor(ctx, server.url)
}

func lastLine(output []byte) string {
	lines := strings.Split(strings.TrimSpace(string(output)), "\n")
	return lines[len(lines)-1]
}
