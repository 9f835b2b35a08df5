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
// the other end is gone, or until a word comes in, and stops it at once, as a crash of all
// its processes would. A server that outlived its tests would be found by nobody. What it
// has written stays only if that word is keepWord.
const watchdog = `
binaries=$1 folder=$2
shift 2
"$binaries/postgres" -D "$folder/data" -k "$folder" -c listen_addresses= -c log_min_messages=fatal "$@" </dev/null &
server=$!
read -r word
kill -QUIT $server
wait $server
[ "$word" = ` + keepWord + ` ] || rm -rf "$folder"
`

// keepWord tells a watchdog that the server will be started again.
const keepWord = "keep"

// cluster is what a server is started on.
type cluster struct {
	binaries   string // folder of initdb and postgres
	folder     string
	attributes *syscall.SysProcAttr
}

// url gives the address of the server's owner.
func (c *cluster) url() string {
	address := url.URL{Scheme: "postgres", User: url.User("postgres"), Path: "/postgres", RawQuery: url.Values{"host": {c.folder}}.Encode()}
	return address.String()
}

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
	c := &cluster{folder: folder}
	server := &Server{url: c.url(), private: true}
	if _, err := os.Stat(filepath.Join(folder, "ready")); err == nil {
		return server, nil
	}
	c.binaries, err = findBinaries(ctx)
	if err != nil {
		if server, composeErr := composeServer(ctx); composeErr == nil {
			return server, nil
		}
		return nil, err
	}
	if err := os.Mkdir(folder, 0o700); err != nil {
		return nil, fmt.Errorf("make cluster: %w", err)
	}
	if err := c.make(ctx); err != nil {
		return nil, err
	}
	// Neither the pipe nor the watchdog is looked after any more: they end with this process.
	if _, _, err := c.start("-c", "max_connections="+strconv.Itoa(maxConnections)); err != nil {
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

// make makes the cluster in its folder, which is there and empty. A server refuses to run
// as root, so root hands all to somebody else.
func (c *cluster) make(ctx context.Context) error {
	c.attributes = &syscall.SysProcAttr{Setsid: true} // an interrupt is for the tests; the server ends after them
	if os.Geteuid() == 0 {
		owner, err := unprivileged()
		if err != nil {
			return err
		}
		c.attributes.Credential = owner
		if err := os.Chown(c.folder, int(owner.Uid), int(owner.Gid)); err != nil {
			return fmt.Errorf("make cluster: %w", err)
		}
	}
	initdb := exec.CommandContext(ctx, filepath.Join(c.binaries, "initdb"), "-D", filepath.Join(c.folder, "data"),
		"-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
	initdb.SysProcAttr, initdb.Dir = c.attributes, c.folder
	if output, err := initdb.CombinedOutput(); err != nil {
		return errors.Join(fmt.Errorf("initdb: %w: %s", err, lastLine(output)), os.RemoveAll(c.folder))
	}
	return nil
}

// start starts the server under a watchdog, which is not waited for. keep is what it
// listens to: a bare number, so that nothing closes it before this process ends, unless
// somebody means to.
func (c *cluster) start(options ...string) (command *exec.Cmd, keep int, err error) {
	var pipe [2]int
	syscall.ForkLock.RLock() // or a process that is started meanwhile would hold the pipe open
	err = syscall.Pipe(pipe[:])
	if err == nil {
		syscall.CloseOnExec(pipe[0])
		syscall.CloseOnExec(pipe[1])
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return nil, 0, fmt.Errorf("start server: %w", err)
	}
	input := os.NewFile(uintptr(pipe[0]), "watchdog")
	defer func() { _ = input.Close() }()
	log, err := os.OpenFile(filepath.Join(c.folder, logFile), os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return nil, 0, fmt.Errorf("start server: %w", err)
	}
	defer func() { _ = log.Close() }()
	command = exec.Command("sh", append([]string{"-c", watchdog, "watchdog", c.binaries, c.folder}, options...)...)
	command.Stdin, command.Stdout, command.Stderr = input, log, log
	command.SysProcAttr, command.Dir = c.attributes, c.folder
	if err := command.Start(); err != nil {
		return nil, 0, fmt.Errorf("start server: %w", err)
	}
	return command, pipe[1], nil
}

// logFile is where the server writes, in the folder of the cluster.
const logFile = "log"

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
