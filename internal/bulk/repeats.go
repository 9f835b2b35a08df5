package bulk

import (
	"encoding/binary"

	"github.com/claimrail/claimrail/internal/claim"
	"github.com/claimrail/claimrail/internal/store"
)

// rememberedRepeats is how many claims a dry run remembers, at least: 20 MB for twice
// as many. A repeat that comes later is told as accepted.
const rememberedRepeats = 1 << 18

// Repeats finds what dry runs, one after the other, repeat of their claims, where nothing of them is stored, by
// 64 bits of each id and of what the claim says: of a million claims two are taken for one about once in
// ten million times. The zero value remembers nothing yet.
type Repeats struct {
	recent, older map[uint64]uint64
	most          int // of each; 0: rememberedRepeats
}

// find completes the outcomes of claims, of which it is known already what is stored.
func (r *Repeats) find(submissions []store.Submission, outcomes []store.Outcome) {
	for i := range submissions {
		if outcomes[i].Existing || outcomes[i].Err != nil {
			continue
		}
		switch same, found := r.add(submissions[i].Claim); {
		case found && same:
			outcomes[i].Existing = true
		case found:
			outcomes[i].Err = store.ErrOtherClaim
		}
	}
}

// add remembers a claim, or tells whether the one that is there says the same.
func (r *Repeats) add(c *claim.Claim) (same, found bool) {
	id, says := binary.BigEndian.Uint64(c.ID[8:]), binary.BigEndian.Uint64(c.Fingerprint[:]) // in the end of an id there is no time
	before, found := r.recent[id]
	if !found {
		before, found = r.older[id]
	}
	if found {
		return before == says, true
	}
	most := r.most
	if most == 0 {
		most = rememberedRepeats
	}
	if r.recent == nil || len(r.recent) >= most {
		r.older, r.recent = r.recent, map[uint64]uint64{}
	}
	r.recent[id] = says
	return false, false
}
