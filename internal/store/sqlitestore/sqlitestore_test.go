package sqlitestore_test

import (
	"context"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/claimrail/claimrail/internal/claim"
	"github.com/claimrail/claimrail/internal/store"
	"github.com/claimrail/claimrail/internal/store/sqlitestore"
	"github.com/claimrail/claimrail/internal/store/storetest"
)

// The SQLite engine keeps the contract of package store.
func TestContract(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	storetest.Run(t, func(t *testing.T) store.Engine {
		t.Helper()
		return open(t, filepath.Join(folder, strings.ReplaceAll(t.Name(), "/", "+")+".db"))
	})
}

func open(t *testing.T, path string) *sqlitestore.Store {
	t.Helper()
	engine, err := sqlitestore.Open(context.Background(), path, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return engine
}

// Claims hold PHI: nobody but the owner reads the file, its log or their folder.
func TestFilesAreClosedToOthers(t *testing.T) {
	t.Parallel()
	folder := filepath.Join(t.TempDir(), "data")
	engine := open(t, filepath.Join(folder, "claims.db"))
	defer func() { _ = engine.Close() }()
	for name, want := range map[string]fs.FileMode{
		folder: 0o700 | fs.ModeDir, filepath.Join(folder, "claims.db"): 0o600, filepath.Join(folder, "claims.db-wal"): 0o600,
	} {
		if info, err := os.Stat(name); err != nil || info.Mode() != want {
			t.Errorf("%s: got %v, %v, want mode %v", name, info, err, want)
		}
	}
}

// manyClaims gives new claims of four lines, each of a provider of its own.
func manyClaims(count int) []store.Submission {
	batch := make([]store.Submission, count)
	for i := range batch {
		c := &claim.Claim{
			ID: uuid.New(), Version: 1, ExternalID: strconv.Itoa(i),
			Key: claim.Key{Submitter: "default", Kind: claim.ExternalKey, Value: strconv.Itoa(i)},
		}
		for range 4 {
			c.Lines = append(c.Lines, claim.Line{
				Procedure: "D0180", PlanGroupNumber: "GRP-1000", SubscriberNumber: claim.NewSubscriberNumber("3730189502"),
				ProviderNPI: claim.NPI(1_000_000_000 + i), ProviderFees: 13000, AllowedFees: 6500, MemberCoinsurance: 1625,
			})
		}
		batch[i] = store.Submission{Claim: c}
	}
	return batch
}

// A row that breaks a rule of its table ends the transaction, although the statement that it
// stands in keeps the rows in front of it.
func TestBrokenRuleStoresNothing(t *testing.T) {
	t.Parallel()
	engine := open(t, filepath.Join(t.TempDir(), "claims.db"))
	defer func() { _ = engine.Close() }()
	batch := manyClaims(5)
	batch[3].Claim.Version = 0
	if outcomes, err := engine.Accept(t.Context(), batch, time.Now()); err == nil {
		t.Fatalf("got %v, want an error", outcomes)
	}
	batch[3].Claim.Version = 1
	outcomes, err := engine.Accept(t.Context(), batch, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	for i := range outcomes {
		outcomes[i].ReceivedAt = time.Time{}
	}
	want := []store.Outcome{{FirstLineID: 1}, {FirstLineID: 5}, {FirstLineID: 9}, {FirstLineID: 13}, {FirstLineID: 17}}
	if diff := cmp.Diff(want, outcomes); diff != "" {
		t.Errorf("outcomes, want - got +\n%s", diff)
	}
}

// A claim of four lines costs the allocations that its values take on their way to the driver; it
// is their bytes that an import waits for.
func TestAcceptAllocations(t *testing.T) {
	const claims, batches = 256, 8
	engine := open(t, filepath.Join(t.TempDir(), "claims.db"))
	defer func() { _ = engine.Close() }()
	accept := func(batch []store.Submission) {
		if _, err := engine.Accept(t.Context(), batch, time.Now()); err != nil {
			t.Fatal(err)
		}
	}
	accept(manyClaims(claims))
	batch := manyClaims(claims * batches)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for ; len(batch) > 0; batch = batch[claims:] {
		accept(batch[:claims])
	}
	runtime.ReadMemStats(&after)
	count := float64(after.Mallocs-before.Mallocs) / (claims * batches)
	bytes := float64(after.TotalAlloc-before.TotalAlloc) / (claims * batches)
	t.Logf("%.1f allocations of %.0f bytes a claim", count, bytes)
	if count > 80 || bytes > 9000 {
		t.Errorf("got %.1f allocations of %.0f bytes a claim, want 80 of 9000 at most", count, bytes)
	}
}
