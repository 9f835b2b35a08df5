package payment_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/claimrail/claimrail/internal/event"
	"github.com/claimrail/claimrail/internal/money"
	"github.com/claimrail/claimrail/internal/payment"
	"github.com/claimrail/claimrail/internal/payment/sqliteledger"
)

var noon = time.Date(2026, 3, 28, 12, 0, 0, 0, time.UTC)

// bench is a consumer between a stream in memory and a real ledger.
type bench struct {
	*testing.T
	path     string
	feed     *feed
	ledger   *sqliteledger.Ledger
	hints    *hints
	consumer *payment.Consumer
	desk     *payment.Desk
}

func setup(t *testing.T) *bench {
	t.Helper()
	b := &bench{T: t, path: filepath.Join(t.TempDir(), "payments.db"), hints: &hints{}}
	var err error
	if b.ledger, err = sqliteledger.Open(t.Context(), b.path, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatalf("open ledger: %v", err)
	}
	t.Cleanup(func() { _ = b.ledger.Close() })
	b.feed = &feed{bench: b}
	b.consumer = &payment.Consumer{
		Feed:   b.feed,
		Ledger: b.ledger,
		Hinter: b.hints,
		Stats:  &payment.Stats{},
		Logger: slog.New(slog.DiscardHandler),
		Now:    func() time.Time { return noon },
		Random: func() float64 { return 0.5 },
	}
	b.desk = &payment.Desk{Ledger: b.ledger, Hinter: b.hints, Stats: b.consumer.Stats}
	return b
}

// run consumes until nothing is left in the stream.
func (b *bench) run() {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.Context(), time.Minute)
	defer cancel()
	b.feed.drained = cancel
	if err := b.consumer.Run(ctx); err != nil {
		b.Errorf("run: %v", err)
	}
	if len(b.feed.queue) > 0 {
		b.Fatalf("run: %d messages are left", len(b.feed.queue))
	}
}

// send puts messages into the stream, as the relay publishes them.
func (b *bench) send(claims ...event.ClaimAccepted) {
	b.Helper()
	for _, claim := range claims {
		body, err := claim.Marshal()
		if err != nil {
			b.Fatalf("marshal: %v", err)
		}
		b.feed.publish(claim.MessageID(), body)
	}
}

// execute runs SQL on the ledger's file, as another process would.
func (b *bench) execute(query string) {
	b.Helper()
	db, err := sql.Open("sqlite", b.path)
	if err != nil {
		b.Fatalf("open file: %v", err)
	}
	defer func() { _ = db.Close() }()
	if _, err := db.ExecContext(b.Context(), query); err != nil {
		b.Fatalf("execute: %v", err)
	}
}

// poison makes the database refuse one claim.
func (b *bench) poison(claim event.ClaimAccepted) {
	b.Helper()
	b.execute(fmt.Sprintf(`CREATE TRIGGER poison BEFORE INSERT ON payments WHEN new.claim_id = x'%x'
		BEGIN SELECT RAISE(ABORT, 'poisoned'); END`, claim.ClaimID[:]))
}

func (b *bench) states(claims ...event.ClaimAccepted) []event.State {
	b.Helper()
	var keys []event.Key
	for _, claim := range claims {
		keys = append(keys, claim.Key)
	}
	standings, err := b.ledger.Standings(context.WithoutCancel(b.Context()), keys)
	if err != nil {
		b.Fatalf("standings: %v", err)
	}
	var states []event.State
	for _, standing := range standings {
		states = append(states, standing.State)
	}
	return states
}

// payments counts all payments.
func (b *bench) payments() (count int) {
	b.Helper()
	snapshot, err := b.ledger.Snapshot(b.Context())
	if err != nil {
		b.Fatalf("snapshot: %v", err)
	}
	defer func() { _ = snapshot.Close() }()
	for _, err := range snapshot.Payments(b.Context()) {
		if err != nil {
			b.Fatalf("read payments: %v", err)
		}
		count++
	}
	return count
}

func (b *bench) letters() []payment.DeadLetter {
	b.Helper()
	letters, err := b.ledger.DeadLetters(context.WithoutCancel(b.Context()), payment.LetterFilter{})
	if err != nil {
		b.Fatalf("dead letters: %v", err)
	}
	return letters
}

// same compares what with what is wanted.
func (b *bench) same(what string, got, want any) {
	b.Helper()
	if diff := cmp.Diff(got, want); diff != "" {
		b.Errorf("%s: got -, want +:\n%s", what, diff)
	}
}

// counts gives all that the consumer counted and that is not zero.
func (b *bench) counts() map[string]int64 {
	stats := b.consumer.Stats
	counts := map[string]int64{
		"recorded": stats.Recorded.Load(), "repeats": stats.Repeats.Load(), "conflicts": stats.Conflicts.Load(),
		"written off": stats.WrittenOff.Load(), "parked": stats.Parked.Load(), "failed": stats.Failed.Load(),
		"naks": stats.Naks.Load(), "answers failed": stats.AnswersFailed.Load(), "hints failed": stats.HintsFailed.Load(),
	}
	for name, count := range counts {
		if count == 0 {
			delete(counts, name)
		}
	}
	return counts
}

// feed is a stream in memory. It demands what the broker relies on: one answer to
// each delivery, Ack only when the ledger has decided, Term only when it has the
// letter. What is given back comes again at once, its delay noted.
type feed struct {
	*bench
	queue    []event.Delivery
	sequence uint64
	answers  []string // "ack ID", "nak ID 150ms", "term ID"
	sizes    []int    // of the batches
	drained  func()
	onNak    func()
	deaf     int // answers that the broker does not take
}

func (f *feed) publish(id string, body []byte) {
	f.sequence++
	f.queue = append(f.queue, event.Delivery{MessageID: id, Sequence: f.sequence, Body: body})
}

// Fetch implements payment.Feed.
func (f *feed) Fetch(ctx context.Context, limit int) ([]event.Delivery, error) {
	if len(f.queue) == 0 {
		f.drained()
		<-ctx.Done()
		return nil, ctx.Err()
	}
	count := min(limit, len(f.queue))
	batch := append([]event.Delivery(nil), f.queue[:count]...)
	f.queue = f.queue[count:]
	f.sizes = append(f.sizes, count)
	for i := range batch {
		batch[i].Attempt++
		batch[i].Reply = &reply{feed: f, delivery: batch[i]}
	}
	return batch, nil
}

// reply is the answer to one delivery.
type reply struct {
	feed     *feed
	delivery event.Delivery
	answered bool
}

var errDeaf = errors.New("connection lost")

// give notes an answer and says whether the broker took it.
func (r *reply) give(answer string) error {
	if r.answered {
		r.feed.Errorf("message %s was answered before: %s", r.delivery.MessageID, answer)
	}
	r.answered = true
	if r.feed.deaf > 0 {
		r.feed.deaf--
		r.feed.queue = append(r.feed.queue, r.delivery)
		return errDeaf
	}
	r.feed.answers = append(r.feed.answers, answer)
	return nil
}

// Ack implements event.Reply.
func (r *reply) Ack() error {
	claim, err := event.Unmarshal(r.delivery.Body)
	if err != nil {
		r.feed.Errorf("ack of a malformed message: %v", err)
	}
	if state := r.feed.states(claim)[0]; state != event.Paid && state != event.Discarded {
		r.feed.Errorf("ack of message %s, whose claim is %s", r.delivery.MessageID, state)
	}
	return r.give("ack " + r.delivery.MessageID)
}

// Nak implements event.Reply.
func (r *reply) Nak(delay time.Duration) error {
	r.feed.queue = append(r.feed.queue, r.delivery)
	if r.feed.onNak != nil {
		r.feed.onNak()
	}
	return r.give(fmt.Sprintf("nak %s %s", r.delivery.MessageID, delay))
}

// Term implements event.Reply.
func (r *reply) Term() error {
	for _, letter := range r.feed.letters() {
		if string(letter.Body) == string(r.delivery.Body) {
			return r.give("term " + r.delivery.MessageID)
		}
	}
	r.feed.Errorf("term of message %s, which is not parked", r.delivery.MessageID)
	return nil
}

// hints keeps what was hinted.
type hints struct {
	err       error
	sent      int
	standings []event.Standing
}

// Hint implements payment.Hinter.
func (h *hints) Hint(ctx context.Context, answer event.Answer) error {
	if _, bounded := ctx.Deadline(); !bounded || len(answer.Standings) > event.MaxAsked || len(answer.Standings) == 0 {
		return fmt.Errorf("hint of %d standings, bounded %t", len(answer.Standings), bounded)
	}
	h.sent++
	h.standings = append(h.standings, answer.Standings...)
	return h.err
}

// claim gives the n-th claim, with one provider.
func claim(n int, cents money.Cents) event.ClaimAccepted {
	return event.ClaimAccepted{
		Ref:        event.Ref{Key: event.Key{ClaimID: uuid.UUID{0: 1, 14: byte(n >> 8), 15: byte(n)}, Version: 1}},
		NetFee:     cents,
		Postings:   []event.Posting{{ProviderNPI: "1497775530", NetFee: cents}},
		AcceptedAt: noon,
	}
}

// claims gives the first count claims.
func claims(count int) []event.ClaimAccepted {
	all := make([]event.ClaimAccepted, count)
	for i := range all {
		all[i] = claim(i, money.Cents(100*i))
	}
	return all
}
