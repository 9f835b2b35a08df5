package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/claimrail/claimrail/internal/api"
	"github.com/claimrail/claimrail/internal/payment"
)

func newServeCommand(p *program) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Take claims over HTTP and pay them",
		Long: `Take claims over HTTP and pay them: both services, claim-process and payments, in
one process, with their databases and the broker between them in the data directory.
With --role they run apart, in any number of instances, on Postgres and outside NATS
servers that the settings name; docs/operating.md says how.

Ctrl-C or SIGTERM stops it: it takes claims for --stop-delay yet, while its readiness says
that it stops, finishes those under way, and ends within 20 seconds. After a crash, start it again: nothing acknowledged is lost.`,
		Example: `  claimrail serve
  claimrail serve --listen 127.0.0.1:9000 --data-dir /var/lib/claimrail
  claimrail serve --rules npi-check-digit=error,cdt-pattern=off`,
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := p.refuseServer("serve is a server itself", "leave --server out; --listen says where it is to be reached"); err != nil {
				return err
			}
			c, err := p.loadConfig()
			if err == nil {
				err = c.checkRole()
			}
			if err != nil {
				return err
			}
			return p.serve(cmd.Context(), c)
		},
	}
	p.bindServe(cmd.Flags())
	return cmd
}

// serve runs the whole line until ctx ends.
func (p *program) serve(ctx context.Context, c config) (err error) {
	started := time.Now()
	logger := slog.New(slog.NewTextHandler(p.stderr, &slog.HandlerOptions{Level: c.LogLevel}))
	var listening net.ListenConfig
	listener, err := listening.Listen(ctx, "tcp", c.Listen)
	if err != nil {
		return hint(fmt.Errorf("listen on %s: %w", c.Listen, errors.Unwrap(err)),
			"another program may use the port; choose another with --listen 127.0.0.1:PORT")
	}
	defer func() { _ = listener.Close() }() // closed already, unless opening fails
	url := "http://" + listener.Addr().String()
	by := holder{command: "serve", url: url}
	if c.Role.claims() && c.DatabaseURL == "" {
		by.instance = uuid.NewString()
	}
	if c.usesDataDir() {
		unlock, taken := lockDataDir(c.DataDir, by)
		if taken != nil {
			return taken
		}
		defer func() { err = errors.Join(err, unlock()) }()
	}
	l, err := openLine(ctx, c, logger)
	if err != nil {
		return err
	}
	var stopBy time.Time // zero until it stops
	defer func() { err = errors.Join(err, closeBy(stopBy, l.close)) }()
	meter := newMeter(l)
	handler := named(api.New(l.apiConfig(c, meter)), by.instance)
	data := "elsewhere"
	if c.usesDataDir() {
		data = c.DataDir
	}
	logger.InfoContext(ctx, "claimrail is ready", "url", url, "docs", url+"/docs", "role", c.Role, "data", data,
		"version", readBuild().Version, "after", time.Since(started).Round(time.Millisecond))
	serving := stage{"HTTP", func(ctx context.Context) error { return api.Serve(ctx, listener, handler, c.StopDelay, logger) }}
	farewell := stage{"farewell", func(ctx context.Context) error {
		<-ctx.Done()
		stopBy = time.Now().Add(stopTimeout)
		logger.Info("stopping: claims are taken for a moment yet, and those under way are finished", "delay", c.StopDelay)
		return nil
	}}
	if err := runStages(ctx, append([]stage{farewell, serving}, l.stages()...)); err != nil {
		return err
	}
	logger.Info("stopped")
	return nil
}

// apiConfig puts the API in front of the line. Payments that run elsewhere are reached over
// the broker.
func (l *line) apiConfig(c config, m *meter) api.Config {
	a := api.Config{
		Probes:                l.probes(),
		Metrics:               m.handler(),
		Observe:               m.observe,
		TopProvidersPerMinute: c.TopProvidersPerMinute,
		Loopback:              c.listensOnLoopback(),
		Hosts:                 c.AllowHosts,
		Now:                   time.Now,
		Logger:                l.logger,
		Version:               readBuild().Version,
	}
	if l.role.claims() {
		a.Validator, a.Submitter, a.Claims, a.Limiter, a.Imports = l.validator, l.committer, l.claims, l.claims, l.imports
	}
	if l.role.payments() {
		a.Payments, a.Letters = l.ledger, letters{l.desk, l.ledger}
	} else {
		remote := payment.RemoteDesk{Command: l.broker.Command}
		a.Payments, a.Letters = remote, remote
	}
	return a
}
