package intake

import (
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"maps"
	"math"
)

// Limits of the look at a CSV file that is taken before its claims are given.
const (
	// lookSlots is how many hashes of claims a look may hold, three quarters of them filled: 32 MiB,
	// for three million claims. A file of more is looked at again, each time for others of them.
	lookSlots = 1 << 22
	// maxApart is how many claims of one file may stand apart: a file of more is refused as a whole.
	maxApart = 1 << 16
	// maxSpareRows is how many rows a parcel may have room for to be used again: most have fewer.
	maxSpareRows = 16
)

// apartness says how the rows of a claim stand apart.
type apartness struct {
	full  bool // those behind the first are more than one claim may have, or longer
	given bool // a part of it has been given
}

// OpenAgain opens a file that again gives from its first byte as often as it is called, also while what it gave
// before is being read. A claim
// is to be refused whole where a row of it stands outside of the window, and that is known at its
// end only: so CSV is looked at once before, for such claims. Errors: those of Open, of again and
// of the sources it gives, and *FormatError where too many claims stand apart.
func OpenAgain(again func() (io.Reader, error), options Options) (*File, error) {
	seed := maphash.MakeSeed()
	apart, err := lookForApart(again, options, seed, lookSlots)
	if err != nil {
		return nil, err
	}
	source, err := again()
	if err != nil {
		return nil, err
	}
	f, err := Open(source, options)
	if err != nil {
		return nil, err
	}
	if f.csv != nil {
		f.csv.open.apart, f.csv.open.closed.seed = apart, seed
	}
	if f.packed {
		f.again = again
	}
	return f, nil
}

// lookForApart finds the claims of a CSV file that stand apart, by the hashes of their names. What
// is wrong with the file is left to its reader to say; behind it there are no claims.
func lookForApart(again func() (io.Reader, error), options Options, seed maphash.Seed, slots int) (map[uint64]apartness, error) {
	l := look{apart: map[uint64]apartness{}, slots: slots}
	for {
		source, err := again()
		if err != nil {
			return nil, err
		}
		l.begin()
		if err := l.through(source, options, seed); err != nil && !isOfFile(err) {
			return nil, fmt.Errorf("look for claims that stand apart: %w", err)
		}
		if len(l.apart) > maxApart {
			return nil, &FormatError{CSVTable, "the rows of more than 65536 claims stand too far apart: sort the file by claim number, and send it again"}
		}
		if l.to == math.MaxUint64 {
			return l.apart, nil
		}
		l.from = l.to + 1
	}
}

// isOfFile tells whether an error is the file's own.
func isOfFile(err error) bool {
	_, format := errors.AsType[*FormatError](err)
	_, syntax := errors.AsType[*SyntaxError](err)
	_, header := errors.AsType[*HeaderError](err)
	return format || syntax || header
}

// look is a look at a file: its claims are opened and closed as they will be when it is read, but
// nothing of them is kept save the hash of each name.
type look struct {
	from, to uint64 // the hashes that it is for; to sinks while there are too many
	slots    int    // most of seen
	seen     hashSet
	full     map[uint64]struct{} // that were closed since they were too large
	apart    map[uint64]apartness
	spare    []*Parcel // that were given
}

// begin readies the look for the hashes behind those of the one before.
func (l *look) begin() {
	l.to = math.MaxUint64
	l.full = map[uint64]struct{}{}
	l.seen.clear()
}

// through looks a file through, if it is CSV.
func (l *look) through(source io.Reader, options Options, seed maphash.Seed) error {
	f, err := Open(source, options)
	if err != nil || f.csv == nil {
		return err
	}
	f.csv.open.closed.seed, f.csv.open.look = seed, l
	for len(l.apart) <= maxApart {
		parcel, err := f.csv.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		if cap(parcel.Rows) <= maxSpareRows && len(l.spare) < WindowRows {
			l.spare = append(l.spare, parcel)
		}
	}
	return nil
}

// opened notes that a claim was opened, perhaps again, and gives a parcel for the places of its rows.
func (l *look) opened(hash uint64) *Parcel {
	if hash >= l.from && hash <= l.to && l.seen.has(hash) {
		if _, known := l.apart[hash]; !known {
			_, full := l.full[hash]
			l.apart[hash] = apartness{full: full}
		}
	}
	last := len(l.spare) - 1
	if last < 0 {
		return &Parcel{}
	}
	parcel := l.spare[last]
	l.spare = l.spare[:last]
	*parcel = Parcel{Rows: parcel.Rows[:0]}
	return parcel
}

// closed notes that a claim was closed, and whether since it was too large.
func (l *look) closed(hash uint64, full bool) {
	if hash < l.from || hash > l.to {
		return
	}
	if full {
		l.full[hash] = struct{}{}
	}
	l.seen.add(hash)
	for l.seen.isFull() {
		if len(l.seen.slots) < l.slots {
			l.seen.rebuild(2*len(l.seen.slots), l.to)
			continue
		}
		l.to = l.from + (l.to-l.from)/2
		l.seen.rebuild(l.slots, l.to)
		maps.DeleteFunc(l.full, func(hash uint64, _ struct{}) bool { return hash > l.to })
	}
}

// hashSet is a set of hashes whose lowest bit means nothing, in 8 bytes for each slot.
type hashSet struct {
	slots []uint64 // a power of two of them; 0: empty
	count int
}

// firstSlots is how many slots a set begins with.
const firstSlots = 1 << 10

func (s *hashSet) clear() {
	if s.slots == nil {
		s.slots = make([]uint64, firstSlots)
	}
	clear(s.slots)
	s.count = 0
}

// isFull tells whether more would make it slow.
func (s *hashSet) isFull() bool { return s.count > len(s.slots)/4*3 }

// place gives the slot that holds a hash, or would.
func (s *hashSet) place(hash uint64) *uint64 {
	mask := len(s.slots) - 1
	for at := int(hash>>1) & mask; ; at = (at + 1) & mask {
		if slot := &s.slots[at]; *slot == 0 || *slot == hash|1 {
			return slot
		}
	}
}

func (s *hashSet) has(hash uint64) bool { return *s.place(hash) != 0 }

func (s *hashSet) add(hash uint64) {
	if slot := s.place(hash); *slot == 0 {
		*slot = hash | 1
		s.count++
	}
}

// rebuild makes it one of so many slots, without the hashes beyond to.
func (s *hashSet) rebuild(slots int, to uint64) {
	old := s.slots
	s.slots, s.count = make([]uint64, slots), 0
	for _, hash := range old {
		if hash != 0 && hash&^1 <= to {
			s.add(hash)
		}
	}
}
