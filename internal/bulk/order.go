package bulk

import (
	"slices"
	"sync"

	"github.com/google/uuid"

	"github.com/claimrail/claimrail/internal/store"
)

// order sees to it that of claims under one number, in batches that are stored at once, the first
// of the file is stored first: so it is the same that is accepted whenever the file is passed.
type order struct {
	mu      sync.Mutex
	storing map[uuid.UUID]*batch // the last that has the claim, of those that are not done
	failed  error                // of a batch: what stands behind it is not stored in this pass
}

// enter has a batch wait until it may be stored: those in front of it have entered, and those with
// claims of its own are stored. The error is that of a batch that was not.
func (o *order) enter(b *batch, submissions []store.Submission) error {
	if b.before != nil {
		<-b.before
	}
	earlier, err := o.list(b, submissions)
	close(b.entered)
	for _, other := range earlier {
		if <-other.done; other.err != nil {
			return other.err
		}
	}
	return err
}

// list notes the claims of a batch, and gives the batches that have some of them.
func (o *order) list(b *batch, submissions []store.Submission) (earlier []*batch, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.failed != nil {
		return nil, o.failed
	}
	if o.storing == nil {
		o.storing = make(map[uuid.UUID]*batch, workers*len(submissions))
	}
	for i := range submissions {
		id := submissions[i].Claim.ID
		if other := o.storing[id]; other != nil && other != b && !slices.Contains(earlier, other) {
			earlier = append(earlier, other)
		}
		o.storing[id] = b
	}
	b.listed = submissions
	return earlier, nil
}

// leave lets those behind a batch go on, with its error where it has one. Then it is done.
func (o *order) leave(b *batch) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.failed == nil {
		o.failed = b.err
	}
	for i := range b.listed {
		if id := b.listed[i].Claim.ID; o.storing[id] == b {
			delete(o.storing, id)
		}
	}
	b.listed = nil
	select {
	case <-b.entered:
	default: // it did not come so far
		close(b.entered)
	}
	close(b.done)
}
