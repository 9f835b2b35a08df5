package verify

import (
	"bytes"
	"context"
	"fmt"
	"iter"
	"sync"

	"github.com/claimrail/claimrail/internal/event"
)

// A stream reads ahead of who takes from it, by aheadBatches of batchSize items and
// those in hand. Batches, because handing over an item costs more than to read it.
const (
	batchSize    = 256
	aheadBatches = 4
)

// stream is one sorted view, read by a goroutine of its own.
type stream[T any] struct {
	what    string
	keyOf   func(*T) event.Key
	batches chan []T
	failure error // of the reader; set before batches is closed

	batch []T       // what was received and is not taken yet
	last  event.Key // of what was taken last
	err   error     // ends the stream; it seems at its end then
}

// read starts to read. The reader ends with the items, at the first error, or with
// ctx; readers tells when.
func read[T any](ctx context.Context, readers *sync.WaitGroup, what string, items iter.Seq2[T, error],
	keyOf func(*T) event.Key,
) *stream[T] {
	s := &stream[T]{what: what, keyOf: keyOf, batches: make(chan []T, aheadBatches)}
	readers.Go(func() {
		defer close(s.batches)
		s.failure = s.fill(ctx, items)
	})
	return s
}

func (s *stream[T]) fill(ctx context.Context, items iter.Seq2[T, error]) error {
	batch := make([]T, 0, batchSize)
	send := func() error {
		select {
		case s.batches <- batch:
			batch = make([]T, 0, batchSize)
			return nil
		case <-ctx.Done():
			return fmt.Errorf("read %s: %w", s.what, ctx.Err())
		}
	}
	for item, err := range items {
		if err != nil {
			return err
		}
		if batch = append(batch, item); len(batch) < batchSize {
			continue
		}
		if err := send(); err != nil {
			return err
		}
	}
	return send()
}

// head gives the key of the next item; false at the end, or if err is set.
func (s *stream[T]) head() (event.Key, bool) {
	for len(s.batch) == 0 && s.err == nil {
		batch, open := <-s.batches
		if !open {
			s.err = s.failure
			return event.Key{}, false
		}
		s.batch = batch
	}
	if s.err != nil {
		return event.Key{}, false
	}
	return s.keyOf(&s.batch[0]), true
}

// take takes the next item if it is the one of the key; else it gives nil. A view that
// is not sorted can not be joined: that is an error.
func (s *stream[T]) take(key event.Key) *T {
	head, ok := s.head()
	if !ok || head != key {
		return nil
	}
	if compareKeys(head, s.last) < 0 {
		s.err = fmt.Errorf("read %s: claim %s stands behind %s: not in ascending order", s.what, head, s.last)
		return nil
	}
	item := &s.batch[0]
	s.batch, s.last = s.batch[1:], head
	return item
}

// least gives the smallest of the keys that are next; false if all are at their end.
func least(heads ...func() (event.Key, bool)) (event.Key, bool) {
	var smallest event.Key
	any := false
	for _, head := range heads {
		if key, ok := head(); ok && (!any || compareKeys(key, smallest) < 0) {
			smallest, any = key, true
		}
	}
	return smallest, any
}

// compareKeys orders by the bytes of the claim id, then by version.
func compareKeys(a, b event.Key) int {
	if order := bytes.Compare(a.ClaimID[:], b.ClaimID[:]); order != 0 {
		return order
	}
	return a.Version - b.Version
}
