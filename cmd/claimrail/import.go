package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/claimrail/claimrail/internal/claim"
	"github.com/claimrail/claimrail/internal/intake"
	"github.com/claimrail/claimrail/internal/money"
	"github.com/claimrail/claimrail/internal/store"
)

// Limits of what an import tells one by one; behind them there are only counts.
const (
	maxToldClaims = 20 // of one file
	maxToldFaults = 50 // of one file
)

// stdinName stands for standard input among the files.
const stdinName = "-"

func newImportCommand(p *program) *cobra.Command {
	return &cobra.Command{
		Use:   "import FILE...",
		Short: "Take claims from CSV files",
		Long: `Take claims from CSV files; - is standard input. The header names the columns, as
spreadsheets do ("Plan/Group #", "Provider NPI"). Rows with the same claim number are
one claim; in a file without that column all rows are one claim.

A claim is stored whole or not at all. The same file sent again stores nothing twice:
its claims are known by their claim number, else by the file and the row. What is wrong
is told as file:line: field: what to change (code). Amounts are US dollars; the net fee
is that of the claims stored, those that were there already included.

Without --server, 'claimrail serve' delivers the claims to payments when it runs next.

Exit code 1 means that at least one claim was rejected, or a file could not be read.`,
		Example: `  claimrail import claim_1234.csv
  claimrail import january.csv february.csv --json
  claimrail import - --server http://127.0.0.1:8000 < claims.csv`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return hint(errors.New("give at least one file"), "'claimrail import claims.csv', or - for standard input")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			return p.importFiles(cmd.Context(), args)
		},
	}
}

// importReport is what --json shows of an import.
type importReport struct {
	Files []*fileReport `json:"files"`
}

// fileReport is what became of one file.
type fileReport struct {
	File       string          `json:"file"`
	SHA256     string          `json:"sha256"`
	Rows       int             `json:"rows"`
	Claims     int             `json:"claims"`     // read
	Accepted   int             `json:"accepted"`   // stored now
	Duplicates int             `json:"duplicates"` // stored before, the same
	Rejected   int             `json:"rejected"`
	Warnings   int             `json:"warnings"` // of the claims stored
	NetFee     money.Cents     `json:"net_fee"`  // of the claims stored, now or before
	Stored     []importedClaim `json:"stored"`   // the first 20
	Faults     []importFault   `json:"faults"`   // the first 50
	FaultCount int             `json:"fault_count"`
	Error      string          `json:"error,omitempty"` // why the rest of the file was not read
}

// importedClaim is a claim that is stored.
type importedClaim struct {
	ClaimID         string         `json:"claim_id"`
	ExternalClaimID string         `json:"external_claim_id,omitempty"`
	Duplicate       bool           `json:"duplicate"`
	NetFee          money.Cents    `json:"net_fee"`
	Lines           []importedLine `json:"lines"`
	warnings        int
}

// importedLine is a line of one. No PHI.
type importedLine struct {
	Procedure   string      `json:"submitted_procedure"`
	ProviderNPI string      `json:"provider_npi"`
	NetFee      money.Cents `json:"net_fee"`
}

// importFault is one thing that is wrong with a file. No PHI.
type importFault struct {
	Line    int    `json:"line"` // of the file, from 1
	Row     int    `json:"row"`  // from 1 behind the header; 0 for the header
	Field   string `json:"field,omitempty"`
	Code    string `json:"code"`
	Message string `json:"message"`
}

// importFiles takes one file after the other, and goes on behind one that is bad.
func (p *program) importFiles(ctx context.Context, names []string) (err error) {
	c, err := p.loadConfig()
	if err != nil {
		return err
	}
	s, err := p.openSink(ctx, c)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	report := importReport{Files: []*fileReport{}}
	var errs []error
	for _, name := range names {
		file := &fileReport{File: name, Stored: []importedClaim{}, Faults: []importFault{}}
		report.Files = append(report.Files, file)
		failed := p.importFile(ctx, s, file)
		if failed != nil {
			file.Error = failed.Error()
			errs = append(errs, failed)
		}
		p.tellFaults(file)
		if !p.json && (failed == nil || file.Claims > 0) {
			if err := file.writeText(p.stdout); err != nil {
				return err
			}
		}
		if _, bad := errors.AsType[*fileError](failed); failed != nil && !bad {
			break // it is not the file's fault: the next would fare no better
		}
	}
	if p.json {
		errs = append(errs, writeJSON(p.stdout, report))
	}
	if p.server == "" {
		p.tellWaiting(report.Files)
	}
	rejected := 0
	for _, file := range report.Files {
		rejected += file.Rejected
	}
	if rejected > 0 {
		errs = append(errs, hint(fmt.Errorf("%d claims were rejected", rejected),
			"correct their rows and import the file again: with claim numbers, what is stored already is not stored twice"))
	}
	return errors.Join(errs...)
}

// tellWaiting says what becomes of claims that were stored while no server runs.
func (p *program) tellWaiting(files []*fileReport) {
	accepted := 0
	for _, file := range files {
		accepted += file.Accepted
	}
	if accepted > 0 {
		fmt.Fprintf(p.stderr, "waiting for 'claimrail serve' to deliver them to payments: %d of the claims\n", accepted)
	}
}

// importFile takes the claims of one file. A *fileError is the file's own fault.
func (p *program) importFile(ctx context.Context, s sink, report *fileReport) (err error) {
	source, err := openSource(report.File, p.stdin)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, source.close()) }()
	report.SHA256 = source.sha256
	reader, err := intake.NewCSV(source.file, source.sha256)
	if header, ok := errors.AsType[*intake.HeaderError](err); ok {
		report.addFaults(header.Faults)
		return &fileError{report.File, errors.New("the header can not be used")}
	}
	if err != nil {
		return &fileError{report.File, err}
	}
	return acceptAll(ctx, s, reader, report)
}

// fileError says that a file can not be imported, or not to its end.
type fileError struct {
	file string
	err  error
}

func (e *fileError) Error() string { return fmt.Sprintf("import %s: %v", e.file, e.err) }
func (e *fileError) Unwrap() error { return e.err }

// judged is what became of one claim.
type judged struct {
	rows   int
	stored importedClaim
	faults []intake.Fault
	err    error // the import can not go on
}

// acceptAll hands the claims in, several at once, and reports on them in their order.
func acceptAll(ctx context.Context, s sink, reader *intake.CSV, report *fileReport) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	waiting := make(chan chan judged, s.inFlight())
	var readError error
	go func() {
		defer close(waiting)
		for ctx.Err() == nil {
			parcel, err := reader.Next()
			if err != nil {
				readError = err
				return
			}
			answer := make(chan judged, 1)
			waiting <- answer
			go func() { answer <- s.accept(ctx, reader, parcel) }()
		}
		readError = ctx.Err()
	}()
	var failed error
	for answer := range waiting { // to the end, so that nobody is left behind
		if result := <-answer; failed == nil {
			if failed = result.err; failed != nil {
				cancel()
				continue
			}
			failed = report.add(&result)
		}
	}
	switch {
	case failed != nil:
		return hint(fmt.Errorf("import %s: %w", report.File, failed), "import the same file again: what is stored is not stored twice")
	case readError == io.EOF:
		return nil
	case ctx.Err() != nil:
		return hint(fmt.Errorf("import %s: interrupted", report.File), "import the same file again: what is stored is not stored twice")
	default:
		return &fileError{report.File, readError}
	}
}

func (r *fileReport) add(result *judged) (err error) {
	r.Claims++
	r.Rows += result.rows
	if len(result.faults) > 0 {
		r.Rejected++
		r.addFaults(result.faults)
		return nil
	}
	if result.stored.Duplicate {
		r.Duplicates++
	} else {
		r.Accepted++
	}
	r.Warnings += result.stored.warnings
	if len(r.Stored) < maxToldClaims {
		r.Stored = append(r.Stored, result.stored)
	}
	r.NetFee, err = r.NetFee.Add(result.stored.NetFee)
	return err
}

// addFaults adds errors; warnings are with the claim, which was not stored.
func (r *fileReport) addFaults(faults []intake.Fault) {
	for _, f := range faults {
		if f.Severity != claim.Error {
			continue
		}
		if r.FaultCount++; r.FaultCount <= maxToldFaults {
			r.Faults = append(r.Faults, importFault{f.Line, f.Row, f.Field.String(), f.Code, f.Message})
		}
	}
}

// tellFaults tells what is wrong, as compilers do.
func (p *program) tellFaults(file *fileReport) {
	for _, f := range file.Faults {
		field := ""
		if f.Field != "" {
			field = f.Field + ": "
		}
		fmt.Fprintf(p.stderr, "%s:%d: %s%s (%s)\n", file.File, f.Line, field, f.Message, f.Code)
	}
	if more := file.FaultCount - len(file.Faults); more > 0 {
		fmt.Fprintf(p.stderr, "%s: and %d more\n", file.File, more)
	}
}

// writeText writes the claims of a file, line by line, where they are few; then the counts.
func (r *fileReport) writeText(w io.Writer) error {
	if stored := r.Accepted + r.Duplicates; stored > 0 && stored <= len(r.Stored) {
		t := table{columns: []column{
			{"claim id", false}, {"external id", false}, {"line", true}, {"procedure", false}, {"provider npi", false}, {"net fee", true},
		}}
		for i := range r.Stored {
			c := &r.Stored[i]
			for j, line := range c.Lines {
				t.add(c.ClaimID, orDash(c.ExternalClaimID), strconv.Itoa(j), line.Procedure, line.ProviderNPI, line.NetFee.String())
			}
			t.add(c.ClaimID, orDash(c.ExternalClaimID), "", "claim", "", c.NetFee.String())
		}
		if err := t.writeTo(w); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(w, "%s: %d rows, %d claims: %d accepted, %d duplicates, %d rejected, %d warnings; net fee %s\n",
		r.File, r.Rows, r.Claims, r.Accepted, r.Duplicates, r.Rejected, r.Warnings, r.NetFee)
	return err
}

// faultOf gives a fault of a claim that only the database can find.
func faultOf(parcel *intake.Parcel, err error) []intake.Fault {
	if !errors.Is(err, store.ErrOtherClaim) {
		return nil
	}
	row := parcel.Rows[0]
	return []intake.Fault{{
		Row: row.Number, Line: row.Line, Field: claim.ExternalIDField, Code: "other-claim", Severity: claim.Error,
		Message: "another claim was accepted under this claim number; give this one a new number",
	}}
}
