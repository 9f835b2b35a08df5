package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/claimrail/claimrail/internal/claim"
	"github.com/claimrail/claimrail/internal/event"
	"github.com/claimrail/claimrail/internal/outbox"
	"github.com/claimrail/claimrail/internal/store"
)

func snapshotChecks() []check {
	return []check{
		{"content and order", snapshotContent},
		{"rows", snapshotRows},
		{"one moment", snapshotIsOneMoment},
		{"consistent while writes go on", snapshotUnderWrites},
		{"an empty store", snapshotOfNothing},
	}
}

func databaseChecks() []check {
	return []check{
		{"identity secret", identitySecret},
		{"ping", ping},
		{"reopening", reopening},
	}
}

// snapshot opens a snapshot that is closed with the test.
func (f *fixture) snapshot(t *testing.T) store.Snapshot {
	t.Helper()
	snapshot, err := f.Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := snapshot.Close(); err != nil {
			t.Errorf("close snapshot: %v", err)
		}
	})
	return snapshot
}

func audited(t *testing.T, snapshot store.Snapshot) []store.Audited {
	t.Helper()
	var all []store.Audited
	for claim, err := range snapshot.Claims(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, claim)
	}
	return all
}

func totals(t *testing.T, snapshot store.Snapshot) []store.ProviderTotal {
	t.Helper()
	var all []store.ProviderTotal
	for total, err := range snapshot.Totals(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, total)
	}
	return all
}

// ranked reads the ranking of a snapshot.
func ranked(t *testing.T, snapshot store.Snapshot, limit int) []store.ProviderTotal {
	t.Helper()
	top, err := snapshot.Top(t.Context(), limit)
	if err != nil {
		t.Fatal(err)
	}
	return top
}

// A snapshot gives every claim with what became of it, by the bytes of the ids, every
// total, by NPI, and the ranking. A reader may stop early.
func snapshotContent(t *testing.T, f *fixture) {
	waiting := f.claim(t, "waiting", nets(npiB, 100), nets(npiC, -30), nets(npiB, 1))
	paid := f.claim(t, "", nets(npiA, 7))
	written := f.claim(t, "written off", nets(npiA, 9))
	f.accept(t, noon(), waiting, paid, written)
	f.apply(t, noon(), 2, settle(paid, 7), outbox.Change{Ref: ref(written, 0), Move: outbox.MarkDiscarded, Reason: "lost case"})
	a, b, c := parseNPI(t, npiA), parseNPI(t, npiB), parseNPI(t, npiC)
	want := []store.Audited{
		{
			Key: event.Key{ClaimID: waiting.ID, Version: 1}, Identity: waiting.Key, NetFee: 71, PlanPayment: 30, PlanOfLines: 30, LineCount: 3,
			Shares:   []claim.Share{{ProviderNPI: c, NetFee: -30, Lines: 1}, {ProviderNPI: b, NetFee: 101, Lines: 2}},
			Listed:   []claim.Share{{ProviderNPI: c, NetFee: -30}, {ProviderNPI: b, NetFee: 101}},
			InOutbox: outbox.Pending, OutboxNetFee: 71, OutboxPostings: new(npiC + " -30," + npiB + " 101"),
		},
		{
			Key: event.Key{ClaimID: paid.ID, Version: 1}, Identity: claim.Key{Submitter: "default"}, NetFee: 7, LineCount: 1,
			Shares: []claim.Share{{ProviderNPI: a, NetFee: 7, Lines: 1}}, Listed: []claim.Share{{ProviderNPI: a, NetFee: 7}},
			Settled: true, PaymentID: paymentID(),
		},
		{
			Key: event.Key{ClaimID: written.ID, Version: 1}, Identity: written.Key, NetFee: 9, LineCount: 1,
			Shares: []claim.Share{{ProviderNPI: a, NetFee: 9, Lines: 1}}, Listed: []claim.Share{{ProviderNPI: a, NetFee: 9}},
			InOutbox: outbox.Discarded, OutboxNetFee: 9, OutboxPostings: new(npiA + " 9"),
		},
	}
	slices.SortFunc(want, func(a, b store.Audited) int { return bytes.Compare(a.ClaimID[:], b.ClaimID[:]) })
	snapshot := f.snapshot(t)
	for claim, err := range snapshot.Claims(t.Context()) {
		if err != nil || claim.ClaimID != want[0].ClaimID {
			t.Errorf("the first: got %+v, %v", claim, err)
		}
		break
	}
	for total, err := range snapshot.Totals(t.Context()) {
		if err != nil || total.ProviderNPI != c {
			t.Errorf("the first total: got %+v, %v", total, err)
		}
		break
	}
	same(t, "claims", audited(t, snapshot), want)
	same(t, "totals", totals(t, snapshot), []store.ProviderTotal{
		{ProviderNPI: c, TotalNetFee: -30, ClaimCount: 1},
		{ProviderNPI: b, TotalNetFee: 101, ClaimCount: 1},
		{ProviderNPI: a, TotalNetFee: 16, ClaimCount: 2},
	})
	same(t, "ranking", ranked(t, snapshot, 2), []store.ProviderTotal{
		{ProviderNPI: b, TotalNetFee: 101, ClaimCount: 1}, {ProviderNPI: a, TotalNetFee: 16, ClaimCount: 2},
	})
	for _, limit := range []int{0, store.MaxTop + 1} {
		if got, err := snapshot.Top(t.Context(), limit); err == nil {
			t.Errorf("ranking of %d: got %v, want an error", limit, got)
		}
	}
}

// A snapshot counts the rows of each table as they were, and none of them is a stray where each is of
// a claim. A table that is none of these is an error.
func snapshotRows(t *testing.T, f *fixture) {
	waiting := f.claim(t, "waiting", nets(npiB, 100), nets(npiC, -30), nets(npiB, 1))
	paid := f.claim(t, "", nets(npiA, 7))
	f.accept(t, noon(), waiting, paid)
	f.apply(t, noon(), 1, settle(paid, 7))
	snapshot := f.snapshot(t)
	f.accept(t, noon(), f.claim(t, "later", nets(npiA, 1)))
	for table, want := range map[store.Table]int64{store.Outbox: 1, store.Settlements: 1, store.Lines: 4, store.ClaimProviders: 3} {
		got, err := snapshot.Rows(t.Context(), table)
		if err != nil || got != want {
			t.Errorf("%s: got %d rows, %v, want %d", table, got, err, want)
		}
		for stray, err := range snapshot.Strays(t.Context(), table) {
			t.Errorf("%s: got the stray %+v, %v, want none", table, stray, err)
		}
	}
	if _, err := snapshot.Rows(t.Context(), "claims"); err == nil {
		t.Error("rows of another table: no error")
	}
}

// What is written once the snapshot is open can not be seen in it.
func snapshotIsOneMoment(t *testing.T, f *fixture) {
	one := f.claim(t, "one", nets(npiA, 1))
	f.accept(t, noon(), one)
	snapshot := f.snapshot(t)
	f.accept(t, noon(), f.claim(t, "two", nets(npiA, 2), nets(npiB, 2)))
	f.apply(t, noon(), 1, settle(one, 1))
	claims := audited(t, snapshot)
	if len(claims) != 1 || claims[0].ClaimID != one.ID || claims[0].InOutbox != outbox.Pending || claims[0].Settled {
		t.Errorf("claims: got %+v, want the first one, pending", claims)
	}
	want := []store.ProviderTotal{{ProviderNPI: parseNPI(t, npiA), TotalNetFee: 1, ClaimCount: 1}}
	same(t, "totals", totals(t, snapshot), want)
	same(t, "ranking", ranked(t, snapshot, 10), want)
	same(t, "totals of a later snapshot", len(totals(t, f.snapshot(t))), 2)
}

// While claims are accepted and settled, every snapshot adds up: totals are the sums over
// the lines, and every claim is either in the outbox or settled.
func snapshotUnderWrites(t *testing.T, f *fixture) {
	const snapshots = 20
	ctx, stop := context.WithCancel(t.Context())
	written := make(chan struct{})
	go func() {
		defer close(written)
		for i := 0; ctx.Err() == nil; i++ {
			c := f.claim(t, fmt.Sprint(i), nets(npiA, 3), nets(npiB, -1))
			if _, err := f.Accept(ctx, submissions(c), noon()); err != nil && !errors.Is(err, store.ErrUnavailable) {
				t.Errorf("accept: %v", err)
			}
			if _, err := f.Apply(ctx, []outbox.Change{settle(c, 2)}, noon()); err != nil && !errors.Is(err, store.ErrUnavailable) {
				t.Errorf("apply: %v", err)
			}
		}
	}()
	defer func() {
		stop()
		<-written
	}()
	for range snapshots {
		snapshot, err := f.Snapshot(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		sums := map[claim.NPI]store.ProviderTotal{}
		for _, c := range audited(t, snapshot) {
			for _, share := range c.Shares {
				total := sums[share.ProviderNPI]
				sums[share.ProviderNPI] = store.ProviderTotal{
					ProviderNPI: share.ProviderNPI, TotalNetFee: total.TotalNetFee + share.NetFee, ClaimCount: total.ClaimCount + 1,
				}
			}
			if c.Settled == (c.InOutbox != "") {
				t.Errorf("claim %s: settled is %t, in the outbox it is %q", c.ClaimID, c.Settled, c.InOutbox)
			}
		}
		for _, total := range totals(t, snapshot) {
			same(t, "total", total, sums[total.ProviderNPI])
			delete(sums, total.ProviderNPI)
		}
		same(t, "providers without a total", len(sums), 0)
		if err := snapshot.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// An empty store has a snapshot too.
func snapshotOfNothing(t *testing.T, f *fixture) {
	snapshot := f.snapshot(t)
	same(t, "claims", audited(t, snapshot), []store.Audited(nil))
	same(t, "totals", totals(t, snapshot), []store.ProviderTotal(nil))
	same(t, "ranking", ranked(t, snapshot, 10), []store.ProviderTotal(nil))
}

// The secret is made once and stays, or every claim id would change; another database
// has another.
func identitySecret(t *testing.T, f *fixture) {
	first, err := f.IdentitySecret(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	distinct := map[byte]bool{}
	for _, b := range first {
		distinct[b] = true
	}
	if len(distinct) < 8 { // 32 random bytes have about 30 distinct ones
		t.Errorf("the secret has %d distinct bytes: that is not random", len(distinct))
	}
	again, err := f.reopen(t).IdentitySecret(t.Context())
	if err != nil || again != first {
		t.Errorf("after reopening: the secret is another one, error %v", err)
	}
	t.Run("another database", func(t *testing.T) {
		other, err := setup(t, f.open).IdentitySecret(t.Context())
		if err != nil || other == first {
			t.Errorf("another database has the same secret, error %v", err)
		}
	})
}

// reopen opens the database a second time.
func (f *fixture) reopen(t *testing.T) *fixture {
	t.Helper()
	return setup(t, f.open)
}

// A store that can be used says so; an ended context is not taken for an answer.
func ping(t *testing.T, f *fixture) {
	if err := f.Ping(t.Context()); err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := f.Ping(ctx); err == nil {
		t.Error("ended context: no error")
	}
}

// What was accepted is there when the database is opened again, and ids go on where they
// were.
func reopening(t *testing.T, f *fixture) {
	one := f.claim(t, "one", nets(npiA, 1))
	first := f.accept(t, noon(), one)
	again := f.reopen(t)
	same(t, "record", again.record(t, one), f.record(t, one))
	next := again.accept(t, after(time.Second), again.claim(t, "two", nets(npiA, 1)))
	if next[0].FirstLineID <= first[0].FirstLineID {
		t.Errorf("line ids: got %d behind %d", next[0].FirstLineID, first[0].FirstLineID)
	}
	if _, err := again.Claim(t.Context(), uuid.Nil); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("no claim: got %v, want %v", err, store.ErrNotFound)
	}
}
