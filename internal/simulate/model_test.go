package simulate_test

import (
	"context"
	"crypto/rand"
	"errors"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/claimrail/claimrail/internal/claim"
	"github.com/claimrail/claimrail/internal/payment"
	"github.com/claimrail/claimrail/internal/payment/ledgertest"
	"github.com/claimrail/claimrail/internal/store"
	"github.com/claimrail/claimrail/internal/store/storetest"
)

// The claims database of the simulation keeps the contract that the engines keep, where
// it is about claims and their outbox.
func TestClaimsContract(t *testing.T) {
	t.Parallel()
	databases := newShelf(func() *claimsDatabase {
		var secret [claim.IdentitySecretSize]byte
		_, _ = rand.Read(secret[:]) // never fails
		return newClaimsDatabase(secret)
	})
	storetest.RunDelivery(t, func(t *testing.T) store.Engine { return databases.open(t) })
}

// The ledger of the simulation keeps the contract that the engines keep.
func TestLedgerContract(t *testing.T) {
	t.Parallel()
	databases := newShelf(newLedger)
	ledgertest.Run(t, func(t *testing.T) payment.Ledger { return &opened{ledger: databases.open(t)} })
}

// opened is a ledger that can be closed without the others who have it open.
type opened struct {
	*ledger
	closed atomic.Bool
}

func (o *opened) Ping(ctx context.Context) error {
	if o.closed.Load() {
		return errors.New("ledger is closed")
	}
	return o.ledger.Ping(ctx)
}

func (o *opened) Close() error {
	o.closed.Store(true)
	return nil
}

// shelf keeps the database of each test, so that it can be opened again.
type shelf[T any] struct {
	mu     sync.Mutex
	make   func() T
	byTest map[string]T
}

func newShelf[T any](make func() T) *shelf[T] { return &shelf[T]{make: make, byTest: map[string]T{}} }

func (s *shelf[T]) open(t *testing.T) T {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	database, there := s.byTest[t.Name()]
	if !there {
		database = s.make()
		s.byTest[t.Name()] = database
	}
	return database
}
