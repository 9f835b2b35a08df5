package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

// Bounds of what is waited for.
const (
	startTimeout = 60 * time.Second
	stopTimeout  = 30 * time.Second
)

// sideVariable, when set, makes this program one side of a row in a process of its own.
const sideVariable = "CLAIMRAIL_BENCH_SIDE"

// rig is what the rows share: a Postgres of its own, the program built, a folder.
type rig struct {
	root     string // the checkout
	folder   string // goes away at the end
	program  string // claimrail
	rounds   int
	period   time.Duration
	profiles string
	grown    int // lines that growth stores
	postgres *postgres
	made     int // databases
	started  []*process
}

func newRig(ctx context.Context, root string, rounds int, period time.Duration, profiles string) (*rig, error) {
	root, err := filepath.Abs(root)
	if err != nil {
		return nil, err
	}
	folder, err := os.MkdirTemp("", "claimrail-bench-*")
	if err != nil {
		return nil, fmt.Errorf("make a folder: %w", err)
	}
	r := &rig{root: root, folder: folder, rounds: rounds, period: period, profiles: profiles, program: filepath.Join(folder, "claimrail")}
	// Postgres runs as somebody else, and has to get through.
	if err := os.Chmod(folder, 0o755); err != nil {
		return nil, errors.Join(err, os.RemoveAll(folder))
	}
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", r.program, "./cmd/claimrail")
	build.Dir, build.Env = root, append(os.Environ(), "CGO_ENABLED=0")
	if output, err := build.CombinedOutput(); err != nil {
		return nil, errors.Join(fmt.Errorf("build claimrail: %w: %s", err, output), os.RemoveAll(folder))
	}
	if r.postgres, err = startPostgres(ctx, filepath.Join(folder, "postgres")); err != nil {
		return nil, errors.Join(err, os.RemoveAll(folder))
	}
	return r, nil
}

func (r *rig) close() {
	for _, p := range r.started {
		p.stop()
	}
	r.postgres.stop()
	_ = os.RemoveAll(r.folder)
}

// database makes an empty database and gives its URL. Who needs it no more drops it.
func (r *rig) database(ctx context.Context) (string, error) {
	r.made++
	name := fmt.Sprintf("bench%d", r.made)
	if err := r.postgres.execute(ctx, "postgres", "CREATE DATABASE "+name); err != nil {
		return "", err
	}
	return r.postgres.url(name), nil
}

// drop removes a database, whoever is connected to it.
func (r *rig) drop(ctx context.Context, url string) error {
	config, err := pgx.ParseConfig(url)
	if err != nil {
		return err
	}
	return r.postgres.execute(ctx, "postgres", "DROP DATABASE "+config.Database+" WITH (FORCE)")
}

// process is a program that was started.
type process struct {
	command *exec.Cmd
	url     string
	log     *bytes.Buffer
	ended   chan error
	isSide  bool // of this program, and made to be profiled
}

// start starts a program and waits until its address answers.
func (r *rig) start(ctx context.Context, command *exec.Cmd, url, ready string) (*process, error) {
	p := &process{command: command, url: url, log: &bytes.Buffer{}, ended: make(chan error, 1)}
	command.Stdout, command.Stderr = p.log, p.log
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	if err := command.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", filepath.Base(command.Path), err)
	}
	go func() { p.ended <- command.Wait() }()
	r.started = append(r.started, p)
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, url+ready, nil)
		if err != nil {
			return nil, err
		}
		if answer, err := http.DefaultClient.Do(request); err == nil {
			_ = answer.Body.Close()
			if answer.StatusCode == http.StatusOK {
				return p, nil
			}
		}
		select {
		case err := <-p.ended:
			p.ended <- err
			return nil, fmt.Errorf("%s ended at its start: %w: %s", filepath.Base(command.Path), err, p.log)
		case <-ctx.Done():
			return nil, fmt.Errorf("%s does not answer: %w: %s", filepath.Base(command.Path), ctx.Err(), p.log)
		case <-time.After(2 * time.Millisecond):
		}
	}
}

// stop ends a program, and what it started.
func (p *process) stop() {
	if p == nil || p.command.Process == nil {
		return
	}
	_ = syscall.Kill(-p.command.Process.Pid, syscall.SIGTERM)
	select {
	case err := <-p.ended:
		p.ended <- err
	case <-time.After(stopTimeout):
		_ = syscall.Kill(-p.command.Process.Pid, syscall.SIGKILL)
	}
}

// claimrail gives a command of the program with its settings, NAME=value.
func (r *rig) claimrail(ctx context.Context, settings []string, args ...string) *exec.Cmd {
	command := exec.CommandContext(ctx, r.program, args...)
	command.Dir = r.folder
	command.Env = append([]string{"HOME=" + r.folder, "PATH=" + os.Getenv("PATH"), "CLAIMRAIL_LOG_LEVEL=error"}, settings...)
	return command
}

// serve starts the whole line.
func (r *rig) serve(ctx context.Context, settings ...string) (*process, error) {
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	command := r.claimrail(ctx, append(settings, "CLAIMRAIL_LISTEN="+address), "serve")
	return r.start(ctx, command, "http://"+address, "/readyz")
}

// folderFor makes an empty folder below the rig's.
func (r *rig) folderFor(name string) (string, error) {
	folder, err := os.MkdirTemp(r.folder, name+"-*")
	if err != nil {
		return "", fmt.Errorf("make a folder: %w", err)
	}
	return folder, nil
}

// freeAddress gives an address of this machine that nobody listens on.
func freeAddress() (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("find a free port: %w", err)
	}
	return listener.Addr().String(), listener.Close()
}

// tool finds a program of Debian's, or says which package has it.
func tool(name, pack string) (string, error) {
	path, err := exec.LookPath(name)
	if err != nil {
		return "", fmt.Errorf("%s is not installed: apt-get install %s", name, pack)
	}
	return path, nil
}
