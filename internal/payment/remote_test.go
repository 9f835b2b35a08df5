package payment_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/claimrail/claimrail/internal/event"
	"github.com/claimrail/claimrail/internal/money"
	"github.com/claimrail/claimrail/internal/payment"
)

// remote gives the desk as claim-process reaches it, over bytes.
func (b *bench) remote() payment.RemoteDesk {
	return payment.RemoteDesk{Command: func(ctx context.Context, request []byte) ([]byte, error) {
		return b.desk.Serve(ctx, b.ledger, request)
	}}
}

// From afar everything is as it is at the ledger: payments, dead letters (but for their
// bodies), decisions, and the kinds of errors.
func TestRemoteDesk(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.send(claim(1, 100), claim(1, 200))
	b.feed.publish("nameless", []byte("not JSON"))
	b.run()
	remote := b.remote()
	want, err := b.ledger.Payment(t.Context(), claim(1, 0).ClaimID)
	if err != nil {
		t.Fatal(err)
	}
	got, err := remote.Payment(t.Context(), claim(1, 0).ClaimID)
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("payment: %v, want -, got +:\n%s", err, diff)
	}
	letters, err := remote.DeadLetters(t.Context(), payment.LetterFilter{Reason: payment.ReasonConflict, Limit: 5})
	if err != nil || len(letters) != 1 || letters[0].Key != claim(1, 0).Key || letters[0].Body != nil || letters[0].BodyHash == [32]byte{} {
		t.Fatalf("dead letters: got %+v, %v, want the one of claim 1 without its body", letters, err)
	}
	word := payment.Decision{Actor: "dana", Reason: "looked at", At: noon}
	if _, err := remote.Redrive(t.Context(), letters[0].ID, word); !errors.Is(err, payment.ErrPaid) {
		t.Errorf("redrive of a paid claim: got %v, want %v", err, payment.ErrPaid)
	}
	discarded, err := remote.Discard(t.Context(), letters[0].ID, word)
	if err != nil || discarded.State != payment.LetterDiscarded || discarded.Closing != word {
		t.Errorf("discard: got %+v, %v", discarded, err)
	}
	if _, err := remote.Discard(t.Context(), letters[0].ID, word); !errors.Is(err, payment.ErrClosed) {
		t.Errorf("discard of a closed letter: got %v, want %v", err, payment.ErrClosed)
	}
	nameless, err := remote.DeadLetters(t.Context(), payment.LetterFilter{Reason: payment.ReasonMalformed})
	if err != nil || len(nameless) != 1 {
		t.Fatalf("dead letters: got %+v, %v", nameless, err)
	}
	if _, err := remote.Redrive(t.Context(), nameless[0].ID, word); !errors.Is(err, payment.ErrNoClaim) {
		t.Errorf("redrive without a claim: got %v, want %v", err, payment.ErrNoClaim)
	}
	if got, err := remote.Discard(t.Context(), nameless[0].ID, word); err != nil || got.State != payment.LetterDiscarded {
		t.Errorf("discard: got %+v, %v", got, err)
	}
	if _, err := remote.Payment(t.Context(), uuid.New()); !errors.Is(err, payment.ErrNotFound) {
		t.Errorf("payment of an unknown claim: got %v, want %v", err, payment.ErrNotFound)
	}
}

// From afar every payment and every letter comes once, in pages that fit into a message however many
// postings they have, and a letter comes with its history.
func TestRemoteDeskLists(t *testing.T) {
	t.Parallel()
	b := setup(t)
	const payments, postings = 30, 400
	for n := range payments {
		sent := event.ClaimAccepted{Ref: event.Ref{Key: event.Key{ClaimID: uuid.New(), Version: 1}}}
		for i := range postings {
			sent.Postings = append(sent.Postings, event.Posting{ProviderNPI: fmt.Sprintf("%010d", i), NetFee: money.Cents(n)})
			sent.NetFee += money.Cents(n)
		}
		if _, err := b.ledger.Record(t.Context(), []event.ClaimAccepted{sent}, noon); err != nil {
			t.Fatal(err)
		}
	}
	b.feed.publish("nameless", []byte("not JSON"))
	b.run()
	calls, longest := 0, 0
	remote := payment.RemoteDesk{Command: func(ctx context.Context, request []byte) ([]byte, error) {
		answer, err := b.desk.Serve(ctx, b.ledger, request)
		calls, longest = calls+1, max(longest, len(answer))
		return answer, err
	}}
	collect := func(all iter.Seq2[payment.Payment, error]) (found []payment.Payment) {
		for paid, err := range all {
			if err != nil {
				t.Fatal(err)
			}
			found = append(found, paid)
		}
		return found
	}
	want := collect(payment.AllPayments(t.Context(), b.ledger.Payments, payment.PaymentFilter{}))
	got := collect(payment.AllPayments(t.Context(), remote.Payments, payment.PaymentFilter{}))
	if diff := cmp.Diff(want, got); diff != "" || len(got) != payments {
		t.Errorf("got %d payments, want %d; want -, got +:\n%s", len(got), payments, diff)
	}
	if longest > 1<<19 || calls < 3 {
		t.Errorf("got %d answers, the longest of %d bytes, want several of 512 KiB at most", calls, longest)
	}
	letters := 0
	for letter, err := range payment.AllLetters(t.Context(), remote.DeadLetters, payment.LetterFilter{}) {
		if err != nil {
			t.Fatal(err)
		}
		_, history, err := remote.Letter(t.Context(), letter.ID)
		if err != nil || len(history) != 1 || history[0].Action != payment.ActionParked {
			t.Errorf("history: got %+v, %v, want it parked", history, err)
		}
		letters++
	}
	if letters != 1 {
		t.Errorf("got %d letters, want 1", letters)
	}
	if _, _, err := remote.Letter(t.Context(), 999); !errors.Is(err, payment.ErrNotFound) {
		t.Errorf("no such letter: got %v, want %v", err, payment.ErrNotFound)
	}
	failed := 0
	for _, err := range payment.AllLetters(t.Context(), brokenBooks{}.DeadLetters, payment.LetterFilter{}) {
		if err != nil {
			failed++
		}
	}
	if failed != 1 {
		t.Errorf("got %d errors of a list that fails, want one", failed)
	}
}

// What payments' database says in an error stays on its side; a payments that does not
// answer is unavailable; nonsense is refused.
func TestRemoteDeskFailures(t *testing.T) {
	t.Parallel()
	b := setup(t)
	away := payment.RemoteDesk{Command: func(context.Context, []byte) ([]byte, error) { return nil, errors.New("nobody") }}
	if _, err := away.DeadLetters(t.Context(), payment.LetterFilter{}); !errors.Is(err, payment.ErrUnavailable) {
		t.Errorf("nobody answers: got %v, want %v", err, payment.ErrUnavailable)
	}
	var told error
	broken := payment.RemoteDesk{Command: func(ctx context.Context, request []byte) ([]byte, error) {
		var answer []byte
		answer, told = b.desk.Serve(ctx, brokenBooks{}, request)
		return answer, nil
	}}
	_, err := broken.DeadLetters(t.Context(), payment.LetterFilter{})
	if err == nil || strings.Contains(err.Error(), "secret") || told == nil || !strings.Contains(told.Error(), "secret") {
		t.Errorf("a defect: the caller got %v, payments' log %v; want the cause in the log alone", err, told)
	}
	if answer, err := b.desk.Serve(t.Context(), b.ledger, []byte("{")); err == nil {
		t.Errorf("nonsense: got %s, want an error", answer)
	}
	if answer, err := b.desk.Serve(t.Context(), b.ledger, []byte(`{"op":"drop"}`)); err == nil || !strings.Contains(string(answer), "other") {
		t.Errorf("an unknown operation: got %s, %v, want an error on both sides", answer, err)
	}
}

// brokenBooks fails for no reason that the contract knows.
type brokenBooks struct{ payment.Books }

func (brokenBooks) DeadLetters(context.Context, payment.LetterFilter) ([]payment.DeadLetter, error) {
	return nil, errors.New("secret cause")
}
