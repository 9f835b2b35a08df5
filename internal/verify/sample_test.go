package verify_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/claimrail/claimrail/internal/claim"
	"github.com/claimrail/claimrail/internal/event"
	"github.com/claimrail/claimrail/internal/payment"
	"github.com/claimrail/claimrail/internal/store"
	"github.com/claimrail/claimrail/internal/verify"
)

// asked answers from the ledger itself.
type asked struct{ *payment.Desk }

// Ask implements verify.Asked.
func (a asked) Ask(ctx context.Context, question event.Question) (event.Answer, error) {
	return a.Answer(ctx, question)
}

// sampler gives one that draws the newest claims, and its log.
func (s *system) sampler() (*verify.Sampler, *bytes.Buffer) {
	log := &bytes.Buffer{}
	secret, err := s.claims.IdentitySecret(s.Context())
	if err != nil {
		s.Fatal(err)
	}
	return &verify.Sampler{
		Database: s.claims, Payments: asked{&payment.Desk{Ledger: s.ledger}}, Identity: claim.NewIdentity(secret),
		Logger: slog.New(slog.NewTextHandler(log, nil)), Now: noon, Random: func(n int64) int64 { return n - 1 },
	}, log
}

// A sample of a sound system is clean, whatever its claims are in the middle of.
func TestSampleOfSound(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	sampler, log := s.sampler()
	if err := sampler.Sample(t.Context()); err != nil || sampler.Stats.Claims.Load() != 0 {
		t.Errorf("an empty system: got %v and %d claims, want none", err, sampler.Stats.Claims.Load())
	}
	s.fill()
	if err := sampler.Sample(t.Context()); err != nil {
		t.Fatal(err)
	}
	report := s.run()
	if got := sampler.Stats.Claims.Load(); got != int64(report.Claims) || got == 0 {
		t.Errorf("claims looked at: got %d, want all %d", got, report.Claims)
	}
	if sampler.Stats.Breaches.Load() != 0 || log.Len() > 0 {
		t.Errorf("breaches: got %d, want none: %s", sampler.Stats.Breaches.Load(), log)
	}
}

// Every breach that concerns a single claim is found in a sample that has the claim, under the
// same name as in a whole run, and the log tells no PHI.
func TestSampleFindsBreaches(t *testing.T) {
	t.Parallel()
	rules := []string{"net-fee", "line-count", "claim-id", "settlement-has-payment", "paid-by-claim", "payment-id", "written-off"}
	blind := []string{
		"a posting is missing", "a posting is a cent too high", "a posting is of another provider", // payments answers with amounts of claims
		"a line is another claim's", // a claim's lines are found by their ids
		"sums do not fit",           // each for itself is right
	}
	onEach(t, func(t *testing.T, filled func(testing.TB) *system) {
		found := map[string]int{}
		for _, b := range slices.Concat(statusBreaches(), paymentBreaches(), claimBreaches()) {
			at := slices.IndexFunc(rules, func(rule string) bool { return slices.Contains(b.want, rule) })
			if at < 0 {
				continue
			}
			s := filled(t)
			b.plant(s)
			sampler, log := s.sampler()
			if err := sampler.Sample(t.Context()); err != nil {
				t.Errorf("%s: %v", b.name, err)
			}
			sees := strings.Contains(log.String(), "rule="+rules[at]) && sampler.Stats.Breaches.Load() > 0
			if sees == slices.Contains(blind, b.name) {
				t.Errorf("%s: got %d breaches and the log %q", b.name, sampler.Stats.Breaches.Load(), log)
			}
			if sees {
				found[rules[at]]++
			}
			if strings.Contains(log.String(), subscriber) || strings.Contains(log.String(), serviceDate) {
				t.Errorf("%s: the log holds PHI: %s", b.name, log)
			}
		}
		for _, rule := range rules {
			if found[rule] == 0 {
				t.Errorf("no breach of %s was found", rule)
			}
		}
	})
}

// page is a claims database of one claim, by which a sampler shows where it looks.
type page struct {
	before []int64
	away   atomic.Bool
}

// Claims implements verify.Sampled.
func (p *page) Claims(_ context.Context, filter store.Filter) ([]store.Summary, error) {
	if p.away.Load() {
		return nil, store.ErrUnavailable
	}
	p.before = append(p.before, filter.Before)
	return []store.Summary{{Cursor: 1000, ClaimID: uuid.UUID{1}, Version: 1}}, nil
}

// Claim implements verify.Sampled.
func (*page) Claim(context.Context, uuid.UUID) (store.Record, error) {
	return store.Record{}, store.ErrNotFound
}

// A round comes every minute, at a place drawn anew; one that comes to no end is counted, and
// the time of the last good one stays.
func TestSamplerRuns(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		places := []int64{0, 999, 400}
		database := &page{}
		sampler := &verify.Sampler{
			Database: database, Logger: slog.New(slog.DiscardHandler), Now: time.Now,
			Random: func(n int64) int64 {
				if n != 1000 {
					t.Errorf("places: got %d, want 1000", n)
				}
				place := places[0]
				places = append(places[1:], place)
				return place
			},
		}
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- sampler.Run(ctx) }()
		<-time.After(3*time.Minute + time.Second)
		synctest.Wait()
		if diff := cmp.Diff([]int64{0, 2, 0, 1001, 0, 402}, database.before); diff != "" {
			t.Errorf("pages asked for: want -, got +:\n%s", diff)
		}
		last := time.Now().Add(-time.Second).Unix()
		if got := sampler.Stats.LastAt.Load(); got != last {
			t.Errorf("last good round: got %d, want %d", got, last)
		}
		database.away.Store(true)
		<-time.After(2 * time.Minute)
		synctest.Wait()
		if got := fmt.Sprint(sampler.Stats.Failed.Load(), sampler.Stats.LastAt.Load() == last); got != "2 true" {
			t.Errorf("failed rounds, and whether the last good one stays: got %s, want 2 true", got)
		}
		stop()
		if err := <-ended; err != nil {
			t.Errorf("run: got %v, want nil", err)
		}
	})
}
