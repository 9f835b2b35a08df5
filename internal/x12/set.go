package x12

import (
	"bytes"
	"strings"
)

// maxHint bounds the memory that is made ready for a set before it is read.
const maxHint = 64 << 10

// openSet reads an ST.
func (x *Reader) openSet(p *piece) {
	x.flush()
	x.begin(TransactionSet, p)
	x.add(p)
	header := Segment{string(p.text), x.scan.delimiters}
	number := header.Trimmed(2)
	usable := isControlNumber(number)
	if !usable {
		x.fail(p, "ST02", CodeSetNumber, "give the transaction set a control number of four to nine letters and digits")
	}
	if fault := x.interchange.Fault; fault != codeNone {
		x.fail(p, "ISA", fault, "correct the ISA of this interchange; its transaction sets can not be told from others")
	}
	if x.group == nil {
		x.fail(p, "GS", CodeNoGroup, "put this transaction set into a group, between GS and GE")
		return
	}
	x.group.end.Sets++
	if fault := x.group.Fault; fault != codeNone {
		x.fail(p, "GS", fault, "correct the GS of this group; its transaction sets can not be told from others")
	}
	if _, repeated := x.group.seen[number]; repeated {
		x.fail(p, "ST02", CodeSetNumberRepeated, "give each transaction set of a group a control number of its own")
	}
	if len(x.group.seen) >= MaxGroupSets {
		x.fail(p, "ST", CodeTooManySets, "put at most 100000 transaction sets into one group")
		return
	}
	if usable { // a copy, for the number alone would keep all of the ST, 16 KiB at most
		x.group.seen[strings.Clone(number)] = struct{}{}
	}
}

// endSet reads an SE.
func (x *Reader) endSet(p *piece) {
	if x.open == nil || x.open.Kind == Stray {
		x.add(p)
		return
	}
	x.add(p)
	if x.open.Kind == TransactionSet {
		header, trailer := x.header(), Segment{string(p.text), x.scan.delimiters}
		if header.Trimmed(2) != trailer.Trimmed(2) {
			x.fail(p, "SE02", CodeSetNumber, "make the control number that of ST02")
		}
		if n, ok := count(trailer.Trimmed(1)); !ok || n != len(x.open.segments) {
			x.fail(p, "SE01", CodeSetCount, "write how many segments the transaction set has, ST and SE counted; some may be missing")
		}
	}
	x.flush()
}

// header gives the ST of the set being read.
func (x *Reader) header() Segment {
	return Segment{x.text.String()[:x.open.segments[0].end], x.scan.delimiters}
}

// closeSet ends a set that has no SE in front of p.
func (x *Reader) closeSet(p *piece) {
	if x.open != nil && x.open.Kind == TransactionSet {
		x.failAt(p, "SE", CodeSetOpen, "end the transaction set with its SE; what stood behind this place is missing")
	}
	x.flush()
}

// add puts a segment to the set being read, or to the stray segments.
func (x *Reader) add(p *piece) {
	if x.open == nil {
		x.begin(Stray, p)
		x.fail(p, "", CodeMisplacedSegment, "put these segments into a transaction set, between ST and SE")
	}
	if x.text.Len()+len(p.raw) > MaxSetBytes || len(x.open.segments) == MaxSetSegments {
		if x.open.Kind == TransactionSet {
			x.fail(p, "", CodeSetTooLong, "split this transaction set: it is longer than 16 MiB, or has more than 500000 segments")
		}
		kind, faults := x.open.Kind, x.open.Faults
		x.flush()
		if kind == TransactionSet {
			kind = Continuation
		}
		x.begin(kind, p)
		x.open.Faults = append(x.open.Faults, faults[len(faults)-1])
	}
	part := x.open
	begin := x.text.Len()
	x.text.Write(p.raw)
	part.Plain = part.Plain && p.plain
	if p.rest && len(part.segments) > 0 {
		part.segments[len(part.segments)-1].end = int32(begin + len(p.text))
		return
	}
	part.segments = append(part.segments, place{int32(begin), int32(begin + len(p.text)), int32(p.line)})
	switch {
	case p.fault == CodeSegmentTooLong:
		x.fail(p, "", CodeSegmentTooLong, "shorten this segment: it is longer than 16384 bytes")
	case p.fault == CodeSegmentOpen:
		x.fail(p, "", CodeSegmentOpen, "end this segment with its terminator; what stood behind it is missing")
	case !isName(p.id(x.scan.delimiters)):
		x.fail(p, "", CodeSegmentName, "a segment begins with its name, two or three capitals and digits; is a terminator too many, or missing?")
	case bytes.Count(p.text, []byte{x.scan.delimiters.Element}) > MaxElements:
		x.fail(p, "", CodeTooManyElements, "a segment has at most 64 elements; is a terminator missing?")
	}
}

// begin opens a part at p.
func (x *Reader) begin(kind Kind, p *piece) {
	x.open = &Part{Kind: kind, Interchange: x.interchange, Group: x.group, First: p.number, Line: p.line, Offset: p.offset, Plain: true}
	x.text.Grow(min(x.hint, maxHint))
}

// flush readies the part being read, if there is one.
func (x *Reader) flush() {
	if x.open == nil {
		return
	}
	x.open.Text = x.text.String()
	x.hint = len(x.open.Text)
	x.text = strings.Builder{}
	x.ready = append(x.ready, x.open)
	x.open = nil
}

// maxPartFaults is how many faults of one part are kept; the first say enough.
const maxPartFaults = 100

// fail adds what is wrong with the part being read, at p.
func (x *Reader) fail(p *piece, element, code, message string) {
	if len(x.open.Faults) < maxPartFaults {
		x.open.Faults = append(x.open.Faults, Fault{p.number, p.line, element, code, message})
	}
}

// failAt is fail, where p may be nil for the end of the input.
func (x *Reader) failAt(p *piece, element, code, message string) {
	if p == nil {
		p = &piece{number: x.scan.number, line: x.scan.line}
	}
	x.fail(p, element, code, message)
}

// isName tells whether an id has the form of a segment's name.
func isName(id []byte) bool {
	for _, c := range id {
		if (c < 'A' || c > 'Z') && (c < '0' || c > '9') {
			return false
		}
	}
	return len(id) == 2 || len(id) == 3
}
