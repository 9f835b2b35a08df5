// Package x12 is the syntax of X12 interchanges: it cuts bytes into segments, puts
// segments to their transaction sets, and checks the envelopes around these. What a set says
// is no business of this package: intake reads claims out of it, and answers with another.
package x12

import (
	"fmt"
	"strings"
)

// Limits of an interchange. With them a reader needs some 60 MB at most, however long the
// input: two sets, each with the places of its segments.
const (
	// MaxSegmentBytes is the length of a segment, its terminator not counted. The longest
	// that a guide for claims allows has a few hundred bytes.
	MaxSegmentBytes = 16 << 10
	// MaxElements is how many elements a segment may have; CAS, with 19, has the most.
	MaxElements = 64
	// MaxSetBytes is the length of a transaction set. A longer one is refused, and comes in parts.
	MaxSetBytes = 16 << 20
	// MaxSetSegments is how many segments a set may have.
	MaxSetSegments = 500_000
	// MaxGroupSets is how many sets a group may have.
	MaxGroupSets = 100_000
)

// Codes of what can be wrong with segments and envelopes.
const (
	CodeHeaderLength       = "interchange-header"         // ISA has not the 106 bytes that it must have
	CodeInterchangeNumber  = "interchange-control-number" // IEA02 is not ISA13, or ISA13 is missing
	CodeInterchangeCount   = "interchange-count"          // IEA01 is not the number of groups
	CodeInterchangeOpen    = "interchange-unclosed"       // no IEA
	CodeGroupNumber        = "group-control-number"       // GE02 is not GS06, or GS06 is none
	CodeGroupCount         = "group-count"                // GE01 is not the number of sets
	CodeGroupOpen          = "group-unclosed"             // no GE
	CodeGroupEmpty         = "group-empty"                // no set is in it
	CodeNoGroup            = "no-group"                   // a set stands outside of any group
	CodeSetNumber          = "set-control-number"         // SE02 is not ST02, or ST02 is none
	CodeSetNumberRepeated  = "set-number-repeated"        // ST02 is that of another set in the group
	CodeSetCount           = "set-count"                  // SE01 is not the number of segments
	CodeSetOpen            = "set-unclosed"               // no SE
	CodeSetTooLong         = "set-too-long"               // more than MaxSetBytes or MaxSetSegments
	CodeTooManySets        = "too-many-sets"              // more than MaxGroupSets
	CodeSegmentTooLong     = "segment-too-long"           // more than MaxSegmentBytes
	CodeSegmentOpen        = "segment-unclosed"           // the input, or the interchange, ends inside it
	CodeSegmentName        = "segment-name"               // not two or three capitals and digits
	CodeTooManyElements    = "too-many-elements"          // more than MaxElements
	CodeMisplacedSegment   = "misplaced-segment"          // between sets, where only envelopes may stand
	CodeTextOutside        = "text-outside"               // behind an interchange, and no other one
	codeNone               = ""
	interchangeHeaderBytes = 106
)

// Delimiters are the characters that an interchange chose to stand between its parts.
type Delimiters struct {
	Element    byte
	Component  byte
	Repetition byte // 0: none, as before version 00402
	Terminator byte
}

// plausible tells whether the delimiters can be told from each other, and from data.
func (d Delimiters) plausible() bool {
	for _, c := range [...]byte{d.Element, d.Component, d.Terminator} {
		if !isDelimiter(c) {
			return false
		}
	}
	return d.Element != d.Component && d.Element != d.Terminator && d.Component != d.Terminator &&
		(d.Repetition == 0 || d.Repetition != d.Element && d.Repetition != d.Component && d.Repetition != d.Terminator)
}

func isDelimiter(c byte) bool {
	switch {
	case c >= '0' && c <= '9', c >= 'A' && c <= 'Z', c >= 'a' && c <= 'z', c == ' ', c == '.', c == 0, c >= 0x7f:
		return false
	default:
		return true
	}
}

// has tells whether c is one of the delimiters.
func (d Delimiters) has(c byte) bool {
	return c == d.Element || c == d.Component || c == d.Terminator || c == d.Repetition && c != 0
}

// Segment is one segment, its terminator taken off. Its parts share its memory.
type Segment struct {
	text       string
	delimiters Delimiters
}

// ID gives the segment's name, such as "NM1".
func (s Segment) ID() string {
	if at := strings.IndexByte(s.text, s.delimiters.Element); at >= 0 {
		return s.text[:at]
	}
	return s.text
}

// Element gives element n, from 1, as it stands; "" where there is none.
func (s Segment) Element(n int) string {
	text := s.text
	for ; n > 0; n-- {
		at := strings.IndexByte(text, s.delimiters.Element)
		if at < 0 {
			return ""
		}
		text = text[at+1:]
	}
	if at := strings.IndexByte(text, s.delimiters.Element); at >= 0 {
		text = text[:at]
	}
	return text
}

// Component gives component m of element n, both from 1; "" where there is none.
func (s Segment) Component(n, m int) string {
	text := s.Element(n)
	for ; m > 1; m-- {
		at := strings.IndexByte(text, s.delimiters.Component)
		if at < 0 {
			return ""
		}
		text = text[at+1:]
	}
	if at := strings.IndexByte(text, s.delimiters.Component); at >= 0 {
		text = text[:at]
	}
	return text
}

// Trimmed gives element n without the spaces around it, with which fixed elements are
// filled up.
func (s Segment) Trimmed(n int) string { return strings.Trim(s.Element(n), " ") }

// Elements counts the elements.
func (s Segment) Elements() int {
	return strings.Count(s.text, string([]byte{s.delimiters.Element}))
}

// ControlAt gives the number of the first element that holds what none may hold, a control
// character or a line break, 0 for the name; and whether there is one.
func (s Segment) ControlAt() (element int, found bool) {
	for i := range len(s.text) {
		switch c := s.text[i]; {
		case c == s.delimiters.Element:
			element++
		case (c < ' ' || c == 0x7f) && !s.delimiters.has(c):
			return element, true
		}
	}
	return 0, false
}

// Fault is one thing that is wrong with segments or envelopes. It holds no text of the input.
type Fault struct {
	Segment int // in the input, from 1
	Line    int // of the input, from 1
	Element string
	Code    string
	Message string // what to change
}

// SyntaxError says that the input does not begin with an interchange.
type SyntaxError struct {
	Line    int // of the input, from 1
	Column  int // byte within the line, from 1
	Problem string
}

// Error gives place and problem in one line.
func (e *SyntaxError) Error() string {
	return fmt.Sprintf("line %d, column %d: %s", e.Line, e.Column, e.Problem)
}
