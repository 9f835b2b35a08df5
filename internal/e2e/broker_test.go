package e2e_test

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/claimrail/claimrail/internal/api"
	"github.com/claimrail/claimrail/internal/broker"
	"github.com/claimrail/claimrail/internal/claim"
	"github.com/claimrail/claimrail/internal/outbox"
	"github.com/claimrail/claimrail/internal/payment"
	"github.com/claimrail/claimrail/internal/payment/sqliteledger"
	"github.com/claimrail/claimrail/internal/store"
	"github.com/claimrail/claimrail/internal/store/sqlitestore"
)

// smallStream is a bound of the stream that a few hundred claims reach, in bytes.
const smallStream = 64 << 10

// parts is the line put together in this process, for what can not be done to the program
// from outside: here the stream has another bound, and payments starts later.
type parts struct {
	*system
	claims   *sqlitestore.Store
	ledger   *sqliteledger.Ledger
	broker   *broker.Broker
	consumer *payment.Consumer
	running  sync.WaitGroup
	halt     context.CancelFunc
}

// deskAndLedger is the dead letters as the API sees them.
type deskAndLedger struct {
	*payment.Desk
	*sqliteledger.Ledger
}

// Redrive chooses the desk's.
func (d deskAndLedger) Redrive(ctx context.Context, id int64, decision payment.Decision) (payment.DeadLetter, error) {
	return d.Desk.Redrive(ctx, id, decision)
}

// Discard chooses the desk's.
func (d deskAndLedger) Discard(ctx context.Context, id int64, decision payment.Decision) (payment.DeadLetter, error) {
	return d.Desk.Discard(ctx, id, decision)
}

// newParts starts everything but payments' consumer.
func newParts(t *testing.T) *parts {
	t.Helper()
	p := &parts{system: newSystem(t)}
	logger := slog.New(slog.NewTextHandler(p.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	var err error
	if p.claims, err = sqlitestore.Open(t.Context(), filepath.Join(p.dir, claimsFile), logger); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.claims.Close() })
	if p.ledger, err = sqliteledger.Open(t.Context(), filepath.Join(p.dir, paymentsFile), logger); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.ledger.Close() })
	p.broker, err = broker.OpenEmbedded(t.Context(), broker.Config{Dir: filepath.Join(p.dir, natsFolder), StreamBytes: smallStream}, logger)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.broker.Close() })
	secret, err := p.claims.IdentitySecret(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	stats := &payment.Stats{}
	pace := outbox.Config{Rows: p.claims, Line: p.broker, Logger: logger, Now: time.Now, Random: rand.Float64}
	relay, sweep, committer := outbox.NewRelay(pace), outbox.NewSweep(pace), store.NewCommitter(p.claims, time.Now, logger)
	desk := &payment.Desk{Ledger: p.ledger, Hinter: p.broker, Stats: stats}
	p.consumer = &payment.Consumer{
		Feed: p.broker, Ledger: p.ledger, Hinter: p.broker, Stats: stats, Logger: logger, Now: time.Now, Random: rand.Float64,
	}
	front := httptest.NewServer(api.New(api.Config{
		Validator: &claim.Validator{Rules: claim.DefaultRules(), Identity: claim.NewIdentity(secret), Now: time.Now},
		Submitter: committer, Claims: p.claims, Limiter: p.claims, Payments: p.ledger,
		Letters: deskAndLedger{desk, p.ledger}, Metrics: http.NotFoundHandler(),
		Observe:               func(string, string, int, time.Duration) {},
		TopProvidersPerMinute: 10, Now: time.Now, Logger: logger, Version: "test",
	}))
	t.Cleanup(front.Close)
	ctx, stop := context.WithCancel(context.Background())
	p.halt = stop
	for _, run := range []func(context.Context) error{
		committer.Run, relay.Run, sweep.Run, p.broker.Run,
		func(ctx context.Context) error { return p.broker.Hints(ctx, sweep.Hint) },
		func(ctx context.Context) error { return p.broker.Answer(ctx, desk.Answer) },
	} {
		p.run(ctx, run)
	}
	t.Cleanup(func() {
		stop()
		p.running.Wait()
	})
	p.server = &server{url: front.URL}
	t.Cleanup(func() { p.server = nil }) // there is no process to kill
	return p
}

func (p *parts) run(ctx context.Context, run func(context.Context) error) {
	p.running.Go(func() {
		if err := run(ctx); err != nil {
			p.Errorf("run the line: %v", err)
		}
	})
}

// A broker that takes no more messages costs no claim: they are stored, marked "failed to
// notify payments" with the error, the attempts and the time of the next, for each claim and
// in the list; and when it takes messages again they are sent, and each is paid once.
func TestBrokerRefuses(t *testing.T) {
	t.Parallel()
	random := newRandom(t)
	p := newParts(t)
	h := newHistory()
	total := 0
	for len(p.list("payment_state=failed_to_notify_payments")) < 20 { // until the stream is full, and then some
		p.acceptMany(h, random, fmt.Sprint("batch ", total, " "), 20)
		if total += 20; total > 2000 {
			t.Fatalf("the stream of %d bytes took %d claims", smallStream, total)
		}
	}
	for _, c := range p.list("payment_state=failed_to_notify_payments") {
		c = p.show(c.ClaimID)
		if c.Status != "in_flight" || c.Payment.State != "failed_to_notify_payments" || c.Payment.Attempts < 1 ||
			c.Payment.Error == "" || c.Payment.Next.IsZero() {
			t.Errorf("got %+v, want it failed, with attempts, error and next attempt", c)
		}
		wantNoPHI(t, "the error", []byte(c.Payment.Error))
	}
	if got := p.list("status=settled"); len(got) != 0 {
		t.Errorf("got %d claims settled without payments, want none", len(got))
	}

	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	p.run(ctx, p.consumer.Run)
	p.settled()
	stop()
	p.halt()
	p.running.Wait()
	if report := p.audit(h); report.Settled != total || report.Payments != total {
		t.Errorf("got %d claims settled, %d payments, want %d", report.Settled, report.Payments, total)
	}
}
