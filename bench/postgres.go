package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

// postgres is a server with Debian's default settings, and with fsync, as it comes.
type postgres struct {
	binaries string
	address  string
	command  *exec.Cmd
}

// startPostgres makes a cluster in the folder and starts it.
func startPostgres(ctx context.Context, folder string) (*postgres, error) {
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if len(found) == 0 {
		return nil, errors.New("postgres is not installed: apt-get install postgresql")
	}
	slices.Sort(found)
	p := &postgres{binaries: filepath.Dir(found[len(found)-1])}
	attributes := &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := os.Mkdir(folder, 0o700); err != nil {
		return nil, err
	}
	if os.Geteuid() == 0 { // a server does not run as root
		owner, err := somebody()
		if err != nil {
			return nil, err
		}
		attributes.Credential = owner
		if err := os.Chown(folder, int(owner.Uid), int(owner.Gid)); err != nil {
			return nil, err
		}
	}
	data := filepath.Join(folder, "data")
	initdb := exec.CommandContext(ctx, found[len(found)-1], "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C")
	initdb.SysProcAttr, initdb.Dir = attributes, folder
	if output, err := initdb.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("initdb: %w: %s", err, output)
	}
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	p.address = address
	_, port, _ := net.SplitHostPort(address)
	log, err := os.Create(filepath.Join(filepath.Dir(folder), "postgres.log"))
	if err != nil {
		return nil, err
	}
	defer func() { _ = log.Close() }()
	p.command = exec.Command(filepath.Join(p.binaries, "postgres"), "-D", data, "-p", port, "-h", "127.0.0.1", "-k", folder)
	p.command.SysProcAttr, p.command.Dir, p.command.Stderr = attributes, folder, log
	if err := p.command.Start(); err != nil {
		return nil, fmt.Errorf("start postgres: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for {
		err := p.execute(ctx, "postgres", "SELECT 1")
		if err == nil {
			return p, nil
		}
		if pause(ctx, 50*time.Millisecond) != nil {
			return nil, errors.Join(fmt.Errorf("postgres does not answer: %w", err), p.command.Process.Kill())
		}
	}
}

func (p *postgres) stop() {
	_ = p.command.Process.Signal(syscall.SIGINT) // fast
	_ = p.command.Wait()
}

// url gives the address of a database.
func (p *postgres) url(database string) string {
	return "postgres://postgres@" + p.address + "/" + database
}

// execute runs one statement.
func (p *postgres) execute(ctx context.Context, database, statement string) error {
	return execute(ctx, p.url(database), statement)
}

func execute(ctx context.Context, url, statement string) error {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	_, err = conn.Exec(ctx, statement)
	return errors.Join(err, conn.Close(ctx))
}

// ask gives the one number that a query gives.
func ask(ctx context.Context, url, query string) (float64, error) {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return 0, err
	}
	var value float64
	err = conn.QueryRow(ctx, query).Scan(&value)
	return value, errors.Join(err, conn.Close(ctx))
}

// settle brings a database to rest, so that one side does not pay for what the other left.
func (p *postgres) settle(ctx context.Context) error { return p.execute(ctx, "postgres", "CHECKPOINT") }

func somebody() (*syscall.Credential, error) {
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
