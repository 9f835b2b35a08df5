package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/claimrail/claimrail/internal/api"
	"github.com/claimrail/claimrail/internal/claim"
	"github.com/claimrail/claimrail/internal/payment"
	"github.com/claimrail/claimrail/internal/store"
)

// defaultPage is how many rows a page has where --limit does not say.
const defaultPage = 50

func newClaimsCommand(p *program) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "claims",
		Short:   "List claims, or show one",
		Long:    "List claims, or show one. Claims are read, never changed.",
		Example: "  claimrail claims list --status in_flight\n  claimrail claims show 0199a1b2-7c1e-7d3a-9f4b-2a6c8e0d1f35",
		Args:    noSuchCommand,
		RunE:    showHelp,
	}
	cmd.AddCommand(newClaimsListCommand(p), newClaimsShowCommand(p))
	return cmd
}

// claimFlags are the flags that select claims, as they are given.
type claimFlags struct{ npi, status, payment, from, to string }

func (f *claimFlags) bind(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.npi, "npi", "", "only claims with a line of the provider with this `NPI`")
	cmd.Flags().StringVar(&f.status, "status", "", "only claims of this `STATUS`: in_flight, settled or dead_lettered")
	cmd.Flags().StringVar(&f.payment, "payment", "", "only claims whose payment is in this `STATE`: "+strings.Join(paymentStates(), ", "))
	cmd.Flags().StringVar(&f.from, "from", "", "only claims received at this `TIME` or later (2026-03-28, or RFC 3339)")
	cmd.Flags().StringVar(&f.to, "to", "", "only claims received before this `TIME`")
	mustComplete(cmd, "status", string(store.InFlight), string(store.Settled), string(store.DeadLettered))
	mustComplete(cmd, "payment", paymentStates()...)
}

func paymentStates() []string {
	return []string{
		string(store.PaymentPending), string(store.PaymentFailed), string(store.PaymentNotified),
		string(store.PaymentPaid), string(store.PaymentDeadLettered), string(store.PaymentDiscarded),
	}
}

// paging are the flags of a list that comes in pages.
type paging struct {
	limit  int
	cursor string
	all    bool
}

func (f *paging) bind(cmd *cobra.Command) {
	cmd.Flags().IntVar(&f.limit, "limit", defaultPage, "show `N` rows in a page, 1 to 200")
	cmd.Flags().StringVar(&f.cursor, "cursor", "", "go on at this `CURSOR`, which the page before gave")
	cmd.Flags().BoolVar(&f.all, "all", false, "show all pages; with --json one object on a line for each")
}

// check gives the cursor as a number; 0 stands for the first page.
func (f *paging) check() (before int64, err error) {
	if f.limit < 1 || f.limit > store.MaxPage {
		return 0, misuse(fmt.Errorf("--limit is %d", f.limit), fmt.Sprintf("give a number from 1 to %d; --all shows all pages", store.MaxPage))
	}
	if f.cursor == "" {
		return 0, nil
	}
	if before, err = strconv.ParseInt(f.cursor, 10, 64); err != nil || before < 1 {
		return 0, misuse(fmt.Errorf("--cursor %q is no cursor", f.cursor), "take it from the end of the page before")
	}
	return before, nil
}

// filter reads the flags.
func (f *claimFlags) filter() (filter store.Filter, err error) {
	if f.npi != "" {
		if filter.ProviderNPI, err = parseNPI(f.npi); err != nil {
			return filter, err
		}
		filter.HasNPI = true
	}
	switch filter.Status = store.Status(f.status); filter.Status {
	case "", store.InFlight, store.Settled, store.DeadLettered:
	default:
		return filter, misuse(fmt.Errorf("--status %q is no status", f.status), "use in_flight, settled or dead_lettered")
	}
	filter.PaymentState = store.PaymentState(f.payment)
	if f.payment != "" && !slices.Contains(paymentStates(), f.payment) {
		return filter, misuse(fmt.Errorf("--payment %q is no state of a payment", f.payment), "use "+strings.Join(paymentStates(), ", "))
	}
	if filter.From, err = parseMoment("--from", f.from); err != nil {
		return filter, err
	}
	filter.To, err = parseMoment("--to", f.to)
	return filter, err
}

func parseNPI(text string) (claim.NPI, error) {
	npi, err := claim.ParseNPI(text)
	if err != nil {
		return 0, misuse(fmt.Errorf("--npi %q is no NPI", text), "an NPI has exactly 10 digits")
	}
	return npi, nil
}

// parseNPIText gives an NPI as payments knows it; "" for none.
func parseNPIText(text string) (string, error) {
	if text == "" {
		return "", nil
	}
	npi, err := parseNPI(text)
	return npi.String(), err
}

// parseMoment reads a day, which begins at midnight UTC, or a moment of RFC 3339.
func parseMoment(flag, text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	for _, layout := range []string{time.DateOnly, time.RFC3339Nano} {
		if t, err := time.Parse(layout, text); err == nil {
			return t.UTC(), nil
		}
	}
	return time.Time{}, misuse(fmt.Errorf("%s %q is no time", flag, text), "write 2026-03-28 or 2026-03-28T12:00:00Z")
}

func newClaimsListCommand(p *program) *cobra.Command {
	var f claimFlags
	var pages paging
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List claims, the newest first",
		Long: `List claims, the newest first. A claim is in_flight until payments has recorded it,
then settled; a dead_lettered one waits for an operator, or was written off.
Amounts are US dollars, times are UTC.`,
		Example: `  claimrail claims list --status dead_lettered
  claimrail claims list --npi 1497775530 --from 2026-03-01 --to 2026-04-01
  claimrail claims list --all --json`,
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			filter, err := f.filter()
			if err == nil {
				filter.Limit = pages.limit
				filter.Before, err = pages.check()
			}
			if err != nil {
				return err
			}
			return p.withSystem("claims list", func(s system) error {
				return p.listClaims(cmd.Context(), s, filter, pages.all)
			})
		},
	}
	f.bind(cmd)
	pages.bind(cmd)
	return cmd
}

// mustComplete has the shell complete a flag's value.
func mustComplete(cmd *cobra.Command, flag string, values ...string) {
	if err := cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp)); err != nil {
		panic(err) // there is no such flag
	}
}

// listClaims writes one page, or all.
func (p *program) listClaims(ctx context.Context, s system, filter store.Filter, all bool) error {
	for {
		page, err := s.Claims(ctx, filter)
		if err != nil {
			return err
		}
		if p.json {
			err = writeJSON(p.stdout, page)
		} else {
			err = writeClaims(p.stdout, page.Claims)
		}
		if err != nil || page.NextCursor == "" {
			return err
		}
		if !all {
			return p.moreAt(page.NextCursor)
		}
		if filter.Before, err = nextPage(page.NextCursor, filter.Before); err != nil {
			return err
		}
	}
}

// moreAt tells a person how to go on.
func (p *program) moreAt(cursor string) error {
	if p.json {
		return nil
	}
	_, err := fmt.Fprintf(p.stderr, "there may be more: add --cursor %s, or --all\n", cursor)
	return err
}

// nextPage reads a cursor. Cursors fall from page to page, so that --all comes to an end.
func nextPage(cursor string, last int64) (int64, error) {
	if last == 0 {
		last = math.MaxInt64
	}
	next, err := strconv.ParseInt(cursor, 10, 64)
	if err != nil || next < 1 || next >= last {
		return 0, errors.New("the next page has no cursor that goes on")
	}
	return next, nil
}

func writeClaims(w io.Writer, claims []api.ClaimSummary) error {
	t := table{columns: []column{
		{"claim id", false}, {"external id", false}, {"received", false}, {"status", false}, {"payment", false}, {"lines", true}, {"net fee", true},
	}}
	for i := range claims {
		c := &claims[i]
		t.add(c.ClaimID, external(c), moment(c.ReceivedAt), string(c.Status), string(c.Payment.State), strconv.Itoa(c.LineCount), c.NetFee)
	}
	return t.writeTo(w)
}

func external(c *api.ClaimSummary) string {
	if c.ExternalClaimID == nil {
		return "-"
	}
	return *c.ExternalClaimID
}

// shownClaim is a claim and what payments has on record for it.
type shownClaim struct {
	api.Claim
	RecordedPayment *api.Payment `json:"recorded_payment"` // null where nothing is recorded
}

func newClaimsShowCommand(p *program) *cobra.Command {
	return &cobra.Command{
		Use:   "show CLAIM_ID",
		Short: "Show a claim, its lines and its payment",
		Long: `Show a claim, its lines, the warnings it was accepted with, and what payments has
recorded for it. Subscriber numbers and service dates are shown: protected health
information. Amounts are US dollars, times are UTC.`,
		Example: "  claimrail claims show 0199a1b2-7c1e-7d3a-9f4b-2a6c8e0d1f35",
		Args:    exactly("id of the claim"),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := uuid.Parse(args[0])
			if err != nil || len(args[0]) != len(uuid.Nil.String()) {
				return misuse(fmt.Errorf("%q is no claim id", args[0]), "a claim id is a UUID; 'claimrail claims list' shows them")
			}
			return p.withSystem("claims show", func(s system) error {
				return p.showClaim(cmd.Context(), s, id)
			})
		},
	}
}

func (p *program) showClaim(ctx context.Context, s system, id uuid.UUID) error {
	found, err := s.Claim(ctx, id)
	if errors.Is(err, store.ErrNotFound) {
		return hint(fmt.Errorf("there is no claim %s", id), "'claimrail claims list' shows those there are")
	}
	if err != nil {
		return err
	}
	shown := shownClaim{Claim: found}
	switch paid, err := s.Payment(ctx, id); {
	case err == nil:
		shown.RecordedPayment = &paid
	case !errors.Is(err, payment.ErrNotFound):
		return err
	}
	if p.json {
		return writeJSON(p.stdout, shown)
	}
	return writeClaim(p.stdout, &shown)
}

func writeClaim(w io.Writer, c *shownClaim) error {
	facts := table{columns: []column{{"claim", false}, {c.ClaimID, false}}}
	fact := func(name, value string) {
		if value != "" {
			facts.add(name, value)
		}
	}
	fact("external id", external(&c.ClaimSummary))
	fact("received", moment(c.ReceivedAt))
	fact("status", string(c.Status))
	fact("net fee", c.NetFee)
	fact("expected plan payment", c.ExpectedPlanPayment)
	fact("payment", string(c.Payment.State))
	fact("payment error", c.Payment.Error)
	fact("next attempt", moment(c.Payment.NextAttemptAt))
	fact("settled", moment(c.Payment.SettledAt))
	if paid := c.RecordedPayment; paid != nil {
		fact("payment id", paid.PaymentID)
		fact("recorded", moment(paid.RecordedAt))
		for _, posting := range paid.Postings {
			fact("posted to "+posting.ProviderNPI, posting.NetFee)
		}
	}
	for i := range c.Warnings {
		warning := &c.Warnings[i]
		place := "claim"
		if warning.Line != nil {
			place = fmt.Sprintf("line %d", *warning.Line)
		}
		fact("warning", fmt.Sprintf("%s: %s: %s (%s)", place, warning.Field, warning.Message, warning.Code))
	}
	if err := facts.writeTo(w); err != nil {
		return err
	}
	if _, err := io.WriteString(w, "\n"); err != nil {
		return err
	}
	lines := table{columns: []column{
		{"line", true},
		{"service date", false},
		{"procedure", false},
		{"quadrant", false},
		{"group", false},
		{"subscriber", false},
		{"provider npi", false},
		{"billed", true},
		{"allowed", true},
		{"coinsurance", true},
		{"copay", true},
		{"net fee", true},
	}}
	for i := range c.Lines {
		line := &c.Lines[i]
		quadrant := "-"
		if line.Quadrant != nil {
			quadrant = *line.Quadrant
		}
		lines.add(strconv.Itoa(i), line.ServiceDate, line.SubmittedProcedure, quadrant, line.PlanGroupNumber, line.SubscriberNumber,
			line.ProviderNPI, line.ProviderFees, line.AllowedFees, line.MemberCoinsurance, line.MemberCopay, line.NetFee)
	}
	return lines.writeTo(w)
}
