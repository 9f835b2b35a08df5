package outbox_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/claimrail/claimrail/internal/claim"
	"github.com/claimrail/claimrail/internal/event"
	"github.com/claimrail/claimrail/internal/money"
	"github.com/claimrail/claimrail/internal/outbox"
	"github.com/claimrail/claimrail/internal/store"
	"github.com/claimrail/claimrail/internal/store/sqlitestore"
)

// bench is a real claims database between relay, sweep, and a line in memory.
type bench struct {
	reporter
	rows   *rows
	line   *line
	log    *lockedBuffer
	config outbox.Config
	next   int // number of the next claim
}

// reporter is what testing.T and rapid.T have in common here.
type reporter interface {
	Helper()
	Errorf(string, ...any)
	Fatalf(string, ...any)
}

// inBubble runs a test with a bench in a bubble of its own time, which stands still while
// anybody works. The database is closed at the end; no goroutine may be left.
func inBubble(t *testing.T, test func(t *testing.T, b *bench)) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "claims.db")
	synctest.Test(t, func(t *testing.T) {
		b := open(t, path)
		defer func() {
			if err := b.rows.Close(); err != nil {
				t.Errorf("close: %v", err)
			}
		}()
		test(t, b)
	})
}

// open makes a bench on the database at path; the caller closes its rows.
func open(r reporter, path string) *bench {
	r.Helper()
	engine, err := sqlitestore.Open(context.Background(), path, slog.New(slog.DiscardHandler))
	if err != nil {
		r.Fatalf("open: %v", err)
	}
	b := &bench{reporter: r, rows: &rows{Store: engine}, log: &lockedBuffer{}}
	b.line = &line{ledger: map[event.Key]event.Standing{}}
	b.config = outbox.Config{
		Rows:   b.rows,
		Line:   b.line,
		Logger: slog.New(slog.NewJSONHandler(b.log, nil)),
		Now:    time.Now,
		Random: func() float64 { return 0.5 },
		Hold:   -1, // but where it is what a test is about
	}
	return b
}

// accept stores so many claims now, the n-th with a net fee of n cents, counted from 1.
func (b *bench) accept(count int) []event.Key {
	b.Helper()
	keys := make([]event.Key, count)
	for i, message := range b.commit(count) {
		keys[i] = message.Key
	}
	return keys
}

// commit stores so many claims as accept does, and gives their messages.
func (b *bench) commit(count int) []event.ClaimAccepted {
	b.Helper()
	messages := make([]event.ClaimAccepted, count)
	batch := make([]store.Submission, count)
	for i := range batch {
		b.next++
		number := fmt.Sprint(b.next)
		batch[i].Claim = &claim.Claim{
			ID:          uuid.NewSHA1(uuid.NameSpaceOID, []byte(number)),
			Version:     claim.FirstVersion,
			Key:         claim.Key{Submitter: claim.DefaultSubmitter, Kind: claim.ExternalKey, Value: number},
			ExternalID:  number,
			Fingerprint: claim.Fingerprint{byte(b.next), byte(b.next >> 8)},
			Lines:       []claim.Line{{Procedure: "D0180", ProviderNPI: 1497775530, ProviderFees: money.Cents(b.next)}},
		}
		messages[i] = batch[i].Message(b.config.Now())
	}
	for start := 0; start < count; start += store.MaxBatchClaims {
		part := batch[start:min(count, start+store.MaxBatchClaims)]
		if _, err := b.rows.Accept(context.Background(), part, b.config.Now()); err != nil {
			b.Fatalf("accept: %v", err)
		}
	}
	return messages
}

// payment reads what the claims database knows of the claim's payment.
func (b *bench) payment(key event.Key) store.Payment {
	b.Helper()
	record, err := b.rows.Claim(context.Background(), key.ClaimID)
	if err != nil {
		b.Fatalf("read claim: %v", err)
	}
	return record.Payment
}

// state holds a claim's payment state against want.
func (b *bench) state(key event.Key, want store.PaymentState) {
	b.Helper()
	if got := b.payment(key).State; got != want {
		b.Errorf("state of claim %s: got %s, want %s", key, got, want)
	}
}

// row gives the only row of a queue, whenever it is due.
func (b *bench) row(queue outbox.Queue) outbox.Row {
	b.Helper()
	due, err := b.rows.Due(context.Background(), queue, b.config.Now().Add(1000*time.Hour), outbox.Place{}, 2)
	if err != nil || len(due) != 1 {
		b.Fatalf("rows of queue %d: got %d, %v, want 1", queue, len(due), err)
	}
	return due[0]
}

// change changes what rows and line do, and what they hold, while workers use them.
func (b *bench) change(do func()) {
	b.rows.mutex.Lock()
	defer b.rows.mutex.Unlock()
	b.line.mutex.Lock()
	defer b.line.mutex.Unlock()
	do()
}

// same reports where got is not what is wanted.
func (b *bench) same(what string, got, want any) {
	b.Helper()
	if diff := cmp.Diff(got, want); diff != "" {
		b.Errorf("%s: got -, want +:\n%s", what, diff)
	}
}

// warnings gives the messages of the log, in order.
func (b *bench) warnings() []string {
	b.Helper()
	messages := []string{}
	decoder := json.NewDecoder(bytes.NewReader(b.log.bytes()))
	for decoder.More() {
		var entry struct{ Msg string }
		if err := decoder.Decode(&entry); err != nil {
			b.Fatalf("read log: %v", err)
		}
		messages = append(messages, entry.Msg)
	}
	return messages
}

// start runs a worker until the function it gives is called, which waits for its end.
func (b *bench) start(run func(context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- run(ctx) }()
	return func() {
		b.Helper()
		cancel()
		if err := <-done; err != nil {
			b.Errorf("run: got %v, want nil", err)
		}
	}
}

// lockedBuffer is a log that workers write and the test reads.
type lockedBuffer struct {
	mutex  sync.Mutex
	buffer bytes.Buffer
}

// Write implements io.Writer.
func (l *lockedBuffer) Write(text []byte) (int, error) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	return l.buffer.Write(text)
}

func (l *lockedBuffer) bytes() []byte {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	return slices.Clone(l.buffer.Bytes())
}

// rows is the real store, with the faults that a test asks for.
type rows struct {
	*sqlitestore.Store
	mutex sync.Mutex // over what follows; not held while one of them runs
	faults
	readings []reading // of rows to publish
}

// reading is one reading of rows.
type reading struct {
	at    time.Time
	after outbox.Place
}

// faults are what a test has go wrong with rows.
type faults struct {
	due         func() error                // runs before Due, and fails it
	apply       func([]outbox.Change) error // runs before Apply, and fails it
	afterApply  func() error                // runs after Apply has committed, and fails it all the same
	dueAnswered func()                      // runs when Due has its rows
	whole       time.Duration               // how long Due takes over all rows
	hang        bool                        // nothing is answered before the context ends
}

// Due implements outbox.Rows.
func (r *rows) Due(ctx context.Context, queue outbox.Queue, now time.Time, after outbox.Place, limit int) ([]outbox.Row, error) {
	faults := r.current()
	if queue == outbox.ToPublish {
		r.mutex.Lock()
		r.readings = append(r.readings, reading{now, after})
		r.mutex.Unlock()
	}
	if faults.hang {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	if faults.whole > 0 && after == (outbox.Place{}) {
		select {
		case <-time.After(faults.whole):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	if faults.due != nil {
		if err := faults.due(); err != nil {
			return nil, err
		}
	}
	found, err := r.Store.Due(ctx, queue, now, after, limit)
	if faults.dueAnswered != nil {
		faults.dueAnswered()
	}
	return found, err
}

// Apply implements outbox.Rows.
func (r *rows) Apply(ctx context.Context, changes []outbox.Change, now time.Time) (int, error) {
	faults := r.current()
	if faults.hang {
		<-ctx.Done()
		return 0, ctx.Err()
	}
	if faults.apply != nil {
		if err := faults.apply(changes); err != nil {
			return 0, err
		}
	}
	applied, err := r.Store.Apply(ctx, changes, now)
	if faults.afterApply != nil && err == nil {
		err = faults.afterApply()
	}
	return applied, err
}

func (r *rows) current() faults {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	return r.faults
}

// line is a stream and a ledger of payments in memory. Without faults it takes every
// message, and payments pays nothing by itself: a test says when.
type line struct {
	mutex   sync.Mutex
	stream  []event.ClaimAccepted // sequence 1 first; the zero message was lost
	floor   uint64
	ledger  map[event.Key]event.Standing
	calls   []string    // "publish 3", "progress", "ask 3"
	at      []time.Time // of the calls
	publish func(message event.ClaimAccepted) error
	slow    time.Duration // that every Publish and Ask takes
	asking  func() error  // runs before an answer, and fails it
	moving  func() error  // runs before a progress, and fails it
	forge   func(answer []event.Standing) []event.Standing
}

func (l *line) called(what string) {
	l.calls = append(l.calls, what)
	l.at = append(l.at, time.Now())
}

// Publish implements outbox.Line.
func (l *line) Publish(ctx context.Context, messages []event.ClaimAccepted) []event.Published {
	l.wait(ctx)
	l.mutex.Lock()
	defer l.mutex.Unlock()
	l.called(fmt.Sprint("publish ", len(messages)))
	there := make(map[event.Ref]bool, len(l.stream))
	for _, message := range l.stream {
		there[message.Ref] = true
	}
	results := make([]event.Published, len(messages))
	for i, message := range messages {
		results[i].Ref = message.Ref
		if err := ctx.Err(); err != nil {
			results[i].Err = err
			continue
		}
		if l.publish != nil {
			if results[i].Err = l.publish(message); results[i].Err != nil {
				continue
			}
		}
		results[i].Duplicate = there[message.Ref]
		l.stream = append(l.stream, message)
		results[i].Sequence = uint64(len(l.stream))
	}
	return results
}

// Ask implements outbox.Line.
func (l *line) Ask(ctx context.Context, question event.Question) (event.Answer, error) {
	l.wait(ctx)
	l.mutex.Lock()
	defer l.mutex.Unlock()
	l.called(fmt.Sprint("ask ", len(question.Keys)))
	if l.asking != nil {
		if err := l.asking(); err != nil {
			return event.Answer{}, err
		}
	}
	if err := ctx.Err(); err != nil {
		return event.Answer{}, err
	}
	answer := make([]event.Standing, len(question.Keys))
	for i, key := range question.Keys {
		answer[i] = l.standing(key)
	}
	if l.forge != nil {
		answer = l.forge(answer)
	}
	return event.Answer{Standings: answer}, nil
}

// standing is what payments has on record.
func (l *line) standing(key event.Key) event.Standing {
	if found, ok := l.ledger[key]; ok {
		return found
	}
	return event.Standing{Key: key, State: event.Unknown}
}

// Progress implements outbox.Line.
func (l *line) Progress(context.Context) (floor, last uint64, err error) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	l.called("progress")
	if l.moving != nil {
		if err := l.moving(); err != nil {
			return 0, 0, err
		}
	}
	return l.floor, uint64(len(l.stream)), nil
}

// pay has payments consume the stream, up to its end.
func (l *line) pay() {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	for ; l.floor < uint64(len(l.stream)); l.floor++ {
		if message := l.stream[l.floor]; message.Version > 0 {
			l.ledger[message.Key] = paid(message)
		}
	}
}

// count gives how many calls there were so far.
func (l *line) count() int {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	return len(l.calls)
}

// sent gives the ids of all messages in the stream.
func (l *line) sent() []string {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	ids := make([]string, len(l.stream))
	for i, message := range l.stream {
		ids[i] = message.MessageID()
	}
	return ids
}

// paid is payments' word after it has paid what the message says.
func paid(message event.ClaimAccepted) event.Standing {
	return event.Standing{
		Key: message.Key, State: event.Paid, PaymentID: paymentID(message.Key), NetFee: message.NetFee,
		RecordedAt: time.Date(2026, 3, 28, 12, 0, 0, 0, time.UTC),
	}
}

func paymentID(key event.Key) uuid.UUID { return uuid.NewSHA1(key.ClaimID, []byte("payment")) }

// wait lets the time of the bubble pass; outside of one nobody is slow.
func (l *line) wait(ctx context.Context) {
	l.mutex.Lock()
	slow := l.slow
	l.mutex.Unlock()
	if slow == 0 {
		return
	}
	select {
	case <-time.After(slow):
	case <-ctx.Done():
	}
}
