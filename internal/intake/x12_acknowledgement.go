package intake

import (
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/claimrail/claimrail/internal/x12"
)

const (
	acknowledgementSet   = "999"
	acknowledgementGuide = "005010X231A1"
	// maxSetErrors is how many segments in error are told of one set; that there are more
	// shows in the rejects.
	maxSetErrors = 1_000
	// maxContextBytes is the length of a claim number in a CTX, by the standard.
	maxContextBytes = 35
)

// Acknowledgement writes the answer to X12, a 999 for each group: what became of each set, and
// which segments of it were in error. Of values it holds control numbers and claim numbers only;
// copies of elements in error, which the standard allows, are left out, for they may be PHI.
//
// Sender and receiver change places; dates and control numbers are those of the file, so
// that the same file gives the same answer. Groups of acknowledgements are not acknowledged, nor
// is what stands outside of any group; interchanges are not either (TA1).
type Acknowledgement struct {
	out         *x12.Writer
	interchange *x12.Interchange // nil: none is open
	group       *x12.Group       // nil: none is open
	groups      int              // of the interchange, so far
	received    int              // sets of the group, so far
	accepted    int              // of them
	inError     bool             // of the group: a set in error, or segments that belong to none
	set         x12Verdict
}

// x12Verdict is what is to be said at the end of a set.
type x12Verdict struct {
	part    *x12.Part // nil: no set is open
	refused bool
	codes   []string // IK502 and so on
	errors  int      // segments in error
}

// Acknowledgement makes a writer of the answer to this file.
func (x *X12Reader) Acknowledgement(w io.Writer) *Acknowledgement {
	return &Acknowledgement{out: x12.NewWriter(w)}
}

// Acknowledgement makes a writer of the answer to this file; nil where it is not X12.
func (f *File) Acknowledgement(w io.Writer) *Acknowledgement {
	if f.x12 == nil {
		return nil
	}
	return f.x12.Acknowledgement(w)
}

// Add takes a parcel that was judged; without errors among its faults it is accepted, now or
// before. Call it for every parcel, in the order of Next, from one goroutine.
func (a *Acknowledgement) Add(parcel *Parcel, faults []Fault) error {
	source := parcel.X12
	part := source.part
	a.open(part)
	if a.group == nil {
		return a.out.Err()
	}
	switch part.Kind {
	case x12.Continuation: // its beginning was refused
	case x12.Stray:
		a.closeSet()
		a.inError = true
	case x12.Envelope:
		a.closeSet()
	case x12.TransactionSet:
		if part != a.set.part {
			a.closeSet()
			a.set.part = part
			header := part.Segment(0)
			a.out.Segment("AK2", plainText(header.Trimmed(1), 3), plainText(header.Trimmed(2), 9), plainText(header.Trimmed(3), 35))
		}
		if source.body.end == 0 {
			a.refuse(faults)
		} else {
			a.report(source, faults)
		}
	}
	return a.out.Err()
}

// Close writes what ends the envelopes. Call it when Next will not be called any more.
func (a *Acknowledgement) Close() error {
	a.closeInterchange()
	return a.out.Flush()
}

// open begins the answer to the part's group, unless it is the one at hand.
func (a *Acknowledgement) open(part *x12.Part) {
	if part.Interchange != a.interchange {
		a.closeInterchange()
	}
	if part.Group == a.group {
		return
	}
	a.closeGroup()
	if part.Group == nil || part.Group.Header.Trimmed(1) == acknowledgementFunction {
		return
	}
	if a.interchange == nil {
		a.openInterchange(part.Interchange)
	}
	a.group = part.Group
	a.groups++
	header := part.Group.Header
	number := groupNumber(header)
	a.out.Segment("GS", acknowledgementFunction, plainText(header.Trimmed(3), 15), plainText(header.Trimmed(2), 15),
		digitsOr(header.Trimmed(4), 8, "20000101"), digitsOr(header.Trimmed(5)[:min(4, len(header.Trimmed(5)))], 4, "0000"), number, "X", acknowledgementGuide)
	a.out.Count()
	a.out.Segment("ST", acknowledgementSet, "0001", acknowledgementGuide)
	a.out.Segment("AK1", plainText(header.Trimmed(1), 2), number, plainText(header.Trimmed(8), 12))
}

func (a *Acknowledgement) openInterchange(of *x12.Interchange) {
	a.interchange = of
	a.out.Use(of.Delimiters, of.End())
	header := of.Header
	usage := "P"
	if header.Trimmed(15) == "T" {
		usage = "T"
	}
	blank := strings.Repeat(" ", 10)
	qualifier := func(n int) string { return fixed(plainText(header.Trimmed(n), 2), 2) }
	party := func(n int) string { return fixed(plainText(header.Trimmed(n), 15), 15) }
	a.out.Segment("ISA", "00", blank, "00", blank, qualifier(7), party(8), qualifier(5), party(6),
		digitsOr(header.Trimmed(9), 6, "000101"), digitsOr(header.Trimmed(10), 4, "0000"), repetition(of.Delimiters), "00501", interchangeNumber(of),
		"0", usage, string([]byte{of.Delimiters.Component}))
}

// repetition gives the repetition separator, or one that could be where the sender has none.
func repetition(d x12.Delimiters) string {
	for _, c := range [...]byte{d.Repetition, '^', '!', '|', ';'} {
		if c != 0 && c != d.Element && c != d.Component && c != d.Terminator {
			return string([]byte{c})
		}
	}
	return "" // not reached: one of the four is left
}

// interchangeNumber gives the control number of the answer: the received one.
func interchangeNumber(of *x12.Interchange) string {
	return digitsOr(of.Header.Trimmed(13), 9, "000000001")
}

// groupNumber gives the control number of a group in the answer: the received one.
func groupNumber(header x12.Segment) string {
	number := header.Trimmed(6)
	return digitsOr(number, min(max(len(number), 1), 9), "1")
}

// digitsOr gives a text of so many digits, or something else in its place.
func digitsOr(text string, count int, otherwise string) string {
	if len(text) != count || strings.Trim(text, "0123456789") != "" {
		return otherwise
	}
	return text
}

// plainText gives a text if it is printable ASCII of at most so many bytes; else nothing.
func plainText(text string, maxBytes int) string {
	for i := range len(text) {
		if text[i] < ' ' || text[i] >= 0x7f {
			return ""
		}
	}
	if len(text) > maxBytes {
		return ""
	}
	return text
}

// fixed fills up a text with spaces.
func fixed(text string, length int) string { return text + strings.Repeat(" ", length-len(text)) }

func (a *Acknowledgement) closeInterchange() {
	a.closeGroup()
	if a.interchange != nil {
		a.out.Segment("IEA", strconv.Itoa(a.groups), interchangeNumber(a.interchange))
	}
	a.interchange, a.groups = nil, 0
}

// closeGroup says what became of the group: all accepted (A), with errors (E), in part (P), or
// nothing (R).
func (a *Acknowledgement) closeGroup() {
	a.closeSet()
	if a.group == nil {
		return
	}
	end := a.group.End()
	codes := groupCodes(a.group, end)
	status := "A"
	switch {
	case a.accepted == 0:
		status = "R"
	case a.accepted < a.received:
		status = "P"
	case a.inError || len(codes) > 0:
		status = "E"
	}
	stated := end.Stated
	if stated < 0 {
		stated = a.received
	}
	a.out.Segment("AK9", append([]string{status, strconv.Itoa(stated), strconv.Itoa(a.received), strconv.Itoa(a.accepted)}, codes...)...)
	a.out.Segment("SE", strconv.Itoa(a.out.Count()+1), "0001")
	a.out.Segment("GE", "1", groupNumber(a.group.Header))
	a.group, a.received, a.accepted, a.inError = nil, 0, 0, false
}

// groupCodes says what is wrong with a group as such, in the codes of AK905; five at most.
func groupCodes(group *x12.Group, end x12.GroupEnd) []string {
	var codes []string
	add := func(code string) {
		if len(codes) < 5 && !slices.Contains(codes, code) {
			codes = append(codes, code)
		}
	}
	if group.Header.Trimmed(1) != dentalGroup {
		add("1")
	} else if !isDentalGuide(group.Header.Trimmed(8)) {
		add("2")
	}
	for _, code := range end.Codes {
		switch {
		case code == x12.CodeGroupOpen:
			add("3")
		case code == x12.CodeGroupNumber && group.Fault == "":
			add("4")
		case code == x12.CodeGroupNumber:
			add("6")
		case code == x12.CodeGroupCount:
			add("5")
		}
	}
	return codes
}

// refuse takes down why a set is refused as a whole.
func (a *Acknowledgement) refuse(faults []Fault) {
	a.set.refused = true
	for i := range faults {
		if code := setCode(&faults[i]); len(a.set.codes) < 5 && !slices.Contains(a.set.codes, code) {
			a.set.codes = append(a.set.codes, code)
		}
	}
}

// setCode says what is wrong with a set, in the codes of IK502.
func setCode(f *Fault) string {
	switch f.Code {
	case CodeSetType:
		return "1"
	case x12.CodeSetOpen:
		return "2"
	case x12.CodeSetNumber:
		if f.Column == "ST02" {
			return "7"
		}
		return "3"
	case x12.CodeSetCount:
		return "4"
	case x12.CodeSetNumberRepeated:
		return "23"
	case CodeGuide:
		return "I6"
	default:
		return "5"
	}
}

// closeSet says what became of the set: accepted (A), though with segments in error (E), or
// not (R).
func (a *Acknowledgement) closeSet() {
	if a.set.part == nil {
		return
	}
	a.received++
	switch {
	case a.set.refused:
		a.out.Segment("IK5", append([]string{"R"}, a.set.codes...)...)
	case a.set.errors > 0:
		a.out.Segment("IK5", "E", "5")
		a.accepted++
		a.inError = true
	default:
		a.out.Segment("IK5", "A")
		a.accepted++
	}
	a.set = x12Verdict{}
}
