package intake

import (
	"hash/maphash"

	"github.com/claimrail/claimrail/internal/claim"
)

// window holds the claims that may still get rows. Its memory is bounded: by
// WindowRows and WindowBytes for the rows, by rememberedClaims for the numbers of
// claims that are closed.
type window struct {
	whole  bool // there are no claim numbers: the file is one claim, open to its end
	claims map[string]*openClaim
	queue  []*openClaim // in the order of their first rows; closed ones among them
	bytes  int          // of all rows of open claims
	ready  *Parcel      // to be given before anything else
	closed closedClaims
}

type openClaim struct {
	number string
	parcel *Parcel // nil when it was given out
	bytes  int
}

// add puts a row to its claim, which it opens where it is not open. A row of a
// claim that was closed can not be put back to it: it makes a claim that is refused.
func (w *window) add(number string, id claim.Raw, source claim.Source, row Row, line claim.RawLine, faults []claim.Violation) {
	found := w.claims[number]
	if found == nil {
		found = &openClaim{number: number, parcel: newParcel(id, source)}
		w.claims[number] = found
		w.queue = append(w.queue, found)
		if refusal, late := w.closed.refusal(number); late {
			found.parcel.Refused = append(found.parcel.Refused, refusal)
		}
	}
	found.parcel.add(row, line, faults)
	found.bytes += len(row.Raw)
	w.bytes += len(row.Raw)
	if found.bytes > WindowBytes {
		found.parcel.Refused = append(found.parcel.Refused, claim.Violation{
			Line: claim.WholeClaim, Field: claim.NoField, Code: CodeClaimTooLong, Severity: claim.Error,
			Message: "the rows of this claim are longer than 16 MiB together",
		})
	}
	if found.bytes > WindowBytes || len(found.parcel.Rows) > claim.MaxLines {
		w.ready = w.give(found, true)
	}
}

// alone readies a row that belongs to no claim that could be told.
func (w *window) alone(source claim.Source, row Row, line claim.RawLine, id claim.Raw, faults []claim.Violation) {
	parcel := newParcel(id, source)
	parcel.add(row, line, faults)
	w.ready = parcel
}

// due gives a claim that is complete as far as can be told, or nil: when lastRow
// is WindowRows behind its first row, when too much waits, or at the end.
func (w *window) due(lastRow int, ended bool) *Parcel {
	if parcel := w.ready; parcel != nil {
		w.ready = nil
		return parcel
	}
	for len(w.queue) > 0 {
		first := w.queue[0]
		if first.parcel != nil && !ended &&
			(w.whole || lastRow-first.parcel.Rows[0].Number+1 < WindowRows && w.bytes <= WindowBytes) {
			return nil
		}
		w.queue[0] = nil // the slice's memory lives on for a while
		w.queue = w.queue[1:]
		if first.parcel != nil {
			return w.give(first, false)
		}
	}
	return nil
}

// give closes a claim.
func (w *window) give(found *openClaim, full bool) *Parcel {
	parcel := found.parcel
	found.parcel = nil
	w.bytes -= found.bytes
	delete(w.claims, found.number)
	w.closed.add(found.number, full)
	return parcel
}

// closedClaims remembers the claims given out last, at least rememberedClaims of
// them, by 64-bit hashes under a seed that nobody knows: two numbers are taken for
// one about once in ten million files of a million claims.
type closedClaims struct {
	seed   maphash.Seed
	recent map[uint64]struct{}
	older  map[uint64]struct{}
}

// fullBit marks, in a hash of its own, a claim that was closed as it was too
// large.
const fullBit = 1

func (c *closedClaims) add(number string, full bool) {
	if len(c.recent) >= rememberedClaims {
		c.older, c.recent = c.recent, nil
	}
	if c.recent == nil {
		c.recent = map[uint64]struct{}{}
	}
	hash := maphash.String(c.seed, number) &^ fullBit
	c.recent[hash] = struct{}{}
	if full {
		c.recent[hash|fullBit] = struct{}{}
	}
}

func (c *closedClaims) has(hash uint64) bool {
	_, recent := c.recent[hash]
	_, older := c.older[hash]
	return recent || older
}

// refusal says what is wrong with a row of this claim number, if it was closed.
func (c *closedClaims) refusal(number string) (claim.Violation, bool) {
	hash := maphash.String(c.seed, number) &^ fullBit
	switch {
	case c.has(hash | fullBit):
		return claim.Violation{
			Line: claim.WholeClaim, Field: claim.NoField, Code: claim.CodeTooManyLines, Severity: claim.Error,
			Message: "these rows are beyond the 999 lines, or the 16 MiB, that one claim may have",
		}, true
	case c.has(hash):
		return claim.Violation{
			Line: 0, Field: claim.ExternalIDField, Code: CodeClaimClosed, Severity: claim.Error,
			Message: "rows of this claim stood too far in front of this one, and were taken as the whole claim; put the rows of a claim together",
		}, true
	default:
		return claim.Violation{}, false
	}
}
