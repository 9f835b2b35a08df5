package broker_test

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/claimrail/claimrail/internal/broker"
	"github.com/claimrail/claimrail/internal/event"
	"github.com/claimrail/claimrail/internal/outbox"
)

// Results come in the order of the messages, more of them than are in flight at once.
func TestPublishInOrder(t *testing.T) {
	t.Parallel()
	b := setup(t, broker.Config{})
	messages := claims(1, 600)
	results := b.Publish(t.Context(), messages)
	if len(results) != len(messages) {
		t.Fatalf("results: got %d, want %d", len(results), len(messages))
	}
	for i, result := range results {
		if result.Ref != messages[i].Ref || result.Sequence != uint64(i+1) || result.Err != nil {
			t.Fatalf("result %d: got %+v, want sequence %d of %v", i, result, i+1, messages[i].Ref)
		}
	}
	same(t, "fetched", idsOf(b.fetch(len(messages))), ids(messages...))
	if got := b.Publish(t.Context(), nil); len(got) != 0 {
		t.Errorf("results of nothing: got %v", got)
	}
}

// The same message id within the window is taken once and told the same place, and
// a new generation is another message.
func TestDuplicateMessageID(t *testing.T) {
	t.Parallel()
	b := setup(t, broker.Config{})
	first, again := claim(1), claim(1)
	again.Gen++
	same(t, "sequences", b.publish(first, first, again), []uint64{1, 1, 2})
	same(t, "fetched", idsOf(b.fetch(2)), ids(first, again))
	same(t, "more", b.before(claim(2)), []string(nil))
}

// A message that is too large fails alone, and for good.
func TestTooLargeIsUnsendable(t *testing.T) {
	t.Parallel()
	b := setup(t, broker.Config{})
	large := claim(2)
	large.Traceparent = strings.Repeat("x", event.MaxBodyBytes)
	results := b.Publish(t.Context(), []event.ClaimAccepted{claim(1), large, claim(3)})
	for i, result := range results {
		if got, want := errors.Is(result.Err, outbox.ErrUnsendable), i == 1; got != want {
			t.Errorf("result %d: got %v, unsendable wanted: %t", i, result.Err, want)
		}
	}
	same(t, "sequences", []uint64{results[0].Sequence, results[2].Sequence}, []uint64{1, 2})
}

// A message that the stream does not take for its size fails for good as well, though
// the contract allows it: somebody has to set the stream right.
func TestTooLargeForStreamIsUnsendable(t *testing.T) {
	t.Parallel()
	b := setup(t, broker.Config{})
	stream, err := b.JetStream().Stream(t.Context(), event.StreamName)
	if err != nil {
		t.Fatal(err)
	}
	changed := stream.CachedInfo().Config
	changed.MaxMsgSize = 100
	if _, err := b.JetStream().UpdateStream(t.Context(), changed); err != nil {
		t.Fatal(err)
	}
	if err := b.Publish(t.Context(), claims(1, 1))[0].Err; !errors.Is(err, outbox.ErrUnsendable) {
		t.Errorf("got %v, want %v", err, outbox.ErrUnsendable)
	}
}

// The largest body of the contract passes the limits of stream and server.
func TestLargestMessagePasses(t *testing.T) {
	t.Parallel()
	b := setup(t, broker.Config{})
	largest := claim(1)
	small, err := largest.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	largest.Traceparent = strings.Repeat("x", event.MaxBodyBytes-len(small)-len(`,"traceparent":""`))
	b.publish(largest)
	if got, want := len(b.fetch(1)[0].Body), event.MaxBodyBytes; got != want {
		t.Errorf("body: got %d bytes, want %d", got, want)
	}
}

// With a context that is done nothing is sent, and every result says so.
func TestPublishAfterTheEnd(t *testing.T) {
	t.Parallel()
	b := setup(t, broker.Config{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, result := range b.Publish(ctx, claims(1, 3)) {
		if !errors.Is(result.Err, context.Canceled) || result.ClaimID != claim(int(result.ClaimID[15])).ClaimID {
			t.Errorf("got %+v, want %v", result, context.Canceled)
		}
	}
	b.progress(0, 0)
}

// A message that is given back comes again after its delay, and not before.
func TestNakComesAgain(t *testing.T) {
	t.Parallel()
	b := setup(t, broker.Config{})
	b.publish(claim(1))
	const delay = 300 * time.Millisecond
	start := time.Now()
	b.answered(b.fetch(1)[0].Reply.Nak(delay))
	got := b.fetch(1)[0]
	if took := time.Since(start); took < delay {
		t.Errorf("came again after %s, want %s at least", took, delay)
	}
	same(t, "sequence and attempt", []int{int(got.Sequence), got.Attempt}, []int{1, 2})
}

// The broker never gives a message up: given back many times it still comes, also
// to a consumer that was made by another program with a limit.
func TestMaxDeliverIsEndless(t *testing.T) {
	t.Parallel()
	b := setup(t, broker.Config{})
	if _, err := b.JetStream().UpdateConsumer(t.Context(), event.StreamName, jetstream.ConsumerConfig{
		Durable: event.ConsumerName, AckPolicy: jetstream.AckExplicitPolicy, MaxDeliver: 3,
	}); err != nil {
		t.Fatal(err)
	}
	b.close()
	b.open()
	b.publish(claim(1))
	for attempt := 1; attempt <= 50; attempt++ {
		got := b.fetch(1)[0]
		if got.Attempt != attempt {
			t.Fatalf("attempt: got %d, want %d", got.Attempt, attempt)
		}
		b.answered(got.Reply.Nak(0))
	}
}

// A message that is terminated does not come again, and counts as answered.
func TestTermDoesNotComeAgain(t *testing.T) {
	t.Parallel()
	b := setup(t, broker.Config{AckWait: 500 * time.Millisecond})
	b.publish(claims(1, 2)...)
	got := b.fetch(2)
	b.answered(got[0].Reply.Term())
	// The other one shows that the time for both has passed.
	same(t, "again", idsOf(b.fetch(1)), ids(claim(2)))
	b.progress(1, 2)
	same(t, "left", b.before(claim(3)), []string(nil))
}

// A message without an answer comes again after AckWait: its consumer may be dead.
func TestUnansweredComesAgain(t *testing.T) {
	t.Parallel()
	const ackWait = 300 * time.Millisecond
	b := setup(t, broker.Config{AckWait: ackWait})
	b.publish(claim(1))
	start := time.Now()
	b.fetch(1)
	got := b.fetch(1)[0]
	if took := time.Since(start); took < ackWait {
		t.Errorf("came again after %s, want %s at least", took, ackWait)
	}
	same(t, "attempt", got.Attempt, 2)
}

// Fetch gives what is there without a wait for more, and a first message at once
// to whoever waits.
func TestFetchGivesWhatIsThere(t *testing.T) {
	t.Parallel()
	b := setup(t, broker.Config{})
	b.publish(claims(1, 3)...)
	got, err := b.Fetch(t.Context(), 500)
	if err != nil {
		t.Fatal(err)
	}
	same(t, "three of 500", idsOf(got), ids(claims(1, 3)...))

	came := make(chan []event.Delivery)
	go func() {
		got, _ := b.Fetch(t.Context(), 500)
		came <- got
	}()
	b.waiting(1)
	start := time.Now()
	b.publish(claim(4))
	same(t, "one of 500", idsOf(<-came), ids(claim(4)))
	if took := time.Since(start); took > 2*time.Second {
		t.Errorf("a single message took %s", took)
	}
}

// waiting waits until so many requests for messages stand at the broker.
func (b *bench) waiting(count int) {
	b.Helper()
	b.until("requests that stand", func() (any, bool) {
		consumer, err := b.JetStream().Consumer(b.Context(), event.StreamName, event.ConsumerName)
		if err != nil {
			b.Fatal(err)
		}
		got := consumer.CachedInfo().NumWaiting
		return got, got == count
	})
}

// Fetch ends with its context, whether it waits already or not, and takes no message with it.
func TestFetchEndsWithContext(t *testing.T) {
	t.Parallel()
	b := setup(t, broker.Config{})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() {
		_, err := b.Fetch(ctx, 10)
		ended <- err
	}()
	b.waiting(1)
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want %v", err, context.Canceled)
	}
	b.publish(claim(1))
	if got, err := b.Fetch(ctx, 10); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v and %v, want %v", got, err, context.Canceled)
	}
	got := b.fetch(1)
	same(t, "fetched", idsOf(got), ids(claim(1)))
}

// Two consumers share the work: every message goes to one of them.
func TestTwoConsumersShare(t *testing.T) {
	t.Parallel()
	b := setup(t, broker.Config{})
	messages := claims(1, 100)
	b.publish(messages...)
	shares := make(chan []string)
	for range 2 {
		go func() {
			var share []string
			for range 5 {
				got, err := b.Fetch(t.Context(), 10)
				if err != nil {
					t.Errorf("fetch: %v", err)
				}
				share = append(share, idsOf(got)...)
			}
			shares <- share
		}()
	}
	one, other := <-shares, <-shares
	same(t, "shares", []int{len(one), len(other)}, []int{50, 50})
	all, want := slices.Sorted(slices.Values(append(one, other...))), ids(messages...)
	slices.Sort(want)
	same(t, "both together", all, want)
}

// A full stream refuses and drops nothing; once its messages are answered, Trim
// makes room again. As long as they are not, it does not.
func TestFullStream(t *testing.T) {
	t.Parallel()
	b := setup(t, broker.Config{StreamBytes: 64 << 10})
	taken := 0
	var full error
	for ; full == nil && taken < 1000; taken++ {
		full = b.Publish(t.Context(), claims(taken+1, 1))[0].Err
	}
	taken--
	if full == nil || errors.Is(full, outbox.ErrUnsendable) {
		t.Fatalf("after %d messages: got %v, want an error that passes", taken, full)
	}
	if err := b.Trim(t.Context()); err != nil {
		t.Fatalf("trim: %v", err)
	}
	if b.Publish(t.Context(), claims(taken+1, 1))[0].Err == nil {
		t.Error("trim made room though nothing was answered")
	}
	got := b.fetch(taken)
	same(t, "fetched", idsOf(got), ids(claims(1, taken)...))
	b.ack(got[1:]...)
	if err := b.Trim(t.Context()); err != nil {
		t.Fatalf("trim: %v", err)
	}
	if b.Publish(t.Context(), claims(taken+1, 1))[0].Err == nil {
		t.Error("trim made room though the first message was not answered")
	}
	b.ack(got[0])
	b.progress(uint64(taken), uint64(taken))
	if err := b.Trim(t.Context()); err != nil {
		t.Fatalf("trim: %v", err)
	}
	same(t, "sequence", b.publish(claim(taken+1)), []uint64{uint64(taken + 1)})
	b.progress(uint64(taken), uint64(taken+1))
}

// Floor stays below the first message without an answer, last is the newest.
func TestProgress(t *testing.T) {
	t.Parallel()
	b := setup(t, broker.Config{})
	b.progress(0, 0)
	b.publish(claims(1, 3)...)
	b.progress(0, 3)
	got := b.fetch(3)
	b.progress(0, 3)
	b.ack(got[1], got[2])
	b.progress(0, 3)
	b.ack(got[0])
	b.progress(3, 3)
	stream, err := b.JetStream().Stream(t.Context(), event.StreamName)
	if err != nil {
		t.Fatal(err)
	}
	b.publish(claims(4, 2)...)
	if err := stream.Purge(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.progress(5, 5) // what is not in the stream is not on its way
}

// Messages that grew too old before they were answered are not on their way either.
func TestProgressPassesExpired(t *testing.T) {
	t.Parallel()
	b := setup(t, broker.Config{})
	b.publish(claims(1, 3)...)
	b.fetch(2)
	stream, err := b.JetStream().Stream(t.Context(), event.StreamName)
	if err != nil {
		t.Fatal(err)
	}
	changed := stream.CachedInfo().Config
	changed.MaxAge, changed.Duplicates = 200*time.Millisecond, 100*time.Millisecond
	if _, err := b.JetStream().UpdateStream(t.Context(), changed); err != nil {
		t.Fatal(err)
	}
	b.progress(3, 3)
}

// A stream that an older release made, with a longer duplicate window, has the present one after a start.
func TestDuplicateWindowIsLowered(t *testing.T) {
	t.Parallel()
	b := setup(t, broker.Config{})
	window := func() time.Duration {
		stream, err := b.JetStream().Stream(t.Context(), event.StreamName)
		if err != nil {
			t.Fatal(err)
		}
		return stream.CachedInfo().Config.Duplicates
	}
	same(t, "window of a new stream", window(), time.Minute)
	stream, err := b.JetStream().Stream(t.Context(), event.StreamName)
	if err != nil {
		t.Fatal(err)
	}
	older := stream.CachedInfo().Config
	older.Duplicates = 10 * time.Minute
	if _, err := b.JetStream().UpdateStream(t.Context(), older); err != nil {
		t.Fatal(err)
	}
	b.publish(claims(1, 2)...)
	b.close()
	b.open()
	same(t, "window after a start", window(), time.Minute)
	b.publish(claims(3, 1)...)
}

// A stream that is deleted under way is made anew by whoever needs it first. What
// was in it is lost, and its places start again, so that Sweep can tell.
func TestStreamMadeAgain(t *testing.T) {
	t.Parallel()
	for name, use := range map[string]func(b *bench) error{
		"ping":     func(b *bench) error { return b.Ping(b.Context()) },
		"trim":     func(b *bench) error { return b.Trim(b.Context()) },
		"progress": func(b *bench) error { _, _, err := b.Progress(b.Context()); return err },
		"publish": func(b *bench) error { // the message itself waits for the outbox to send it again
			if b.Publish(b.Context(), claims(9, 1))[0].Err == nil {
				return errors.New("published into nothing")
			}
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t, broker.Config{})
			b.publish(claims(1, 3)...)
			b.ack(b.fetch(2)...)
			if err := b.JetStream().DeleteStream(t.Context(), event.StreamName); err != nil {
				t.Fatal(err)
			}
			if err := use(b); err != nil {
				t.Fatal(err)
			}
			same(t, "sequence", b.publish(claim(4)), []uint64{1})
			b.progress(0, 1)
			same(t, "fetched", idsOf(b.fetch(1)), ids(claim(4)))
		})
	}
}

// A consumer that waits when the stream goes, gets the messages of the new one.
func TestStreamGoneWhileFetching(t *testing.T) {
	t.Parallel()
	b := setup(t, broker.Config{})
	came := make(chan []string)
	go func() { came <- idsOf(b.fetch(1)) }()
	b.waiting(1)
	if err := b.JetStream().DeleteStream(t.Context(), event.StreamName); err != nil {
		t.Fatal(err)
	}
	b.until("publish", func() (any, bool) {
		err := b.Publish(t.Context(), claims(1, 1))[0].Err
		return err, err == nil
	})
	same(t, "fetched", <-came, ids(claim(1)))
}

// A consumer that is deleted is made anew and starts at the first message that is
// there: payments takes repeats.
func TestConsumerMadeAgain(t *testing.T) {
	t.Parallel()
	log := &journal{}
	b := setup(t, broker.Config{})
	b.close()
	var err error
	if b.Broker, err = broker.OpenEmbedded(t.Context(), b.config, log.logger()); err != nil {
		t.Fatal(err)
	}
	b.publish(claims(1, 3)...)
	b.ack(b.fetch(3)...)
	if err := b.JetStream().DeleteConsumer(t.Context(), event.StreamName, event.ConsumerName); err != nil {
		t.Fatal(err)
	}
	same(t, "fetched", idsOf(b.fetch(3)), ids(claims(1, 3)...))
	b.progress(0, 3)
	if got := strings.Count(log.String(), "made again"); got != 1 {
		t.Errorf("the log tells of it %d times, want once:\n%s", got, log)
	}
}

// A consumer that is deleted under a request that stands is made anew, and new
// messages come. Of the old ones nothing is said: the server tells of the deletion
// before its files are gone, and the new consumer may find what the old one had
// delivered, and wait for AckWait.
func TestConsumerGoneWhileFetching(t *testing.T) {
	t.Parallel()
	b := setup(t, broker.Config{})
	b.publish(claims(1, 3)...)
	b.ack(b.fetch(3)...)
	came := make(chan struct{})
	go func() {
		defer close(came)
		for b.fetch(1)[0].MessageID != ids(claim(4))[0] {
		}
	}()
	b.waiting(1)
	if err := b.JetStream().DeleteConsumer(t.Context(), event.StreamName, event.ConsumerName); err != nil {
		t.Fatal(err)
	}
	b.publish(claim(4))
	<-came
}

// A stream that was set to other subjects is set right when nobody answers, with its
// messages, and the log tells of no loss.
func TestSubjectsSetRight(t *testing.T) {
	t.Parallel()
	log := &journal{}
	b := setup(t, broker.Config{})
	b.close()
	var err error
	if b.Broker, err = broker.OpenEmbedded(t.Context(), b.config, log.logger()); err != nil {
		t.Fatal(err)
	}
	b.publish(claim(1))
	stream, err := b.JetStream().Stream(t.Context(), event.StreamName)
	if err != nil {
		t.Fatal(err)
	}
	changed := stream.CachedInfo().Config
	changed.Subjects = []string{"other"}
	if _, err := b.JetStream().UpdateStream(t.Context(), changed); err != nil {
		t.Fatal(err)
	}
	if b.Publish(t.Context(), claims(2, 1))[0].Err == nil {
		t.Error("published to nobody")
	}
	same(t, "sequence", b.publish(claim(2)), []uint64{2})
	same(t, "fetched", idsOf(b.fetch(2)), ids(claims(1, 2)...))
	if strings.Contains(log.String(), "made again") {
		t.Errorf("the log tells of a loss:\n%s", log)
	}
}

// What an operator has set and this program does not name stays, whatever is opened.
func TestSettingsOfAnOperatorStay(t *testing.T) {
	t.Parallel()
	b := setup(t, broker.Config{})
	stream, err := b.JetStream().Stream(t.Context(), event.StreamName)
	if err != nil {
		t.Fatal(err)
	}
	changed := stream.CachedInfo().Config
	changed.Description, changed.Compression, changed.MaxAge = "ours", jetstream.S2Compression, time.Hour
	if _, err := b.JetStream().UpdateStream(t.Context(), changed); err != nil {
		t.Fatal(err)
	}
	b.close()
	b.config.StreamBytes = 8 << 20
	b.open()
	if stream, err = b.JetStream().Stream(t.Context(), event.StreamName); err != nil {
		t.Fatal(err)
	}
	got := stream.CachedInfo().Config
	changed.MaxAge, changed.MaxBytes = 7*24*time.Hour, 8<<20
	same(t, "stream", got, changed)
}

// The bound of the stream may be raised and lowered from one run to the next, and the
// messages stay. It was: lowered, the broker did not open.
func TestStreamBytesLowered(t *testing.T) {
	t.Parallel()
	b := setup(t, broker.Config{StreamBytes: 1 << 30})
	b.publish(claim(1))
	for i, size := range []int64{128 << 10, 4 << 30} {
		b.close()
		b.config.StreamBytes = size
		b.open()
		b.publish(claim(2 + i))
	}
	same(t, "fetched", idsOf(b.fetch(3)), ids(claims(1, 3)...))
}

// Run ends with its context.
func TestRunEndsWithContext(t *testing.T) {
	t.Parallel()
	b := setup(t, broker.Config{})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- b.Broker.Run(ctx) }()
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("got %v", err)
	}
}

// A closed broker refuses at once, and says so.
func TestClosed(t *testing.T) {
	t.Parallel()
	b, err := broker.OpenEmbedded(t.Context(), broker.Config{Dir: t.TempDir()}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if err := b.Ping(t.Context()); err == nil {
		t.Error("ping: got no error")
	}
	if err := b.Publish(t.Context(), claims(1, 1))[0].Err; err == nil {
		t.Error("publish: got no error")
	}
	if _, err := b.Fetch(t.Context(), 1); err == nil {
		t.Error("fetch: got no error")
	}
}
