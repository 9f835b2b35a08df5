package x12

import (
	"bytes"
	"fmt"
	"io"
)

const (
	// maxBlanks is how many line breaks and spaces behind a terminator are kept with the
	// segment; those beyond are passed over.
	maxBlanks = 256
	// maxHeaderBytes bounds an ISA whose elements are not of their fixed lengths.
	maxHeaderBytes = 256
	// lookAhead is what must be read to judge a segment: all of it, the blanks behind it, and
	// a header that may begin in its last byte.
	lookAhead = MaxSegmentBytes + 1 + maxBlanks + maxHeaderBytes
	// bufferBytes leaves room for many segments to be read ahead.
	bufferBytes = 4 * lookAhead
	// maxEmptyReads is how often in a row a source may give nothing and no error.
	maxEmptyReads = 100
)

const headerName = "ISA"

// headerSeparators are the offsets of the element separators in a header of the right length.
var headerSeparators = [...]int{3, 6, 17, 20, 31, 34, 50, 53, 69, 76, 81, 83, 89, 99, 101, 103}

// scanner cuts the input into segments, in constant memory. It keeps the bytes as they
// stand, learns the delimiters from each ISA, and finds its way to the next one where
// something else stands.
type scanner struct {
	source     io.Reader
	buffer     []byte
	begin, end int // of what is read and not yet given, in the buffer
	ended      bool
	offset     int64 // of begin in the input, in bytes
	line       int   // at begin, from 1
	number     int   // of the segment given last, from 1
	delimiters Delimiters
	inside     bool // of an interchange
	overlong   bool // the piece before was cut, and begin is inside its segment
}

// piece is one segment as the scanner gives it, or a part of one that is too long, or
// text outside of interchanges. It is good until the next one.
type piece struct {
	raw    []byte // as it stood, with terminator and blanks
	text   []byte // without them
	number int
	offset int64
	line   int
	fault  string // CodeHeaderLength, CodeSegmentTooLong, CodeSegmentOpen, CodeTextOutside, or none
	rest   bool   // of a segment that was too long
	plain  bool   // the text holds printable ASCII and delimiters only
}

func newScanner(source io.Reader) scanner {
	return scanner{source: source, buffer: make([]byte, bufferBytes), line: 1}
}

// id gives the name of the piece's segment.
func (p *piece) id(d Delimiters) []byte {
	if at := bytes.IndexByte(p.text, d.Element); at >= 0 {
		return p.text[:at]
	}
	return p.text
}

// next gives the next piece that is not blank. Errors: io.EOF at the end, and those of
// the source.
func (s *scanner) next() (piece, error) {
	for {
		if err := s.fill(); err != nil {
			return piece{}, err
		}
		data := s.buffer[s.begin:s.end]
		if len(data) == 0 {
			return piece{}, io.EOF
		}
		if !s.overlong {
			if blanks := s.blanks(data); blanks > 0 {
				s.advance(blanks)
				continue
			}
		}
		found := s.cut(data)
		if !found.rest && found.fault != CodeTextOutside {
			s.number++
		}
		found.number, found.offset, found.line = s.number, s.offset, s.line
		s.advance(len(found.raw))
		return found, nil
	}
}

// advance passes over n bytes.
func (s *scanner) advance(n int) {
	s.line += lineBreaks(s.buffer[s.begin : s.begin+n])
	s.begin += n
	s.offset += int64(n)
}

// fill reads on until lookAhead bytes are in the buffer, or the input ends. Package intake has the
// same for its own formats; this package stands without it.
func (s *scanner) fill() error {
	for empty := 0; s.end-s.begin < lookAhead && !s.ended; {
		if len(s.buffer)-s.begin < lookAhead {
			s.end = copy(s.buffer, s.buffer[s.begin:s.end])
			s.begin = 0
		}
		n, err := s.source.Read(s.buffer[s.end:])
		s.end += n
		switch {
		case err == io.EOF:
			s.ended = true
		case err != nil:
			return fmt.Errorf("read X12: %w", err)
		case n > 0:
			empty = 0
		default:
			if empty++; empty == maxEmptyReads {
				return fmt.Errorf("read X12: %w", io.ErrNoProgress)
			}
		}
	}
	return nil
}

// blanks counts the line breaks and spaces at the start of data. Where one of them separates
// elements it is none; where one ends segments it is: an empty line is no segment.
func (s *scanner) blanks(data []byte) int {
	for i, c := range data {
		if !isBlank(c) || s.inside && (c == s.delimiters.Element || c == s.delimiters.Component) {
			return i
		}
	}
	return len(data)
}

// cut reads the piece at the start of data.
func (s *scanner) cut(data []byte) piece {
	if header, ok := readHeader(data); ok && (!s.overlong || header.fault == codeNone) {
		s.delimiters, s.inside, s.overlong = header.delimiters, true, false
		return s.piece(data, header.length-1, true, header.fault)
	}
	if !s.inside {
		return s.outside(data)
	}
	window := data[:min(len(data), MaxSegmentBytes+1)]
	stop, found := bytes.IndexByte(window, s.delimiters.Terminator), true
	if stop < 0 {
		stop, found = min(len(data), MaxSegmentBytes), false
	}
	if at := nextHeader(data[:stop], data, 1); at > 0 { // the interchange broke off here
		s.inside = false
		return s.piece(data, at, false, CodeSegmentOpen)
	}
	switch {
	case found:
		result := s.piece(data, stop, true, codeNone)
		if !result.rest && string(result.id(s.delimiters)) == headerName {
			result.fault = CodeHeaderLength // not even the delimiters can be read: those before are taken
		}
		return result
	case stop < len(data):
		result := s.piece(data, stop, false, CodeSegmentTooLong)
		s.overlong = true
		return result
	default:
		return s.piece(data, stop, false, CodeSegmentOpen)
	}
}

// piece makes one of the first stop bytes of data, and of the terminator behind it with its
// blanks where there is one.
func (s *scanner) piece(data []byte, stop int, terminated bool, fault string) piece {
	found := piece{text: data[:stop], raw: data[:stop], fault: fault, rest: s.overlong, plain: s.isPlain(data[:stop])}
	if s.overlong {
		found.fault = CodeSegmentTooLong
	}
	s.overlong = false
	if terminated {
		behind := data[stop+1:]
		found.raw = data[:stop+1+s.blanks(behind[:min(len(behind), maxBlanks)])]
	}
	return found
}

// outside gives the text up to the next interchange.
func (s *scanner) outside(data []byte) piece {
	window := data[:min(len(data), MaxSegmentBytes)]
	if at := nextHeader(window, data, 0); at >= 0 {
		window = data[:at]
	}
	return piece{raw: window, text: window, fault: CodeTextOutside}
}

// isPlain tells whether a text needs no further look at its characters.
func (s *scanner) isPlain(text []byte) bool {
	for _, c := range text {
		if (c < ' ' || c >= 0x7f) && !s.delimiters.has(c) {
			return false
		}
	}
	return true
}

// leave tells the scanner that the interchange is over.
func (s *scanner) leave() { s.inside = false }

// header is what an ISA says of its interchange.
type header struct {
	delimiters Delimiters
	length     int // in bytes, the terminator counted
	fault      string
}

// readHeader reads an ISA at the start of data: one of the right length, or, so that its
// sets can be cut apart and given back, one whose elements are too short or too long.
func readHeader(data []byte) (header, bool) {
	if len(data) <= len(headerName) || string(data[:len(headerName)]) != headerName || !isDelimiter(data[len(headerName)]) {
		return header{}, false
	}
	separator := data[len(headerName)]
	at, repetition := 0, byte(0)
	fixed := true
	for i, want := range headerSeparators {
		length := bytes.IndexByte(data[at:min(len(data), maxHeaderBytes)], separator)
		if length < 0 {
			return header{}, false
		}
		if i == 11 && length == 1 && isDelimiter(data[at]) { // ISA11; a letter there is of an older version
			repetition = data[at]
		}
		at += length
		fixed = fixed && at == want
		at++
	}
	if at+1 >= len(data) {
		return header{}, false
	}
	found := header{delimiters: Delimiters{separator, data[at], repetition, data[at+1]}, length: at + 2}
	if !fixed {
		found.fault = CodeHeaderLength
	}
	inElement := bytes.IndexByte(data[:at], found.delimiters.Terminator) >= 0
	return found, found.delimiters.plausible() && !inElement
}

// nextHeader finds the first ISA of the right length that begins in window, at from or
// behind it, in data; -1 where there is none.
func nextHeader(window, data []byte, from int) int {
	for at := from; at < len(window); at++ {
		length := bytes.Index(data[at:min(len(data), len(window)+len(headerName)-1)], []byte(headerName))
		if length < 0 {
			return -1
		}
		at += length
		if found, ok := readHeader(data[at:]); ok && found.fault == codeNone {
			return at
		}
	}
	return -1
}

func isBlank(c byte) bool { return c == ' ' || c == '\t' || c == '\r' || c == '\n' }

// lineBreaks counts the line breaks in raw; a CR and LF together are one, unless they
// are cut apart.
func lineBreaks(raw []byte) int {
	count := bytes.Count(raw, []byte("\n"))
	if bytes.IndexByte(raw, '\r') >= 0 {
		count += bytes.Count(raw, []byte("\r")) - bytes.Count(raw, []byte("\r\n"))
	}
	return count
}
