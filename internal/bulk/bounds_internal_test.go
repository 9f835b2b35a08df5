package bulk

import (
	"context"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"github.com/claimrail/claimrail/internal/intake"
	"github.com/claimrail/claimrail/internal/money"
	"github.com/claimrail/claimrail/internal/store"
)

// wideClaims gives so many claims of one line, each of half a MiB, as they are read.
func wideClaims(count int) io.Reader {
	next, left := 0, strings.NewReader("")
	return readerFunc(func(into []byte) (int, error) {
		if left.Len() == 0 {
			if next == count {
				return 0, io.EOF
			}
			text := goodClaim(fmt.Sprintf("W-%d", next), "130.00")
			left.Reset("{" + strings.Repeat(" ", 512<<10-len(text)) + text[1:])
			next++
		}
		return left.Read(into)
	})
}

// knower is a function as a Known.
type knower func(context.Context, []store.Submission) ([]store.Outcome, error)

func (k knower) Known(ctx context.Context, batch []store.Submission) ([]store.Outcome, error) {
	return k(ctx, batch)
}

// While nothing can be stored, or looked for, or the first batch alone can not, or nothing be told, no more
// of a file is read than four batches of 4 MiB, and what the reader has at hand, however long it is.
func TestWhatAPassHoldsIsBounded(t *testing.T) {
	t.Parallel()
	const claims, most = 160, 4*4<<20 + 3<<20
	for name, set := range map[string]func(*Pass){
		"import":        func(*Pass) {},
		"stop on error": func(p *Pass) { p.StopOnError = true },
		"dry run":       func(p *Pass) { p.DryRun = true },
	} {
		for _, what := range []string{"all", "first", "teller"} {
			t.Run(name+", "+what, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					file, err := intake.Open(wideClaims(claims), intake.Options{Format: intake.NDJSON, FileSHA256: strings.Repeat("ab", 32)})
					if err != nil {
						t.Fatal(err)
					}
					still := make(chan struct{})
					wait := func(_ context.Context, batch []store.Submission) ([]store.Outcome, error) {
						if what == "all" || what == "first" && batch[0].Claim.ExternalID == "W-0" {
							<-still
						}
						return make([]store.Outcome, len(batch)), nil
					}
					told := 0
					p := &Pass{
						File: file, Validator: validatorOf(t), Committer: committer(wait), Known: knower(wait), Logger: discard(),
						Tell: func(*Verdict) error {
							if told++; what == "teller" {
								<-still
							}
							return nil
						},
					}
					set(p)
					ended := make(chan error, 1)
					go func() { ended <- p.Run(t.Context()) }()
					synctest.Wait()
					if got := file.ReadBytes(); got > most || got < 4<<20 {
						t.Errorf("got %d bytes read, want at most %d", got, most)
					}
					close(still)
					if err := <-ended; err != nil || told != claims {
						t.Errorf("got %v and %d claims told, want all %d", err, told, claims)
					}
				})
			})
		}
	}
}

// Two files are imported at once: the second does not wait for the first, however long that takes.
func TestImportsAtOnce(t *testing.T) {
	t.Parallel()
	b := setup(t)
	at, pass := make(chan uuid.UUID), make(chan struct{})
	d := b.desk(committer(func(ctx context.Context, batch []store.Submission) ([]store.Outcome, error) {
		at <- batch[0].Import
		<-pass
		return b.SubmitBatch(ctx, batch)
	}))
	first, second := b.receive(d, goodFile("A"), Wanted{}), b.receive(d, goodFile("B"), Wanted{})
	b.work(d)
	b.Cleanup(func() { close(pass) }) // before the desk is stopped
	storing := map[uuid.UUID]bool{}
	for late := time.After(20 * time.Second); len(storing) < 2; {
		select {
		case id := <-at:
			storing[id] = true
		case <-late:
			t.Fatalf("got %d imports at once, want two", len(storing))
		}
	}
	same(t, "imports at once", storing, map[uuid.UUID]bool{first.ID: true, second.ID: true})
}

// How far an import has come can be read while it runs: what was read, and what became of it; and its
// runner is known to be alive, however long it takes.
func TestProgressIsReported(t *testing.T) {
	t.Parallel()
	b := setup(t)
	numbers := numbered(2 * store.MaxBatchClaims)
	known, _ := b.newPass(goodFile(numbers[1]))
	if err := known.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	still := make(chan struct{})
	d := b.desk(committer(func(ctx context.Context, batch []store.Submission) ([]store.Outcome, error) {
		if batch[0].Claim.ExternalID != numbers[1] {
			<-still
		}
		return b.SubmitBatch(ctx, batch)
	}))
	text := head + badRow(numbers[0]) + strings.TrimPrefix(goodFile(numbers[1:]...), head)
	i := b.receive(d, text, Wanted{})
	b.work(d)
	release := sync.OnceFunc(func() { close(still) })
	b.Cleanup(release) // before the desk is stopped
	const half = store.MaxBatchClaims
	got := b.until(i.ID, func(i *store.Import) bool { return i.Claims.Read >= half || i.State.Ended() })
	same(t, "claims", got.Claims, store.Fates{Read: half, Accepted: half - 2, Duplicate: 1, Rejected: 1})
	same(t, "lines", got.Lines, got.Claims)
	same(t, "net fee", got.NetFee, money.Cents(half-1)*8125)
	if got.State != store.ImportRunning || got.Format != "csv" || got.ReadBytes < int64(len(text))/3 {
		t.Errorf("got %s, %q, %d bytes read, want that it runs, and has read one batch of the CSV at least", got.State, got.Format, got.ReadBytes)
	}
	b.advance(lease / 2)
	b.until(i.ID, func(i *store.Import) bool { return i.LeasedUntil.After(got.LeasedUntil) })
	release()
	same(t, "claims at the end", b.await(i.ID).Claims, store.Fates{Read: 2 * half, Accepted: 2*half - 2, Duplicate: 1, Rejected: 1})
}
