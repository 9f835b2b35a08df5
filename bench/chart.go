package main

import (
	"encoding/csv"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Sizes of the chart, in its own units.
const (
	panelWidth, panelHeight = 420, 200
	panelMargin             = 60
	panelsAcross            = 2
)

// panel is one of the small charts: what it shows, and the columns of growth.csv that it draws.
type panel struct {
	title   string
	columns []string
}

// panels of the chart of growth.
func panels() []panel {
	return []panel{
		{"import, lines/s", []string{"lines_per_second"}},
		{"recorded and settled, claims/s", []string{"settled_per_second"}},
		{"ranking and claim lookup, microseconds", []string{"ranking_us", "lookup_us"}},
		{"bytes per line: tables, indexes", []string{"table_bytes_per_line", "index_bytes_per_line"}},
		{"outbox after each slice, MB", []string{"outbox_mb"}},
		{"outbox: dead rows when it was empty", []string{"outbox_dead_rows"}},
	}
}

// writeChart draws growth.csv as an image: a line for each column over the lines stored.
func writeChart(table, image string) error {
	file, err := os.Open(table)
	if err != nil {
		return fmt.Errorf("draw growth: %w", err)
	}
	defer func() { _ = file.Close() }()
	records, err := csv.NewReader(file).ReadAll()
	if err != nil || len(records) < 3 {
		return fmt.Errorf("draw growth: %s has %d rows, want a heading and two at least: %w", table, len(records), err)
	}
	values := make(map[string][]float64, len(records[0]))
	for _, record := range records[1:] {
		for i, text := range record {
			value, err := strconv.ParseFloat(text, 64)
			if err != nil {
				return fmt.Errorf("draw growth: %s: %w", table, err)
			}
			values[records[0][i]] = append(values[records[0][i]], value)
		}
	}
	all := panels()
	rows := (len(all) + panelsAcross - 1) / panelsAcross
	var svg strings.Builder
	fmt.Fprintf(&svg, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12">`+"\n",
		panelsAcross*(panelWidth+panelMargin)+panelMargin, rows*(panelHeight+panelMargin)+panelMargin)
	svg.WriteString(`<rect width="100%" height="100%" fill="white"/>` + "\n")
	for i, p := range all {
		x, y := panelMargin+i%panelsAcross*(panelWidth+panelMargin), panelMargin+i/panelsAcross*(panelHeight+panelMargin)
		p.draw(&svg, x, y, values)
	}
	svg.WriteString("</svg>\n")
	return os.WriteFile(filepath.Clean(image), []byte(svg.String()), 0o644)
}

// draw draws a panel with its upper left corner at x, y. The axis of values starts at 0.
func (p *panel) draw(svg *strings.Builder, x, y int, values map[string][]float64) {
	colours := []string{"#1f5fa8", "#c2571a"}
	lines := values["lines"]
	last := lines[len(lines)-1]
	highest := 1.0
	for _, column := range p.columns {
		highest = max(highest, slices.Max(values[column]))
	}
	fmt.Fprintf(svg, `<text x="%d" y="%d" font-weight="bold">%s</text>`+"\n", x, y-10, p.title)
	fmt.Fprintf(svg, `<path d="M%d %dV%dH%d" fill="none" stroke="#444"/>`+"\n", x, y, y+panelHeight, x+panelWidth)
	fmt.Fprintf(svg, `<text x="%d" y="%d" text-anchor="end">%s</text>`+"\n", x-4, y+10, short(highest))
	fmt.Fprintf(svg, `<text x="%d" y="%d" text-anchor="end">0</text>`+"\n", x-4, y+panelHeight)
	fmt.Fprintf(svg, `<text x="%d" y="%d" text-anchor="end">%s million lines</text>`+"\n", x+panelWidth, y+panelHeight+16, short(last/1e6))
	for i, column := range p.columns {
		var points []string
		for n, value := range values[column] {
			points = append(points, fmt.Sprintf("%.1f,%.1f", float64(x)+lines[n]/last*panelWidth, float64(y)+panelHeight*(1-value/highest)))
		}
		fmt.Fprintf(svg, `<polyline points="%s" fill="none" stroke="%s" stroke-width="2"/>`+"\n", strings.Join(points, " "), colours[i])
		if len(p.columns) > 1 {
			fmt.Fprintf(svg, `<text x="%d" y="%d" fill="%s">%s</text>`+"\n", x+8, y+14+16*i, colours[i], strings.ReplaceAll(column, "_", " "))
		}
	}
}
