package verify

import (
	"bytes"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/claimrail/claimrail/internal/money"
)

// maxExamples is how many breaches of one check are told one by one.
const maxExamples = 10

// Report is what a run found. It holds no PHI: claims are named by id, providers by
// NPI, and no amount is that of a line. The counts are those of the moment when the
// claims were looked at.
type Report struct {
	Started      time.Time     `json:"started"` // UTC
	Took         time.Duration `json:"took_ns"`
	Claims       int           `json:"claims"`
	Lines        int           `json:"lines"` // that are there, also those of no claim
	InFlight     int           `json:"in_flight"`
	Settled      int           `json:"settled"`
	DeadLettered int           `json:"dead_lettered"`
	Payments     int           `json:"payments"`       // but those of claims that came in during the run
	NetFeeClaims money.Cents   `json:"net_fee_claims"` // of all claims
	NetFeePaid   money.Cents   `json:"net_fee_paid"`   // of Payments
	Providers    int           `json:"providers"`      // with at least one claim
	Imports      int           `json:"imports"`        // ended or not, dry runs included
	Checks       []Check       `json:"checks"`         // all that there are, always in the same order
}

// Check is one invariant and how often it was held against what is stored.
type Check struct {
	Name     string   `json:"name"` // a stable word
	Rule     string   `json:"rule"` // what must be true, for a person
	Checked  int      `json:"checked"`
	Breaches int      `json:"breaches"`
	Examples []string `json:"examples"` // the first ten; no PHI
}

// Places of the checks in a report.
const (
	oneStatus = iota
	settlementHasPayment
	paymentHasClaim
	paymentKept
	postingHasPayment
	paidOnce
	paymentID
	paidByClaim
	paidByProvider
	paidInTotal
	writtenOff
	netFee
	planPayment
	lineCount
	claimProvider
	messageAmount
	messagePostings
	rowHasClaim
	providerTotal
	ranking
	claimID
	imports
	checkCount
)

// rules names the checks.
var rules = [checkCount]struct{ name, text string }{
	oneStatus:            {"one-status", "every claim is in flight, settled or dead-lettered, and only one of these"},
	settlementHasPayment: {"settlement-has-payment", "every settled claim has the payment that it was settled by"},
	paymentHasClaim:      {"payment-has-claim", "every payment has its claim"},
	paymentKept:          {"payment-kept", "no payment changed or went away during this run"},
	postingHasPayment:    {"posting-has-payment", "every posting is of a payment that is there"},
	paidOnce:             {"paid-once", "every version of a claim has one payment at most"},
	paymentID:            {"payment-id", "every payment's id is the one derived from its claim"},
	paidByClaim:          {"paid-by-claim", "every payment is its claim's net fee, provider by provider"},
	paidByProvider:       {"paid-by-provider", "what is posted to a provider is the net fee of its paid claims"},
	paidInTotal:          {"paid-in-total", "all payments together are the net fee of all paid claims"},
	writtenOff:           {"written-off", "every claim written off is so with payments too, and is not paid"},
	netFee:               {"net-fee", "every claim's net fee is what the formula gives over its lines"},
	planPayment:          {"plan-payment", "every claim's expected plan payment is what the formula gives over its lines"},
	lineCount:            {"line-count", "every claim has all its lines"},
	claimProvider:        {"claim-provider", "every claim is listed with each provider of its lines, with what they give, and with no other"},
	messageAmount:        {"message-amount", "every message that waits says its claim's net fee"},
	messagePostings:      {"message-postings", "every message that waits says what its claim's lines give each provider"},
	rowHasClaim:          {"row-has-claim", "every line, outbox row and settlement is of a claim and version that is there"},
	providerTotal:        {"provider-total", "every provider's total is the sum over the lines"},
	ranking:              {"ranking", "providers rank as their sums over the lines do"},
	claimID:              {"claim-id", "every claim has the id derived from its key, or a random one if it has none"},
	imports:              {"imports", "every ended import's claims and lines are accepted, duplicate or rejected, and what was accepted is there"},
}

// counts is what the report counts.
type counts struct {
	claims, lines, inFlight, settled, deadLettered, payments, imports int

	messages, settlements, listed int // rows of outbox, settlements and claim_providers that are of claims
	strayLines                    int // lines that are not
}

// holds counts one look. Where it says false, the caller tells the breach: there are
// millions of looks, and words for none of them but the breaches.
func (c *Check) holds(rule bool) bool {
	c.Checked++
	return rule
}

// breach counts a breach and keeps it as an example, if there are few.
func (c *Check) breach(example string, args ...any) {
	c.Breaches++
	if len(c.Examples) < maxExamples {
		c.Examples = append(c.Examples, fmt.Sprintf(example, args...))
	}
}

// example keeps an example of what is counted already. Where it says false there are enough.
func (c *Check) example(text string) bool {
	if len(c.Examples) >= maxExamples {
		return false
	}
	c.Examples = append(c.Examples, text)
	return true
}

// Clean tells whether nothing was found.
func (r *Report) Clean() bool { return r.Breaches() == 0 }

// Breaches counts the breaches of all checks. One fault can break several rules.
func (r *Report) Breaches() int {
	breaches := 0
	for i := range r.Checks {
		breaches += r.Checks[i].Breaches
	}
	return breaches
}

// WriteText writes a page for a person: what there is, and a line for each check.
func (r *Report) WriteText(w io.Writer) error {
	var page bytes.Buffer
	verdict := "clean"
	if !r.Clean() {
		verdict = breaches(r.Breaches())
	}
	noun := "claims"
	if r.Claims == 1 {
		noun = "claim"
	}
	fmt.Fprintf(&page, "Verified %s %s in %v: %s\n\n", grouped(r.Claims), noun, r.Took.Round(time.Millisecond), verdict)
	for _, row := range []struct{ name, value string }{
		{"started", r.Started.Format(time.RFC3339)},
		{"claims", grouped(r.Claims)},
		{"  in flight", grouped(r.InFlight)},
		{"  settled", grouped(r.Settled)},
		{"  dead-lettered", grouped(r.DeadLettered)},
		{"lines", grouped(r.Lines)},
		{"providers", grouped(r.Providers)},
		{"payments", grouped(r.Payments)},
		{"imports", grouped(r.Imports)},
		{"net fee of claims", r.NetFeeClaims.String()},
		{"net fee paid", r.NetFeePaid.String()},
	} {
		fmt.Fprintf(&page, "  %-18s %24s\n", row.name, row.value)
	}
	page.WriteByte('\n')
	for i := range r.Checks {
		r.Checks[i].writeText(&page)
	}
	if _, err := page.WriteTo(w); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	return nil
}

func (c *Check) writeText(page *bytes.Buffer) {
	verdict := "ok"
	if c.Breaches > 0 {
		verdict = breaches(c.Breaches)
	}
	fmt.Fprintf(page, "  %-15s %-22s %11s checked: %s\n", verdict, c.Name, grouped(c.Checked), c.Rule)
	for _, example := range c.Examples {
		fmt.Fprintf(page, "      %s\n", example)
	}
	if more := c.Breaches - len(c.Examples); more > 0 {
		fmt.Fprintf(page, "      and %s more\n", grouped(more))
	}
}

func breaches(n int) string {
	if n == 1 {
		return "1 breach"
	}
	return grouped(int(n)) + " breaches"
}

// grouped writes a count with its thousands apart: 1,234,567.
func grouped(n int) string {
	digits := strconv.Itoa(n)
	var text []byte
	for i := range len(digits) {
		if i > 0 && (len(digits)-i)%3 == 0 {
			text = append(text, ',')
		}
		text = append(text, digits[i])
	}
	return string(text)
}
