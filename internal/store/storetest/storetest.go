// Package storetest holds every engine of package store to the contract that store
// and outbox write down: one suite, so that the engines can not drift apart. What is
// peculiar to one engine is tested beside it.
package storetest

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/claimrail/claimrail/internal/claim"
	"github.com/claimrail/claimrail/internal/event"
	"github.com/claimrail/claimrail/internal/money"
	"github.com/claimrail/claimrail/internal/outbox"
	"github.com/claimrail/claimrail/internal/store"
)

// Run runs the suite. open opens the database that belongs to t, empty at first: called
// again with the same t it opens the same database again, with another t another one.
// The suite closes what it gets.
func Run(t *testing.T, open func(t *testing.T) store.Engine) {
	RunDelivery(t, open)
	run(t, open, []part{
		{"records", recordsChecks()},
		{"rate", rateChecks()},
		{"imports", importsChecks()},
		{"parts", partsChecks()},
		{"imported claims", importedChecks()},
	})
}

// RunDelivery runs the part of the suite that claims on their way to payments need: no
// imports, no exports, no rate limits.
func RunDelivery(t *testing.T, open func(t *testing.T) store.Engine) {
	run(t, open, []part{
		{"accept", acceptChecks()},
		{"totals", totalsChecks()},
		{"claims", claimsChecks()},
		{"outbox", outboxChecks()},
		{"snapshot", snapshotChecks()},
		{"database", databaseChecks()},
	})
}

// part is the tests of one subject.
type part struct {
	name   string
	checks []check
}

func run(t *testing.T, open func(t *testing.T) store.Engine, parts []part) {
	for _, part := range parts {
		t.Run(part.name, func(t *testing.T) {
			t.Parallel()
			for _, check := range part.checks {
				t.Run(check.name, func(t *testing.T) {
					t.Parallel()
					check.run(t, setup(t, open))
				})
			}
		})
	}
}

// check is one test of the suite.
type check struct {
	name string
	run  func(t *testing.T, f *fixture)
}

// fixture is an empty store with what it takes to fill it.
type fixture struct {
	store.Engine
	open      func(t *testing.T) store.Engine
	validator claim.Validator
}

func setup(t *testing.T, open func(t *testing.T) store.Engine) *fixture {
	t.Helper()
	f := &fixture{Engine: open(t), open: open}
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	secret, err := f.IdentitySecret(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	f.validator = claim.Validator{Rules: claim.DefaultRules(), Identity: claim.NewIdentity(secret), Now: noon}
	return f
}

// noon is when most of what happens in the suite happens.
func noon() time.Time { return time.Date(2026, 1, 15, 12, 0, 0, 123_456_000, time.UTC) }

// after gives the moment that is d behind noon.
func after(d time.Duration) time.Time { return noon().Add(d) }

// NPIs with a right check digit.
const (
	npiA = "1497775530"
	npiB = "1234567893"
	npiC = "0000000006" // its zeros must survive
)

// nets gives the fields of a line of one provider that nets to the amount.
func nets(npi string, net money.Cents) claim.RawLine {
	fees, allowed := net, money.Cents(0)
	if net < 0 {
		fees, allowed = 0, -net
	}
	text := func(s string) claim.Raw { return claim.Raw{Shape: claim.Text, Text: s} }
	return claim.RawLine{Shape: claim.Object, Fields: [claim.FieldCount]claim.Raw{
		claim.ServiceDateField:  text("2018-03-28 09:30:15"),
		claim.ProcedureField:    text("D0180"),
		claim.PlanGroupField:    text("GRP-1000"),
		claim.SubscriberField:   text("0030189502"),
		claim.ProviderNPIField:  text(npi),
		claim.ProviderFeesField: text(fees.String()),
		claim.AllowedFeesField:  text(allowed.String()),
		claim.CoinsuranceField:  text("0"),
		claim.CopayField:        text("0"),
	}}
}

// claim makes a valid claim under the sender's number; an empty one gives it a random id.
func (f *fixture) claim(t failer, number string, lines ...claim.RawLine) *claim.Claim {
	t.Helper()
	draft := claim.Draft{Lines: lines}
	if number != "" {
		draft.ExternalID = claim.Raw{Shape: claim.Text, Text: number}
	}
	made, violations := f.validator.Validate(&draft)
	if made == nil {
		t.Fatalf("claim %q is not valid: %v", number, violations)
	}
	return made
}

// failer is what testing.T and rapid.T have in common here.
type failer interface {
	Helper()
	Fatal(...any)
	Fatalf(string, ...any)
}

// accept stores the claims at the time, all of them new.
func (f *fixture) accept(t *testing.T, at time.Time, claims ...*claim.Claim) []store.Outcome {
	t.Helper()
	outcomes, err := f.Accept(t.Context(), submissions(claims...), at)
	if err != nil {
		t.Fatalf("accept: %v", err)
	}
	for i, outcome := range outcomes {
		if outcome.Err != nil || outcome.Existing {
			t.Fatalf("accept claim %d: got %+v, want it new", i, outcome)
		}
	}
	return outcomes
}

func submissions(claims ...*claim.Claim) []store.Submission {
	batch := make([]store.Submission, len(claims))
	for i, c := range claims {
		batch[i] = store.Submission{Claim: c}
	}
	return batch
}

// apply makes the changes at the time and holds the number of those that met their
// guard against want.
func (f *fixture) apply(t *testing.T, at time.Time, want int, changes ...outbox.Change) {
	t.Helper()
	applied, err := f.Apply(t.Context(), changes, at)
	if err != nil || applied != want {
		t.Fatalf("apply: got %d, %v, want %d", applied, err, want)
	}
}

// due gives the rows of the queue that are due at the time, without their places, which the
// check of the order is about.
func (f *fixture) due(t *testing.T, queue outbox.Queue, at time.Time) []outbox.Row {
	t.Helper()
	rows, err := f.Due(t.Context(), queue, at, outbox.Place{}, 1000)
	if err != nil {
		t.Fatalf("due: %v", err)
	}
	for i := range rows {
		rows[i].Place = outbox.Place{}
	}
	return rows
}

// record reads the claim back.
func (f *fixture) record(t *testing.T, c *claim.Claim) store.Record {
	t.Helper()
	record, err := f.Claim(t.Context(), c.ID)
	if err != nil {
		t.Fatalf("read claim: %v", err)
	}
	return record
}

// list gives the numbers of the claims that the filter selects, in order.
func (f *fixture) list(t *testing.T, filter store.Filter) string {
	t.Helper()
	if filter.Limit == 0 {
		filter.Limit = store.MaxPage
	}
	page, err := f.Claims(t.Context(), filter)
	if err != nil {
		t.Fatalf("list claims %+v: %v", filter, err)
	}
	numbers := make([]string, len(page))
	for i, summary := range page {
		numbers[i] = summary.ExternalID
	}
	return strings.Join(numbers, " ")
}

// top gives the ranking as "npi total claims".
func (f *fixture) top(t *testing.T, limit int) []string {
	t.Helper()
	totals, err := f.TopProviders(t.Context(), limit)
	if err != nil {
		t.Fatalf("rank providers: %v", err)
	}
	ranked := []string{}
	for _, total := range totals {
		ranked = append(ranked, fmt.Sprintf("%s %s %d", total.ProviderNPI, total.TotalNetFee, total.ClaimCount))
	}
	return ranked
}

// ref names the message of a claim.
func ref(c *claim.Claim, gen int) event.Ref {
	return event.Ref{Key: event.Key{ClaimID: c.ID, Version: c.Version}, Gen: gen}
}

// same reports where got is not what is wanted; nothing and an empty list are the same.
func same(t failing, what string, got, want any) {
	t.Helper()
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty(),
		cmpopts.EquateComparable(claim.ServiceDate{}, claim.SubscriberNumber{})); diff != "" {
		t.Errorf("%s: want -, got +:\n%s", what, diff)
	}
}

type failing interface {
	Helper()
	Errorf(string, ...any)
}
