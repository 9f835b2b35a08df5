package pgstore_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/claimrail/claimrail/internal/claim"
	"github.com/claimrail/claimrail/internal/money"
	"github.com/claimrail/claimrail/internal/outbox"
	"github.com/claimrail/claimrail/internal/pgtest"
	"github.com/claimrail/claimrail/internal/store"
	"github.com/claimrail/claimrail/internal/store/storetest"
)

func noon() time.Time { return time.Date(2026, 1, 15, 12, 0, 0, 0, time.UTC) }

// made makes a claim with the n-th id, whose lines each net one cent.
func made(n int, npis ...claim.NPI) store.Submission {
	c := &claim.Claim{
		ID: uuid.NewSHA1(uuid.Nil, fmt.Append(nil, n)), Version: 1,
		Key:         claim.Key{Submitter: claim.DefaultSubmitter, Kind: claim.ExternalKey, Value: fmt.Sprint(n)},
		Fingerprint: claim.Fingerprint{byte(n), byte(n >> 8), byte(n >> 16)},
	}
	for _, npi := range npis {
		c.Lines = append(c.Lines, claim.Line{
			ServiceDate: claim.ServiceDateFromUnix(1_522_195_200), Procedure: "D0180", Quadrant: "UR", PlanGroupNumber: "GRP-1000",
			SubscriberNumber: claim.NewSubscriberNumber("3730189502"), ProviderNPI: npi, ProviderFees: 100, AllowedFees: 99,
		})
	}
	return store.Submission{Claim: c}
}

// The engine keeps the whole contract on partitioned tables too, made as the script has
// it, with claims on both sides of a border.
func TestContractOnPartitions(t *testing.T) {
	t.Parallel()
	script, err := os.ReadFile("testdata/partition.sql")
	if err != nil {
		t.Fatal(err)
	}
	storetest.Run(t, perTest(pgtest.Start(t).Template(t, func(url string) {
		migrate(t, url)
		pgtest.Exec(t, pgtest.With(t, url, "search_path", "claims"), string(script))
	})))
}

// A claim of a month that was archived is still the same claim when it is sent again.
func TestArchivedClaimIsKnown(t *testing.T) {
	t.Parallel()
	script, err := os.ReadFile("testdata/partition.sql")
	if err != nil {
		t.Fatal(err)
	}
	url := pgtest.Start(t).Database(t)
	engine := open(t, url)
	defer func() { _ = engine.Close() }()
	pgtest.Exec(t, pgtest.With(t, url, "search_path", "claims"), string(script))
	first, err := engine.Accept(t.Context(), []store.Submission{made(1, 5)}, noon())
	if err != nil {
		t.Fatal(err)
	}
	pgtest.Exec(t, pgtest.With(t, url, "search_path", "claims"), "DROP TABLE claims_2026_01, lines_2026_01, claim_providers_2026_01")
	if _, err := engine.Claim(t.Context(), made(1).Claim.ID); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("archived claim: got %v, want %v", err, store.ErrNotFound)
	}
	again, err := engine.Accept(t.Context(), []store.Submission{made(1, 5)}, noon().Add(time.Hour))
	if err != nil || !again[0].Existing || again[0].FirstLineID != first[0].FirstLineID {
		t.Errorf("sent again: got %+v, %v, want %+v, existing", again, err, first)
	}
}

// Two instances with two committers each, whose batches share claims and providers in
// opposite orders, neither deadlock nor fail; each claim is stored once and the totals
// are exact.
func TestConcurrentCommitters(t *testing.T) {
	t.Parallel()
	const committers, rounds, size, providers = 4, 6, 400, 10
	url := pgtest.Start(t).Database(t)
	engines := []store.Engine{open(t, url), open(t, url)}
	defer func() { _, _ = engines[0].Close(), engines[1].Close() }()
	var mutex sync.Mutex
	news := 0
	for round := range rounds {
		var wait sync.WaitGroup
		for w := range committers {
			var batch []store.Submission
			for i := range size { // each claim is sent by two committers, one from either end
				n := (w/2*rounds+round)*size + i
				batch = append(batch, made(n, claim.NPI(n%providers), claim.NPI((n+3)%providers)))
			}
			if w%2 == 1 {
				slices.Reverse(batch)
			}
			wait.Go(func() {
				outcomes, err := engines[w%2].Accept(t.Context(), batch, noon())
				if err != nil {
					t.Errorf("committer %d: %v", w, err)
				}
				mutex.Lock()
				defer mutex.Unlock()
				for _, outcome := range outcomes {
					if !outcome.Existing && outcome.Err == nil {
						news++
					}
				}
			})
		}
		wait.Wait()
	}
	const claims = committers / 2 * rounds * size
	if news != claims {
		t.Errorf("new claims: got %d, want %d", news, claims)
	}
	top, err := engines[0].TopProviders(t.Context(), store.MaxTop)
	if err != nil {
		t.Fatal(err)
	}
	total := money.Cents(0)
	for _, provider := range top {
		total += provider.TotalNetFee
	}
	if total != 2*claims || len(top) != providers {
		t.Errorf("totals: got %d cents of %d providers, want %d of %d", total, len(top), 2*claims, providers)
	}
}

// When the answer to COMMIT is lost, Accept says that nobody knows; accepted again, the
// claim turns out to be there, and its import has counted it once.
func TestLostCommitIsFoundByAcceptingAgain(t *testing.T) {
	t.Parallel()
	proxy := pgtest.NewProxy(t, pgtest.Start(t).Database(t))
	engine := open(t, proxy.URL)
	defer func() { _ = engine.Close() }()
	for _, size := range []int{1, 100} {
		file := store.Import{ID: uuid.New(), State: store.ImportRunning, CreatedAt: noon(), LeasedUntil: noon().Add(time.Minute)}
		if err := engine.CreateImport(t.Context(), file); err != nil {
			t.Fatal(err)
		}
		var batch []store.Submission
		for i := range size {
			batch = append(batch, made(size*1000+i, 5))
			batch[i].Import = file.ID
		}
		proxy.LoseCommit()
		if got, err := engine.Accept(t.Context(), batch, noon()); !errors.Is(err, store.ErrUnknownOutcome) {
			t.Fatalf("%d claims, lost answer: got %v, %v, want %v", size, got, err, store.ErrUnknownOutcome)
		}
		again, err := engine.Accept(t.Context(), batch, noon())
		if err != nil {
			t.Fatal(err)
		}
		for i, outcome := range again {
			if !outcome.Existing {
				t.Errorf("claim %d of %d: got %+v, want it existing", i, size, outcome)
			}
		}
		counted, err := engine.Import(t.Context(), file.ID)
		if err != nil || counted.Claims.Accepted != int64(size) || counted.Lines.Accepted != int64(size) {
			t.Errorf("import of %d claims: got %+v, %v", size, counted.Tally, err)
		}
	}
}

// Wherever the answer to COMMIT is cut, the claim is there once: Accept says that it is, or
// that nobody knows, never that it is not.
func TestCommitCutAtEveryByte(t *testing.T) {
	t.Parallel()
	proxy := pgtest.NewProxy(t, pgtest.Start(t).Database(t))
	engine := open(t, proxy.URL)
	defer func() { _ = engine.Close() }()
	for after := range pgtest.CommitAnswer {
		batch := []store.Submission{made(after, 5)}
		proxy.CutCommit(after)
		if _, err := engine.Accept(t.Context(), batch, noon()); err != nil && !errors.Is(err, store.ErrUnknownOutcome) {
			t.Fatalf("cut after %d bytes: got %v, want %v", after, err, store.ErrUnknownOutcome)
		}
		if proxy.Armed() {
			t.Fatalf("cut after %d bytes: no answer to COMMIT came by", after)
		}
		if again, err := engine.Accept(t.Context(), batch, noon()); err != nil || !again[0].Existing {
			t.Errorf("cut after %d bytes, accepted again: got %+v, %v, want it existing", after, again, err)
		}
	}
}

// A commit that is still in flight when its connection is lost is waited for: the same
// claim, accepted again, is not seen by looking, yet is not stored twice. Nobody
// can reach the server any more to cancel the first.
func TestCommitInFlightIsWaitedFor(t *testing.T) {
	t.Parallel()
	url := pgtest.With(t, pgtest.Start(t).Database(t), "lock_timeout", "60000", "statement_timeout", "60000")
	proxy := pgtest.NewProxy(t, url)
	lost, direct := open(t, proxy.URL), open(t, url)
	defer func() { _, _ = lost.Close(), direct.Close() }()
	if _, err := direct.Accept(t.Context(), []store.Submission{made(1, 5)}, noon()); err != nil {
		t.Fatal(err)
	}
	ctx := context.WithoutCancel(t.Context())
	holder, err := pgx.Connect(ctx, pgtest.With(t, url, "search_path", "claims"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = holder.Close(ctx) }()
	if _, err := holder.Exec(ctx, "BEGIN; SELECT * FROM provider_totals FOR UPDATE"); err != nil {
		t.Fatal(err)
	}
	results := make(chan error, 2)
	go func() {
		_, err := lost.Accept(ctx, []store.Submission{made(2, 5)}, noon())
		results <- err
	}()
	waitForLocks(t, holder, 1)
	proxy.Sever()
	if err := <-results; !errors.Is(err, store.ErrUnknownOutcome) {
		t.Errorf("cut in flight: got %v, want %v", err, store.ErrUnknownOutcome)
	}
	var again []store.Outcome
	go func() {
		var err error
		again, err = direct.Accept(ctx, []store.Submission{made(2, 5)}, noon())
		results <- err
	}()
	waitForLocks(t, holder, 2)
	if _, err := holder.Exec(ctx, "ROLLBACK"); err != nil {
		t.Fatal(err)
	}
	if err := <-results; err != nil || !again[0].Existing {
		t.Errorf("accepted again: got %+v, %v, want it existing", again, err)
	}
	top, err := direct.TopProviders(ctx, 1)
	if err != nil || len(top) != 1 || top[0].ClaimCount != 2 || top[0].TotalNetFee != 2 {
		t.Errorf("totals: got %+v, %v, want two claims", top, err)
	}
}

// waitForLocks returns once as many connections of this database wait for a lock.
func waitForLocks(t *testing.T, conn *pgx.Conn, want int) {
	t.Helper()
	const query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
	for deadline := time.Now().Add(12 * time.Second); time.Now().Before(deadline); {
		var got int
		// A transaction sees the activity as it was when it first looked.
		if _, err := conn.Exec(context.Background(), "SELECT pg_stat_clear_snapshot()"); err != nil {
			t.Fatal(err)
		}
		if err := conn.QueryRow(context.Background(), query).Scan(&got); err != nil {
			t.Fatal(err)
		}
		if got >= want {
			return
		}
	}
	t.Fatalf("there are never %d connections that wait", want)
}

// A total that does not fit is told apart, also where it is the database that adds.
func TestOverflowIsErrRange(t *testing.T) {
	t.Parallel()
	engine := open(t, pgtest.Start(t).Database(t))
	defer func() { _ = engine.Close() }()
	huge := func(n int) []store.Submission {
		submission := made(n, 5)
		submission.Claim.Lines[0].ProviderFees = math.MaxInt64
		return []store.Submission{submission}
	}
	if _, err := engine.Accept(t.Context(), huge(1), noon()); err != nil {
		t.Fatal(err)
	}
	if _, err := engine.Accept(t.Context(), huge(2), noon()); !errors.Is(err, money.ErrRange) {
		t.Errorf("got %v, want %v", err, money.ErrRange)
	}
}

// Workers that change the same rows in opposite orders do not deadlock, and each row is
// settled once.
func TestConcurrentApply(t *testing.T) {
	t.Parallel()
	const claims, workers = 200, 6
	engine := open(t, pgtest.Start(t).Database(t))
	defer func() { _ = engine.Close() }()
	var batch []store.Submission
	var changes []outbox.Change
	for n := range claims {
		batch = append(batch, made(n, 5))
		change := outbox.Change{Move: outbox.Settle}
		change.ClaimID, change.Version, change.Paid.NetFee = batch[n].Claim.ID, 1, 1
		changes = append(changes, change)
	}
	if _, err := engine.Accept(t.Context(), batch, noon()); err != nil {
		t.Fatal(err)
	}
	applied := make([]int, workers)
	var wait sync.WaitGroup
	for w := range workers {
		own := slices.Clone(changes)
		if w%2 == 1 {
			slices.Reverse(own)
		}
		wait.Go(func() {
			var err error
			if applied[w], err = engine.Apply(t.Context(), own, noon()); err != nil {
				t.Error(err)
			}
		})
	}
	wait.Wait()
	total := 0
	for _, count := range applied {
		total += count
	}
	if total != claims {
		t.Errorf("settled: got %d, want %d", total, claims)
	}
}
