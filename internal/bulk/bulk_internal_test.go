package bulk

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/claimrail/claimrail/internal/claim"
	"github.com/claimrail/claimrail/internal/money"
	"github.com/claimrail/claimrail/internal/store"
)

// What became of each claim is told in the order of the file, over all batches, and counted:
// a claim that has a bad row is rejected whole, what is there already is a duplicate if it is
// the same, and rejected if it is another.
func TestPass(t *testing.T) {
	t.Parallel()
	b := setup(t)
	first, _ := b.newPass(goodFile("A", "B"))
	if err := first.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	const other = "B,3/28/18 0:00,D4346,UR,GRP-1000,3730189502,1497775530,$131.00,$65.00,$16.25,$0.00\n"
	text := head + goodRow("C") + goodRow("A") + badRow("D") + goodRow("D") + other + goodRow("E") + goodRow("E") + badRow("F")
	second, told := b.newPass(text)
	if err := second.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	same(t, "verdicts", *told, []string{
		"C accepted", "A duplicate", "D rejected: npi-digits", "B rejected: other-claim", "E accepted", "F rejected: npi-digits",
	})
	same(t, "tally", second.Tally(), store.Tally{
		ReadBytes: int64(len(text)),
		Claims:    store.Fates{Read: 6, Accepted: 2, Duplicate: 1, Rejected: 3},
		Lines:     store.Fates{Read: 8, Accepted: 3, Duplicate: 1, Rejected: 4},
		NetFee:    4 * 8125, AcceptedNetFee: 3 * 8125,
	})
	same(t, "claims stored", b.stored(), 4)
}

// With StopOnError nothing behind the first claim that is not valid is stored, or counted,
// wherever in a batch it stands.
func TestStopOnError(t *testing.T) {
	t.Parallel()
	for bad := range 7 {
		b := setup(t)
		numbers := numbered(8)
		var text strings.Builder
		text.WriteString(head)
		var want []string
		for i, number := range numbers {
			if i == bad {
				text.WriteString(badRow(number))
			} else {
				text.WriteString(goodRow(number))
			}
			if i < bad {
				want = append(want, number+" accepted")
			}
		}
		p, told := b.newPass(text.String())
		p.StopOnError = true
		if err := p.Run(t.Context()); err != nil {
			t.Fatalf("bad claim %d: %v", bad, err)
		}
		same(t, "verdicts", *told, append(want, numbers[bad]+" rejected: npi-digits"))
		same(t, "claims stored", b.stored(), bad)
	}
}

// A dry run tells the same as a real one would, and stores nothing.
func TestDryRun(t *testing.T) {
	t.Parallel()
	b := setup(t)
	first, _ := b.newPass(goodFile("A"))
	if err := first.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	text := head + goodRow("A") + goodRow("B") + badRow("C")
	for _, known := range []Known{b.claims, nil} {
		p, told := b.newPass(text)
		p.DryRun, p.Committer, p.Known = true, nil, known
		if err := p.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		want := []string{"A duplicate", "B accepted", "C rejected: npi-digits"}
		if known == nil {
			want[0] = "A accepted"
		}
		same(t, "verdicts", *told, want)
		same(t, "net fee", p.Tally().NetFee, money.Cents(2*8125))
	}
	same(t, "claims stored", b.stored(), 1)
}

// An import that went on behind a rejected claim, was interrupted, and is told to stop at the first in
// its next run, stops there and is done: what it had accepted stays, and no rules have changed.
func TestStopOnErrorAfterAnInterruption(t *testing.T) {
	t.Parallel()
	b := setup(t)
	text := head + goodRow("A") + badRow("B") + goodRow("C") + goodRow("D") + goodRow("E")
	i := b.begin()
	first, _ := b.newPass(text)
	first.Import = i.ID
	if err := first.Run(t.Context()); err != nil { // and it dies before it can say that it is done
		t.Fatal(err)
	}
	b.advance(lease)
	i, err := b.claims.ResumeImport(t.Context(), i.ID, b.now(), b.now().Add(lease))
	if err != nil {
		t.Fatal(err)
	}
	second, told := b.newPass(text)
	second.Import, second.Before, second.StopOnError = i.ID, AcceptedOf(&i), true
	hold := &Hold{Imports: b.claims, Import: &i, Lease: lease, Now: b.now, Logger: b.logger}
	if err := hold.Run(t.Context(), func(ctx context.Context) error { return hold.Pass(ctx, second) }); err != nil {
		t.Errorf("got %v, want that it is done", err)
	}
	same(t, "verdicts", *told, []string{"A duplicate", "B rejected: npi-digits"})
	got := b.read(i.ID)
	if got.State != store.ImportDone || got.Error != "" {
		t.Errorf("got %s, %q, want that it is done", got.State, got.Error)
	}
	same(t, "claims", got.Claims, store.Fates{Read: 5, Accepted: 4, Rejected: 1})
}

// A dry run tells of a file that repeats claims, in one batch and over several, what the real import
// of it tells: with a database also of what is stored, and without one of all else.
func TestDryRunOfRepeats(t *testing.T) {
	t.Parallel()
	b := setup(t)
	first, _ := b.newPass(goodClaim("known", "130.00") + goodClaim("changed", "131.00"))
	if err := first.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	text := goodClaim("A", "130.00") + goodClaim("A", "130.00") + goodClaim("B", "130.00") + goodClaim("C", "130.00") +
		goodClaim("A", "130.00") + goodClaim("B", "131.00") + goodClaim("B", "130.00")
	stored := goodClaim("known", "130.00") + goodClaim("changed", "130.00") + goodClaim("changed", "131.00") + goodClaim("changed", "130.00")
	want := []string{
		"A accepted", "A duplicate", "B accepted", "C accepted", "A duplicate", "B rejected: other-claim", "B duplicate",
		"known duplicate", "changed rejected: other-claim", "changed duplicate", "changed rejected: other-claim",
	}
	for _, tt := range []struct {
		name, text string
		dry        bool
		known      Known
		want       []string
	}{
		{"dry, no database", text, true, nil, want[:7]},
		{"dry", text + stored, true, b.claims, want},
		{"real", text + stored, false, nil, want},
	} {
		p, told := b.newPass(tt.text)
		p.DryRun, p.Known = tt.dry, tt.known
		if err := p.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		same(t, tt.name, *told, tt.want)
		got := p.Tally().Claims
		same(t, tt.name+", read", got.Accepted+got.Duplicate+got.Rejected, got.Read)
	}
}

// A dry run that is given what the one before has seen finds what its file repeats of that one's.
func TestDryRunOfSeveralFiles(t *testing.T) {
	t.Parallel()
	b := setup(t)
	seen := &Repeats{}
	var all []string
	for _, text := range []string{goodClaim("A", "130.00"), goodClaim("A", "130.00") + goodClaim("B", "130.00"), goodClaim("B", "131.00")} {
		p, told := b.newPass(text)
		p.DryRun, p.Repeats = true, seen
		if err := p.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		all = append(all, *told...)
	}
	same(t, "three files", all, []string{"A accepted", "A duplicate", "B accepted", "B rejected: other-claim"})
}

// A dry run remembers so many claims, the last ones.
func TestRepeatsAreBounded(t *testing.T) {
	t.Parallel()
	r, c := Repeats{most: 4}, &claim.Claim{}
	for i := range byte(12) {
		c.ID[15] = i
		if _, found := r.add(c); found {
			t.Errorf("claim %d is found, and was not there", i)
		}
	}
	if len(r.recent) > 4 || len(r.older) > 4 {
		t.Errorf("got %d and %d claims, want 4 of each at most", len(r.recent), len(r.older))
	}
	for i := byte(5); i < 12; i++ {
		c.ID[15] = i
		if same, found := r.add(c); !found || !same {
			t.Errorf("claim %d, of the last ones, is not found", i)
		}
	}
}

// A pass that is stopped says so at once. The batches that have begun are stored; of these, those in front
// of the first that had not begun are told, and the run that follows finds the others.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	b := setup(t)
	p, told := b.newPass(goodFile(numbered(100)...))
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var batches atomic.Int64
	p.Committer = committer(func(ctx context.Context, batch []store.Submission) ([]store.Outcome, error) {
		if batches.Add(1) == 5 {
			stop()
		}
		return b.SubmitBatch(ctx, batch)
	})
	if err := p.Run(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want that it was stopped", err)
	}
	stored := b.stored()
	if stored < 10 || stored > 14 || stored < len(*told) {
		t.Errorf("got %d claims stored, %d told, want those of the batches that had begun, and no more told", stored, len(*told))
	}
}

// A file that breaks off, and one who can not write down what he is told, end a pass; a panic
// does as well, and holds nothing of the claim.
func TestFailures(t *testing.T) {
	t.Parallel()
	b := setup(t)
	p, _ := b.newPass(goodFile(numbered(20)...))
	full := errors.New("disk full")
	p.Tell = func(*Verdict) error { return full }
	if err := p.Run(t.Context()); !errors.Is(err, full) {
		t.Errorf("tell: got %v, want %v", err, full)
	}
	p, _ = b.newPass(goodFile(numbered(20)...))
	p.Committer = committer(func(context.Context, []store.Submission) ([]store.Outcome, error) { panic("3730189502") })
	if err := p.Run(t.Context()); err == nil || strings.Contains(err.Error(), "3730189502") {
		t.Errorf("panic: got %v, want that it panicked, without the value", err)
	}
}

// While the claims database can not be used, a batch is tried again, and for half a minute only.
func TestPatience(t *testing.T) {
	t.Parallel()
	for _, tries := range []int64{3, 1000} {
		synctest.Test(t, func(t *testing.T) {
			var tried atomic.Int64
			b := &bench{TB: t, validator: validatorOf(t)}
			p, told := b.newPass(goodFile("A"))
			p.Logger = discard()
			p.Committer = committer(func(_ context.Context, batch []store.Submission) ([]store.Outcome, error) {
				if tried.Add(1) <= tries {
					return nil, fmt.Errorf("accept: %w", store.ErrUnavailable)
				}
				return make([]store.Outcome, len(batch)), nil
			})
			began := time.Now()
			err := p.Run(t.Context())
			took := time.Since(began)
			switch {
			case tries < 10 && (err != nil || len(*told) != 1 || took > 3*time.Second):
				t.Errorf("got %v and %d claims after %v, want one claim soon", err, len(*told), took)
			case tries > 10 && (!errors.Is(err, store.ErrUnavailable) || took != patience):
				t.Errorf("got %v after %v, want %v after %v", err, took, store.ErrUnavailable, patience)
			}
		})
	}
}

// Wherever runs of an import end, before or behind a commit or with the answer to it lost, the
// run that comes to the end finds exact counts: accepted, duplicate and rejected are what was
// read, and each is what the file says.
func TestCountsAfterKills(t *testing.T) {
	t.Parallel()
	b, cases := setup(t), 0
	rapid.Check(t, func(rt *rapid.T) {
		cases++
		named := func(n int) string { return fmt.Sprintf("A-%d-%d", cases, n) }
		known := rapid.SliceOfNDistinct(rapid.IntRange(0, 29), 0, 5, rapid.ID).Draw(rt, "known")
		var before strings.Builder
		before.WriteString(head)
		for _, n := range known {
			before.WriteString(goodRow(named(n)))
		}
		first, _ := b.newPass(before.String())
		if err := first.Run(t.Context()); err != nil {
			rt.Fatal(err)
		}
		bad := rapid.SliceOfNDistinct(rapid.IntRange(0, 29), 0, 5, rapid.ID).Draw(rt, "bad")
		text, want := head, store.Fates{}
		for n := range 30 {
			want.Read++
			switch number := named(n); {
			case slices.Contains(bad, n):
				text += badRow(number)
				want.Rejected++
			case slices.Contains(known, n):
				text += goodRow(number)
				want.Duplicate++
			default:
				text += goodRow(number)
				want.Accepted++
			}
		}
		i := b.begin()
		for runs := 0; ; runs++ {
			deadly := rapid.IntRange(1, 25).Draw(rt, "commit")
			if runs == 5 {
				deadly = 0
			}
			if b.run(rt, &i, text, deadly, rapid.SampledFrom([]string{"before", "behind", "lost"}).Draw(rt, "where")) {
				break
			}
			b.advance(lease)
			resumed, err := b.claims.ResumeImport(t.Context(), i.ID, b.now(), b.now().Add(lease))
			if err != nil {
				rt.Fatal(err)
			}
			i = resumed
		}
		got := b.read(i.ID)
		if got.State != store.ImportDone || got.Claims != want || got.Lines != want || got.NetFee != money.Cents(want.Accepted+want.Duplicate)*8125 {
			rt.Errorf("got %s, claims %+v, lines %+v, net fee %s; want %+v of both", got.State, got.Claims, got.Lines, got.NetFee, want)
		}
	})
}

// run runs an import once, and dies at a commit: before it or behind it, or it carries on where the
// answer is lost and asked for again. It tells whether the import came to its end.
func (b *bench) run(rt *rapid.T, i *store.Import, text string, deadly int, where string) bool {
	died := errors.New("killed")
	var commits atomic.Int64
	p, _ := b.newPass(text)
	p.Import, p.Before = i.ID, AcceptedOf(i)
	p.Committer = committer(func(ctx context.Context, batch []store.Submission) ([]store.Outcome, error) {
		if int(commits.Add(1)) != deadly {
			return b.SubmitBatch(ctx, batch)
		}
		if where != "before" {
			if _, err := b.SubmitBatch(ctx, batch); err != nil {
				return nil, err
			}
		}
		if where == "lost" {
			return b.SubmitBatch(ctx, batch)
		}
		return nil, died
	})
	hold := &Hold{Imports: b.claims, Import: i, Lease: lease, Now: b.now, Logger: b.logger}
	hold.passed.Store(p)
	err := p.Run(b.Context())
	if errors.Is(err, died) {
		return false // nobody is left to end the import
	}
	if err == nil {
		err = hold.finish(b.Context(), nil)
	}
	if err != nil {
		rt.Fatal(err)
	}
	return true
}
