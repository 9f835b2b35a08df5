package broker_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/claimrail/claimrail/internal/broker"
	"github.com/claimrail/claimrail/internal/event"
)

// question asks about claims.
func question(messages ...event.ClaimAccepted) (question event.Question) {
	for _, message := range messages {
		question.Keys = append(question.Keys, message.Key)
	}
	return question
}

// standings answers that claims are paid.
func standings(messages ...event.ClaimAccepted) (answer event.Answer) {
	for _, message := range messages {
		answer.Standings = append(answer.Standings, event.Standing{
			Key: message.Key, State: event.Paid, NetFee: message.NetFee, RecordedAt: noon,
		})
	}
	return answer
}

// serve runs what serves until end is called, which waits for it.
func (b *bench) serve(run func(ctx context.Context) error) (end func()) {
	b.Helper()
	subscriptions := func() int {
		count, err := b.Subscriptions()
		if err != nil {
			b.Fatalf("subscriptions: %v", err)
		}
		return count
	}
	before := subscriptions()
	ctx, cancel := context.WithCancel(b.Context())
	ended := make(chan error, 1)
	go func() { ended <- run(ctx) }()
	b.until("subscriptions", func() (any, bool) { got := subscriptions(); return got, got > before })
	return func() {
		cancel()
		if err := <-ended; err != nil {
			b.Errorf("serve: %v", err)
		}
	}
}

// Without payments a question fails at once and not at its time limit, before and
// after payments was there; with payments it is answered.
func TestAsk(t *testing.T) {
	t.Parallel()
	b := setup(t, broker.Config{})
	nobody := func() {
		t.Helper()
		start := time.Now()
		if got, err := b.Ask(t.Context(), question(claim(1))); err == nil {
			t.Errorf("nobody there: got %v", got)
		}
		if took := time.Since(start); took > 2*time.Second {
			t.Errorf("nobody there: took %s", took)
		}
	}
	nobody()
	end := b.serve(func(ctx context.Context) error {
		return b.Answer(ctx, func(_ context.Context, got event.Question) (event.Answer, error) {
			same(t, "question", got, question(claims(1, 2)...))
			return standings(claims(1, 2)...), nil
		})
	})
	got, err := b.Ask(t.Context(), question(claims(1, 2)...))
	if err != nil {
		t.Fatalf("ask: %v", err)
	}
	same(t, "answer", got, standings(claims(1, 2)...))
	end()
	nobody()
}

// An error of the handler is an error to whoever asked, without its text, and with
// it in the log, once. The next question is answered.
func TestAnswerFails(t *testing.T) {
	t.Parallel()
	log := &journal{}
	b := setup(t, broker.Config{})
	b.close()
	var err error
	if b.Broker, err = broker.OpenEmbedded(t.Context(), b.config, log.logger()); err != nil {
		t.Fatal(err)
	}
	const secret = "the ledger is on fire"
	fails := 2
	end := b.serve(func(ctx context.Context) error {
		return b.Answer(ctx, func(context.Context, event.Question) (event.Answer, error) {
			if fails--; fails >= 0 {
				return event.Answer{}, errors.New(secret)
			}
			return standings(claim(1)), nil
		})
	})
	for range 2 {
		if _, err := b.Ask(t.Context(), question(claim(1))); err == nil || strings.Contains(err.Error(), secret) {
			t.Errorf("got %v, want an error without %q", err, secret)
		}
	}
	got, err := b.Ask(t.Context(), question(claim(1)))
	if err != nil {
		t.Fatalf("ask: %v", err)
	}
	same(t, "answer", got, standings(claim(1)))
	end()
	if got := strings.Count(log.String(), secret); got != 1 {
		t.Errorf("the log has it %d times, want once:\n%s", got, log)
	}
}

// The largest question with the longest reasons fits into a message.
func TestLargestAnswer(t *testing.T) {
	t.Parallel()
	b := setup(t, broker.Config{})
	asked := claims(1, event.MaxAsked)
	answer := standings(asked...)
	for i := range answer.Standings {
		answer.Standings[i].Reason = strings.Repeat("\"", 500) // twice as long in JSON
	}
	end := b.serve(func(ctx context.Context) error {
		return b.Answer(ctx, func(context.Context, event.Question) (event.Answer, error) { return answer, nil })
	})
	got, err := b.Ask(t.Context(), question(asked...))
	if err != nil {
		t.Fatalf("ask: %v", err)
	}
	same(t, "answer", got, answer)
	end()
}

// A question ends with its context while payments is busy.
func TestAskEndsWithContext(t *testing.T) {
	t.Parallel()
	b := setup(t, broker.Config{})
	ctx, cancel := context.WithCancel(t.Context())
	end := b.serve(func(serving context.Context) error {
		return b.Answer(serving, func(handling context.Context, _ event.Question) (event.Answer, error) {
			cancel()
			<-handling.Done()
			return event.Answer{}, handling.Err()
		})
	})
	if _, err := b.Ask(ctx, question(claim(1))); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want %v", err, context.Canceled)
	}
	end()
}

// Each hint reaches one of two instances, whichever; both together get all.
func TestHints(t *testing.T) {
	t.Parallel()
	b := setup(t, broker.Config{})
	const hints = 40
	got := make(chan string, 2*hints)
	hear := func(ctx context.Context) error {
		return b.Hints(ctx, func(_ context.Context, answer event.Answer) error {
			got <- answer.Standings[0].Key.String()
			return nil
		})
	}
	endOne, endOther := b.serve(hear), b.serve(hear)
	want := map[string]int{}
	for _, message := range claims(1, hints) {
		want[message.Key.String()]++
		if err := b.Hint(t.Context(), standings(message)); err != nil {
			t.Fatalf("hint: %v", err)
		}
	}
	counts := map[string]int{}
	for range hints {
		counts[<-got]++
	}
	endOne()
	endOther()
	close(got)
	for key := range got {
		counts[key]++
	}
	same(t, "hints", counts, want)
}

// A hint that nobody hears is no error, and one that can not be read, or a handler
// that fails, does not end the service.
func TestHintsGoOn(t *testing.T) {
	t.Parallel()
	b := setup(t, broker.Config{})
	if err := b.Hint(t.Context(), standings(claim(1))); err != nil {
		t.Errorf("nobody there: %v", err)
	}
	got := make(chan event.Answer, 1)
	end := b.serve(func(ctx context.Context) error {
		return b.Hints(ctx, func(_ context.Context, answer event.Answer) error {
			got <- answer
			return errors.New("busy")
		})
	})
	if err := b.JetStream().Conn().Publish(event.HintSubject, []byte("{")); err != nil {
		t.Fatal(err)
	}
	for i := range 2 {
		if err := b.Hint(t.Context(), standings(claim(i))); err != nil {
			t.Fatalf("hint: %v", err)
		}
		same(t, "hint", <-got, standings(claim(i)))
	}
	end()
}
