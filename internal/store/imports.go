package store

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/claimrail/claimrail/internal/money"
)

// ErrLostImport: another runner has taken the import over, or it has ended; what this one
// reports of it counts no more, and it can store no more of it.
var ErrLostImport = errors.New("the import is no longer this runner's")

// NeverReceived is the error of an import that was forgotten while its bytes came in.
const NeverReceived = "the file never came in to its end"

// Limits of imports.
const (
	MaxPartBytes   = 1 << 20 // of one part, as it is kept
	MaxParts       = 100_000 // of one kind
	MaxImportPage  = 200     // imports in one page of Imports
	MaxImportName  = 255     // bytes of an import's name
	MaxImportError = 300     // bytes of the error that is kept
)

// ImportState is how far an import has come.
type ImportState string

// States of an import.
const (
	ImportReceiving ImportState = "receiving" // its bytes are still coming in
	ImportQueued    ImportState = "queued"    // waits for a runner
	ImportRunning   ImportState = "running"   // a runner has it, or had it when it died
	ImportDone      ImportState = "done"      // read to its end, or to the first error where it should stop there
	ImportFailed    ImportState = "failed"    // could not be read to its end; what was accepted stays
	ImportCancelled ImportState = "cancelled" // somebody stopped it; what was accepted stays
)

// Ended tells whether nothing more will happen to the import.
func (s ImportState) Ended() bool {
	return s == ImportDone || s == ImportFailed || s == ImportCancelled
}

// Import is one file on its way in. No PHI.
type Import struct {
	ID          uuid.UUID
	Cursor      int64  // place in the order of creation; for Imports
	Name        string // the sender's name of the file, without a path; may be empty
	SHA256      string // of the bytes as sent, in hex; empty while they come in
	Bytes       int64  // of the file as sent; 0 while it comes in
	Format      string // asked for, or as found; empty: to be told by its content
	DryRun      bool   // nothing is stored of it
	StopOnError bool   // ends at the first claim that is rejected
	Kept        bool   // its bytes are kept here, and any runner may take it; else its runner has the file
	State       ImportState
	Error       string // why it failed; no PHI
	Run         int    // raised each time a runner takes it; see TakeImport
	CreatedAt   time.Time
	StartedAt   time.Time // of the first run; zero before
	FinishedAt  time.Time // zero before
	LeasedUntil time.Time // until when its runner, or who receives it, is thought to be alive, also one that was cancelled under it; zero: not told
	Forgotten   bool      // its parts were removed; see Forget
	Tally
}

// CheckNew tells what keeps an import from being created as it is.
func (i *Import) CheckNew() error {
	hex := strings.Trim(i.SHA256, "0123456789abcdef") == ""
	switch {
	case i.State != ImportReceiving && i.State != ImportQueued && i.State != ImportRunning:
		return fmt.Errorf("state is %q, want %q, %q or %q", i.State, ImportReceiving, ImportQueued, ImportRunning)
	case i.State != ImportRunning && !i.Kept:
		return errors.New("it waits for any runner, and is not kept")
	case i.State == ImportRunning && !i.LeasedUntil.After(i.CreatedAt):
		return errors.New("it runs, and has no lease")
	case len(i.Name) > MaxImportName || !utf8.ValidString(i.Name) || strings.ContainsRune(i.Name, 0):
		return fmt.Errorf("name of %d bytes, want at most %d of UTF-8 without NUL", len(i.Name), MaxImportName)
	case i.SHA256 != "" && (len(i.SHA256) != 64 || !hex):
		return errors.New("SHA-256 is not 64 digits of lower-case hex")
	default:
		return nil
	}
}

// Tally counts what became of a file. Once the import has ended, of claims and of lines
// alike, what was accepted, duplicate and rejected is what was read. Of one that was
// cancelled, or failed, what was read but not decided does not count as read.
type Tally struct {
	ReadBytes int64 // of the file, as sent
	Claims    Fates
	Lines     Fates
	Warnings  int64       // with the claims stored, now or before
	NetFee    money.Cents // of the claims stored, now or before
	// AcceptedNetFee is the share of NetFee that is of the claims accepted; it is counted as they are.
	AcceptedNetFee money.Cents
	PartFaults     int64 // of whole sets, groups and interchanges of X12: claims may be missing
}

// Fates counts claims, or lines, by what became of them.
type Fates struct{ Read, Accepted, Duplicate, Rejected int64 }

// PartKind names a file that is kept with an import, in parts of MaxPartBytes at most.
type PartKind string

// Kinds of part.
const (
	InputPart           PartKind = "input"           // the file as sent, compressed
	RejectsPart         PartKind = "rejects"         // what was rejected, in the file's own form
	AcknowledgementPart PartKind = "acknowledgement" // the answer to X12
	FaultsPart          PartKind = "faults"          // what is wrong, as JSON, one on each line
)

// CheckPart refuses what is no part number n of a file.
func CheckPart(n int, body []byte) error {
	if n < 0 || n >= MaxParts || len(body) < 1 || len(body) > MaxPartBytes {
		return fmt.Errorf("part %d has %d bytes, want 1 to %d bytes and at most %d parts", n, len(body), MaxPartBytes, MaxParts)
	}
	return nil
}

// Old is an import whose parts may go, as an engine knows it.
type Old struct {
	Seq       int64 // place in the order of creation
	Receiving bool  // its bytes never came in
}

// ForgetAll is what Forget does in every engine: next gives some of the old imports behind a place, in
// order, and forget removes the parts of one, and tells whether it did. It says of how many.
func ForgetAll(next func(behind int64) ([]Old, error), forget func(Old) (bool, error)) (int, error) {
	count, last := 0, int64(0)
	for {
		found, err := next(last)
		if err != nil || len(found) == 0 {
			return count, err
		}
		for _, i := range found {
			forgotten, err := forget(i)
			if err != nil {
				return count, err
			}
			if forgotten {
				count++
			}
			last = i.Seq
		}
	}
}

// Imports is the files on their way in, and what became of them. An import's accepted
// claims and lines, and their net fee, are counted by Accept itself, in its transaction: see
// Submission.Import. So they are exact, whatever happens to the runner, and no report sets them; but
// for a dry run, whose reports say what would be accepted.
//
// A run is the hold that a runner has of an import, for as long as its lease, and after
// that until another takes it. All methods but TakeImport and ResumeImport may be called
// again after ErrUnknownOutcome, and do the same again.
type Imports interface {
	// CreateImport adds an import in the state given (ImportReceiving, ImportQueued or
	// ImportRunning), at i.CreatedAt; CheckNew says what else it demands. One that is Running has Run 1, started then. It has the
	// lease given, but for one that is Queued. Its counts are 0. The same ID again changes nothing.
	CreateImport(ctx context.Context, i Import) error
	// AppendPart keeps part n, from 0, of a file of an import that runs as run, that was Cancelled
	// under it and has a lease still or, with run 0, that is Receiving; of another: ErrLostImport. The
	// same part again replaces what was there. It has 1 to MaxPartBytes.
	AppendPart(ctx context.Context, id uuid.UUID, run int, kind PartKind, n int, body []byte) error
	// Part gives part n, or ErrNotFound behind the last.
	Part(ctx context.Context, id uuid.UUID, kind PartKind, n int) ([]byte, error)
	// DropParts removes all parts of a kind from n on, of an import that AppendPart would take
	// one for; of another: ErrLostImport. It takes several transactions, as Forget does.
	DropParts(ctx context.Context, id uuid.UUID, run int, kind PartKind, n int) error
	// HoldImport extends the lease of an import that is Receiving; of another: ErrLostImport.
	HoldImport(ctx context.Context, id uuid.UUID, until time.Time) error
	// QueueImport says that all bytes of an import that was Receiving are here: its hash and
	// its size are set, its lease is over, and it waits for a runner. In another state: ErrLostImport.
	QueueImport(ctx context.Context, id uuid.UUID, sha256 string, bytes int64) error
	// TakeImport gives the oldest import that is Kept, and Queued, or Running under a lease
	// that is over at now. It is now Running, with Run raised, leased until the given time,
	// and its tally is as before. ErrNotFound where there is none.
	TakeImport(ctx context.Context, now, until time.Time) (Import, error)
	// ResumeImport takes one import as TakeImport does, Kept or not, for a runner that has the
	// file. One that is Receiving, ended, or leased beyond now: ErrLostImport.
	ResumeImport(ctx context.Context, id uuid.UUID, now, until time.Time) (Import, error)
	// ReportImport sets format and tally, but for what was accepted, of an import that runs as
	// run, and extends its lease. Of NetFee it sets the share of the duplicates. ErrLostImport where
	// it does not.
	ReportImport(ctx context.Context, id uuid.UUID, run int, format string, tally Tally, until time.Time) error
	// FinishImport reports for the last time, and ends the import in the state and with the
	// error given. Its lease is over. ErrLostImport where it does not run as i.Run. An import
	// that is Done and does not add up is an error of no kind. One that was cancelled under i.Run, and it
	// alone, is ended as Cancelled: its time stays.
	FinishImport(ctx context.Context, i Import, now time.Time) error
	// CancelImport ends an import that has not ended; one that has stays as it is. The lease of one
	// that ran stays as well, so that its runner can keep what it has found: it ends with FinishImport.
	CancelImport(ctx context.Context, id uuid.UUID, now time.Time) (Import, error)
	// Import gives one import, or ErrNotFound.
	Import(ctx context.Context, id uuid.UUID) (Import, error)
	// Imports lists imports, the newest first: those before the cursor (0: from the newest),
	// limit at most, 1..MaxImportPage.
	Imports(ctx context.Context, before int64, limit int) ([]Import, error)
	// UnfinishedImport gives the newest import of this hash that is not Kept, no dry run, and
	// has not ended; or ErrNotFound.
	UnfinishedImport(ctx context.Context, sha256 string) (Import, error)
	// Forget removes the parts of imports that ended before a time, and those of imports that are
	// Receiving under a lease that is over now or, where it was not told, were created before
	// that time. These fail now; the imports themselves stay.
	// It says of how many. It takes several transactions, so as not to keep others waiting;
	// after an error, call it again.
	Forget(ctx context.Context, before, now time.Time) (int, error)
	// Known says of each claim what Accept would find: Existing, ErrOtherClaim, or neither. It
	// stores nothing, and another may store the claim meanwhile. 1..MaxBatchClaims claims.
	Known(ctx context.Context, batch []Submission) ([]Outcome, error)
}
