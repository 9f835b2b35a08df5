package intake

import "github.com/claimrail/claimrail/internal/x12"

// The levels of the hierarchy, in the order in which they stand in it.
const (
	billingLevel = iota
	subscriberLevel
	patientLevel
	levelCount
)

// x12Walk goes through a set from claim to claim, and knows under whom each one stands.
type x12Walk struct {
	part      *x12.Part // nil: there is no set
	at        int32     // the next segment
	keyPrefix string
	head      int32    // the index of the first HL, or claim; 0: not seen yet
	control   x12Place // in front of it
	levels    [levelCount]x12Level
	depth     int      // the level that the walk is in; -1: none, or none that is known
	lost      x12Range // the level that the walk is in where it is not known
	reading   x12Reading
	unweighed int // bytes of the set; 0 once a parcel stands for them
}

// x12Level is an HL and the segments that belong to it. The zero value is none.
type x12Level struct {
	x12Range
	id                      string // HL01
	provider, group, member int32  // NM1*85, SBR, NM1*IL: the index, 0 for none
	wrong                   x12Place
	control                 x12Place // a character that may not be
}

// newX12Walk starts in front of the first segment behind ST.
func newX12Walk(part *x12.Part) x12Walk {
	return x12Walk{part: part, at: 1, keyPrefix: x12KeyPrefix(part), depth: -1, unweighed: part.Size()}
}

// next gives the next claim of the set; nil behind the last.
func (w *x12Walk) next() *X12Source {
	end := int32(w.part.Len()) - 1 // of SE
	for ; w.at < end; w.at++ {
		switch {
		case w.part.Is(int(w.at), "HL"):
			w.closeLevel()
			w.enter()
		case w.part.Is(int(w.at), "CLM"):
			w.closeLevel()
			return w.claim(end)
		case w.depth >= 0:
			w.note(&w.levels[w.depth])
		}
	}
	return nil
}

// closeLevel ends the level in front of the segment at hand, unless a claim did before.
func (w *x12Walk) closeLevel() {
	if w.head == 0 {
		w.head = w.at
		w.control = controlIn(w.part, x12Range{1, w.at})
	}
	if w.depth < 0 && w.lost.begin != 0 && w.lost.end == 0 {
		w.lost.end = w.at
	}
	if w.depth >= 0 && w.levels[w.depth].end == 0 {
		level := &w.levels[w.depth]
		level.end = w.at
		level.control = controlIn(w.part, level.x12Range)
	}
}

// controlIn finds the first character that may not stand in a segment.
func controlIn(part *x12.Part, segments x12Range) x12Place {
	if !part.Plain {
		for i := segments.begin; i < segments.end; i++ {
			segment := part.Segment(int(i))
			if element, found := segment.ControlAt(); found {
				return x12Place{i, elementName(segment.ID(), element)}
			}
		}
	}
	return x12Place{}
}

// enter reads an HL. It must stand under the level above it that stands last; so the
// numbers tell nothing that the order does not, unless something is missing.
func (w *x12Walk) enter() {
	segment := w.part.Segment(int(w.at))
	level := x12Level{x12Range: x12Range{begin: w.at}, id: segment.Trimmed(1)}
	switch segment.Trimmed(3) {
	case "20":
		w.depth = billingLevel
	case "22":
		w.depth = subscriberLevel
	case "23":
		w.depth = patientLevel
	default: // a level that the guide does not have: whose claims these are is not known
		w.depth = -1
		w.lost = level.x12Range
		return
	}
	parent := ""
	if w.depth > 0 {
		parent = w.levels[w.depth-1].id
		level.wrong = w.levels[w.depth-1].wrong
	}
	switch {
	case level.id == "":
		level.wrong = x12Place{w.at, "HL01"}
	case segment.Trimmed(2) != parent, w.depth > 0 && parent == "":
		level.wrong = x12Place{w.at, "HL02"}
	}
	w.levels[w.depth] = level
	clear(w.levels[w.depth+1:])
}

// note remembers where in a level the fields of its claims stand. What stands twice can not be
// used.
func (w *x12Walk) note(level *x12Level) {
	segment := w.part.Segment(int(w.at))
	var into *int32
	switch segment.ID() {
	case "SBR":
		into = &level.group
	case "NM1":
		switch entity := segment.Trimmed(1); {
		case entity == "85" && w.depth == billingLevel:
			into = &level.provider
		case entity == "IL" && w.depth == subscriberLevel:
			into = &level.member
		}
	}
	if into == nil {
		return
	}
	if *into != 0 && level.wrong.segment == 0 {
		level.wrong = x12Place{w.at, segment.ID()}
	}
	*into = w.at
}

// claim gives the claim that begins at hand, and steps behind it.
func (w *x12Walk) claim(end int32) *X12Source {
	source := &X12Source{part: w.part, body: x12Range{begin: w.at}, head: w.head}
	for w.at++; w.at < end && !w.part.Is(int(w.at), "HL") && !w.part.Is(int(w.at), "CLM"); {
		w.at++
	}
	source.body.end = w.at
	source.controls[levelCount] = w.control
	if w.depth < 0 {
		source.lost = w.lost
	}
	for i := range w.depth + 1 {
		level := &w.levels[i]
		source.levels[i], source.controls[i] = level.x12Range, level.control
		switch i {
		case billingLevel:
			source.provider = level.provider
		case subscriberLevel:
			source.group, source.member = level.group, level.member
		}
	}
	source.wrong = x12Place{source.body.begin, "HL"}
	if w.depth >= subscriberLevel {
		source.wrong = w.levels[w.depth].wrong
	}
	return source
}
