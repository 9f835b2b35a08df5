// Command bench measures the line against what it replaces, against its peers and against
// the limits of the machine. Each row has two sides, taken in turn in one run; what
// counts is the ratio of their medians. It is a module of its own, so that the
// peers' modules are none of the program's.
//
//	go run . -list           the rows, with their targets
//	go run . accept latency  some of them
//	go run .                 all of them
//
// What it found goes to results.json, and into the table of docs/benchmarks.md.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"
	"time"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run() error {
	if side := os.Getenv(sideVariable); side != "" {
		return runSide(side) // this process is one side of a row; see spawnSide
	}
	list := flag.Bool("list", false, "list the rows")
	rounds := flag.Int("rounds", 3, "how often each side is taken")
	seconds := flag.Duration("for", 8*time.Second, "how long a side that is under load is measured")
	root := flag.String("root", "..", "the checkout")
	profiles := flag.String("profiles", "", "folder for profiles of the sides under load, CPU and allocations; empty: none")
	grown := flag.Int("grow", 50_000_000, "how many lines growth stores")
	flag.Parse()
	rows := allRows()
	if *list {
		for _, row := range rows {
			fmt.Fprintf(os.Stdout, "%-14s %s\n%-14s target: %s\n", row.name, row.what, "", row.target)
		}
		return nil
	}
	chosen, err := choose(rows, flag.Args())
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	r, err := newRig(ctx, *root, *rounds, *seconds, *profiles)
	if err != nil {
		return err
	}
	defer r.close()
	r.grown = *grown
	results := r.measureAll(ctx, chosen)
	if err := saveResults(filepath.Join(*root, "bench", "results.json"), results); err != nil {
		return err
	}
	if err := writeTable(filepath.Join(*root, "docs", "benchmarks.md"), rows); err != nil {
		return err
	}
	for _, result := range results {
		if result.Error != "" {
			err = errors.Join(err, fmt.Errorf("%s was not run: %s", result.Name, result.Error))
		}
	}
	return err
}

// choose gives the rows of these names, or all.
func choose(rows []row, names []string) ([]row, error) {
	if len(names) == 0 {
		return slices.DeleteFunc(rows, func(r row) bool { return r.long }), nil
	}
	var chosen []row
	for _, name := range names {
		i := slices.IndexFunc(rows, func(r row) bool { return r.name == name })
		if i < 0 {
			return nil, fmt.Errorf("there is no row %q; -list lists them", name)
		}
		chosen = append(chosen, rows[i])
	}
	return chosen, nil
}
