package verify

import (
	"context"
	"errors"
	"iter"
	"strings"
	"sync"
	"testing"

	"github.com/google/uuid"

	"github.com/claimrail/claimrail/internal/event"
)

// keys gives version 1 of the claims, then the error, if there is one.
func keys(failure error, claims ...byte) iter.Seq2[event.Key, error] {
	return func(yield func(event.Key, error) bool) {
		for _, n := range claims {
			if !yield(event.Key{ClaimID: uuid.UUID{n}, Version: 1}, nil) {
				return
			}
		}
		if failure != nil {
			yield(event.Key{}, failure)
		}
	}
}

// takeAll takes everything that comes, as a join does.
func takeAll(s *stream[event.Key]) (taken int) {
	for {
		key, more := least(s.head)
		if !more {
			return taken
		}
		for s.take(key) != nil {
			taken++
		}
	}
}

// A view that is not sorted can not be joined, and one that fails is not at its end:
// both are errors, and what came before them is no report.
func TestStreamErrors(t *testing.T) {
	t.Parallel()
	broken := errors.New("disk on fire")
	many := make([]byte, 3*batchSize) // one claim, over and over
	for _, test := range []struct {
		name  string
		items iter.Seq2[event.Key, error]
		taken int
		want  string
	}{
		{"sorted", keys(nil, 1, 2, 2, 9), 4, ""},
		{"empty", keys(nil), 0, ""},
		{"many", keys(nil, many...), len(many), ""},
		{"not sorted", keys(nil, 1, 5, 4, 6), 2, "not in ascending order"},
		{"fails", keys(broken, many...), len(many), "disk on fire"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var readers sync.WaitGroup
			s := read(t.Context(), &readers, "keys", test.items, func(k *event.Key) event.Key { return *k })
			taken := takeAll(s)
			if test.want == "" && s.err != nil || test.want != "" && (s.err == nil || !strings.Contains(s.err.Error(), test.want)) {
				t.Errorf("got %v, want %q", s.err, test.want)
			}
			if taken != test.taken {
				t.Errorf("got %d items, want %d", taken, test.taken)
			}
			readers.Wait()
		})
	}
}

// A reader that nobody takes from any more ends with its context, however much there is
// left to read.
func TestStreamEnds(t *testing.T) {
	t.Parallel()
	ctx, stop := context.WithCancel(t.Context())
	var readers sync.WaitGroup
	endless := func(yield func(event.Key, error) bool) {
		for yield(event.Key{}, nil) {
		}
	}
	s := read(ctx, &readers, "keys", endless, func(k *event.Key) event.Key { return *k })
	if _, more := s.head(); !more {
		t.Error("got nothing, want the first item")
	}
	stop()
	readers.Wait()
	if !errors.Is(s.failure, context.Canceled) {
		t.Errorf("got %v, want %v", s.failure, context.Canceled)
	}
}
