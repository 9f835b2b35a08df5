package x12

import (
	"bytes"
	"io"
	"strconv"
	"strings"
)

// Kind tells what a part of the input is.
type Kind int

// Kinds of part.
const (
	TransactionSet Kind = iota // ST to SE, or as far as it came
	Continuation               // more of a set that is too long; it is refused like its beginning
	Stray                      // segments between sets, where none belong
	Envelope                   // no segments to give back: an envelope is wrong, or text outside of all
)

// Part is a transaction set, or something that stands between sets. Nothing in it
// changes any more, so that any goroutine may look at it.
type Part struct {
	Kind        Kind
	Interchange *Interchange // nil: before the first one
	Group       *Group       // nil: outside of any
	Text        string       // as it stood, line breaks behind segments included
	First       int          // the number of its first segment in the input, from 1
	Line        int          // of its first segment, from 1
	Offset      int64        // of Text in the input, in bytes
	Plain       bool         // its text holds printable ASCII, delimiters and line breaks only
	Faults      []Fault      // a set with any of them must not be accepted
	segments    []place
}

// place is where a segment stands in the text of its part.
type place struct {
	begin, end int32 // in bytes, the terminator not counted
	line       int32 // of the input, from 1
}

// Len counts the segments.
func (p *Part) Len() int { return len(p.segments) }

// placeBytes is the memory of a place.
const placeBytes = 12

// Size is the memory that the part takes, in bytes. The headers of its envelopes are in it, though
// other parts may share them: where each group has one set, they may be most of it.
func (p *Part) Size() int {
	size := len(p.Text) + placeBytes*len(p.segments)
	if p.Interchange != nil {
		size += len(p.Interchange.Raw)
	}
	if p.Group != nil {
		size += len(p.Group.Raw)
	}
	return size
}

// Segment gives segment i, from 0.
func (p *Part) Segment(i int) Segment {
	at := &p.segments[i]
	return Segment{p.Text[at.begin:at.end], p.Interchange.Delimiters}
}

// Is tells whether segment i has the name; it is quicker than to look at Segment.
func (p *Part) Is(i int, id string) bool {
	at := &p.segments[i]
	text := p.Text[at.begin:at.end]
	return strings.HasPrefix(text, id) && (len(text) == len(id) || text[len(id)] == p.Interchange.Delimiters.Element)
}

// LineOf gives the line of segment i in the input, from 1.
func (p *Part) LineOf(i int) int { return int(p.segments[i].line) }

// Raw gives the segments from i to before j as they stood.
func (p *Part) Raw(i, j int) string {
	if i >= j {
		return ""
	}
	return p.Text[p.segments[i].begin:p.behind(j-1)]
}

// End gives what stood behind the text of segment i: the terminator and the line break.
func (p *Part) End(i int) string { return p.Text[p.segments[i].end:p.behind(i)] }

// OffsetOf gives the offset of segment i in the input, in bytes.
func (p *Part) OffsetOf(i int) int64 { return p.Offset + int64(p.segments[i].begin) }

// behind gives the offset in Text behind segment i.
func (p *Part) behind(i int) int {
	if i+1 < len(p.segments) {
		return int(p.segments[i+1].begin)
	}
	return len(p.Text)
}

// Interchange is the outer envelope. Its header does not change.
type Interchange struct {
	Header     Segment
	Raw        string // the header as it stood
	Delimiters Delimiters
	Fault      string // Code of what makes the header unusable; its sets are refused for it
	groups     int
}

// End gives what stood behind the text of the header: the terminator and the line break.
func (i *Interchange) End() string { return i.Raw[len(i.Header.text):] }

// Group is a functional group. Its header does not change; what is said of its end is
// known, and must not be asked for sooner, when a part of another group or the end of the
// input was given.
type Group struct {
	Header Segment
	Raw    string // the header as it stood
	Fault  string // Code of what makes the header unusable; its sets are refused for it
	end    GroupEnd
	seen   map[string]struct{} // control numbers of its sets; nil once it has ended
}

// GroupEnd is what is known behind the last set of a group.
type GroupEnd struct {
	Sets   int      // how many there were
	Stated int      // how many there are by GE01; -1 where that is no number
	Codes  []string // of what is wrong with the envelope
}

// End gives what is known behind the group's last set.
func (g *Group) End() GroupEnd { return g.end }

// Reader reads interchanges, one part after the other. A set is given out when
// its end was seen and checked; an envelope that does not fit what was in it is reported
// behind it.
type Reader struct {
	scan        scanner
	interchange *Interchange
	group       *Group
	open        *Part // the set, or the stray segments, being read
	text        strings.Builder
	hint        int     // the likely length of the next set
	outside     bool    // text outside of interchanges was reported
	ready       []*Part // to be given next
	err         error   // what comes behind them
}

// NewReader reads the first header. Errors: *SyntaxError, and those of r, wrapped.
func NewReader(r io.Reader) (*Reader, error) {
	x := &Reader{scan: newScanner(r)}
	if err := x.scan.fill(); err != nil {
		return nil, err
	}
	const mark = "\xef\xbb\xbf"
	if bytes.HasPrefix(x.scan.buffer[:x.scan.end], []byte(mark)) {
		x.scan.advance(len(mark))
	}
	first, err := x.scan.next()
	switch {
	case err == io.EOF:
		return nil, &SyntaxError{x.scan.line, 1, "empty: there is no interchange"}
	case err != nil:
		return nil, err
	case first.fault == CodeTextOutside:
		before := x.scan.buffer[:x.scan.begin-len(first.raw)]
		return nil, &SyntaxError{first.line, len(before) - bytes.LastIndexAny(before, "\r\n"), "not X12, or its first segment is cut: an interchange begins with an ISA of 106 bytes, " +
			"in which the delimiters are neither letters nor digits, nor part of an element"}
	}
	x.take(&first)
	return x, nil
}

// Next gives the next part. Errors: io.EOF at the end, and those of the source, wrapped;
// then the set that was still open is not given, for it may lack segments.
func (x *Reader) Next() (*Part, error) {
	for len(x.ready) == 0 {
		if x.err != nil {
			return nil, x.err
		}
		found, err := x.scan.next()
		switch {
		case err == io.EOF:
			x.err = err
			x.closeInterchange(nil)
		case err != nil:
			x.err = err
		default:
			x.take(&found)
		}
	}
	part := x.ready[0]
	x.ready[0] = nil // the slice's memory lives on for a while
	x.ready = x.ready[1:]
	return part, nil
}

// take puts a piece to where it belongs.
func (x *Reader) take(p *piece) {
	if p.fault == CodeTextOutside {
		x.closeInterchange(p)
		if !x.outside {
			x.report(p, "", CodeTextOutside, "remove the text that is no part of an interchange; it was passed over")
		}
		x.outside = true
		return
	}
	x.outside = false
	if p.rest {
		x.add(p)
		return
	}
	switch id := p.id(x.scan.delimiters); string(id) {
	case headerName:
		x.closeInterchange(p)
		x.openInterchange(p)
	case "IEA":
		x.endInterchange(p)
	case "GS":
		x.closeGroup(p)
		x.openGroup(p)
	case "GE":
		x.endGroup(p)
	case "ST":
		x.closeSet(p)
		x.openSet(p)
	case "SE":
		x.endSet(p)
	case "TA1": // an answer of the other side's, between the envelopes
		if x.open != nil || x.group != nil {
			x.add(p)
		}
	default:
		x.add(p)
	}
}

func (x *Reader) openInterchange(p *piece) {
	raw := string(p.raw)
	x.interchange = &Interchange{
		Header: Segment{raw[:len(p.text)], x.scan.delimiters}, Raw: raw, Delimiters: x.scan.delimiters, Fault: p.fault,
	}
	switch {
	case p.fault != codeNone:
		x.report(p, "ISA", CodeHeaderLength, "fill up the elements of ISA to their fixed lengths: it must have 106 bytes, its terminator counted")
	case x.interchange.Header.Trimmed(13) == "":
		x.interchange.Fault = CodeInterchangeNumber
		x.report(p, "ISA13", CodeInterchangeNumber, "give the interchange a control number")
	}
}

// endInterchange reads an IEA.
func (x *Reader) endInterchange(p *piece) {
	x.closeGroup(p)
	trailer := Segment{string(p.text), x.scan.delimiters}
	if x.interchange.Header.Trimmed(13) != trailer.Trimmed(2) {
		x.report(p, "IEA02", CodeInterchangeNumber, "make the control number that of ISA13")
	}
	if n, ok := count(trailer.Trimmed(1)); !ok || n != x.interchange.groups {
		x.report(p, "IEA01", CodeInterchangeCount, "write how many groups the interchange has; some may be missing")
	}
	x.interchange = nil
	x.scan.leave()
}

// closeInterchange ends one that has no IEA in front of p; nil stands for the end of the input.
func (x *Reader) closeInterchange(p *piece) {
	x.closeGroup(p)
	if x.interchange != nil {
		x.report(p, "IEA", CodeInterchangeOpen, "end the interchange with its IEA; what stood behind this place is missing")
	}
	x.interchange = nil
}

func (x *Reader) openGroup(p *piece) {
	raw := string(p.raw)
	x.group = &Group{Header: Segment{raw[:len(p.text)], x.scan.delimiters}, Raw: raw, end: GroupEnd{Stated: -1}, seen: map[string]struct{}{}}
	x.interchange.groups++
	if number := x.group.Header.Trimmed(6); !isControlNumber(number) {
		x.group.Fault = CodeGroupNumber
		x.reportGroup(p, "GS06", CodeGroupNumber, "give the group a control number of one to nine digits")
	}
}

// endGroup reads a GE.
func (x *Reader) endGroup(p *piece) {
	x.closeSet(p)
	if x.group == nil {
		x.add(p)
		return
	}
	trailer := Segment{string(p.text), x.scan.delimiters}
	if x.group.Fault == codeNone && x.group.Header.Trimmed(6) != trailer.Trimmed(2) {
		x.reportGroup(p, "GE02", CodeGroupNumber, "make the control number that of GS06")
	}
	n, ok := count(trailer.Trimmed(1))
	if ok {
		x.group.end.Stated = n
	}
	switch {
	case !ok || n != x.group.end.Sets:
		x.reportGroup(p, "GE01", CodeGroupCount, "write how many transaction sets the group has; some may be missing")
	case n == 0:
		x.reportGroup(p, "GE01", CodeGroupEmpty, "leave out a group without transaction sets")
	}
	x.leaveGroup()
}

// closeGroup ends one that has no GE in front of p.
func (x *Reader) closeGroup(p *piece) {
	x.closeSet(p)
	if x.group != nil {
		x.reportGroup(p, "GE", CodeGroupOpen, "end the group with its GE; what stood behind this place is missing")
		x.leaveGroup()
	}
}

// leaveGroup lets go of a group. Its parts may be held for long, and need no control numbers.
func (x *Reader) leaveGroup() {
	x.group.seen = nil
	x.group = nil
}

// reportGroup reports a fault of the group's envelope, and leaves its code with the group.
func (x *Reader) reportGroup(p *piece, element, code, message string) {
	x.group.end.Codes = append(x.group.end.Codes, code)
	x.report(p, element, code, message)
}

// report readies a part that says what is wrong with an envelope at p, or, where p is
// nil, at the end of the input.
func (x *Reader) report(p *piece, element, code, message string) {
	x.flush()
	part := &Part{Kind: Envelope, Interchange: x.interchange, Group: x.group, First: x.scan.number, Line: x.scan.line, Offset: x.scan.offset}
	if p != nil {
		part.First, part.Line, part.Offset = p.number, p.line, p.offset
	}
	part.Faults = []Fault{{part.First, part.Line, element, code, message}}
	x.ready = append(x.ready, part)
}

// count reads how many there are by a trailer.
func count(text string) (int, bool) {
	n, err := strconv.Atoi(text)
	return n, err == nil && n >= 0 && text[0] != '+'
}

// isControlNumber tells whether a text is one of a group or a set: up to nine characters,
// of which a group's are digits by the guides.
func isControlNumber(text string) bool {
	for i := range len(text) {
		if c := text[i]; (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') {
			return false
		}
	}
	return len(text) > 0 && len(text) <= 9
}
