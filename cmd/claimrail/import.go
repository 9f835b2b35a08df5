package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/claimrail/claimrail/internal/bulk"
	"github.com/claimrail/claimrail/internal/intake"
	"github.com/claimrail/claimrail/internal/money"
	"github.com/claimrail/claimrail/internal/store"
)

// Limits of what an import tells one by one; behind them there are only counts.
const (
	maxToldClaims = 20 // of one file
	maxToldFaults = 50 // of one file
)

// Most of what an import allocates is garbage at once. The collector runs late, for speed, but never
// lets the heap grow far beyond this limit; SQLite's caches come on top of it.
const (
	importGCPercent = 400
	importMemory    = 80 << 20 // bytes
)

// stdinName stands for standard input among the files.
const stdinName = "-"

// importOptions are the flags of import.
type importOptions struct {
	format  string
	onError string
	dryRun  bool
	rejects string // file; empty: none
	ack     string // file; empty: none
	force   bool   // these may take the place of others

	asked intake.Format // what format says
}

// What --on-error takes.
const (
	onErrorContinue = "continue"
	onErrorStop     = "stop"
)

func newImportCommand(p *program) *cobra.Command {
	o := &importOptions{}
	cmd := &cobra.Command{
		Use:   "import FILE...",
		Short: "Take claims from files",
		Long: `Take claims from files of CSV, NDJSON or X12 837D, as they are or packed by gzip; -
is standard input. In CSV the header names the columns, as spreadsheets do
("Plan/Group #", "Provider NPI"). Rows with the same claim number are one claim; in a
file without that column all rows are one claim.

A claim is stored whole or not at all. Interrupted in any way, the same command goes on
where it stopped, and stores nothing twice: claims are known by their claim number, else
by the file and the row. What is wrong is told as file:line: field: what to change
(code), and of a value its form alone: 9 for a digit, A for a letter. Amounts are US
dollars; the net fee is that of the claims stored, those that were there already included.

With --rejects, the rows of the claims that were rejected are written to a file of the same
form, to be corrected and imported. A file that is there already stays, and that is an
error, unless it is what would be written, or --force is given. With --on-error stop, what
is behind such a claim was not read: import the file itself again as well.

Without --server, 'claimrail serve' delivers the claims to payments when it runs next.
With it, the server imports the file, also if this command ends before. So does a server
that has the data directory, which the command finds by itself.

Exit code 1 means that at least one claim was rejected, a file could not be read, or,
of X12, that a set, group or interchange is at fault: where one is cut off, claims may be
missing.`,
		Example: `  claimrail import claim_1234.csv
  claimrail import january.csv --rejects january-rejects.csv
  claimrail import january.csv february.csv.gz --json
  claimrail import - --server http://127.0.0.1:8000 < claims.csv`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return hint(errors.New("give at least one file"), "'claimrail import claims.csv', or - for standard input")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.check(args); err != nil {
				return err
			}
			return p.importFiles(cmd.Context(), o, args)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&o.format, "format", "", "take the files for this `FORMAT`: "+strings.Join(bulk.Formats(), ", ")+"; else their content tells")
	flags.BoolVar(&o.dryRun, "dry-run", false, "check and price the claims, and store nothing")
	flags.StringVar(&o.onError, "on-error", onErrorContinue, "at a claim that is rejected, do this: `WHAT` is continue or stop")
	flags.StringVar(&o.rejects, "rejects", "", "write the claims that are rejected to this `FILE`, to be corrected and imported")
	flags.StringVar(&o.ack, "ack", "", "write the acknowledgement of an X12 file to this `FILE`")
	flags.BoolVar(&o.force, "force", false, "replace the files of --rejects and --ack where they hold something else")
	mustComplete(cmd, "format", bulk.Formats()...)
	mustComplete(cmd, "on-error", onErrorContinue, onErrorStop)
	return cmd
}

// check refuses flags that can not be done.
func (o *importOptions) check(files []string) (err error) {
	if o.asked, err = bulk.FormatNamed(o.format); err != nil {
		return misuse(err, "leave --format out where the content of the files can tell it")
	}
	if o.onError != onErrorContinue && o.onError != onErrorStop {
		return misuse(fmt.Errorf("--on-error %s: there are %s and %s", o.onError, onErrorContinue, onErrorStop), "")
	}
	for _, out := range []struct{ flag, path string }{{"--rejects", o.rejects}, {"--ack", o.ack}} {
		if out.path == "" {
			continue
		}
		if len(files) > 1 {
			return misuse(fmt.Errorf("%s is for one file, and %d are given", out.flag, len(files)), "import the files one by one")
		}
		if out.path == stdoutName {
			return misuse(fmt.Errorf("%s -: it can not go to standard output, where the counts are", out.flag), "give the path of a file")
		}
		if files[0] != stdinName && sameFile(out.path, files[0]) {
			return misuse(fmt.Errorf("%s %s: it is the file to be imported", out.flag, out.path), "give it another name")
		}
	}
	if o.rejects != "" && o.ack != "" && sameFile(o.rejects, o.ack) {
		return misuse(errors.New("--rejects and --ack name the same file"), "give them two names")
	}
	return nil
}

// importReport is what --json shows of an import.
type importReport struct {
	Files []*fileReport `json:"files"`
}

// fileReport is what became of one file.
type fileReport struct {
	File       string          `json:"file"`
	SHA256     string          `json:"sha256"`
	Format     string          `json:"format"`
	ImportID   string          `json:"import_id,omitempty"` // left out of a dry run without --server
	DryRun     bool            `json:"dry_run"`
	Rows       int64           `json:"rows"`       // or lines, where the format has no rows
	Claims     int64           `json:"claims"`     // read
	Accepted   int64           `json:"accepted"`   // stored by this import, in all of its runs
	Duplicates int64           `json:"duplicates"` // stored before, the same
	Rejected   int64           `json:"rejected"`
	Warnings   int64           `json:"warnings"` // of the claims stored
	NetFee     money.Cents     `json:"net_fee"`  // of the claims stored, now or before
	Stored     []importedClaim `json:"stored"`   // the first 20; none with --server
	Faults     []bulk.Fault    `json:"faults"`   // the first 50
	FaultCount int             `json:"fault_count"`
	PartFaults int             `json:"part_fault_count"` // of these: of whole sets, groups and interchanges of X12
	Stopped    bool            `json:"stopped"`          // by --on-error stop: what is behind the first claim or set at fault was not read
	Error      string          `json:"error,omitempty"`  // why the rest of the file was not read
}

// importedClaim is a claim that is stored.
type importedClaim struct {
	ClaimID         string         `json:"claim_id"`
	ExternalClaimID string         `json:"external_claim_id,omitempty"`
	Duplicate       bool           `json:"duplicate"`
	NetFee          money.Cents    `json:"net_fee"`
	Lines           []importedLine `json:"lines"`
}

// importedLine is a line of one. No PHI.
type importedLine struct {
	Procedure   string      `json:"submitted_procedure"`
	ProviderNPI string      `json:"provider_npi"`
	NetFee      money.Cents `json:"net_fee"`
}

// importer takes in one file: into the databases, or over a server.
type importer interface {
	// take fills the report, also where it gives an error. A *fileError is the file's own fault.
	take(ctx context.Context, from source, o *importOptions, report *fileReport) error
	close() error
}

// importFiles takes one file after the other, and goes on behind one that is bad.
func (p *program) importFiles(ctx context.Context, o *importOptions, names []string) (err error) {
	debug.SetGCPercent(importGCPercent)
	debug.SetMemoryLimit(importMemory)
	c, err := p.loadConfig()
	if err != nil {
		return err
	}
	if err := c.spareData("--rejects", o.rejects); err != nil {
		return err
	}
	if err := c.spareData("--ack", o.ack); err != nil {
		return err
	}
	to, err := p.openImporter(ctx, c, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, to.close()) }()
	report := importReport{Files: []*fileReport{}}
	var errs []error
	for n, name := range names {
		file := &fileReport{File: name, DryRun: o.dryRun, Stored: []importedClaim{}, Faults: []bulk.Fault{}}
		report.Files = append(report.Files, file)
		failed := p.importFile(ctx, to, o, file)
		if failed != nil {
			file.Error = failed.Error()
			errs = append(errs, failed)
		}
		if err := p.tell(file, failed); err != nil {
			return err
		}
		_, bad := errors.AsType[*fileError](failed)
		if failed != nil && !bad || o.onError == onErrorStop && (bad || file.Rejected > 0 || file.PartFaults > 0) {
			for _, next := range names[n+1:] { // they would fare no better, or are not wanted
				fmt.Fprintf(p.stderr, "%s: not read\n", next)
			}
			break
		}
	}
	if p.json {
		errs = append(errs, writeJSON(p.stdout, report))
	}
	return errors.Join(append(errs, p.conclude(o, report.Files)...)...)
}

// conclude says what is left to do for all files together. The errors are what is at fault in them.
func (p *program) conclude(o *importOptions, files []*fileReport) (errs []error) {
	rejected, accepted, partFaults := int64(0), int64(0), 0
	for _, file := range files {
		rejected, accepted, partFaults = rejected+file.Rejected, accepted+file.Accepted, partFaults+file.PartFaults
	}
	if p.server == "" && accepted > 0 && !o.dryRun {
		fmt.Fprintf(p.stderr, "waiting for 'claimrail serve' to deliver them to payments: %d of the claims\n", accepted)
	}
	if rejected > 0 {
		errs = append(errs, hint(fmt.Errorf("%d claims were rejected", rejected), "%s", o.remedy(files)))
	}
	if partFaults > 0 {
		errs = append(errs, hint(fmt.Errorf("%d faults of sets, groups and interchanges: claims may be missing", partFaults),
			"have the file sent again, whole, and import it: what is stored already is not stored twice"))
	}
	return errs
}

// remedy says what to do about claims that were rejected. An import that stopped at them read nothing
// behind them, so that they alone are not what is missing.
func (o *importOptions) remedy(files []*fileReport) string {
	stopped := slices.ContainsFunc(files, func(r *fileReport) bool { return r.Stopped })
	switch {
	case o.rejects != "" && stopped: // it holds them as they were, and would stop at them again
		return "correct them in " + o.rejects + ", and import that file; then import the file itself again, without --on-error stop," +
			" for it was not read to its end: what is stored already is a duplicate then"
	case o.rejects != "":
		return "correct them in " + o.rejects + ", and import that file"
	}
	again := " and import the file again"
	if stopped {
		again += ", which was not read to its end"
	}
	return "correct " + rejectedParts(files) + again + ": with claim numbers, what is stored already is not stored twice;" +
		" or add --rejects FILE, to have them in a file of their own"
}

// rejectedParts says what is to be corrected: what a claim consists of in these files, where that is one thing.
func rejectedParts(files []*fileReport) string {
	parts := map[string]bool{}
	for _, file := range files {
		if file.Rejected > 0 {
			parts[file.Format] = true
		}
	}
	switch {
	case len(parts) == 1 && parts[bulk.FormatName(intake.CSVTable)]:
		return "their rows"
	case len(parts) == 1 && parts[bulk.FormatName(intake.NDJSON)]:
		return "their lines"
	default:
		return "these claims"
	}
}

// openImporter opens what --server, or the settings, name: of a data directory that a server has, that server.
func (p *program) openImporter(ctx context.Context, c config, o *importOptions) (importer, error) {
	if p.server == "" {
		l, err := p.openLocalImporter(ctx, c, o)
		if taken, ok := errors.AsType[*inUseError](err); ok {
			return p.openServing(ctx, taken)
		}
		return l, err
	}
	if err := p.checkServer(); err != nil {
		return nil, err
	}
	return p.openRemoteImporter()
}

// importFile takes in one file.
func (p *program) importFile(ctx context.Context, to importer, o *importOptions, report *fileReport) (err error) {
	from, err := openSource(ctx, report.File, p.stdin)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, from.close()) }()
	report.SHA256 = from.sha256
	return to.take(ctx, from, o, report)
}

// fileError says that a file can not be imported, or not to its end.
type fileError struct {
	file string
	err  error
}

func (e *fileError) Error() string { return fmt.Sprintf("import %s: %v", e.file, e.err) }
func (e *fileError) Unwrap() error { return e.err }

// goOnHint is what to do after an import that was interrupted.
const goOnHint = "run the same command again: it goes on where it stopped, and stores nothing twice"

// unwrittenHint is what to do where the import itself came to its end.
const unwrittenHint = "make room, and run the same command again: it stores nothing twice, and writes the file anew"

// explainImport says what an error of a pass means for whoever started it.
func explainImport(ctx context.Context, file string, err error) error {
	switch {
	case err == nil:
		return nil
	case bulk.IsFileError(err):
		return &fileError{file, err}
	case ctx.Err() != nil:
		return hint(fmt.Errorf("import %s: interrupted", file), goOnHint)
	case errors.Is(err, store.ErrLostImport):
		return hint(fmt.Errorf("import %s: %w", file, err), "another process imports the same file, or it was cancelled; run the same command again")
	default:
		return hint(fmt.Errorf("import %s: %w", file, err), goOnHint)
	}
}

// count takes over the counts.
func (r *fileReport) count(t *store.Tally) {
	r.Rows, r.Claims, r.Accepted, r.Duplicates, r.Rejected = t.Lines.Read, t.Claims.Read, t.Claims.Accepted, t.Claims.Duplicate, t.Claims.Rejected
	r.Warnings, r.NetFee = t.Warnings, t.NetFee
}

// add notes a claim among the first that were stored, and what is wrong with one that was not.
func (r *fileReport) add(v *bulk.Verdict) {
	if v.Claim == nil {
		r.addFaults(v.Faults)
		return
	}
	if len(r.Stored) == maxToldClaims {
		return
	}
	stored := importedClaim{
		ClaimID: v.Claim.ID.String(), ExternalClaimID: v.Claim.ExternalID, Duplicate: v.Duplicate,
		NetFee: v.Claim.NetFee(), Lines: make([]importedLine, len(v.Claim.Lines)),
	}
	for i := range v.Claim.Lines {
		line := &v.Claim.Lines[i]
		stored.Lines[i] = importedLine{line.Procedure, line.ProviderNPI.String(), line.NetFee()}
	}
	r.Stored = append(r.Stored, stored)
}

// addFaults adds errors; warnings are with the claim, which was not stored.
func (r *fileReport) addFaults(faults []intake.Fault) {
	for i := range faults {
		if bulk.IsError(&faults[i]) {
			r.addFault(bulk.NewFault(&faults[i]))
		}
	}
}

func (r *fileReport) addFault(f bulk.Fault) {
	if f.Part != "" {
		r.PartFaults++
	}
	if r.FaultCount++; r.FaultCount <= maxToldFaults {
		r.Faults = append(r.Faults, f)
	}
}

// tell tells what is wrong with a file, as compilers do, and what became of it.
func (p *program) tell(file *fileReport, failed error) error {
	for _, f := range file.Faults {
		fmt.Fprintf(p.stderr, "%s:%d: %s%s%s (%s)\n", file.File, f.Line, file.faultPlace(&f), f.Message, faultForm(&f), f.Code)
	}
	if more := file.FaultCount - len(file.Faults); more > 0 {
		fmt.Fprintf(p.stderr, "%s: and %d more\n", file.File, more)
	}
	if p.json || failed != nil && file.Claims == 0 {
		return nil
	}
	return file.writeText(p.stdout)
}

// faultPlace says where on its line a fault is. A line of JSON is a whole claim, so that the path says which
// of its lines it is; X12 may be one line, so that its segment and its element say more.
func (r *fileReport) faultPlace(f *bulk.Fault) string {
	place := f.Field
	switch {
	case f.Segment > 0:
		place = strings.TrimSpace(fmt.Sprintf("segment %d %s %s", f.Segment, f.Column, f.Field))
	case f.Column != "" && (r.Format == bulk.FormatName(intake.NDJSON) || r.Format == bulk.FormatName(intake.JSONList)):
		place = f.Column
	}
	if place == "" {
		return ""
	}
	return place + ": "
}

// faultForm tells what was found by its form alone, and that it is no more: a reader takes "99999" for the
// value otherwise.
func faultForm(f *bulk.Fault) string {
	if f.Found == "" {
		return ""
	}
	return fmt.Sprintf("; the value is hidden, its form is %q", f.Found)
}

// writeText writes the claims of a file, line by line, where they are few; then the counts.
func (r *fileReport) writeText(w io.Writer) error {
	if stored := r.Accepted + r.Duplicates; stored > 0 && stored <= int64(len(r.Stored)) {
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
	note := ""
	if r.PartFaults > 0 {
		note = fmt.Sprintf("; %d faults of sets, groups and interchanges", r.PartFaults)
	}
	if r.Stopped {
		note += "; stopped at what is at fault: what is behind it was not read"
	}
	if r.DryRun {
		note += " (dry run: nothing was stored)"
	}
	_, err := fmt.Fprintf(w, "%s: %d rows, %d claims: %d accepted, %d duplicates, %d rejected, %d warnings; net fee %s%s\n",
		r.File, r.Rows, r.Claims, r.Accepted, r.Duplicates, r.Rejected, r.Warnings, r.NetFee, note)
	return err
}
