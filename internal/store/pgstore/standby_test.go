package pgstore_test

import (
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/claimrail/claimrail/internal/pgtest"
	"github.com/claimrail/claimrail/internal/store"
	"github.com/claimrail/claimrail/internal/store/pgstore"
)

// While the synchronous standby is away, what the primary alone has is not confirmed: a claim, or an
// import, whose first commit did not wait to the end, as one that its client gave up, is not said to
// be there when it is sent again.
func TestFoundWaitsForTheStandby(t *testing.T) {
	t.Parallel()
	url, aloneURL := pgtest.StartWithoutStandby(t)
	alone, err := pgstore.Open(t.Context(), pgstore.Options{URL: aloneURL, Unsafe: true}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = alone.Close() }()
	engine := open(t, url)
	defer func() { _ = engine.Close() }()
	file := store.Import{ID: uuid.New(), State: store.ImportReceiving, Kept: true, CreatedAt: noon(), LeasedUntil: noon().Add(time.Minute)}
	steps := []struct {
		name string
		take func(*pgstore.Store) error
	}{
		{"accept", func(s *pgstore.Store) error {
			s.LookFirst() // or it would take ids first, and wait for them
			_, err := s.Accept(t.Context(), []store.Submission{made(1, 5)}, noon())
			return err
		}},
		{"create import", func(s *pgstore.Store) error { return s.CreateImport(t.Context(), file) }},
		{"queue import", func(s *pgstore.Store) error {
			return s.QueueImport(t.Context(), file.ID, strings.Repeat("a", 64), 7)
		}},
	}
	for _, step := range steps {
		if err := step.take(alone); err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		waited, err := pgtest.EndWaiting(t, aloneURL, func() error { return step.take(engine) })
		if !waited || !errors.Is(err, store.ErrUnavailable) && !errors.Is(err, store.ErrUnknownOutcome) {
			t.Errorf("%s, the standby is away: got %v, waited for it: %t, want no answer that it is there", step.name, err, waited)
		}
	}
	if again, err := alone.Accept(t.Context(), []store.Submission{made(1, 5)}, noon()); err != nil || !again[0].Existing {
		t.Errorf("accepted without the standby: got %+v, %v, want it existing", again, err)
	}
}

// A commit whose wait for the standby is cancelled, which the server takes for done, is in doubt; the same
// again waits again.
func TestCancelledWaitIsInDoubt(t *testing.T) {
	t.Parallel()
	url, aloneURL := pgtest.StartWithoutStandby(t)
	alone, err := pgstore.Open(t.Context(), pgstore.Options{URL: aloneURL, Unsafe: true}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = alone.Close() }()
	engine := open(t, url)
	defer func() { _ = engine.Close() }()
	for _, id := range []uuid.UUID{uuid.New(), uuid.New()} { // on the same connection
		file := store.Import{ID: id, State: store.ImportReceiving, Kept: true, CreatedAt: noon(), LeasedUntil: noon().Add(time.Minute)}
		for _, when := range []string{"new", "there"} {
			waited, err := pgtest.CancelWaiting(t, aloneURL, func() error { return engine.CreateImport(t.Context(), file) })
			if !waited || !errors.Is(err, store.ErrUnknownOutcome) {
				t.Errorf("%s: got %v, waited for the standby: %t, want its outcome unknown", when, err, waited)
			}
		}
	}
}
