package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/claimrail/claimrail/internal/api"
	"github.com/claimrail/claimrail/internal/claim"
	"github.com/claimrail/claimrail/internal/payment/pgledger"
	"github.com/claimrail/claimrail/internal/store"
	"github.com/claimrail/claimrail/internal/store/pgstore"
)

// runSide runs this program as one side, until it is told to stop.
func runSide(name string) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	listener, err := net.Listen("tcp", os.Getenv("BENCH_LISTEN"))
	if err != nil {
		return err
	}
	profiling := make(chan error, 1)
	go func() { profiling <- profileSide(ctx, name) }()
	switch name {
	case "bare":
		err = serveBare(ctx, listener)
	case "accept":
		err = serveAccept(ctx, listener)
	default:
		return fmt.Errorf("there is no side %q", name)
	}
	stop()
	return errors.Join(err, <-profiling)
}

// spawnSide starts this program as one side.
func (r *rig) spawnSide(ctx context.Context, name, url string) (*process, error) {
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	command := exec.CommandContext(ctx, self)
	command.Env = append(os.Environ(), sideVariable+"="+name, "BENCH_LISTEN="+address, "BENCH_DATABASE_URL="+url, profileVariable+"="+r.profiles)
	p, err := r.start(ctx, command, "http://"+address, "/readyz")
	if err == nil {
		p.isSide = true
	}
	return p, err
}

// bareAnswerBytes is how long the answer to a claim of four lines is.
const bareAnswerBytes = 1200

// serveBare is limit 1: a handler that reads the body and answers a constant.
func serveBare(ctx context.Context, listener net.Listener) error {
	answer := strings.Repeat("x", bareAnswerBytes)
	server := &http.Server{ReadHeaderTimeout: time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, answer)
	})}
	go func() { _ = server.Serve(listener) }()
	<-ctx.Done()
	return server.Close()
}

// serveAccept is the line up to the commit: no relay, no payments.
func serveAccept(ctx context.Context, listener net.Listener) error {
	logger := slog.New(slog.DiscardHandler)
	url := os.Getenv("BENCH_DATABASE_URL")
	engine, err := pgstore.Open(ctx, pgstore.Options{URL: url}, logger)
	if err != nil {
		return err
	}
	defer func() { _ = engine.Close() }()
	ledger, err := pgledger.Open(ctx, pgledger.Options{URL: url}, logger)
	if err != nil {
		return err
	}
	defer func() { _ = ledger.Close() }()
	secret, err := engine.IdentitySecret(ctx)
	if err != nil {
		return err
	}
	committer := store.NewCommitter(engine, time.Now, logger)
	committer.Writers = 2 // as cmd/claimrail has it
	ended := make(chan error, 1)
	go func() { ended <- committer.Run(ctx) }()
	handler := api.New(api.Config{
		Validator: &claim.Validator{Rules: claim.DefaultRules(), Identity: claim.NewIdentity(secret), Now: time.Now},
		Submitter: committer, Claims: engine, Limiter: engine, Payments: ledger, Metrics: promhttp.Handler(),
		Observe:               func(string, string, int, time.Duration) {},
		TopProvidersPerMinute: 1000, Now: time.Now, Logger: logger, Version: "bench",
	})
	if err := api.Serve(ctx, listener, handler, 0, logger); err != nil {
		return err
	}
	return <-ended
}

// startReference starts the service that is replaced: two workers, on a database of its own.
func (r *rig) startReference(ctx context.Context, url string) (*process, error) {
	const python = "/usr/bin/python3" // Debian's, which has Debian's packages
	if output, err := exec.CommandContext(ctx, python, "-c", "import fastapi, uvicorn, sqlalchemy, psycopg2").CombinedOutput(); err != nil {
		return nil, fmt.Errorf("the reference needs Debian's python3-fastapi python3-uvicorn python3-sqlalchemy python3-psycopg2: %w: %s", err, lastLine(output))
	}
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	command := exec.CommandContext(ctx, python, "-m", "uvicorn", "app:app", "--workers", "2", "--port", port, "--log-level", "error")
	command.Dir = filepath.Join(r.root, "bench", "reference")
	command.Env = append(os.Environ(), "PYTHONDONTWRITEBYTECODE=1", "DATABASE_URL="+strings.Replace(url, "postgres://", "postgresql+psycopg2://", 1))
	return r.start(ctx, command, "http://"+address, "/readyz")
}

func lastLine(output []byte) string {
	lines := strings.Split(strings.TrimSpace(string(output)), "\n")
	return lines[len(lines)-1]
}
