package store_test

import (
	"context"
	"errors"
	"testing"

	"github.com/google/uuid"

	"github.com/claimrail/claimrail/internal/store"
)

// Doubt lasts as well where all tries but the first find the database away: the first may
// have been stored, and nobody may be told that it was not.
func TestCommitterLastingDoubtWhileAway(t *testing.T) {
	t.Parallel()
	inBubble(t, func(b *bench) {
		b.engine.fault = func(_ context.Context, n int, _ []uuid.UUID, _ bool) error {
			if n == 1 {
				return store.ErrUnknownOutcome
			}
			return store.ErrUnavailable
		}
		_, err := b.committer.Submit(b.Context(), store.Submission{Claim: newClaim(1)})
		if !errors.Is(err, store.ErrUnknownOutcome) {
			b.Errorf("submit: got %v, want ErrUnknownOutcome", err)
		}
	})
}
