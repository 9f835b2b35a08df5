package intake

import (
	"bytes"
	"io"
)

// bufferBytes is the memory of a scanner: room for the longest row and for some
// rows of ordinary length to be read ahead of it.
const bufferBytes = 4 * MaxRowBytes

// rowScanner cuts CSV into rows and cells, in constant memory. It keeps the bytes
// as they stand, takes all three line ends, and finds its way back behind a quote
// that is wrong: then the row ends with its first line, and the next is read afresh.
type rowScanner struct {
	ahead
	offset    int64 // of begin in the input, in bytes
	line      int   // at begin, from 1
	separator byte
	limit     int    // of a row, in bytes, its line end not counted; far below bufferBytes
	overlong  bool   // the row before was cut, and begin is inside it
	cells     []cell // of the row given last
}

// cell is the place of a cell in its row, in bytes, without the quotes around it.
type cell struct {
	start, end int
	escaped    bool // "" stands in it for "
}

// scanned is one row as the scanner gives it, good until the next one.
type scanned struct {
	raw     []byte
	offset  int64
	line    int
	cells   []cell // those before the fault; MaxColumns and errorNames at most
	count   int    // of cells, those that were not kept among them
	fault   string // CodeQuote, CodeRowTooLong, or "" for none
	faultAt int    // in raw, where the fault is a quote
	rest    bool   // of a row that was too long
}

func newRowScanner(source io.Reader) rowScanner {
	return rowScanner{ahead: newAhead(source, bufferBytes), line: 1, separator: separators[0], limit: MaxRowBytes}
}

// next gives the next row that is not blank. Errors: io.EOF at the end, and those
// of the source.
func (s *rowScanner) next() (scanned, error) {
	for {
		if err := s.fill(); err != nil {
			return scanned{}, err
		}
		data := s.buffer[s.begin:s.end]
		if len(data) == 0 {
			return scanned{}, io.EOF
		}
		var row scanned
		if s.overlong {
			row = s.rest(data)
		} else {
			row = s.scan(data)
		}
		s.advance(row.raw, &row)
		if row.fault != "" || !s.isBlank(row.raw) {
			return row, nil
		}
	}
}

// advance passes over the bytes of a row, and writes down in it where they stood.
func (s *rowScanner) advance(raw []byte, row *scanned) {
	row.offset, row.line = s.offset, s.line
	s.begin += len(raw)
	s.offset += int64(len(raw))
	s.line += lineEnds(raw)
}

// fill reads on until a row of any allowed length, and the line end behind it,
// is in the buffer, or the input ends.
func (s *rowScanner) fill() error { return s.read("CSV", s.limit+len("\r\n")) }

// scan reads the row at the start of data.
func (s *rowScanner) scan(data []byte) scanned {
	inside := data[:min(len(data), s.limit)]
	row := scanned{}
	s.cells = s.cells[:0]
	for at := 0; ; {
		found, stop, fine := s.cell(inside, at)
		if !fine {
			return s.misquoted(data, row, found.start-1)
		}
		if row.count++; len(s.cells) < MaxColumns+len(errorNames) {
			s.cells = append(s.cells, found)
		}
		if stop < len(inside) && data[stop] == s.separator {
			at = stop + 1
			continue
		}
		row.cells = s.cells
		if stop == len(data) || isLineEnd(data[stop]) {
			row.raw = data[:behindLineEnd(data, stop)]
		} else {
			row.raw, row.fault, s.overlong = inside, CodeRowTooLong, true
		}
		return row
	}
}

// cell reads the cell at from. It stops at a separator, a line end, or the end
// of the data; or, not fine, at a quote that is not closed or that closes nothing.
// Spaces around quotes are passed over; a quote inside a bare cell is a character.
func (s *rowScanner) cell(data []byte, from int) (found cell, stop int, fine bool) {
	at := s.skipSpace(data, from)
	if at == len(data) || data[at] != '"' {
		for at < len(data) && data[at] != s.separator && !isLineEnd(data[at]) {
			at++
		}
		return cell{start: from, end: at}, at, true
	}
	at++
	found.start = at
	for {
		length := bytes.IndexByte(data[at:], '"')
		if length < 0 {
			return found, len(data), false
		}
		at += length
		if at+1 == len(data) || data[at+1] != '"' {
			break
		}
		found.escaped = true
		at += len(`""`)
	}
	found.end = at
	at = s.skipSpace(data, at+1)
	return found, at, at == len(data) || data[at] == s.separator || isLineEnd(data[at])
}

// around gives the bounds of cell i of a row, with the quotes and spaces around it; before is
// the end of the cell in front of it.
func (s *rowScanner) around(raw []byte, before, i int, found cell) (begin, end int) {
	if begin = before; i > 0 {
		begin++
	}
	if end = found.end; found.start > begin && raw[found.start-1] == '"' {
		end = s.skipSpace(raw, found.end+1)
	}
	return begin, end
}

// misquoted ends a row, whose quote at faultAt is wrong, with its first line: the
// quote may well be one too many, and the lines behind it rows of their own.
func (s *rowScanner) misquoted(data []byte, row scanned, faultAt int) scanned {
	inside := data[:min(len(data), s.limit)]
	stop := bytes.IndexAny(inside, "\r\n")
	row.fault, row.faultAt = CodeQuote, faultAt
	switch {
	case stop >= 0:
		row.raw = data[:behindLineEnd(data, stop)]
	case len(inside) == len(data):
		row.raw, stop = data, len(data)
	default:
		row.raw, row.fault, s.overlong, stop = inside, CodeRowTooLong, true, len(inside)
	}
	for _, whole := range s.cells {
		if whole.end <= stop {
			row.cells = append(row.cells, whole)
		}
	}
	return row
}

// rest reads on in a row that was cut, to its line end or to the next cut.
func (s *rowScanner) rest(data []byte) scanned {
	inside := data[:min(len(data), s.limit)]
	row := scanned{raw: inside, fault: CodeRowTooLong, rest: true}
	if stop := bytes.IndexAny(inside, "\r\n"); stop >= 0 {
		row.raw, s.overlong = data[:behindLineEnd(data, stop)], false
	}
	return row
}

// isBlank tells whether a row holds nothing: spreadsheets write such rows, with
// all their separators, behind the last that is filled.
func (s *rowScanner) isBlank(raw []byte) bool {
	for _, c := range raw {
		if c != ' ' && c != '\t' && c != s.separator && !isLineEnd(c) {
			return false
		}
	}
	return true
}

func (s *rowScanner) skipSpace(data []byte, at int) int {
	for at < len(data) && (data[at] == ' ' || data[at] == '\t') && data[at] != s.separator {
		at++
	}
	return at
}

// looseStart gives the offset behind the spaces and the quote at the start of what may be a cell;
// without a quote the spaces belong to it.
func (s *rowScanner) looseStart(text []byte) int {
	at := s.skipSpace(text, 0)
	if at < len(text) && text[at] == '"' {
		return at + 1
	}
	return 0
}

func isLineEnd(c byte) bool { return c == '\n' || c == '\r' }

// behindLineEnd gives the offset behind the line end at stop, or stop where the
// data ends there.
func behindLineEnd(data []byte, stop int) int {
	switch {
	case stop == len(data):
		return stop
	case data[stop] == '\r' && stop+1 < len(data) && data[stop+1] == '\n':
		return stop + 2
	default:
		return stop + 1
	}
}

// lineEnds counts the line ends in raw; a CR and LF together are one.
func lineEnds(raw []byte) int {
	count := bytes.Count(raw, []byte("\n"))
	if bytes.IndexByte(raw, '\r') >= 0 {
		count += bytes.Count(raw, []byte("\r")) - bytes.Count(raw, []byte("\r\n"))
	}
	return count
}
