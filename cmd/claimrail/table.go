package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"
)

// table is aligned text for people.
type table struct {
	columns []column
	rows    [][]string
}

// column is a column's heading; a number's column is aligned at its right.
type column struct {
	heading string
	number  bool
}

func (t *table) add(cells ...string) { t.rows = append(t.rows, cells) }

// writeTo writes headings and rows, two spaces between columns and none at the end.
func (t *table) writeTo(w io.Writer) error {
	headings := make([]string, len(t.columns))
	widths := make([]int, len(t.columns))
	for i, c := range t.columns {
		headings[i] = c.heading
	}
	rows := append([][]string{headings}, t.rows...)
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	var text strings.Builder
	for _, row := range rows {
		var line strings.Builder
		for i, cell := range row {
			if i > 0 {
				line.WriteString("  ")
			}
			padding := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell))
			if t.columns[i].number {
				line.WriteString(padding + cell)
			} else {
				line.WriteString(cell + padding)
			}
		}
		text.WriteString(strings.TrimRight(line.String(), " "))
		text.WriteByte('\n')
	}
	_, err := io.WriteString(w, text.String())
	return err
}

// writeJSON writes a body as the API does, on one line.
func writeJSON(w io.Writer, body any) error {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(body); err != nil {
		return fmt.Errorf("write JSON: %w", err)
	}
	return nil
}

// moment gives a time for people: UTC, to the second.
func moment(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.DateTime)
}

// orDash gives what stands in a table for nothing.
func orDash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}
