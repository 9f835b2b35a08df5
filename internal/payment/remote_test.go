package payment_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

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
	redriven, err := remote.Redrive(t.Context(), letters[0].ID, word)
	if err != nil || redriven.State != payment.LetterRedriven || redriven.Closing != word {
		t.Errorf("redrive: got %+v, %v", redriven, err)
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
