package intake

import (
	"bytes"
	"hash/maphash"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/claimrail/claimrail/internal/claim"
)

// Limits of claims in CSV. With them a reader needs some 60 MB at most, however
// long the file: most of it for rows that wait for others of their claim.
const (
	// MaxRowBytes is the length of a row, its line end not counted.
	MaxRowBytes = 64 << 10
	// MaxColumns is how many columns a header may have.
	MaxColumns = 1024
	// MaxFieldBytes is the length of a cell in a column that is read; the columns
	// that are ignored are bounded by MaxRowBytes only.
	MaxFieldBytes = 1 << 10
	// WindowRows is how many rows a claim stays open, its first one counted: rows
	// of one claim number may stand apart, but not further.
	WindowRows = 10_000
	// WindowBytes is how much may wait in open claims; beyond it the oldest are
	// given out before their time. One claim that is longer by itself is refused.
	WindowBytes = 16 << 20
	// SpanBytes is how far apart in the file the rows of one claim may stand: what is refused
	// in between waits for them where it is written back in order.
	SpanBytes = 32 << 20
	// rememberedClaims is how many claims are known to be closed, at least. Of what
	// is older the claims database knows: it refuses another claim under the same number.
	rememberedClaims = 1 << 18
)

// Codes of what can be wrong with a row as such, beside those of package claim.
const (
	CodeQuote          = "quote"            // a quote is not closed, or not where a cell ends
	CodeRowTooLong     = "row-too-long"     // longer than MaxRowBytes
	CodeTooManyCells   = "too-many-cells"   // more than the header has columns
	CodeTooManyColumns = "too-many-columns" // more than MaxColumns
	CodeEncoding       = "encoding"         // a cell is not UTF-8
	CodeClaimTooLong   = "claim-too-long"   // its rows are longer than WindowBytes together
	CodeClaimClosed    = "claim-closed"     // the claim's rows are too far apart
)

// maxAddedBytes is by how much a row, or a line, of a file of rejects may be longer: by its errors,
// by the cells that it lacked, and by an apostrophe in front of each.
const maxAddedBytes = 8 << 10

// The messages of CodeRowTooLong and CodeQuote: a file of rejects is known to end such rows with them.
const (
	rowTooLong = "shorten this row: it is longer than 65536 bytes"
	misquoted  = "a quote is not closed, or text stands behind the quote that closes it; write a quote inside quotes twice"
)

// CSV reads claims from CSV: RFC 4180, and what people send in its place. Rows
// with the same claim number are one claim; without a column for it the whole file is.
type CSV struct {
	rows    rowScanner
	header  []byte
	columns columns
	sum     string
	lastRow int
	open    window
	err     error  // what every further Next gives
	texts   []byte // of one row
	// sameTexts is, in a look, the text of the row before: mostly that of the same claim again.
	sameTexts string
}

// NewCSV reads the header; fileSHA256, in hex, will be the source of the claims, and
// may be empty. Errors: *SyntaxError, *HeaderError, and those of r, wrapped.
func NewCSV(r io.Reader, fileSHA256 string) (*CSV, error) {
	c := &CSV{rows: newRowScanner(r), sum: fileSHA256}
	head, row, err := c.rows.readHeader()
	if err != nil {
		return nil, err
	}
	if c.columns, err = readColumns(row); err != nil {
		return nil, err
	}
	if c.columns.isRejects {
		c.rows.limit += maxAddedBytes
	}
	c.header = bytes.Clone(head)
	c.open = window{
		whole:  c.columns.number < 0 && c.columns.key < 0,
		claims: map[claimName]*openClaim{},
		closed: closedClaims{seed: maphash.MakeSeed()},
	}
	return c, nil
}

// Header gives the bytes of the input up to the first row: the header as it stood,
// a byte order mark and blank lines in front of it included.
func (c *CSV) Header() []byte { return c.header }

// Next gives the next claim: in the order of their first rows, but what is refused
// already may come sooner. Errors: io.EOF behind the last claim, and those of the
// reader, wrapped; then the claims that were still open are not given, for they may lack rows.
func (c *CSV) Next() (*Parcel, error) {
	for {
		if parcel := c.open.due(c.lastRow, c.rows.offset, c.err == io.EOF); parcel != nil {
			next := c.lastRow + 1
			if c.rows.overlong {
				next = c.lastRow // its rest is yet to come
			}
			parcel.Settled = c.open.settled(next)
			return parcel, nil
		}
		if c.err != nil {
			return nil, c.err
		}
		row, err := c.rows.next()
		if err != nil {
			c.err = err
			continue
		}
		c.place(&row)
	}
}

// readRow is one row as it is put to its claim.
type readRow struct {
	row    Row
	source claim.Source
	line   claim.RawLine
	id     claim.Raw         // the claim number
	key    string            // the claim's key, in an export
	faults []claim.Violation // of the row as such
}

// place puts a row to the claim that it belongs to.
func (c *CSV) place(found *scanned) {
	if !found.rest {
		c.lastRow++
	}
	row := readRow{
		row:    Row{Number: c.lastRow, Line: found.line, Offset: found.offset, Raw: found.raw, Rest: found.rest},
		source: claim.Source{FileSHA256: c.sum, Row: c.lastRow},
	}
	if c.open.look == nil { // which wants to know its length alone
		row.row.Raw = bytes.Clone(found.raw)
	}
	c.read(found, &row)
	name := claimName{number: strings.Trim(row.id.Text, blanks), key: row.key}
	most := len(c.columns.fields)
	if found.fault == CodeQuote { // of rejects the cells that say what was wrong stand behind the quote
		most = c.columns.width()
	}
	if c.columns.number >= 0 && (found.fault == CodeQuote && row.id.Shape == claim.Absent || found.count > most) {
		name.number, row.id = c.guess(found), claim.Raw{}
		if name.number != "" {
			row.id = claim.Raw{Shape: claim.Text, Text: name.number}
		}
	}
	if name.number == "" && name.key != "" {
		row.id = claim.Raw{} // a claim that has another name needs no number
	}
	if c.columns.number < 0 && c.columns.key >= 0 && name.key == "" && found.fault == "" {
		row.faults = append(row.faults, rowViolation(claim.NoField, claim.CodeClaimKey,
			"this row names no claim: give it its "+ClaimKeyName+", or a column of claim numbers to all"))
	}
	switch {
	case found.rest, !c.open.whole && name == claimName{}:
		c.open.alone(&row)
	default:
		c.open.add(name, &row)
	}
}

// blanks are what may stand around a claim number.
const blanks = " \t\r\n"

// guess gives the likely claim number of a row whose cells can not be told apart:
// counted from the front or from the back, whichever is nearer, unless the other
// is that of an open claim. The row is refused in any case. So is the claim that it is put
// to, rather than be accepted without one of its lines.
func (c *CSV) guess(row *scanned) string {
	var texts [][]byte
	if row.fault == CodeQuote {
		raw, _ := cutLineEnd(row.raw)
		if c.columns.isRejects {
			raw, _ = bytes.CutSuffix(raw, errorCells(c.rows.separator, [...]string{"", CodeQuote, misquoted}))
		}
		texts = bytes.Split(raw, []byte{c.rows.separator})
	} else {
		for _, place := range row.cells {
			texts = append(texts, row.raw[place.start:place.end])
		}
		if c.columns.isRejects {
			texts = texts[:len(texts)-len(errorNames)]
		}
	}
	columns, count := c.columns.width(), len(texts)
	nearer, other := c.columns.number, count-columns+c.columns.number
	if nearer > columns/2 {
		nearer, other = other, nearer
	}
	guessed := ""
	for _, at := range []int{nearer, other} {
		if at < 0 || at >= len(texts) {
			continue
		}
		number := string(texts[at][c.rows.looseStart(texts[at]):])
		if c.columns.guarded() {
			number = Unguard(number)
		}
		number = strings.Trim(number, blanks+`"`)
		if _, open := c.open.claims[claimName{number: number}]; open && number != "" {
			return number
		}
		if guessed == "" && len(number) <= MaxFieldBytes {
			guessed = number
		}
	}
	return guessed
}

// The texts of a row beside those of the fields of a line, by their slots.
const (
	numberSlot = claim.FieldCount + iota
	keySlot
	slotCount
)

// read puts in what the cells of a row say, and what is wrong with them as such. The
// texts of a row share one string.
func (c *CSV) read(row *scanned, into *readRow) {
	var begin, end [slotCount]int // of each text in c.texts
	c.texts = c.texts[:0]
	into.line.Shape = claim.Object
	if fault := c.rowFault(row); fault.Code != "" {
		into.faults = append(into.faults, fault)
	}
	if c.columns.number >= 0 && row.fault == "" {
		into.id.Shape = claim.Text // a row that is too short lacks its number: it is not one that needs none
	}
	for i := range min(len(row.cells), len(c.columns.fields)) {
		if c.open.look != nil && i != c.columns.number && i != c.columns.key {
			continue // nothing more is needed to tell its claim
		}
		field := c.columns.fields[i]
		slot := int(field)
		switch {
		case field >= 0:
			into.line.Fields[field].Shape = claim.Text
		case field == claim.ExternalIDField:
			slot, into.id.Shape = numberSlot, claim.Text
		case i == c.columns.key:
			slot = keySlot
		default:
			continue
		}
		begin[slot] = len(c.texts)
		if fault := c.text(row, i); fault.Code != "" {
			into.faults = append(into.faults, fault)
		}
		end[slot] = len(c.texts)
	}
	texts := c.sameTexts
	if texts != string(c.texts) {
		texts = string(c.texts)
	}
	if c.open.look != nil {
		c.sameTexts = texts
	}
	for i := range into.line.Fields {
		into.line.Fields[i].Text = texts[begin[i]:end[i]]
	}
	into.id.Text = texts[begin[numberSlot]:end[numberSlot]]
	into.key = strings.Trim(texts[begin[keySlot]:end[keySlot]], blanks)
}

// text appends the text of a cell to c.texts, and says what is wrong with its bytes; without a
// code: nothing.
func (c *CSV) text(row *scanned, i int) claim.Violation {
	field, found, from := c.columns.fields[i], row.cells[i], len(c.texts)
	length := found.end - found.start
	if length <= MaxFieldBytes+1 { // the sign of a guard is not the field's
		c.texts = unquoted(c.texts, row.raw, found)
		if c.columns.guarded() {
			text := Unguard(string(c.texts[from:]))
			length -= len(c.texts) - from - len(text)
			c.texts = append(c.texts[:from], text...)
		}
	}
	if length > MaxFieldBytes {
		c.texts = c.texts[:from]
		return rowViolation(field, claim.CodeTooLong, "shorten this text: it is longer than any such field may be")
	}
	return textFault(field, c.texts[from:])
}

// rowFault says what is wrong with a row as a whole; without a code: nothing.
func (c *CSV) rowFault(row *scanned) claim.Violation {
	switch {
	case row.fault == CodeQuote:
		return rowViolation(claim.NoField, CodeQuote, misquoted)
	case row.fault == CodeRowTooLong:
		return rowViolation(claim.NoField, CodeRowTooLong, rowTooLong)
	case row.count > len(c.columns.fields) || c.hasNamelessText(row):
		return rowViolation(claim.NoField, CodeTooManyCells,
			"this row has more cells than the header; put quotes around a cell that holds a separator")
	default:
		return claim.Violation{}
	}
}

// hasNamelessText tells whether a row of a file of rejects has text in a column behind the errors
// that has no name: then it had too many cells.
func (c *CSV) hasNamelessText(row *scanned) bool {
	for _, i := range c.columns.nameless {
		if i < len(row.cells) && row.cells[i].end > row.cells[i].start {
			return true
		}
	}
	return false
}

// textFault says what is wrong with the bytes of a cell; without a code: nothing.
func textFault(field claim.Field, text []byte) claim.Violation {
	switch {
	case bytes.IndexByte(text, 0) >= 0:
		return rowViolation(field, claim.CodeControlCharacter, "remove the NUL bytes")
	case !utf8.Valid(text):
		return rowViolation(field, CodeEncoding, "this cell is not UTF-8; save the file as CSV UTF-8")
	default:
		return claim.Violation{}
	}
}

// rowViolation makes a violation of a row that is yet to be put to a claim.
func rowViolation(field claim.Field, code, message string) claim.Violation {
	return claim.Violation{Field: field, Code: code, Severity: claim.Error, Message: message}
}

// newParcel opens the claim of a row; key is that of an export, or empty.
func newParcel(row *readRow, key string) *Parcel {
	parcel := &Parcel{Draft: &claim.Draft{ExternalID: row.id, Source: row.source, Given: claim.ParseKey(key)}, Claims: 1}
	if row.row.Rest {
		parcel.Claims = 0
	}
	return parcel
}

// add puts a row to the parcel; its faults are from now on those of this line.
func (p *Parcel) add(row *readRow) {
	for _, fault := range row.faults {
		fault.Line = len(p.Rows)
		p.Refused = append(p.Refused, fault)
	}
	if !row.row.Rest {
		p.Lines++
	}
	p.Rows = append(p.Rows, row.row)
	p.Draft.Lines = append(p.Draft.Lines, row.line)
}

// Faults gives all that is wrong with a claim, by row: what the parcel was refused
// for, and what Validate found, warnings included. What only follows from
// a refusal, such as a field that is missing behind a wrong quote, is left out.
func (c *CSV) Faults(parcel *Parcel, found []claim.Violation) []Fault {
	faults := make([]Fault, 0, len(parcel.Refused)+len(found))
	add := func(v *claim.Violation) {
		row := parcel.Rows[max(v.Line, 0)]
		column := c.columns.names[v.Field]
		if v.Code == claim.CodeClaimKey {
			column = ClaimKeyName
		}
		faults = append(faults, Fault{
			Row: row.Number, Line: row.Line, Field: v.Field, Column: column,
			Code: v.Code, Severity: v.Severity, Found: maskOf(v.Found), Message: v.Message,
		})
	}
	type place struct {
		line  int
		field claim.Field
	}
	refused := map[place]bool{}
	for i := range parcel.Refused {
		v := &parcel.Refused[i]
		refused[place{v.Line, v.Field}] = true
		if v.Field == claim.ExternalIDField {
			refused[place{claim.WholeClaim, v.Field}] = true
		}
		add(v)
	}
	for i := range found {
		v := &found[i]
		if !refused[place{v.Line, v.Field}] && !refused[place{v.Line, claim.NoField}] {
			add(v)
		}
	}
	slices.SortStableFunc(faults, func(a, b Fault) int { return a.Row - b.Row })
	return faults
}
