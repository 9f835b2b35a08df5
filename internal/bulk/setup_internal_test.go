package bulk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/claimrail/claimrail/internal/claim"
	"github.com/claimrail/claimrail/internal/intake"
	"github.com/claimrail/claimrail/internal/store"
	"github.com/claimrail/claimrail/internal/store/sqlitestore"
)

// bench is a claims database, what a pass needs beside it, and a clock that the test moves.
type bench struct {
	testing.TB
	claims    *sqlitestore.Store
	validator *claim.Validator
	logger    *slog.Logger

	mu sync.Mutex
	at time.Time
}

func setup(t testing.TB) *bench {
	t.Helper()
	b := &bench{TB: t, at: time.Date(2026, 3, 28, 12, 0, 0, 0, time.UTC), logger: slog.New(slog.DiscardHandler)}
	var err error
	if b.claims, err = sqlitestore.Open(t.Context(), filepath.Join(t.TempDir(), "claims.db"), b.logger); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.claims.Close() })
	secret, err := b.claims.IdentitySecret(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	b.validator = &claim.Validator{Rules: claim.DefaultRules(), Identity: claim.NewIdentity(secret), Now: b.now}
	return b
}

func (b *bench) now() time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.at
}

func (b *bench) advance(d time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.at = b.at.Add(d)
}

// SubmitBatch stores a batch as the committer does, but for its queue.
func (b *bench) SubmitBatch(ctx context.Context, batch []store.Submission) ([]store.Outcome, error) {
	return b.claims.Accept(ctx, batch, b.now())
}

// stored counts all claims of the store.
func (b *bench) stored() int {
	b.Helper()
	snapshot, err := b.claims.Snapshot(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = snapshot.Close() }()
	count := 0
	for _, err := range snapshot.Claims(b.Context()) {
		if err != nil {
			b.Fatal(err)
		}
		count++
	}
	return count
}

// committer is a function as a Committer.
type committer func(context.Context, []store.Submission) ([]store.Outcome, error)

func (c committer) SubmitBatch(ctx context.Context, batch []store.Submission) ([]store.Outcome, error) {
	return c(ctx, batch)
}

// head is the header of the files of these tests.
const head = "claim number,service date,submitted procedure,quadrant,plan group,subscriber,provider npi,provider fees,allowed fees,member coinsurance,member copay\n"

// goodRow gives a line whose net fee is 81.25.
func goodRow(number string) string {
	return number + ",3/28/18 0:00,D4346,UR,GRP-1000,3730189502,1497775530,$130.00,$65.00,$16.25,$0.00\n"
}

// badRow gives a line whose NPI has too few digits.
func badRow(number string) string {
	return number + ",3/28/18 0:00,D4346,UR,GRP-1000,3730189502,12345,$130.00,$65.00,$16.25,$0.00\n"
}

// numbered gives n claim numbers.
func numbered(n int) []string {
	numbers := make([]string, n)
	for i := range numbers {
		numbers[i] = fmt.Sprintf("A-%d", i*7919%100_003)
	}
	return numbers
}

// goodFile gives a file of claims of one line.
func goodFile(numbers ...string) string {
	var text strings.Builder
	text.WriteString(head)
	for _, number := range numbers {
		text.WriteString(goodRow(number))
	}
	return text.String()
}

// open opens a file.
func (b *bench) open(text string) *intake.File {
	b.Helper()
	file, err := intake.Open(strings.NewReader(text), intake.Options{FileSHA256: strings.Repeat("ab", 32)})
	if err != nil {
		b.Fatal(err)
	}
	return file
}

// newPass gives a pass of a file in batches of two claims, and where its verdicts are told: the
// claim number, and what became of it.
func (b *bench) newPass(text string) (*Pass, *[]string) {
	b.Helper()
	var told []string
	return &Pass{
		File: b.open(text), Validator: b.validator, Committer: b, Known: b.claims, Logger: b.logger, batchClaims: 2,
		Tell: func(v *Verdict) error {
			told = append(told, v.Parcel.Draft.ExternalID.Text+" "+fateOf(v))
			return nil
		},
	}, &told
}

func fateOf(v *Verdict) string {
	switch {
	case v.Claim == nil:
		return "rejected: " + v.Faults[0].Code
	case v.Duplicate:
		return "duplicate"
	default:
		return "accepted"
	}
}

// begin makes an import that runs here.
func (b *bench) begin() store.Import {
	b.Helper()
	now := b.now()
	i := store.Import{
		ID: uuid.Must(uuid.NewV7()), SHA256: strings.Repeat("ab", 32), State: store.ImportRunning, Run: 1,
		CreatedAt: now, StartedAt: now, LeasedUntil: now.Add(time.Second),
	}
	if err := b.claims.CreateImport(b.Context(), i); err != nil {
		b.Fatal(err)
	}
	return i
}

// read reads an import.
func (b *bench) read(id uuid.UUID) store.Import {
	b.Helper()
	i, err := b.claims.Import(b.Context(), id)
	if err != nil {
		b.Fatal(err)
	}
	return i
}

// text reads a file about an import; what is not there is empty.
func (b *bench) text(id uuid.UUID, kind store.PartKind) string {
	b.Helper()
	file, err := openParts(b.Context(), b.claims, id, kind)
	if errors.Is(err, store.ErrNotFound) {
		return ""
	}
	if err != nil {
		b.Fatal(err)
	}
	text, err := io.ReadAll(file)
	if err != nil {
		b.Fatal(err)
	}
	return string(text)
}

// same reports a difference.
func same(t testing.TB, what string, got, want any) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s: want -, got +:\n%s", what, diff)
	}
}

// validatorOf gives a validator without a database.
func validatorOf(t testing.TB) *claim.Validator {
	t.Helper()
	return &claim.Validator{Rules: claim.DefaultRules(), Now: time.Now}
}

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }
