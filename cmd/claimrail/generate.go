package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/claimrail/claimrail/internal/sample"
)

// stdoutName stands for standard output in the place of a file.
const stdoutName = "-"

// Formats of 'claimrail generate'.
const (
	formatCSV    = "csv"
	formatNDJSON = "ndjson"
	format837D   = "837d"
)

// generateFlags are the flags of 'generate' as they are given.
type generateFlags struct {
	config                 sample.Config
	format, header, output string
}

func newGenerateCommand(p *program) *cobra.Command {
	f := generateFlags{}
	cmd := &cobra.Command{
		Use:   "generate",
		Short: "Make claims of nobody, for trials",
		Long: `Make claims of nobody, for tests, benchmarks and trials. Subscribers and groups are called
SAMPLE, NPIs begin with 9, which no issued one does, and procedure codes come from
arithmetic. The same flags give the same claims for ever, the same seed the same claims in
every format, and a longer sample begins with the shorter one.

Of the claims, the share --bad is to be refused, each for one reason: its procedure, NPI,
date, an amount, or that it has no subscriber number. All others break no rule.

csv has a row for each line, with a claim number; ndjson a claim on each line, as POST
/v1/claims takes it; 837d one interchange of version 005010X224A2, marked as a test. 837d
can not carry allowed fees: they stand as another payer's adjustment (CO-45), beside those
for coinsurance (PR-2) and copay (PR-3), so that who reads the last two only has a net
fee of coinsurance + copay.

Nothing is stored or sent. A FILE must not be there yet.`,
		Example: `  claimrail generate --claims 1000 --bad 0.01 --output claims.csv
  claimrail generate --claims 100000 --format ndjson --seed 7 > claims.ndjson
  claimrail generate --claims 10 --header brief | claimrail import -`,
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if cmd.Flags().Changed("header") && f.format != formatCSV {
				return misuse(fmt.Errorf("--header is for csv, and --format is %s", f.format), "leave --header out")
			}
			return p.generate(cmd.Context(), f)
		},
	}
	flags := cmd.Flags()
	flags.IntVar(&f.config.Claims, "claims", 1000, "make `N` claims, 0 to 100000000")
	flags.IntVar(&f.config.Lines, "lines", 4, "give each claim `N` lines, 1 to 999; 837d takes 50")
	flags.IntVar(&f.config.Providers, "providers", 100, "have `N` providers, 1 to 10000000; few of them are busy")
	flags.Float64Var(&f.config.Bad, "bad", 0, "have this `SHARE` of the claims refused, 0 to 1")
	flags.Uint64Var(&f.config.Seed, "seed", 1, "make the claims of this `SEED`")
	flags.StringVar(&f.format, "format", formatCSV, "write this `FORMAT`: csv, ndjson or 837d")
	flags.StringVar(&f.header, "header", string(sample.PlainHeader), "name the columns of csv in this `WAY`: plain, or brief, as spreadsheets have them")
	flags.StringVar(&f.output, "output", stdoutName, "write to this `FILE`; - is standard output")
	mustComplete(cmd, "format", formatCSV, formatNDJSON, format837D)
	mustComplete(cmd, "header", string(sample.PlainHeader), string(sample.BriefHeader))
	return cmd
}

// check refuses what can not be made, before anything is.
func (f *generateFlags) check() error {
	if err := f.config.Validate(); err != nil {
		return misuse(fmt.Errorf("--%w", err), "")
	}
	switch f.format {
	case formatCSV, formatNDJSON:
	case format837D:
		if f.config.Lines > sample.MaxLines837D {
			return misuse(fmt.Errorf("--lines is %d", f.config.Lines), fmt.Sprintf("a claim in 837D has at most %d", sample.MaxLines837D))
		}
	default:
		return misuse(fmt.Errorf("--format %q is no format", f.format), "use csv, ndjson or 837d")
	}
	switch sample.Header(f.header) {
	case sample.PlainHeader, sample.BriefHeader:
		return nil
	default:
		return misuse(fmt.Errorf("--header %q is no header", f.header), "use plain or brief")
	}
}

// generateReport is what --json shows of a sample.
type generateReport struct {
	Output   string         `json:"output"`
	Format   string         `json:"format"`
	Seed     uint64         `json:"seed"`
	Claims   int            `json:"claims"`
	Lines    int            `json:"lines"`
	BadCount int            `json:"bad_count"`
	Bad      map[string]int `json:"bad"` // claims, by what is wrong with them
}

// generate writes a sample, and then tells what is in it: on standard output, unless
// the claims are there.
func (p *program) generate(ctx context.Context, f generateFlags) error {
	if err := p.refuseServer("generate sends nothing", "'claimrail generate | claimrail import - --server URL' does"); err != nil {
		return err
	}
	if err := f.check(); err != nil {
		return err
	}
	s, err := sample.New(f.config)
	if err != nil {
		return err
	}
	write := func(w io.Writer) (tally sample.Tally, err error) {
		switch f.format {
		case formatNDJSON:
			return s.WriteNDJSON(ctx, w)
		case format837D:
			return s.Write837D(ctx, w)
		default:
			return s.WriteCSV(ctx, w, sample.Header(f.header))
		}
	}
	if f.output == stdoutName {
		tally, err := write(p.stdout)
		if err != nil {
			return err
		}
		return p.tellGenerated(p.stderr, f, tally)
	}
	tally, err := writeNew(f.output, write)
	if err != nil {
		return err
	}
	return p.tellGenerated(p.stdout, f, tally)
}

// writeNew writes a file that was not there; half of it is not left behind.
func writeNew(name string, write func(io.Writer) (sample.Tally, error)) (tally sample.Tally, err error) {
	file, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if errors.Is(err, fs.ErrExist) {
		return tally, hint(fmt.Errorf("%s is there already", name), "remove it, or name another with --output")
	}
	if err != nil {
		return tally, err
	}
	tally, err = write(file)
	if err = errors.Join(err, file.Close()); err != nil {
		err = errors.Join(fmt.Errorf("write %s: %w", name, err), os.Remove(name))
	}
	return tally, err
}

func (p *program) tellGenerated(w io.Writer, f generateFlags, tally sample.Tally) error {
	report := generateReport{
		Output: f.output, Format: f.format, Seed: f.config.Seed, Claims: tally.Claims, Lines: tally.Lines, Bad: map[string]int{},
	}
	var bad []string
	for kind, count := range tally.Bad {
		if name := sample.Bad(kind).String(); sample.Bad(kind) != sample.Good && count > 0 {
			report.BadCount += count
			report.Bad[name] = count
			bad = append(bad, fmt.Sprintf("%d %s", count, name))
		}
	}
	if p.json {
		return writeJSON(w, report)
	}
	text := fmt.Sprintf("%s: %d claims, %d lines, %d bad", f.output, report.Claims, report.Lines, report.BadCount)
	if len(bad) > 0 {
		text += ": " + strings.Join(bad, ", ")
	}
	_, err := fmt.Fprintln(w, text)
	return err
}
