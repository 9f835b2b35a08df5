package broker_test

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/claimrail/claimrail/internal/broker"
	"github.com/claimrail/claimrail/internal/event"
)

// An embedded server that can not go on shows at Ping, and is exchanged at the second look
// for one that has its messages; connection, subscriptions and consumer find the new one by
// themselves. A full disk left a server behind that answered
// everything and stored nothing, until the process was started again.
func TestIllServerIsExchanged(t *testing.T) {
	t.Parallel()
	b := setup(t, broker.Config{})
	end := b.serve(func(ctx context.Context) error {
		return b.Answer(ctx, func(context.Context, event.Question) (event.Answer, error) { return standings(claim(1)), nil })
	})
	b.publish(claims(1, 2)...)
	look := func() {
		t.Helper()
		if err := b.Mend(); err != nil {
			t.Fatalf("mend: %v", err)
		}
	}
	look()
	look()
	first := b.Server()
	if err := first.DisableJetStream(); err != nil {
		t.Fatal(err)
	}
	if err := b.Ping(t.Context()); err == nil {
		t.Error("ping: got no error of a server that stores nothing")
	}
	look()
	if b.Server() != first {
		t.Error("the server was exchanged at the first look")
	}
	look()
	if b.Server() == first {
		t.Fatal("the server was not exchanged at the second look")
	}
	b.until("ping", func() (any, bool) { err := b.Ping(t.Context()); return err, err == nil })
	same(t, "sequence", b.publish(claim(3)), []uint64{3})
	same(t, "fetched", idsOf(b.fetch(3)), ids(claims(1, 3)...))
	b.until("an answer", func() (any, bool) {
		got, err := b.Ask(t.Context(), question(claim(1)))
		return err, err == nil && cmp.Equal(got, standings(claim(1)))
	})
	end()
	second := b.Server()
	look()
	look()
	if b.Server() != second {
		t.Error("a healthy server was exchanged")
	}
}
