package bulk

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/google/uuid"

	"github.com/claimrail/claimrail/internal/claim"
	"github.com/claimrail/claimrail/internal/store"
)

// memory stores claims in memory, within a bubble that a database can not be in. A batch of which
// a claim has the number held waits, and then gives the error.
type memory struct {
	mu      sync.Mutex
	claims  map[uuid.UUID]claim.Fingerprint
	held    string
	holding chan struct{} // nil: nothing waits
	err     error
}

// SubmitBatch implements Committer.
func (m *memory) SubmitBatch(_ context.Context, batch []store.Submission) ([]store.Outcome, error) {
	if m.holding != nil && slices.ContainsFunc(batch, func(s store.Submission) bool { return s.Claim.ExternalID == m.held }) {
		<-m.holding
		if m.err != nil {
			return nil, m.err
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	outcomes := make([]store.Outcome, len(batch))
	for i := range batch {
		c := batch[i].Claim
		switch found, exists := m.claims[c.ID]; {
		case !exists:
			m.claims[c.ID] = c.Fingerprint
		case found == c.Fingerprint:
			outcomes[i].Existing = true
		default:
			outcomes[i].Err = store.ErrOtherClaim
		}
	}
	return outcomes, nil
}

// goodClaim gives a claim of one line as a line of NDJSON, which has one for each: those of CSV under one
// number would be one claim.
func goodClaim(number, fee string) string {
	return fmt.Sprintf(`{"external_claim_id":%q,"lines":[{"service_date":"3/28/18 0:00","submitted_procedure":"D4346","quadrant":"UR",`+
		`"plan_group_number":"GRP-1000","subscriber_number":"3730189502","provider_npi":"1497775530",`+
		`"provider_fees":%q,"allowed_fees":"65.00","member_coinsurance":"16.25","member_copay":"0.00"}]}`+"\n", number, fee)
}

// goodClaims gives a claim for each number, each with a fee of its own.
func goodClaims(numbers ...string) string {
	var text strings.Builder
	for i, number := range numbers {
		text.WriteString(goodClaim(number, fmt.Sprintf("%d.00", 130+i)))
	}
	return text.String()
}

// However long the first batch takes to be stored, no batch behind it that has one of its claims is
// stored before it, while others are: of two claims under one number the first of the file wins. In
// a pass where the first batch can not be stored the second claim is not stored either, so that the
// pass that follows finds the same.
func TestFirstOfTheFileWins(t *testing.T) {
	t.Parallel()
	text := goodClaims("first", "X", "A", "B", "X", "C", "D", "X")
	want := []string{
		"first accepted", "X accepted", "A accepted", "B accepted", "X rejected: other-claim", "C accepted", "D accepted", "X rejected: other-claim",
	}
	for _, failure := range []error{nil, errors.New("disk broken")} {
		synctest.Test(t, func(t *testing.T) {
			b := &bench{TB: t, validator: validatorOf(t), logger: discard()}
			m := &memory{claims: map[uuid.UUID]claim.Fingerprint{}, held: "first", holding: make(chan struct{}), err: failure}
			p, told := b.newPass(text)
			p.Committer = m
			ended := make(chan error, 1)
			go func() { ended <- p.Run(t.Context()) }()
			synctest.Wait()
			same(t, "claims stored while the first batch waits", len(m.claims), 2) // A and B
			close(m.holding)
			if err := <-ended; !errors.Is(err, failure) {
				t.Errorf("got %v, want %v", err, failure)
			}
			if failure != nil {
				same(t, "claims stored behind a batch that is not", len(m.claims), 2)
				m.err = nil
				p, told = b.newPass(text)
				p.Committer = m
				if err := p.Run(t.Context()); err != nil {
					t.Error(err)
				}
				want[2], want[3] = "A duplicate", "B duplicate" // of the pass before
			}
			same(t, "verdicts", *told, want)
		})
	}
}

// With batches as small as they can be, on a real database, the first claim under each number is
// stored, and each that comes behind it is another.
func TestFirstOfTheFileWinsInSmallBatches(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var numbers, want []string
	for i := range 200 {
		number := fmt.Sprintf("N-%d", i/5)
		numbers = append(numbers, number)
		if i%5 == 0 {
			want = append(want, number+" accepted")
		} else {
			want = append(want, number+" rejected: other-claim")
		}
	}
	p, told := b.newPass(goodClaims(numbers...))
	p.batchClaims = 1
	if err := p.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	same(t, "verdicts", *told, want)
	same(t, "claims stored", b.stored(), 40)
}
