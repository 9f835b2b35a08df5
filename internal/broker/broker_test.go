package broker_test

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"go.uber.org/goleak"

	"github.com/claimrail/claimrail/internal/broker"
	"github.com/claimrail/claimrail/internal/event"
	"github.com/claimrail/claimrail/internal/money"
)

var noon = time.Date(2026, 3, 28, 12, 0, 0, 0, time.UTC)

// patience bounds the wait for what has to come.
const patience = 30 * time.Second

// After all tests, of every server and connection nothing is left running.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

// bench is one broker under test.
type bench struct {
	*testing.T
	*broker.Broker
	config broker.Config
}

// setup opens an embedded broker in a directory of its own.
func setup(t *testing.T, config broker.Config) *bench {
	t.Helper()
	if config.Dir == "" {
		config.Dir = t.TempDir()
	}
	b := &bench{T: t, config: config}
	b.open()
	t.Cleanup(func() { b.close() })
	return b
}

func (b *bench) open() {
	b.Helper()
	var err error
	if b.Broker, err = broker.OpenEmbedded(b.Context(), b.config, slog.New(slog.DiscardHandler)); err != nil {
		b.Fatalf("open: %v", err)
	}
}

func (b *bench) close() {
	b.Helper()
	if b.Broker == nil {
		return
	}
	if err := b.Close(); err != nil {
		b.Errorf("close: %v", err)
	}
	b.Broker = nil
}

// publish sends messages that the broker has to take, and gives their places.
func (b *bench) publish(messages ...event.ClaimAccepted) (sequences []uint64) {
	b.Helper()
	for _, result := range b.Publish(b.Context(), messages) {
		if result.Err != nil {
			b.Fatalf("publish: %v", result.Err)
		}
		sequences = append(sequences, result.Sequence)
	}
	return sequences
}

// fetch waits for exactly count messages.
func (b *bench) fetch(count int) (deliveries []event.Delivery) {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.Context(), patience)
	defer cancel()
	for len(deliveries) < count {
		some, err := b.Fetch(ctx, count-len(deliveries))
		if err != nil {
			b.Fatalf("fetch: %d of %d messages, then %v", len(deliveries), count, err)
		}
		deliveries = append(deliveries, some...)
	}
	return deliveries
}

// ack acknowledges, and waits until the broker has heard it.
func (b *bench) ack(deliveries ...event.Delivery) {
	b.Helper()
	for _, delivery := range deliveries {
		b.answered(delivery.Reply.Ack())
	}
}

// answered checks an answer, and waits until the broker has heard it.
func (b *bench) answered(err error) {
	b.Helper()
	if err == nil {
		err = b.Ping(b.Context())
	}
	if err != nil {
		b.Fatalf("answer: %v", err)
	}
}

// before puts one more message on the line, fetches up to it, and gives what was
// still to be delivered before it.
func (b *bench) before(marker event.ClaimAccepted) (ids []string) {
	b.Helper()
	b.publish(marker)
	for {
		delivery := b.fetch(1)[0]
		b.ack(delivery)
		if delivery.MessageID == marker.MessageID() {
			return ids
		}
		ids = append(ids, delivery.MessageID)
	}
}

// progress waits until the consumer is as far as wanted: the broker hears of answers
// a little later.
func (b *bench) progress(floor, last uint64) {
	b.Helper()
	b.until("progress", func() (any, bool) {
		gotFloor, gotLast, err := b.Progress(b.Context())
		if err != nil {
			b.Fatalf("progress: %v", err)
		}
		got := [2]uint64{gotFloor, gotLast}
		return got, got == [2]uint64{floor, last}
	})
}

// until looks again and again until something holds.
func (b *bench) until(what string, look func() (got any, holds bool)) {
	b.Helper()
	until(b.T, what, look)
}

func until(t *testing.T, what string, look func() (got any, holds bool)) {
	t.Helper()
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for deadline := time.Now().Add(patience); ; <-ticker.C {
		got, holds := look()
		if holds {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: got %v to the end", what, got)
		}
	}
}

// claim gives the n-th claim, in generation 0.
func claim(n int) event.ClaimAccepted {
	cents := money.Cents(100 * n)
	return event.ClaimAccepted{
		Ref:        event.Ref{Key: event.Key{ClaimID: uuid.UUID{0: 1, 14: byte(n >> 8), 15: byte(n)}, Version: 1}},
		NetFee:     cents,
		Postings:   []event.Posting{{ProviderNPI: "1497775530", NetFee: cents}},
		AcceptedAt: noon,
	}
}

// claims gives the claims from, from+1, ..., count of them.
func claims(from, count int) []event.ClaimAccepted {
	all := make([]event.ClaimAccepted, count)
	for i := range all {
		all[i] = claim(from + i)
	}
	return all
}

// ids gives the message ids of claims.
func ids(messages ...event.ClaimAccepted) (ids []string) {
	for i := range messages {
		ids = append(ids, messages[i].MessageID())
	}
	return ids
}

// idsOf gives the message ids of deliveries.
func idsOf(deliveries []event.Delivery) (ids []string) {
	for _, delivery := range deliveries {
		ids = append(ids, delivery.MessageID)
	}
	return ids
}

// same compares what with what is wanted.
func same(t *testing.T, what string, got, want any) {
	t.Helper()
	if diff := cmp.Diff(got, want); diff != "" {
		t.Errorf("%s: got -, want +:\n%s", what, diff)
	}
}

// journal is a log to look into.
type journal struct {
	mu   sync.Mutex
	text bytes.Buffer
}

// Write implements io.Writer.
func (j *journal) Write(text []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(text)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.String()
}

func (j *journal) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(j, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// A message goes in, comes out as it went in, and is gone once it is acknowledged.
func TestPublishFetchAck(t *testing.T) {
	t.Parallel()
	b := setup(t, broker.Config{})
	sent := claim(7)
	same(t, "sequence", b.publish(sent), []uint64{1})
	b.progress(0, 1)
	got := b.fetch(1)[0]
	read, err := event.Unmarshal(got.Body)
	if err != nil {
		t.Fatal(err)
	}
	same(t, "message", read, sent)
	same(t, "message id", got.MessageID, sent.MessageID())
	same(t, "sequence and attempt", []int{int(got.Sequence), got.Attempt}, []int{1, 1})
	b.ack(got)
	b.progress(1, 1)
	same(t, "left", b.before(claim(8)), []string(nil))
}

// Nobody outside this process can reach the embedded server.
func TestNoOpenPort(t *testing.T) {
	t.Parallel()
	b := setup(t, broker.Config{})
	embedded := b.Server()
	if embedded.Addr() != nil || embedded.MonitorAddr() != nil || embedded.ClusterAddr() != nil || embedded.ProfilerAddr() != nil {
		t.Error("the server listens")
	}
}

// Messages outlive the process, the acknowledged ones do not come back, and the
// sequence goes on.
func TestRestartKeepsMessages(t *testing.T) {
	t.Parallel()
	b := setup(t, broker.Config{})
	b.publish(claims(1, 3)...)
	b.ack(b.fetch(1)...)
	b.progress(1, 3)
	b.close()
	b.open()
	b.progress(1, 3)
	same(t, "after restart", idsOf(b.fetch(2)), ids(claims(2, 2)...))
	same(t, "sequence", b.publish(claim(4)), []uint64{4})
}

// A wiped directory is a new start and no error: the line is built to lose it.
func TestWipedDirectory(t *testing.T) {
	t.Parallel()
	b := setup(t, broker.Config{})
	b.publish(claims(1, 3)...)
	b.ack(b.fetch(3)...)
	b.progress(3, 3)
	b.close()
	if err := os.RemoveAll(b.config.Dir); err != nil {
		t.Fatal(err)
	}
	b.open()
	b.progress(0, 0)
	same(t, "sequence", b.publish(claim(1)), []uint64{1})
	same(t, "fetched", idsOf(b.fetch(1)), ids(claim(1)))
}

// A directory that can not be used is an error that names it, at once, and leaves
// nothing running.
func TestUnusableDirectory(t *testing.T) {
	t.Parallel()
	path := t.TempDir() + "/file"
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	b, err := broker.OpenEmbedded(t.Context(), broker.Config{Dir: path}, slog.New(slog.DiscardHandler))
	if err == nil {
		_ = b.Close()
	}
	if err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("got %v, want an error about %s", err, path)
	}
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("took %s", took)
	}
}

// A broker in an empty directory is there at once: whoever tries the program out does
// not wait for it. The limit is generous for a busy machine.
func TestOpenIsQuick(t *testing.T) {
	t.Parallel()
	start := time.Now()
	setup(t, broker.Config{})
	took := time.Since(start)
	t.Logf("open took %s", took)
	if took > 2*time.Second {
		t.Errorf("open took %s, want a fraction of a second", took)
	}
}
