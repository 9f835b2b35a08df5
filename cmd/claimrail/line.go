package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/claimrail/claimrail/internal/api"
	"github.com/claimrail/claimrail/internal/broker"
	"github.com/claimrail/claimrail/internal/bulk"
	"github.com/claimrail/claimrail/internal/claim"
	"github.com/claimrail/claimrail/internal/event"
	"github.com/claimrail/claimrail/internal/outbox"
	"github.com/claimrail/claimrail/internal/payment"
	"github.com/claimrail/claimrail/internal/store"
	"github.com/claimrail/claimrail/internal/verify"
)

// Waits of a stop. Together they stay within stopTimeout.
const (
	drainTimeout = 4 * time.Second
	drainPoll    = 20 * time.Millisecond
)

// postgresWriters is how many batches of claims are on their way to Postgres at a time: while it
// stores one, the next is made ready, and each is written by a process of its own. SQLite has
// one writer.
const postgresWriters = 2

// newCommitter makes the committer that suits the claims database.
func newCommitter(c config, engine store.Accepter, logger *slog.Logger) *store.Committer {
	committer := store.NewCommitter(engine, time.Now, logger)
	if c.DatabaseURL != "" {
		committer.Writers = postgresWriters
	}
	return committer
}

// line is every station between the API and the ledger that its role has, open and not
// running yet. What the role does not have is nil.
type line struct {
	role   role
	logger *slog.Logger
	broker *broker.Broker

	// Of claim-process.
	claims    store.Engine
	validator *claim.Validator
	committer *store.Committer
	imports   *bulk.Desk
	relay     *outbox.Relay
	sweep     *outbox.Sweep
	sampler   *verify.Sampler

	// Of payments.
	ledger   payment.Ledger
	consumer *payment.Consumer
	desk     *payment.Desk
	stats    *payment.Stats
}

// openLine opens the stations in the order in which a claim passes them. Close it.
func openLine(ctx context.Context, c config, logger *slog.Logger) (*line, error) {
	l := &line{role: c.Role, logger: logger}
	if err := l.open(ctx, c); err != nil {
		return nil, errors.Join(err, l.close())
	}
	return l, nil
}

func (l *line) open(ctx context.Context, c config) (err error) {
	var secret [claim.IdentitySecretSize]byte
	if l.role.claims() {
		if l.claims, err = openClaims(ctx, c, l.logger); err != nil {
			return err
		}
		if secret, err = l.claims.IdentitySecret(ctx); err != nil {
			return fmt.Errorf("open the claims database: %w", err)
		}
	}
	if l.role.payments() {
		if l.ledger, err = openLedger(ctx, c, l.logger); err != nil {
			return err
		}
	}
	if l.broker, err = openBroker(ctx, c, l.logger); err != nil {
		return err
	}
	if l.role.claims() {
		l.validator = &claim.Validator{Rules: c.Rules, Identity: claim.NewIdentity(secret), Now: time.Now}
		pace := outbox.Config{Rows: l.claims, Line: l.broker, Logger: l.logger, Now: time.Now, Random: rand.Float64}
		l.relay, l.sweep = outbox.NewRelay(pace), outbox.NewSweep(pace)
		l.sampler = &verify.Sampler{
			Database: l.claims, Payments: l.broker, Identity: l.validator.Identity, Logger: l.logger, Now: time.Now, Random: rand.Int64N,
		}
		l.committer = newCommitter(c, l.claims, l.logger)
		l.committer.Committed = l.relay.Committed
		l.imports = bulk.NewDesk(l.claims, l.committer, l.validator, time.Now, l.logger)
		l.imports.Alone = c.DatabaseURL == "" // under the lock of the data directory
	}
	if l.role.payments() {
		l.stats = &payment.Stats{}
		l.consumer = &payment.Consumer{
			Feed: l.broker, Ledger: l.ledger, Hinter: l.broker, Stats: l.stats, Logger: l.logger, Now: time.Now, Random: rand.Float64,
		}
		l.desk = &payment.Desk{Ledger: l.ledger, Hinter: l.broker, Stats: l.stats}
	}
	return nil
}

// close closes what was opened, in reverse. Nothing may be running.
func (l *line) close() error {
	var errs []error
	if l.broker != nil {
		errs = append(errs, l.broker.Close())
	}
	if l.ledger != nil {
		errs = append(errs, l.ledger.Close())
	}
	if l.claims != nil {
		errs = append(errs, l.claims.Close())
	}
	return errors.Join(errs...)
}

// stages gives what has to run, in the order of the line: see runStages.
func (l *line) stages() []stage {
	var stages []stage
	if l.role.claims() {
		stages = append(stages, stage{"imports", l.imports.Run}, stage{"committer", l.committer.Run}, stage{"drain", l.drain}, stage{"relay", l.relay.Run})
	}
	if l.role.payments() {
		stages = append(stages, stage{"consumer", l.consumer.Run})
	}
	if l.role.claims() {
		stages = append(stages, stage{"sweep", l.sweep.Run},
			stage{"hints", func(ctx context.Context) error { return l.broker.Hints(ctx, l.hint) }}, stage{"sampler", l.sampler.Run})
	}
	if l.role.payments() {
		stages = append(stages,
			stage{"answers", func(ctx context.Context) error { return l.broker.Answer(ctx, l.desk.Answer) }},
			stage{"commands", func(ctx context.Context) error { return l.broker.Commands(ctx, l.carryOut) }})
	}
	return append(stages, stage{"stream", l.broker.Run})
}

// hint settles what payments says is paid.
func (l *line) hint(ctx context.Context, answer event.Answer) error {
	if err := l.sweep.Hint(ctx, answer); err != nil {
		return err
	}
	l.relay.Settled(answer.Standings)
	return nil
}

// carryOut answers a command of claim-process.
func (l *line) carryOut(ctx context.Context, request []byte) ([]byte, error) {
	return l.desk.Serve(ctx, l.ledger, request)
}

// drain does nothing until ctx ends. Then no claim comes in any more, and those under way
// get a moment to be paid and settled, so that a restart finds nothing left. What does not
// get through in time, or had failed before, waits in the outbox as it does after a crash.
func (l *line) drain(ctx context.Context) error {
	<-ctx.Done()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTimeout)
	defer cancel()
	ticker := time.NewTicker(drainPoll)
	defer ticker.Stop()
	for {
		backlog, err := l.claims.Backlog(ctx)
		if err != nil || backlog.Pending-backlog.Failed+backlog.Published == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			l.logger.InfoContext(ctx, "stopping with claims under way; they are sent after the next start",
				"pending", backlog.Pending, "published", backlog.Published)
			return nil
		case <-ticker.C:
		}
	}
}

// probes are what has to work for the line to be ready. Each also fails on a schema that is
// not this program's.
func (l *line) probes() []api.Probe {
	probes := []api.Probe{{Name: "broker", Check: l.broker.Ping}}
	if l.role.claims() {
		probes = append(probes, api.Probe{Name: "claims_database", Check: l.claims.Ping})
	}
	if l.role.payments() {
		probes = append(probes, api.Probe{Name: "payments_database", Check: l.ledger.Ping})
	}
	return probes
}

// letters is the dead letters as the API sees them.
type letters struct {
	*payment.Desk
	ledger payment.Ledger
}

// Letter implements api.Letters.
func (l letters) Letter(ctx context.Context, id int64) (payment.DeadLetter, []payment.Entry, error) {
	return l.ledger.Letter(ctx, id)
}

// DeadLetters implements api.Letters.
func (l letters) DeadLetters(ctx context.Context, filter payment.LetterFilter) ([]payment.DeadLetter, error) {
	return l.ledger.DeadLetters(ctx, filter)
}
