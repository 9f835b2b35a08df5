// Package export is the way off the line: claims, payments and dead letters as files,
// row after row, however many there are. It is the other end of package intake, which
// reads an export of claims back as the claims that they were. Claims are protected
// health information, and so is what is written here: it goes to whoever asked, and
// nowhere else.
package export

import (
	"bufio"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"time"

	"github.com/claimrail/claimrail/internal/intake"
)

// Format is the form of a file.
type Format string

// Formats.
const (
	CSV    Format = "csv"    // UTF-8, RFC 4180 but for the line ends, which are "\n"; a header
	NDJSON Format = "ndjson" // a JSON object on each line
)

// ContentType gives the format's media type.
func (f Format) ContentType() string {
	if f == NDJSON {
		return "application/x-ndjson"
	}
	return "text/csv; charset=utf-8; header=present"
}

// pieceBytes is how much is gathered before it is written.
const pieceBytes = 64 << 10

// shape is how things of a kind are written.
type shape[T any] struct {
	header []string
	rows   func(*T, func(cells ...string) error) error // CSV
	object func(*T) any                                // JSON
}

// write writes all things. Errors: those of w and of the things.
func write[T any](w io.Writer, format Format, things iter.Seq2[T, error], as shape[T]) error {
	buffered := bufio.NewWriterSize(w, pieceBytes)
	one, err := as.writer(buffered, format)
	if err != nil {
		return fmt.Errorf("write export: %w", err)
	}
	for thing, err := range things {
		if err != nil {
			return err
		}
		if err := one(&thing); err != nil {
			return fmt.Errorf("write export: %w", err)
		}
	}
	if err := buffered.Flush(); err != nil {
		return fmt.Errorf("write export: %w", err)
	}
	return nil
}

// writer gives what writes one thing.
func (as shape[T]) writer(w *bufio.Writer, format Format) (func(*T) error, error) {
	switch format {
	case NDJSON:
		encoder := json.NewEncoder(w)
		encoder.SetEscapeHTML(false)
		return func(thing *T) error { return encoder.Encode(as.object(thing)) }, nil
	case CSV:
		table := csv.NewWriter(w) // it writes into w as it is, without a buffer between
		row := func(cells ...string) error { return table.Write(cells) }
		return func(thing *T) error { return as.rows(thing, row) }, row(as.header...)
	default:
		return nil, fmt.Errorf("unknown format %q", format)
	}
}

// cell gives a text for a cell of CSV; amounts and times go in as they are.
func cell(text string) string { return intake.Guard(text) }

// moment gives a time in UTC as RFC 3339, to the microsecond; "" for none.
func moment(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339Nano)
}
