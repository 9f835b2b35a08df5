package bulk

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/claimrail/claimrail/internal/intake"
	"github.com/claimrail/claimrail/internal/store"
	"github.com/claimrail/claimrail/internal/store/sqlitestore"
)

// knownFirst is imports that do something before they look for claims.
type knownFirst struct {
	*sqlitestore.Store
	first func([]store.Submission)
}

func (k knownFirst) Known(ctx context.Context, batch []store.Submission) ([]store.Outcome, error) {
	k.first(batch)
	return k.Store.Known(ctx, batch)
}

// Of an import that is cancelled while it runs, for real or as a trial, the rejects and faults that it
// had found by then can be read, each of them whole, and its counts say how many they are.
func TestCancelKeepsWhatItFound(t *testing.T) {
	t.Parallel()
	for _, dry := range []bool{false, true} {
		b := setup(t)
		numbers := numbered(3 * store.MaxBatchClaims)
		var text strings.Builder
		text.WriteString(head)
		for i, number := range numbers {
			if i < 3 || i == len(numbers)-1 {
				text.WriteString(badRow(number))
			} else {
				text.WriteString(goodRow(number))
			}
		}
		var d *Desk
		var i store.Import
		var once sync.Once
		first := func(batch []store.Submission) {
			if batch[0].Claim.ExternalID == numbers[3] {
				return
			}
			once.Do(func() { // once the first batch is told
				for ticker := time.Tick(time.Millisecond); d.Stats.Rejected.Load() < 3; {
					<-ticker
				}
				if _, err := d.Cancel(t.Context(), i.ID); err != nil {
					t.Error(err)
				}
			})
		}
		d = b.desk(committer(func(ctx context.Context, batch []store.Submission) ([]store.Outcome, error) {
			first(batch)
			return b.SubmitBatch(ctx, batch)
		}))
		d.Imports = knownFirst{b.claims, first}
		i = b.receive(d, text.String(), Wanted{DryRun: dry, Format: intake.CSVTable})
		b.work(d)
		got := b.until(i.ID, func(i *store.Import) bool { return i.State.Ended() && i.LeasedUntil.IsZero() })
		if got.State != store.ImportCancelled || got.Claims.Rejected < 3 || got.Claims.Read != got.Claims.Accepted+got.Claims.Rejected {
			t.Errorf("dry run %t: got %s, %+v, want it cancelled, with the rejects of its first batch at least", dry, got.State, got.Claims)
		}
		if !dry {
			same(t, "claims stored", b.stored(), int(got.Claims.Accepted))
			same(t, "claims", got.Claims, store.Fates{Read: store.MaxBatchClaims, Accepted: store.MaxBatchClaims - 3, Rejected: 3})
		}
		rejects := b.text(got.ID, store.RejectsPart)
		same(t, "rejects", int64(strings.Count(rejects, ",npi-digits,")), got.Claims.Rejected)
		same(t, "faults", int64(strings.Count(b.text(got.ID, store.FaultsPart), `"code":"npi-digits"`)), got.Claims.Rejected)
		if !strings.HasPrefix(rejects, head[:12]) || !strings.Contains(rejects, "\n"+numbers[2]+",") {
			t.Errorf("dry run %t: got rejects %.300q, want them whole", dry, rejects)
		}
	}
}
