package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"
)

// row is one line of the table: something that is measured, and what it should reach.
type row struct {
	name   string
	what   string
	target string
	unit   string
	long   bool // only run when it is asked for by name
	// open readies what both sides need. The sides are taken in turn until each was
	// taken often enough.
	open func(ctx context.Context, r *rig) (*bout, error)
}

// bout is a row that is being measured.
type bout struct {
	sides  []side // the first is ours; each of the others is one that it is held against
	limits []limit
	close  func()
	rounds int // 0: as many as the rig says
}

// side is one thing that is measured.
type side struct {
	name    string
	measure func(ctx context.Context) (sample, error)
}

// sample is one measurement.
type sample struct {
	value float64
	notes map[string]float64 // what else was seen, such as "p99 ms"
}

// limit is what the ratio of the first side to another should be.
type limit struct {
	against int // index of the side
	least   float64
	most    float64 // 0: no upper limit
	// figure, where set, is judged in place of a ratio: an absolute bound.
	figure bool
}

// met tells whether a ratio, or a figure, is inside.
func (l limit) met(value float64) bool {
	return value >= l.least && (l.most == 0 || value <= l.most)
}

// Result is what results.json holds of a row.
type Result struct {
	Name   string   `json:"name"`
	When   string   `json:"when"`
	Unit   string   `json:"unit"`
	Sides  []Figure `json:"sides"`
	Ratios []Ratio  `json:"ratios"`
	Error  string   `json:"error,omitempty"` // why the row, or one side of it, could not run
}

// Figure is one side's.
type Figure struct {
	Side    string             `json:"side"`
	Samples []float64          `json:"samples"`
	Median  float64            `json:"median"`
	Least   float64            `json:"least"`
	Most    float64            `json:"most"`
	Notes   map[string]float64 `json:"notes,omitempty"` // medians
}

// Ratio is ours over another side, or our figure itself, and what it should be.
type Ratio struct {
	Against string  `json:"against"`
	Value   float64 `json:"value"`
	Least   float64 `json:"least,omitempty"`
	Most    float64 `json:"most,omitempty"`
	Met     bool    `json:"met"`
}

// measureAll measures the rows, one after the other. A row that can not run is in the
// results all the same.
func (r *rig) measureAll(ctx context.Context, rows []row) []Result {
	var results []Result
	for i := range rows {
		started := time.Now()
		fmt.Fprintf(os.Stdout, "%s: %s\n", rows[i].name, rows[i].what)
		result := r.measure(ctx, &rows[i])
		fmt.Fprintf(os.Stdout, "%s: took %s\n\n", rows[i].name, time.Since(started).Round(time.Second))
		results = append(results, result)
		if ctx.Err() != nil {
			break
		}
	}
	return results
}

func (r *rig) measure(ctx context.Context, row *row) (result Result) {
	result = Result{Name: row.name, When: time.Now().UTC().Format("2006-01-02"), Unit: row.unit}
	b, err := row.open(ctx, r)
	if err != nil {
		result.Error = err.Error()
		fmt.Fprintf(os.Stdout, "  not run: %v\n", err)
		return result
	}
	if b.close != nil {
		defer b.close()
	}
	samples := make([][]sample, len(b.sides))
	for round := range cmp.Or(b.rounds, r.rounds) {
		for i, side := range b.sides {
			got, err := side.measure(ctx)
			if err != nil {
				result.Error = fmt.Sprintf("%s: %v", side.name, err)
				fmt.Fprintf(os.Stdout, "  %s: %v\n", side.name, err)
				return result
			}
			fmt.Fprintf(os.Stdout, "  round %d, %s: %.6g %s %s\n", round+1, side.name, got.value, row.unit, noted(got.notes))
			samples[i] = append(samples[i], got)
		}
	}
	for i, side := range b.sides {
		result.Sides = append(result.Sides, figure(side.name, samples[i]))
	}
	for _, limit := range b.limits {
		ratio := Ratio{Against: result.Sides[limit.against].Side, Least: limit.least, Most: limit.most}
		ratio.Value = result.Sides[0].Median
		if !limit.figure {
			ratio.Value /= result.Sides[limit.against].Median
		}
		ratio.Met = limit.met(ratio.Value)
		result.Ratios = append(result.Ratios, ratio)
		fmt.Fprintf(os.Stdout, "  %s: %.3g (%s)\n", ratio.Against, ratio.Value, map[bool]string{true: "met", false: "MISSED"}[ratio.Met])
	}
	return result
}

// figure sums up the samples of one side.
func figure(name string, samples []sample) Figure {
	f := Figure{Side: name, Notes: map[string]float64{}}
	notes := map[string][]float64{}
	for _, s := range samples {
		f.Samples = append(f.Samples, s.value)
		for key, value := range s.notes {
			notes[key] = append(notes[key], value)
		}
	}
	for key, values := range notes {
		f.Notes[key] = median(values)
	}
	f.Median, f.Least, f.Most = median(f.Samples), slices.Min(f.Samples), slices.Max(f.Samples)
	return f
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	half := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[half]
	}
	return (sorted[half-1] + sorted[half]) / 2
}

func noted(notes map[string]float64) string {
	var texts []string
	for key, value := range notes {
		texts = append(texts, fmt.Sprintf("%s %.4g", key, value))
	}
	slices.Sort(texts)
	return strings.Join(texts, ", ")
}

// saveResults puts the results into the file, each in the place of the older one of its row.
func saveResults(path string, results []Result) error {
	kept, err := loadResults(path)
	if err != nil {
		return err
	}
	for _, result := range results {
		at := slices.IndexFunc(kept, func(r Result) bool { return r.Name == result.Name })
		if at < 0 {
			kept = append(kept, result)
		} else {
			kept[at] = result
		}
	}
	text, err := json.MarshalIndent(kept, "", "  ")
	if err != nil {
		return fmt.Errorf("encode results: %w", err)
	}
	return os.WriteFile(path, append(text, '\n'), 0o644)
}

func loadResults(path string) ([]Result, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var kept []Result
	if err == nil {
		err = json.Unmarshal(text, &kept)
	}
	if err != nil {
		return nil, fmt.Errorf("read results: %w", err)
	}
	return kept, nil
}
