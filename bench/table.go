package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// The table of docs/benchmarks.md stands between these.
const (
	tableBegin = "<!-- table: written by make bench -->\n"
	tableEnd   = "<!-- end of the table -->\n"
)

// writeTable writes the table anew, from all results that are kept.
func writeTable(page string, rows []row) error {
	text, err := os.ReadFile(page)
	if err != nil {
		return fmt.Errorf("write the table: %w", err)
	}
	before, rest, begun := bytes.Cut(text, []byte(tableBegin))
	_, after, ended := bytes.Cut(rest, []byte(tableEnd))
	if !begun || !ended {
		return fmt.Errorf("write the table: %s has no place for it; put these two lines there:\n%s%s", page, tableBegin, tableEnd)
	}
	results, err := loadResults(filepath.Join(filepath.Dir(page), "..", "bench", "results.json"))
	if err != nil {
		return err
	}
	var table strings.Builder
	table.WriteString("| row | sides: median (least to most) | ratio | target | |\n|---|---|---|---|---|\n")
	for _, row := range rows {
		at := slices.IndexFunc(results, func(r Result) bool { return r.Name == row.name })
		if at < 0 {
			fmt.Fprintf(&table, "| `%s` | not run yet | | %s | |\n", row.name, row.target)
			continue
		}
		writeRow(&table, &row, &results[at])
	}
	return os.WriteFile(page, slices.Concat(before, []byte(tableBegin), []byte(table.String()), []byte(tableEnd), after), 0o644)
}

func writeRow(table *strings.Builder, row *row, result *Result) {
	if result.Error != "" {
		fmt.Fprintf(table, "| `%s` | **not run**: %s | | %s | |\n", row.name, strings.ReplaceAll(result.Error, "\n", " "), row.target)
		return
	}
	var sides, ratios, verdicts []string
	for _, side := range result.Sides {
		sides = append(sides, fmt.Sprintf("%s: %s %s (%s to %s)%s", side.Side, short(side.Median), result.Unit,
			short(side.Least), short(side.Most), parenthesis(side.Notes)))
	}
	for _, ratio := range result.Ratios {
		ratios = append(ratios, fmt.Sprintf("%s (%s)", short(ratio.Value), ratio.Against))
		verdict := map[bool]string{true: "met", false: "**missed**"}[ratio.Met]
		if ratio.Least == 0 && ratio.Most == 0 {
			verdict = "" // shown without a target
		}
		verdicts = append(verdicts, verdict)
	}
	fmt.Fprintf(table, "| `%s`, %s | %s | %s | %s | %s |\n", row.name, result.When, strings.Join(sides, "<br>"),
		strings.Join(ratios, "<br>"), row.target, strings.Join(verdicts, "<br>"))
}

func parenthesis(notes map[string]float64) string {
	if len(notes) == 0 {
		return ""
	}
	return "; " + noted(notes)
}

// short gives a figure with as many digits as mean something.
func short(value float64) string {
	switch {
	case value >= 1000:
		return fmt.Sprintf("%.0f", value)
	case value >= 10:
		return fmt.Sprintf("%.1f", value)
	default:
		return fmt.Sprintf("%.3g", value)
	}
}
