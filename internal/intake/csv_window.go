package intake

import (
	"hash/maphash"

	"github.com/claimrail/claimrail/internal/claim"
)

// window holds the claims that may still get rows. Its memory is bounded: by
// WindowRows and WindowBytes for the rows, by rememberedClaims for the names of
// claims that are closed.
type window struct {
	whole  bool // there are no claim numbers: the file is one claim, open to its end
	claims map[claimName]*openClaim
	queue  []*openClaim // in the order of their first rows; closed ones among them
	bytes  int          // of all rows of open claims
	ready  *Parcel      // to be given before anything else
	closed closedClaims
	apart  map[uint64]apartness // of claims by their hashes: what a look at the file found, if there was one
	look   *look                // that is under way: the rows are given for their places only
}

// claimName is what tells the rows of one claim from those of others.
type claimName struct {
	number string // the sender's claim number
	key    string // as an export gives it, for claims that go by another name than their number
}

type openClaim struct {
	name   claimName
	hash   uint64  // of the name
	parcel *Parcel // nil when it was given out
	bytes  int
	apart  bool // rows of it stand outside of the window
}

// add puts a row to its claim, which it opens where it is not open. A row of a
// claim that was closed can not be put back to it: it makes a claim that is refused.
func (w *window) add(name claimName, row *readRow) {
	found := w.claims[name]
	if found == nil {
		found = w.openFor(name, row)
	}
	if found.apart {
		found.parcel.Refused = append(found.parcel.Refused, standsApart(len(found.parcel.Rows)))
	}
	if w.look == nil {
		found.parcel.add(row)
	} else {
		found.parcel.Rows = append(found.parcel.Rows, row.row)
	}
	found.bytes += len(row.row.Raw)
	w.bytes += len(row.row.Raw)
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

// openFor opens the claim of a row. Of a claim that is known to stand apart each part is refused,
// and the first of them counts for the claim.
func (w *window) openFor(name claimName, row *readRow) *openClaim {
	found := &openClaim{name: name, hash: w.closed.hash(name)}
	w.claims[name] = found
	w.queue = append(w.queue, found)
	if w.look != nil {
		found.parcel = w.look.opened(found.hash)
		return found
	}
	found.parcel = newParcel(row, name.key)
	known, apart := w.apart[found.hash]
	switch refusal, late := w.closed.refusal(found.hash); {
	case apart && !known.full:
		found.apart = true
	case apart && known.given:
		found.parcel.Refused = append(found.parcel.Refused, beyondOneClaim())
	case late:
		found.parcel.Refused = append(found.parcel.Refused, refusal)
	}
	if apart {
		if known.given && !known.full {
			found.parcel.Claims = 0
		}
		known.given = true
		w.apart[found.hash] = known
	}
	return found
}

// alone readies a row that belongs to no claim that could be told.
func (w *window) alone(row *readRow) {
	w.ready = newParcel(row, "")
	w.ready.add(row)
}

// due gives a claim that is complete as far as can be told, or nil: when lastRow, which ends at
// the offset, is WindowRows or SpanBytes behind its first row, when too much waits, or at the end.
func (w *window) due(lastRow int, offset int64, ended bool) *Parcel {
	if parcel := w.ready; parcel != nil {
		w.ready = nil
		return parcel
	}
	for len(w.queue) > 0 {
		first := w.queue[0]
		if first.parcel != nil && !ended && !w.isDue(&first.parcel.Rows[0], lastRow, offset) {
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

// isDue tells whether the claim of that first row, the oldest, is to be given out. A claim that
// is the whole file is not, as long as the window holds it; then its further rows are refused with it.
func (w *window) isDue(first *Row, lastRow int, offset int64) bool {
	if offset-first.Offset > SpanBytes {
		return true
	}
	return !w.whole && (lastRow-first.Number+1 >= WindowRows || w.bytes > WindowBytes)
}

// settled gives the number of the first row that is still in an open claim, or else next.
func (w *window) settled(next int) int {
	for _, waiting := range w.queue {
		if waiting.parcel != nil {
			return min(next, waiting.parcel.Rows[0].Number)
		}
		w.queue = w.queue[1:]
	}
	return next
}

// give closes a claim.
func (w *window) give(found *openClaim, full bool) *Parcel {
	parcel := found.parcel
	found.parcel = nil
	w.bytes -= found.bytes
	delete(w.claims, found.name)
	if w.look != nil {
		w.look.closed(found.hash, full)
	} else {
		w.closed.add(found.hash, full)
	}
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

func (c *closedClaims) add(hash uint64, full bool) {
	if len(c.recent) >= rememberedClaims {
		c.older, c.recent = c.recent, nil
	}
	if c.recent == nil {
		c.recent = map[uint64]struct{}{}
	}
	c.recent[hash] = struct{}{}
	if full {
		c.recent[hash|fullBit] = struct{}{}
	}
}

func (c *closedClaims) hash(name claimName) uint64 {
	if name.key == "" { // as it is outside of exports, and faster
		return maphash.String(c.seed, name.number) &^ fullBit
	}
	return maphash.Comparable(c.seed, name) &^ fullBit
}

func (c *closedClaims) has(hash uint64) bool {
	_, recent := c.recent[hash]
	_, older := c.older[hash]
	return recent || older
}

// beyondOneClaim says what is wrong with rows that are given behind their claim, which was too large.
func beyondOneClaim() claim.Violation {
	return claim.Violation{
		Line: claim.WholeClaim, Field: claim.NoField, Code: claim.CodeTooManyLines, Severity: claim.Error,
		Message: "these rows are beyond the 999 lines, or the 16 MiB, that one claim may have",
	}
}

// standsApart says what is wrong with a row of a claim that stands apart.
func standsApart(line int) claim.Violation {
	return claim.Violation{
		Line: line, Field: claim.ExternalIDField, Code: CodeClaimClosed, Severity: claim.Error,
		Message: "rows of this claim stand too far apart in the file; put the rows of each claim next to each other, as by sorting them by claim number",
	}
}

// refusal says what is wrong with a row of this claim, if it was closed.
func (c *closedClaims) refusal(hash uint64) (claim.Violation, bool) {
	switch {
	case c.has(hash | fullBit):
		return beyondOneClaim(), true
	case c.has(hash):
		return standsApart(0), true
	default:
		return claim.Violation{}, false
	}
}
