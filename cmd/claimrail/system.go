package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"

	"github.com/google/uuid"

	"github.com/claimrail/claimrail/internal/api"
	"github.com/claimrail/claimrail/internal/export"
	"github.com/claimrail/claimrail/internal/payment"
	"github.com/claimrail/claimrail/internal/store"
)

// lookup reads claims and what was paid for them. Errors of a claim or payment that is
// not there are store.ErrNotFound and payment.ErrNotFound, however it is reached.
type lookup interface {
	TopProviders(ctx context.Context, limit int) ([]api.RankedProvider, error)
	Claims(ctx context.Context, filter store.Filter) (api.ClaimPage, error)
	Claim(ctx context.Context, id uuid.UUID) (api.Claim, error)
	Payment(ctx context.Context, claimID uuid.UUID) (api.Payment, error)
}

// letterBox reads dead letters and carries out decisions on them. Errors of a decision
// are those of payment.Ledger.
type letterBox interface {
	DeadLetters(ctx context.Context, filter payment.LetterFilter) (api.DeadLetterPage, error)
	DeadLetter(ctx context.Context, id int64) (api.DeadLetterHistory, error)
	Redrive(ctx context.Context, id int64, decision api.Decision) (api.DeadLetter, error)
	Discard(ctx context.Context, id int64, decision api.Decision) (api.DeadLetter, error)
}

// exporter writes everything that a filter selects; limits and cursors do not count. Where it
// gives an error, what was written is not the whole.
type exporter interface {
	ExportClaims(ctx context.Context, to io.Writer, format export.Format, filter store.Filter) error
	ExportPayments(ctx context.Context, to io.Writer, format export.Format, filter payment.PaymentFilter) error
	ExportDeadLetters(ctx context.Context, to io.Writer, format export.Format, filter payment.LetterFilter) error
}

// system is what commands work on: the data directory (local) or a server (remote). Both
// give the bodies of the API, so that --json shows the same either way.
type system interface {
	lookup
	letterBox
	exporter
	close() error
}

// withSystem reads the configuration, does something on the system that it and --server
// name, and closes it. command says who is at work, for the lock of the data directory.
func (p *program) withSystem(command string, do func(system) error) (err error) {
	c, err := p.loadConfig()
	if err != nil {
		return err
	}
	var s system = &local{c: c, dir: c.DataDir, command: command, logger: p.logger(c)}
	if p.server != "" {
		if err := p.checkServer(); err != nil {
			return err
		}
		if s, err = newRemote(p.server); err != nil {
			return err
		}
	}
	defer func() { err = errors.Join(err, s.close()) }()
	return do(s)
}

// checkServer refuses flags beside --server that say how to work where the databases are. The same
// settings of the environment stay for the commands without --server.
func (p *program) checkServer() error {
	for _, s := range newSettings() {
		if !s.serve && p.settings[s.variable].set && s.variable != "CLAIMRAIL_LOG_LEVEL" {
			return misuse(fmt.Errorf("--server and --%s exclude each other", s.flag), "leave one of them out: the server has settings of its own")
		}
	}
	return nil
}

// refuseServer refuses --server for a command that asks none.
func (p *program) refuseServer(why, advice string) error {
	if p.server == "" {
		return nil
	}
	return misuse(errors.New(why), advice)
}

// parseServer reads the value of --server. A URL may hold a password: it is never shown.
func parseServer(text string) (*url.URL, error) {
	server, err := url.Parse(text)
	if err != nil || server.Scheme != "http" && server.Scheme != "https" || server.Host == "" ||
		server.RawQuery != "" || server.Fragment != "" {
		return nil, misuse(errors.New("--server is not the URL of a server"), "write it as --server http://127.0.0.1:8000")
	}
	return server, nil
}
