package x12

import (
	"bufio"
	"fmt"
	"io"
	"strings"
)

// Writer writes segments. The first error stays, and Flush gives it.
type Writer struct {
	out        *bufio.Writer
	delimiters Delimiters
	end        string
	count      int
	err        error
}

// NewWriter makes a writer for w, which is written to in pieces of some KB.
func NewWriter(w io.Writer) *Writer { return &Writer{out: bufio.NewWriterSize(w, 16<<10)} }

// Use sets the delimiters of the segments to come, and what stands behind each of them: the
// terminator, which is put there if it is missing, and the line break if there is to be one.
func (w *Writer) Use(d Delimiters, end string) {
	if strings.IndexByte(end, d.Terminator) < 0 {
		end = string([]byte{d.Terminator}) + end
	}
	w.delimiters, w.end = d, end
}

// Segment writes one segment. Empty elements at its end are left out. An element that
// holds an element separator or a terminator is an error: it would be read as two.
func (w *Writer) Segment(id string, elements ...string) {
	for len(elements) > 0 && elements[len(elements)-1] == "" {
		elements = elements[:len(elements)-1]
	}
	w.text(id)
	for i, element := range elements {
		if strings.IndexByte(element, w.delimiters.Element) >= 0 || strings.IndexByte(element, w.delimiters.Terminator) >= 0 {
			w.fail(fmt.Errorf("write %s%02d: a delimiter stands in it", id, i+1))
		}
		w.byte(w.delimiters.Element)
		w.text(element)
	}
	w.text(w.end)
	w.count++
}

// Raw writes segments as they stood. A terminator that the last of them lacks is put behind it.
func (w *Writer) Raw(text string, segments int) {
	w.text(text)
	if trimmed := strings.TrimRight(text, " \t\r\n"); text != "" && !strings.HasSuffix(trimmed, string([]byte{w.delimiters.Terminator})) &&
		strings.IndexByte(text[len(trimmed):], w.delimiters.Terminator) < 0 {
		w.text(w.end)
	}
	w.count += segments
}

// Composite joins components to one element; those at its end that are empty are left out. One
// that holds a delimiter is an error.
func (w *Writer) Composite(components ...string) string {
	for _, component := range components {
		for i := range len(component) {
			if w.delimiters.has(component[i]) {
				w.fail(fmt.Errorf("write a composite: a delimiter stands in a component"))
			}
		}
	}
	return strings.TrimRight(strings.Join(components, string([]byte{w.delimiters.Component})), string([]byte{w.delimiters.Component}))
}

// Count gives the number of segments written since it was asked last.
func (w *Writer) Count() int {
	n := w.count
	w.count = 0
	return n
}

// Err gives the first error there was, wrapped.
func (w *Writer) Err() error { return w.err }

// Flush hands on all that was written. Errors: the first there was, wrapped.
func (w *Writer) Flush() error {
	if w.err == nil {
		w.fail(w.out.Flush())
	}
	return w.err
}

func (w *Writer) text(text string) {
	_, err := w.out.WriteString(text)
	w.fail(err)
}

func (w *Writer) byte(c byte) { w.fail(w.out.WriteByte(c)) }

func (w *Writer) fail(err error) {
	if err != nil && w.err == nil {
		w.err = fmt.Errorf("write X12: %w", err)
	}
}
