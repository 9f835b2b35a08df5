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
// the other end is gone, or until a word comes in, and shuts it down at once, unless it was
// killed before. A server that outlived its tests would be found by nobody. What it
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
	port       string // empty: the usual one
	attributes *syscall.SysProcAttr
}

// url gives the address of the server's owner.
func (c *cluster) url() string {
	query := url.Values{"host": {c.folder}}
	if c.port != "" {
		query.Set("port", c.port)
	}
	address := url.URL{Scheme: "postgres", User: url.User("postgres"), Path: "/postgres", RawQuery: query.Encode()}
	return address.String()
}

// sharedServer gives the private server of this process. It is found by the number of the
// process, so that no variable has to remember it: whoever gets the lock and sees no
// server makes one.
func sharedServer(ctx context.Context, binaries string) (*Server, error) {
	folder := filepath.Join(os.TempDir(), "claimrail-postgres-"+strconv.Itoa(os.Getpid()))
	unlock, err := lockFile(folder + ".lock")
	if err != nil {
		return nil, err
	}
	defer unlock()
	c := &cluster{binaries: binaries, folder: folder}
	server := &Server{url: c.url(), private: true}
	if _, err := os.Stat(filepath.Join(folder, "ready")); err == nil {
		return server, nil
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

// lockFile waits until nobody else of this machine has the lock, and takes it.
func lockFile(path string) (unlock func(), err error) {
	lock, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open lock: %w", err)
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		_ = lock.Close()
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return func() { _, _ = os.Remove(path), lock.Close() }, nil
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

func lastLine(output []byte) string {
	lines := strings.Split(strings.TrimSpace(string(output)), "\n")
	return lines[len(lines)-1]
}
