package intake

import (
	"bufio"
	"bytes"
	"container/heap"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/claimrail/claimrail/internal/claim"
)

// csvRejects writes the rejected rows of a CSV file, in the order and with the bytes in which
// they stood, three cells behind them, and apostrophes in front of what a spreadsheet would
// run. Rows that are too short get their missing cells first, so that the three stand in their
// columns. What waits for rows in front of it is bounded as the file's window is.
type csvRejects struct {
	out     *bufio.Writer
	file    *CSV
	scanner rowScanner // cuts single rows
	end     []byte     // the header's line end
	tooLong []byte     // what is written behind a row that is too long
	waiting rejectedRows
	started bool // the header is written
	// cut: the row written last has no line end yet; held is its end, behind which come
	// added and, of a row that is too long, perhaps more of it.
	cut   bool
	held  []byte
	added []byte
}

// rejectedRow is one row as it is to be written, or a part of one that is too long.
type rejectedRow struct {
	number     int
	offset     int64  // in the file it came from
	body       []byte // ready to be written; of the rest of a row as it stood
	end, added []byte // line end, and the three cells in front of it
	rest       bool
}

func newCSVRejects(w io.Writer, file *CSV) *csvRejects {
	r := &csvRejects{out: bufio.NewWriter(w), file: file, scanner: rowScanner{separator: file.rows.separator, limit: file.rows.limit}}
	_, r.end = cutLineEnd(file.header)
	r.tooLong = errorCells(r.scanner.separator, [...]string{"", CodeRowTooLong, rowTooLong})
	return r
}

// Add takes the rows of a claim that was rejected.
func (r *csvRejects) Add(parcel *Parcel, faults []Fault) error {
	reason := ""
	if at := slices.IndexFunc(faults, func(f Fault) bool { return f.Severity == claim.Error }); at >= 0 {
		reason = " for what is said of row " + strconv.Itoa(faults[at].Row)
	}
	for i := range parcel.Rows {
		row := &parcel.Rows[i]
		first := 0
		for first < len(faults) && faults[first].Row < row.Number {
			first++
		}
		faults = faults[first:]
		own := faults
		if behind := slices.IndexFunc(faults, func(f Fault) bool { return f.Row > row.Number }); behind >= 0 {
			own = faults[:behind]
		}
		heap.Push(&r.waiting, r.reject(row, own, reason))
	}
	return r.Advance(parcel)
}

// reject makes a row as it is to be written.
func (r *csvRejects) reject(row *Row, faults []Fault, reason string) *rejectedRow {
	raw, end := cutLineEnd(row.Raw)
	rejected := &rejectedRow{number: row.Number, offset: row.Offset, body: raw, end: end, rest: row.Rest}
	if row.Rest {
		return rejected
	}
	for _, code := range []string{CodeQuote, CodeRowTooLong} { // nothing else is told of a row that can not be cut into cells
		if at := slices.IndexFunc(faults, func(f Fault) bool { return f.Code == code }); at >= 0 {
			rejected.added = errorCells(r.scanner.separator, [...]string{"", code, faults[at].Message})
			if code == CodeQuote && r.file.columns.isRejects {
				raw, _ = bytes.CutSuffix(raw, rejected.added)
			}
			rejected.body = r.body(raw, true)
			return rejected
		}
	}
	texts := errorTexts(faults, func(f *Fault) string {
		if f.Code == claim.CodeClaimKey {
			return ClaimKeyName
		}
		return f.Field.String()
	})
	if texts[1] == "" {
		texts = [...]string{"", CodeClaimRejected, "this claim was rejected" + reason}
	}
	rejected.added, rejected.body = errorCells(r.scanner.separator, texts), r.body(raw, false)
	return rejected
}

// body gives a row without its line end, without the cells of an earlier file of rejects, and
// guarded. A row that is broken is kept with as many cells as it has.
func (r *csvRejects) body(raw []byte, broken bool) []byte {
	body := make([]byte, 0, len(raw)+len(r.file.columns.fields))
	row := r.scan(raw)
	columns := &r.file.columns
	at, kept := 0, 0
	for i, found := range row.cells {
		var begin int
		begin, at = r.scanner.around(raw, at, i, found)
		if !broken && columns.isError(i, row.count) {
			continue
		}
		if kept++; kept > 1 {
			body = append(body, r.scanner.separator)
		}
		body = append(body, raw[begin:found.start]...)
		if r.needsGuard(raw[found.start:found.end]) {
			body = append(body, '\'')
		}
		body = append(body, raw[found.start:at]...)
	}
	if at < len(raw) {
		body = r.guardLoosely(body, raw[at:], at == 0)
	}
	for width := columns.width(); kept < width && !broken; kept++ {
		body = append(body, r.scanner.separator)
	}
	return body
}

// scan cuts one row, which need not end with a line end.
func (r *csvRejects) scan(raw []byte) scanned {
	row := r.scanner.scan(raw)
	r.scanner.overlong = false
	return row
}

// needsGuard tells whether a cell needs an apostrophe in front, to be read again as it was. In a
// file that is guarded, only what its sender wrote without one does; amounts stay numbers.
func (r *csvRejects) needsGuard(text []byte) bool {
	if r.file.columns.guarded() && bytes.HasPrefix(text, []byte("'")) {
		return false
	}
	return looksGuarded(string(text)) && !isAmount(text)
}

// guardLoosely appends a text of which nobody knows where its cells end, guarded at every
// place where one may begin: behind each separator, and, if begins, at the start.
func (r *csvRejects) guardLoosely(dst, text []byte, begins bool) []byte {
	for {
		length := bytes.IndexByte(text, r.scanner.separator)
		if length < 0 {
			length = len(text)
		}
		inside := r.scanner.looseStart(text[:length])
		dst = append(dst, text[:inside]...)
		if begins && r.needsGuard(bytes.TrimRight(text[inside:length], `"`)) {
			dst = append(dst, '\'')
		}
		dst = append(dst, text[inside:length]...)
		if length == len(text) {
			return dst
		}
		dst, text, begins = append(dst, r.scanner.separator), text[length+1:], true
	}
}

// isAmount tells whether a text is a number with a sign, as amounts are written: no spreadsheet
// makes more of it.
func isAmount(text []byte) bool {
	text = bytes.TrimRight(text, " ")
	if len(text) < 2 || text[0] != '-' && text[0] != '+' {
		return false
	}
	text, _ = bytes.CutPrefix(text[1:], []byte("$"))
	return len(text) > 0 && len(bytes.Trim(text, "0123456789.,")) == 0
}

// Advance writes the rows in front of which none can come any more.
func (r *csvRejects) Advance(parcel *Parcel) error { return r.write(parcel.Settled) }

// Close writes all that waits.
func (r *csvRejects) Close() error {
	if len(r.waiting) > 0 {
		if err := r.write(math.MaxInt); err != nil {
			return err
		}
	}
	r.finish(r.end)
	return wrapRejects(r.out.Flush())
}

// write writes the rows in front of a number, in order. The buffer keeps the first error.
func (r *csvRejects) write(before int) error {
	for len(r.waiting) > 0 && r.waiting[0].number < before {
		row, _ := heap.Pop(&r.waiting).(*rejectedRow)
		if !row.rest {
			r.finish(r.end)
			r.added = row.added
		}
		if !r.started {
			r.header()
		}
		if last := len(r.held) - 1; row.rest {
			r.held = r.guardLoosely(r.held, row.body, last >= 0 && r.held[last] == r.scanner.separator)
		} else {
			r.held = append(r.held, row.body...)
		}
		r.cut = true
		if row.end != nil {
			r.finish(row.end)
		} else if full := len(r.held) - len(r.tooLong); full > 0 {
			_, _ = r.out.Write(r.held[:full])
			r.held = append(r.held[:0], r.held[full:]...)
		}
	}
	_, err := r.out.Write(nil)
	return wrapRejects(err)
}

// finish ends the row that is being written, if there is one.
func (r *csvRejects) finish(end []byte) {
	if !r.cut {
		return
	}
	if r.file.columns.isRejects {
		r.held, _ = bytes.CutSuffix(r.held, r.tooLong)
	}
	for _, text := range [][]byte{r.held, r.added, end} {
		_, _ = r.out.Write(text)
	}
	r.cut, r.held = false, r.held[:0]
}

// header writes the header as it stood, and the names of the three columns.
func (r *csvRejects) header() {
	r.started = true
	front := frontMatter(r.file.header)
	raw, _ := cutLineEnd(r.file.header[front:])
	_, _ = r.out.Write(r.file.header[:front])
	row := r.scan(raw)
	at := 0
	for i, found := range row.cells {
		var begin int
		begin, at = r.scanner.around(raw, at, i, found)
		if r.file.columns.isError(i, row.count) {
			continue
		}
		if i > 0 {
			_ = r.out.WriteByte(r.scanner.separator)
		}
		_, _ = r.out.Write(raw[begin:at])
	}
	for _, name := range errorNames {
		_ = r.out.WriteByte(r.scanner.separator)
		_, _ = r.out.WriteString(name)
	}
	_, _ = r.out.Write(r.end)
}

func wrapRejects(err error) error {
	if err != nil {
		return fmt.Errorf("write rejects: %w", err)
	}
	return nil
}

// errorCells gives what is written behind a row. The last of them stands in quotes, so that a quote
// that is not closed in front of it stays wrong, and does not go on in the rows behind.
func errorCells(separator byte, texts [len(errorNames)]string) []byte {
	var cells []byte
	for i, text := range texts {
		cells = append(cells, separator)
		if i == len(texts)-1 || strings.ContainsAny(text, string(separator)+"\"\r\n") {
			text = `"` + strings.ReplaceAll(text, `"`, `""`) + `"`
		}
		cells = append(cells, text...)
	}
	return cells
}

// cutLineEnd cuts off the line end of a row; it is nil where there is none.
func cutLineEnd(raw []byte) (body, end []byte) {
	length := len(bytes.TrimSuffix(bytes.TrimSuffix(raw, []byte("\n")), []byte("\r")))
	if length == len(raw) {
		return raw, nil
	}
	return raw[:length], raw[length:]
}

// rejectedRows is a heap, the first row of the file on top.
type rejectedRows []*rejectedRow

// Len is that of heap.Interface.
func (r rejectedRows) Len() int { return len(r) }

// Less is that of heap.Interface.
func (r rejectedRows) Less(i, j int) bool { return r[i].offset < r[j].offset }

// Swap is that of heap.Interface.
func (r rejectedRows) Swap(i, j int) { r[i], r[j] = r[j], r[i] }

// Push is that of heap.Interface.
func (r *rejectedRows) Push(row any) {
	if row, ok := row.(*rejectedRow); ok {
		*r = append(*r, row)
	}
}

// Pop is that of heap.Interface.
func (r *rejectedRows) Pop() any {
	last := len(*r) - 1
	row := (*r)[last]
	(*r)[last] = nil
	*r = (*r)[:last]
	return row
}
