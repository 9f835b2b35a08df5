package verify_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/google/uuid"

	"github.com/claimrail/claimrail/internal/claim"
	"github.com/claimrail/claimrail/internal/event"
	"github.com/claimrail/claimrail/internal/money"
	"github.com/claimrail/claimrail/internal/outbox"
	"github.com/claimrail/claimrail/internal/payment"
	"github.com/claimrail/claimrail/internal/payment/sqliteledger"
	"github.com/claimrail/claimrail/internal/store"
	"github.com/claimrail/claimrail/internal/store/sqlitestore"
	"github.com/claimrail/claimrail/internal/verify"
)

// What no report may show.
const (
	subscriber  = "0030189502"
	serviceDate = "2018-03-28"
)

// Providers, in ascending order.
const (
	npiA = "1234567893"
	npiB = "1497775530"
)

func noon() time.Time { return time.Date(2026, 1, 15, 12, 0, 0, 0, time.UTC) }

// system is both databases of a line, in files or on a server.
type system struct {
	testing.TB
	folder    string // of the files
	server    string // URL of a Postgres database with both; empty: files
	claims    store.Engine
	ledger    payment.Ledger
	validator claim.Validator
	keys      map[string]event.Key // of the claims made, by number
}

func newSystem(t testing.TB) *system {
	t.Helper()
	s := &system{TB: t, folder: t.TempDir(), keys: map[string]event.Key{}}
	logger := slog.New(slog.DiscardHandler)
	var err error
	if s.claims, err = sqlitestore.Open(t.Context(), s.path("claims"), logger); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.claims.Close() })
	if s.ledger, err = sqliteledger.Open(t.Context(), s.path("payments"), logger); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.ledger.Close() })
	s.identify()
	return s
}

// identify gives new claims ids of this database.
func (s *system) identify() {
	s.Helper()
	secret, err := s.claims.IdentitySecret(s.Context())
	if err != nil {
		s.Fatal(err)
	}
	s.validator = claim.Validator{Rules: claim.DefaultRules(), Identity: claim.NewIdentity(secret), Now: noon}
}

// path gives the file of one of the two databases.
func (s *system) path(database string) string { return filepath.Join(s.folder, database+".db") }

// line is a line of one provider that nets to the amount.
func line(npi string, net money.Cents) claim.RawLine {
	text := func(s string) claim.Raw { return claim.Raw{Shape: claim.Text, Text: s} }
	fees, allowed := net, money.Cents(0)
	if net < 0 {
		fees, allowed = 0, -net
	}
	return claim.RawLine{Shape: claim.Object, Fields: [claim.FieldCount]claim.Raw{
		claim.ServiceDateField:  text(serviceDate),
		claim.ProcedureField:    text("D0180"),
		claim.PlanGroupField:    text("GRP-1000"),
		claim.SubscriberField:   text(subscriber),
		claim.ProviderNPIField:  text(npi),
		claim.ProviderFeesField: text(fees.String()),
		claim.AllowedFeesField:  text(allowed.String()),
		claim.CoinsuranceField:  text("0"),
		claim.CopayField:        text("0"),
	}}
}

// made makes a valid claim; without a number its id is random.
func (s *system) made(number string, lines ...claim.RawLine) *claim.Claim {
	s.Helper()
	draft := claim.Draft{Lines: lines}
	if number != "" {
		draft.ExternalID = claim.Raw{Shape: claim.Text, Text: number}
	}
	made, violations := s.validator.Validate(&draft)
	if made == nil {
		s.Fatalf("claim %q is not valid: %v", number, violations)
	}
	return made
}

// accept stores claims and gives their messages.
func (s *system) accept(claims ...*claim.Claim) []event.ClaimAccepted {
	s.Helper()
	batch := make([]store.Submission, len(claims))
	messages := make([]event.ClaimAccepted, len(claims))
	for i, c := range claims {
		batch[i] = store.Submission{Claim: c}
		messages[i] = batch[i].Message(noon())
	}
	if _, err := s.claims.Accept(context.Background(), batch, noon()); err != nil {
		s.Fatal(err)
	}
	return messages
}

// add accepts one claim of the name.
func (s *system) add(name string, lines ...claim.RawLine) event.ClaimAccepted {
	s.Helper()
	message := s.accept(s.made(name, lines...))[0]
	s.keys[name] = message.Key
	return message
}

func (s *system) record(messages ...event.ClaimAccepted) {
	s.Helper()
	if _, err := s.ledger.Record(context.Background(), messages, noon()); err != nil {
		s.Fatal(err)
	}
}

// learn lets claim-process ask payments about the claims, and apply the answer.
func (s *system) learn(messages ...event.ClaimAccepted) {
	s.Helper()
	keys := make([]event.Key, len(messages))
	for i := range messages {
		keys[i] = messages[i].Key
	}
	standings, err := s.ledger.Standings(context.Background(), keys)
	if err != nil {
		s.Fatal(err)
	}
	changes := make([]outbox.Change, len(standings))
	for i, standing := range standings {
		changes[i] = outbox.Change{Ref: event.Ref{Key: standing.Key}, Paid: standing, Reason: standing.Reason, DueAt: noon()}
		switch standing.State {
		case event.Paid:
			changes[i].Move = outbox.Settle
		case event.Dead:
			changes[i].Move = outbox.MarkDead
		case event.Discarded:
			changes[i].Move = outbox.MarkDiscarded
		default:
			changes[i].Move = outbox.Postpone
		}
	}
	s.apply(changes...)
}

func (s *system) apply(changes ...outbox.Change) {
	s.Helper()
	if _, err := s.claims.Apply(context.Background(), changes, noon()); err != nil {
		s.Fatal(err)
	}
}

// park parks the message and gives the letter's id.
func (s *system) park(message event.ClaimAccepted, reason payment.Reason) int64 {
	s.Helper()
	if err := s.ledger.Park(context.Background(), payment.DeadLetter{
		MessageID: message.MessageID(), Ref: message.Ref, NetFee: message.NetFee, Reason: reason, ParkedAt: noon(),
	}); err != nil {
		s.Fatal(err)
	}
	letters, err := s.ledger.DeadLetters(context.Background(), payment.LetterFilter{Limit: 1})
	if err != nil || len(letters) != 1 {
		s.Fatalf("read the newest dead letter: %v, %v", letters, err)
	}
	return letters[0].ID
}

// fill brings claims to every place on the line, and into every difference between
// the databases that is no breach.
func (s *system) fill() {
	s.Helper()
	decision := payment.Decision{Actor: "dana", Reason: "lost case", At: noon()}
	s.add("pending", line(npiA, 300), line(npiB, -20), line(npiA, 0))
	settled := s.add("settled", line(npiA, 8125), line(npiB, 3560))
	second := s.add("second", line(npiA, 40), line(npiB, 2))
	free := s.add("free", line(npiB, 0))
	paid := s.add("paid", line(npiB, 500))
	random := s.accept(s.made("", line(npiA, 1)))[0]
	s.record(settled, second, free, paid, random)
	s.learn(settled, second, random)
	s.park(settled, payment.ReasonConflict)

	dead := s.add("dead", line(npiA, 11))
	s.park(dead, payment.ReasonFailed)
	s.learn(dead)
	redriven := s.add("redriven", line(npiA, 12))
	letter := s.park(redriven, payment.ReasonFailed)
	s.learn(redriven)
	if _, err := s.ledger.Redrive(context.Background(), letter, decision); err != nil {
		s.Fatal(err)
	}
	late := s.add("paid late", line(npiA, 13))
	s.park(late, payment.ReasonFailed)
	s.learn(late)
	s.record(late)
	unsendable := s.add("unsendable", line(npiA, 14))
	s.apply(outbox.Change{Ref: unsendable.Ref, Move: outbox.MarkDead, Reason: "too large", DueAt: noon()})
	for _, name := range []string{"discarded", "discarded, not learned"} {
		discarded := s.add(name, line(npiA, 15))
		letter := s.park(discarded, payment.ReasonFailed)
		if _, err := s.ledger.Discard(context.Background(), letter, decision); err != nil {
			s.Fatal(err)
		}
		if name == "discarded" {
			s.learn(discarded)
		}
	}
	s.importFile(s.made("imported", line(npiA, 16), line(npiB, 1)), s.made("pending", line(npiA, 300), line(npiB, -20), line(npiA, 0)))
	for _, dry := range []bool{true, false} {
		s.openImport(dry) // stays as it is
	}
}

// openImport creates an import that runs.
func (s *system) openImport(dry bool) store.Import {
	s.Helper()
	i := store.Import{
		ID: uuid.New(), State: store.ImportRunning, DryRun: dry, Run: 1, CreatedAt: noon(), LeasedUntil: noon().Add(time.Minute),
		Tally: store.Tally{Claims: store.Fates{Read: 100, Accepted: 99}, Lines: store.Fates{Read: 100, Accepted: 99}},
	}
	if err := s.claims.CreateImport(context.Background(), i); err != nil {
		s.Fatal(err)
	}
	if err := s.claims.ReportImport(context.Background(), i.ID, i.Run, "csv", i.Tally, i.LeasedUntil); err != nil {
		s.Fatal(err)
	}
	return i
}

// importFile imports two claims, of which the second is there already.
func (s *system) importFile(added, duplicate *claim.Claim) {
	s.Helper()
	i := s.openImport(false)
	batch := []store.Submission{{Claim: added, Import: i.ID}, {Claim: duplicate, Import: i.ID}}
	if outcomes, err := s.claims.Accept(context.Background(), batch, noon()); err != nil || !outcomes[1].Existing {
		s.Fatalf("accept claims of an import: got %+v, %v, want the second existing", outcomes, err)
	}
	i.State = store.ImportDone
	i.Claims = store.Fates{Read: 3, Duplicate: 1, Rejected: 1}
	i.Lines = store.Fates{Read: 9, Duplicate: 3, Rejected: 4}
	if err := s.claims.FinishImport(context.Background(), i, noon()); err != nil {
		s.Fatal(err)
	}
}

// run verifies, with hooks between the views or without.
func (s *system) run(hooks ...hook) verify.Report {
	s.Helper()
	line := &hooked{system: s, hooks: hooks}
	report, err := verify.Run(context.Background(), claimsOf{line}, paymentsOf{line})
	if err != nil {
		s.Fatalf("verify: %v", err)
	}
	return report
}

// hook does something just before the n-th view is opened, from 1.
type hook struct {
	view int
	do   func()
}

// hooked counts the views that are opened, and runs the hooks.
type hooked struct {
	*system
	hooks  []hook
	opened int
}

func (h *hooked) open() {
	h.opened++
	for _, hook := range h.hooks {
		if hook.view == h.opened {
			hook.do()
		}
	}
}

type claimsOf struct{ *hooked }

func (c claimsOf) Snapshot(ctx context.Context) (store.Snapshot, error) {
	c.open()
	return c.claims.Snapshot(ctx)
}

func (c claimsOf) IdentitySecret(ctx context.Context) ([claim.IdentitySecretSize]byte, error) {
	return c.claims.IdentitySecret(ctx)
}

type paymentsOf struct{ *hooked }

func (p paymentsOf) Snapshot(ctx context.Context) (payment.Snapshot, error) {
	p.open()
	return p.ledger.Snapshot(ctx)
}

// failed gives the names of the checks that found something.
func failed(report *verify.Report) []string {
	var names []string
	for _, check := range report.Checks {
		if check.Breaches > 0 {
			names = append(names, check.Name)
		}
	}
	return names
}

// wantClean reports every breach.
func wantClean(t testing.TB, report *verify.Report) {
	t.Helper()
	if report.Clean() && report.Breaches() == 0 && len(failed(report)) == 0 {
		return
	}
	for _, check := range report.Checks {
		for _, example := range check.Examples {
			t.Errorf("%s: %s", check.Name, example)
		}
	}
	t.Errorf("%d breaches, want none", report.Breaches())
}

// Nothing can be wrong where there is nothing; every check is listed all the same.
func TestEmpty(t *testing.T) {
	t.Parallel()
	report := newSystem(t).run()
	wantClean(t, &report)
	want := verify.Report{Started: report.Started, Took: report.Took, Checks: report.Checks}
	if diff := cmp.Diff(want, report); diff != "" {
		t.Errorf("want -, got +:\n%s", diff)
	}
	names := map[string]bool{}
	for _, check := range report.Checks {
		names[check.Name] = true
		if check.Rule == "" || check.Name == "" {
			t.Errorf("check %q has the rule %q", check.Name, check.Rule)
		}
	}
	if len(names) != 22 {
		t.Errorf("got %d checks, want 22", len(names))
	}
}

// Claims at every place on the line are clean, with everything in which the two
// databases may differ; every check looked at something; and the counts and amounts
// are those of what was put in.
func TestFilled(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, filled func(testing.TB) *system) {
		report := filled(t).run()
		wantClean(t, &report)
		for _, check := range report.Checks {
			if check.Checked == 0 {
				t.Errorf("%s: nothing was checked", check.Name)
			}
		}
		want := verify.Report{
			Claims: 13, Lines: 18, InFlight: 5, Settled: 3, DeadLettered: 5,
			Payments: 6, NetFeeClaims: 280 + 11685 + 42 + 0 + 500 + 1 + 11 + 12 + 13 + 14 + 15 + 15 + 17,
			NetFeePaid: 11685 + 42 + 0 + 500 + 1 + 13, Providers: 2, Imports: 3,
		}
		if diff := cmp.Diff(want, report, cmpopts.IgnoreFields(verify.Report{}, "Started", "Took", "Checks")); diff != "" {
			t.Errorf("want -, got +:\n%s", diff)
		}
		if report.Started.IsZero() || report.Took <= 0 {
			t.Errorf("started %v, took %v", report.Started, report.Took)
		}
	})
}

// What happens between the views is no breach, wherever it falls: a claim that
// comes in, is paid and settled there; and one from before that is.
func TestChangesBetweenViews(t *testing.T) {
	t.Parallel()
	for view := 1; view <= 4; view++ {
		s := newSystem(t)
		s.fill()
		waiting := s.add("waiting", line(npiA, 7))
		report := s.run(hook{view, func() {
			s.record(waiting)
			s.learn(waiting)
			newer := s.add("newer", line(npiB, 9))
			s.record(newer)
			s.learn(newer)
			parked := s.add("parked newer", line(npiB, 9))
			letter := s.park(parked, payment.ReasonFailed)
			s.learn(parked)
			if _, err := s.ledger.Discard(context.Background(), letter, payment.Decision{At: noon()}); err != nil {
				t.Error(err)
			}
			s.learn(parked)
		}})
		wantClean(t, &report)
		// Before the claims are looked at, all of it counts; after, nothing that is newer does.
		wantClaims, wantPayments := 16, 8
		switch {
		case view > 3:
			wantClaims, wantPayments = 14, 6
		case view > 2:
			wantClaims, wantPayments = 14, 7
		}
		if report.Claims != wantClaims || report.Payments != wantPayments {
			t.Errorf("change before view %d: got %d claims and %d payments, want %d and %d",
				view, report.Claims, report.Payments, wantClaims, wantPayments)
		}
	}
}

// A report names claims and providers, and nothing of a member; as JSON it has the
// checks as a list, and no list is null.
func TestReportHoldsNoPHI(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	s.fill()
	s.plant("claims", "UPDATE lines SET provider_fees_cents = provider_fees_cents + 1 WHERE claim_seq = "+s.seq("pending"),
		"UPDATE claims SET key_value = 'unsendable too' WHERE claim_id = "+s.id("pending"))
	report := s.run()
	var page strings.Builder
	if err := report.WriteText(&page); err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(report)
	if err != nil {
		t.Fatal(err)
	}
	for _, form := range []string{page.String(), string(text)} {
		if strings.Contains(form, subscriber) || strings.Contains(form, serviceDate) || strings.Contains(form, "unsendable") {
			t.Errorf("the report holds more than it should:\n%s", form)
		}
		if !strings.Contains(form, s.keys["pending"].ClaimID.String()) {
			t.Errorf("the report does not name the claim:\n%s", form)
		}
	}
	if strings.Contains(string(text), "null") {
		t.Errorf("the report holds null:\n%s", text)
	}
}

// A database that can not be read is an error and no report, whichever it is, and
// whenever it fails.
func TestCanNotBeChecked(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	s.fill()
	for view := 1; view <= 5; view++ {
		ctx, cancel := context.WithCancel(t.Context())
		line := &hooked{system: s, hooks: []hook{{view, cancel}}}
		if view == 5 {
			cancel()
		}
		report, err := verify.Run(ctx, claimsOf{line}, paymentsOf{line})
		if err == nil || len(report.Checks) != 0 {
			t.Errorf("ended before view %d: got %+v, %v, want an error", view, report, err)
		}
		cancel()
	}
	s.plant("payments", "DROP TABLE tombstones")
	line := &hooked{system: s}
	if _, err := verify.Run(t.Context(), claimsOf{line}, paymentsOf{line}); err == nil || !strings.Contains(err.Error(), "parked") {
		t.Errorf("a table is missing: got %v, want an error about parked claims", err)
	}
}

// While claims are accepted, paid, settled, parked, redriven and written off, every
// run is clean.
func TestUnderWrites(t *testing.T) {
	t.Parallel()
	const runs = 15
	s := newSystem(t)
	s.fill()
	ctx, stop := context.WithCancel(t.Context())
	written := make(chan int)
	go func() {
		rounds := 0
		for ; ctx.Err() == nil; rounds++ {
			s.round(rounds)
		}
		written <- rounds
	}()
	for range runs {
		report, err := verify.Run(t.Context(), s.claims, s.ledger)
		if err != nil {
			t.Errorf("verify: %v", err)
			break
		}
		wantClean(t, &report)
	}
	stop()
	rounds := <-written
	report := s.run()
	wantClean(t, &report)
	if want := 13 + roundSize*rounds; report.Claims != want || rounds == 0 {
		t.Errorf("after %d rounds: got %d claims, want %d", rounds, report.Claims, want)
	}
}

// roundSize is how many claims one round brings.
const roundSize = 6

// round brings claims onto the line and moves them on.
func (s *system) round(number int) {
	claims := make([]*claim.Claim, roundSize)
	for i := range claims {
		name := ""
		if i%2 == 0 {
			name = uuid.NewString()
		}
		claims[i] = s.made(name, line(npiA, money.Cents(number%7*100)), line(npiB, money.Cents(-i)))
	}
	messages := s.accept(claims...)
	s.record(messages[0])
	s.learn(messages[0])
	s.record(messages[1:3]...)
	s.learn(messages[1])
	decision := payment.Decision{Actor: "dana", Reason: "again", At: noon()}
	letter := s.park(messages[3], payment.ReasonFailed)
	s.learn(messages[3])
	if _, err := s.ledger.Redrive(context.Background(), letter, decision); err != nil {
		s.Error(err)
	}
	s.record(messages[3])
	letter = s.park(messages[4], payment.ReasonFailed)
	if _, err := s.ledger.Discard(context.Background(), letter, decision); err != nil {
		s.Error(err)
	}
	s.learn(messages[2:5]...)
	s.record(slices.Clone(messages)...) // a replay of the stream
}
