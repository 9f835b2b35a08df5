package intake

import (
	"io"
	"strconv"

	"github.com/claimrail/claimrail/internal/x12"
)

// X12Rejects writes what was rejected as X12 again, to be repaired and sent once more: the
// same delimiters and line breaks, the envelopes with their control numbers, so that claims keep
// their keys, and counts that fit what is in them. A set that was refused as a whole is given
// back as it stood. Of a set in which claims were rejected there are its beginning, these claims,
// and the levels that they stand under. Text outside of interchanges is not given back.
type X12Rejects struct {
	out         *x12.Writer
	interchange *x12.Interchange // nil: none is open
	group       *x12.Group       // nil: none is open
	groups      int              // of the interchange, so far
	sets        int              // of the group, so far
	part        *x12.Part        // the set that claims are of
	claims      []*X12Source     // MaxSetClaims at most
}

// Rejects makes a writer of what is rejected of this file.
func (x *X12Reader) Rejects(w io.Writer) *X12Rejects { return &X12Rejects{out: x12.NewWriter(w)} }

// Add takes a parcel that was rejected. Call it in the order of Next, from one goroutine. The
// faults are not written: a segment has no room for them.
func (r *X12Rejects) Add(parcel *Parcel, _ []Fault) error {
	source := parcel.X12
	part := source.part
	if part.Kind == x12.Envelope {
		return nil
	}
	if part != r.part {
		r.closeSet()
		r.open(part)
	}
	switch {
	case source.body.end > 0:
		r.part = part
		r.claims = append(r.claims, source)
		return nil
	case part.Kind == x12.TransactionSet:
		r.sets++
	}
	r.out.Raw(part.Text, part.Len())
	return r.out.Err()
}

// Close writes what ends the envelopes.
func (r *X12Rejects) Close() error {
	r.closeInterchange()
	return r.out.Flush()
}

// open writes the envelopes of a part, where they are not open.
func (r *X12Rejects) open(part *x12.Part) {
	if part.Interchange != r.interchange {
		r.closeInterchange()
		r.interchange = part.Interchange
		r.out.Use(part.Interchange.Delimiters, part.Interchange.End())
		r.out.Raw(part.Interchange.Raw, 1)
	}
	if part.Group != r.group {
		r.closeGroup()
		if r.group = part.Group; r.group != nil {
			r.groups++
			r.out.Raw(part.Group.Raw, 1)
		}
	}
}

func (r *X12Rejects) closeInterchange() {
	r.closeGroup()
	if r.interchange != nil {
		r.out.Segment("IEA", strconv.Itoa(r.groups), r.interchange.Header.Element(13))
	}
	r.interchange, r.groups = nil, 0
}

func (r *X12Rejects) closeGroup() {
	r.closeSet()
	if r.group != nil {
		r.out.Segment("GE", strconv.Itoa(r.sets), r.group.Header.Element(6))
	}
	r.group, r.sets = nil, 0
}

// closeSet writes the claims that were rejected of a set.
func (r *X12Rejects) closeSet() {
	if r.part == nil {
		return
	}
	r.sets++
	r.out.Count()
	head := int(r.claims[0].head)
	r.out.Raw(r.part.Raw(0, head), head)
	anew := true // number levels anew: not where they are wrong, which must not be mended by chance
	for _, source := range r.claims {
		anew = anew && source.wrong.segment == 0
	}
	var last X12Source
	var numbers [levelCount]int
	number := 0
	for i, source := range r.claims {
		for level, at := range source.levels {
			if at.begin == 0 || at == last.levels[level] {
				continue
			}
			if number++; !anew {
				r.raw(at)
				continue
			}
			numbers[level] = number
			parent := ""
			if level > 0 {
				parent = strconv.Itoa(numbers[level-1])
			}
			segment := r.part.Segment(int(at.begin))
			r.out.Segment("HL", strconv.Itoa(number), parent, segment.Element(3), r.childCode(i, level))
			r.raw(x12Range{at.begin + 1, at.end})
		}
		if source.lost != last.lost {
			r.raw(source.lost)
		}
		r.raw(source.body)
		last = *source
	}
	r.out.Segment("SE", strconv.Itoa(r.out.Count()+1), r.part.Segment(0).Element(2))
	r.part, r.claims = nil, r.claims[:0]
}

// raw writes segments of the set as they stood.
func (r *X12Rejects) raw(segments x12Range) {
	r.out.Raw(r.part.Raw(int(segments.begin), int(segments.end)), int(segments.end-segments.begin))
}

// childCode says whether, of claim i and those behind it, any stands under a level below the one given: 1
// or 0.
func (r *X12Rejects) childCode(i, level int) string {
	if level == patientLevel {
		return "0"
	}
	at := r.claims[i].levels[level]
	for ; i < len(r.claims) && r.claims[i].levels[level] == at; i++ {
		if r.claims[i].levels[level+1].begin != 0 {
			return "1"
		}
	}
	return "0"
}
