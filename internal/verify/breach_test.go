package verify_test

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/claimrail/claimrail/internal/event"
	"github.com/claimrail/claimrail/internal/money"
	"github.com/claimrail/claimrail/internal/payment"
	"github.com/claimrail/claimrail/internal/verify"
)

// id gives the claim's id as SQL.
func (s *system) id(name string) string {
	key, ok := s.keys[name]
	if !ok {
		s.Fatalf("there is no claim %q", name)
	}
	return s.blob(key.ClaimID)
}

// seq gives the claim's number in the claims database as SQL.
func (s *system) seq(name string) string {
	return "(SELECT seq FROM claims WHERE claim_id = " + s.id(name) + ")"
}

// breach is a fault that is planted into a filled system, and the checks that must
// fail, and no other. A fault that changes a part shows in its sums too.
type breach struct {
	name  string
	plant func(s *system)
	want  []string
}

func statusBreaches() []breach {
	return []breach{
		{"a claim is nowhere", func(s *system) {
			s.plant("claims", "DELETE FROM outbox WHERE claim_seq = "+s.seq("pending"))
		}, []string{"one-status"}},
		{"a claim is in two places", func(s *system) {
			s.copyRow("settlements", s.seq("settled"), "claim_seq = "+s.seq("paid")+", payment_id = "+s.blob(payment.ID(s.keys["paid"])))
		}, []string{"one-status"}},
		{"an outbox row is in no known state", func(s *system) {
			s.plant("claims", "UPDATE outbox SET state = 'lost' WHERE claim_seq = "+s.seq("pending"))
		}, []string{"one-status"}},
		{"a settled claim is not paid", func(s *system) {
			s.plant("payments", "DELETE FROM postings WHERE payment_seq = (SELECT seq FROM payments WHERE claim_id = "+s.id("settled")+")",
				"DELETE FROM payments WHERE claim_id = "+s.id("settled"))
		}, []string{"settlement-has-payment"}},
		{"a claim is settled by another payment", func(s *system) {
			s.plant("claims", "UPDATE settlements SET payment_id = "+s.blob(uuid.Nil)+" WHERE claim_seq = "+s.seq("settled"))
		}, []string{"settlement-has-payment"}},
		{"a written-off claim is not so with payments", func(s *system) {
			s.plant("payments", "DELETE FROM tombstones WHERE claim_id = "+s.id("discarded"))
		}, []string{"written-off"}},
		{"a written-off claim is paid", func(s *system) {
			s.pay(s.keys["discarded"], 15, 15)
		}, []string{"written-off"}},
		{"a settled claim has a tombstone", func(s *system) { s.bury("settled") }, []string{"written-off"}},
		{"a claim that is paid and in flight has a tombstone", func(s *system) { s.bury("paid") }, []string{"written-off"}},
	}
}

func strayBreaches() []breach {
	const nobody = "claim_seq = 999"
	return []breach{
		{"a line is of no claim", func(s *system) {
			s.copyRow("lines", s.seq("free"), "id = 9999, "+nobody)
		}, []string{"row-has-claim"}},
		{"a claim has a line behind its last", func(s *system) {
			s.copyRow("lines", s.seq("free"), "id = 9999")
		}, []string{"row-has-claim"}},
		{"an outbox row is of no claim", func(s *system) {
			s.copyRow("outbox", s.seq("pending"), nobody+", claim_id = "+s.blob(uuid.UUID{7}))
		}, []string{"row-has-claim"}},
		{"a message is of another claim", func(s *system) {
			s.plant("claims", "UPDATE outbox SET claim_id = "+s.blob(uuid.UUID{7})+" WHERE claim_seq = "+s.seq("pending"))
		}, []string{"one-status", "row-has-claim"}},
		{"a message is of another version", func(s *system) {
			s.plant("claims", "UPDATE outbox SET version = 2 WHERE claim_seq = "+s.seq("pending"))
		}, []string{"one-status", "row-has-claim"}},
		{"an outbox row is of another number", func(s *system) {
			s.plant("claims", "UPDATE outbox SET "+nobody+" WHERE claim_seq = "+s.seq("pending"))
		}, []string{"one-status", "row-has-claim"}},
		{"a settlement is of no claim", func(s *system) {
			s.copyRow("settlements", s.seq("settled"), nobody)
		}, []string{"row-has-claim"}},
		{"a claim is settled in another version too", func(s *system) {
			s.copyRow("settlements", s.seq("settled"), "version = 2")
		}, []string{"row-has-claim"}},
		{"a settlement is of another version", func(s *system) {
			s.plant("claims", "UPDATE settlements SET version = 2 WHERE claim_seq = "+s.seq("settled"))
		}, []string{"one-status", "row-has-claim"}},
		{
			"a claim is gone", func(s *system) { s.plant("claims", "DELETE FROM claims WHERE claim_id = "+s.id("settled")) },
			[]string{"payment-has-claim", "paid-by-provider", "paid-in-total", "claim-provider", "row-has-claim", "provider-total", "ranking"},
		},
		{"a posting is of no payment", func(s *system) {
			s.plant("payments", "INSERT INTO postings (payment_seq, npi, net_fee_cents) VALUES (999, '"+npiA+"', 5)")
		}, []string{"posting-has-payment"}},
	}
}

func listingBreaches() []breach {
	change := func(how string, name string) func(s *system) {
		return func(s *system) {
			s.plant("claims", how+" WHERE provider_npi = "+npiB+" AND claim_seq = "+s.seq(name))
		}
	}
	want := []string{"claim-provider"}
	return []breach{
		{"a claim is not listed with a provider", change("DELETE FROM claim_providers", "pending"), want},
		{"a claim is listed with another amount", change("UPDATE claim_providers SET net_fee_cents = net_fee_cents + 1", "settled"), want},
		{"a claim is listed with another provider", change("UPDATE claim_providers SET provider_npi = 6", "settled"), want},
		{"a claim is listed with a provider too many", func(s *system) {
			s.copyRow("claim_providers", s.seq("free"), "provider_npi = 6")
		}, want},
		{"a provider is listed with a claim that is not there", func(s *system) {
			s.copyRow("claim_providers", s.seq("free"), "claim_seq = 999")
		}, want},
	}
}

func paymentBreaches() []breach {
	nobodys := event.Key{ClaimID: uuid.UUID{0: 7, 15: 7}, Version: 1}
	return []breach{
		{"a payment of nothing has no claim", func(s *system) { s.pay(nobodys, 0) }, []string{"payment-has-claim"}},
		{
			"a payment has no claim", func(s *system) { s.pay(nobodys, 100, 100) },
			[]string{"payment-has-claim", "paid-by-provider", "paid-in-total"},
		},
		{"a payment is of another version", func(s *system) {
			s.pay(event.Key{ClaimID: s.keys["pending"].ClaimID, Version: 2}, 0)
		}, []string{"payment-has-claim"}},
		{"a claim of no amount is paid twice", func(s *system) { s.payAgain("free") }, []string{"paid-once"}},
		{
			"a claim of two providers is paid twice", func(s *system) { s.payAgain("settled") },
			[]string{"paid-once", "paid-by-provider", "paid-in-total"},
		},
		{"a payment has another id", func(s *system) {
			s.plant("payments", "UPDATE payments SET payment_id = "+s.blob(uuid.Nil)+" WHERE claim_id = "+s.id("paid"))
		}, []string{"payment-id"}},
		{"cents moved from one payment to another", func(s *system) {
			s.addCents("settled", 5, 5)
			s.addCents("second", -5, -5)
		}, []string{"paid-by-claim"}},
		{"a payment is a cent too high", func(s *system) { s.addCents("settled", 1, 0) }, []string{"paid-by-claim", "paid-in-total"}},
		{"a posting is a cent too high", func(s *system) { s.addCents("settled", 0, 1) }, []string{"paid-by-claim", "paid-by-provider"}},
		{"a posting is of another provider", func(s *system) {
			s.plant("payments", "UPDATE postings SET npi = '0000000006' WHERE npi = '"+npiB+"' AND net_fee_cents = 500")
		}, []string{"paid-by-claim", "paid-by-provider"}},
		{"a posting is missing", func(s *system) {
			s.plant("payments", "DELETE FROM postings WHERE npi = '"+npiB+"' AND net_fee_cents = 0")
		}, []string{"paid-by-claim"}},
		{"sums do not fit", (*system).overflow, []string{"paid-by-provider", "paid-in-total", "net-fee", "provider-total", "ranking"}},
	}
}

// addCents adds to a payment's net fee, and to what it posts to npiA.
func (s *system) addCents(name string, net, posting money.Cents) {
	s.plant("payments",
		fmt.Sprintf("UPDATE payments SET net_fee_cents = net_fee_cents + %d WHERE claim_id = %s", net, s.id(name)),
		fmt.Sprintf(`UPDATE postings SET net_fee_cents = net_fee_cents + %d WHERE npi = '%s' AND
			payment_seq = (SELECT seq FROM payments WHERE claim_id = %s)`, posting, npiA, s.id(name)))
}

// overflow adds two paid claims of one provider that fit one by one but not together.
// Where the sums wrapped around, both sides would agree, and so would the stored total.
func (s *system) overflow() {
	const huge = math.MaxInt64/2 + 1
	for _, name := range []string{"huge", "huge too"} {
		message := s.add(name, line("0000000006", 0))
		message.NetFee, message.Postings[0].NetFee = huge, huge
		s.record(message)
		s.plant("claims", fmt.Sprintf("UPDATE lines SET provider_fees_cents = %d WHERE claim_seq = %s", huge, s.seq(name)),
			fmt.Sprintf("UPDATE claims SET net_fee_cents = %d WHERE claim_id = %s", huge, s.id(name)),
			fmt.Sprintf("UPDATE claim_providers SET net_fee_cents = %d WHERE claim_seq = %s", huge, s.seq(name)),
			fmt.Sprintf("UPDATE outbox SET net_fee_cents = %d, postings = '0000000006 %[1]d' WHERE claim_seq = %[2]s", huge, s.seq(name)))
	}
	s.plant("claims", fmt.Sprintf("UPDATE provider_totals SET total_net_fee_cents = %d WHERE provider_npi = 6", math.MinInt64))
}

func claimBreaches() []breach {
	return []breach{
		{"a net fee and its message are wrong", func(s *system) {
			s.plant("claims", "UPDATE claims SET net_fee_cents = net_fee_cents + 1 WHERE claim_id = "+s.id("pending"),
				"UPDATE outbox SET net_fee_cents = net_fee_cents + 1 WHERE claim_seq = "+s.seq("pending"))
		}, []string{"net-fee"}},
		{"an amount of a line changed", func(s *system) {
			s.plant("claims", "UPDATE lines SET member_copay_cents = member_copay_cents + 1 WHERE provider_fees_cents = 300")
		}, []string{"net-fee", "plan-payment", "claim-provider", "message-postings", "provider-total", "ranking"}},
		{"an expected plan payment changed", func(s *system) {
			s.plant("claims", "UPDATE claims SET expected_plan_payment_cents = expected_plan_payment_cents + 1 WHERE claim_id = "+s.id("pending"))
		}, []string{"plan-payment"}},
		{"an expected plan payment does not fit", func(s *system) {
			s.plant("claims", fmt.Sprintf("UPDATE lines SET allowed_fees_cents = %d, provider_fees_cents = provider_fees_cents + %[1]d WHERE claim_seq = %s AND provider_npi = %s",
				math.MaxInt64/2, s.seq("pending"), npiA))
		}, []string{"plan-payment"}},
		{"a line does not fit", func(s *system) {
			s.plant("claims", fmt.Sprintf("UPDATE lines SET provider_fees_cents = %d, member_copay_cents = 1 WHERE claim_seq = %s",
				math.MaxInt64, s.seq("unsendable")))
		}, []string{"net-fee", "plan-payment", "claim-provider", "message-postings", "provider-total", "ranking"}},
		{"the lines of a paid claim do not fit together", func(s *system) {
			s.plant("claims", fmt.Sprintf("UPDATE lines SET provider_npi = %s, provider_fees_cents = %d WHERE claim_seq = %s",
				npiA, math.MaxInt64, s.seq("second")))
		}, []string{"paid-by-claim", "paid-by-provider", "net-fee", "claim-provider", "provider-total", "ranking"}},
		{"a line is missing", func(s *system) {
			s.plant("claims", "DELETE FROM lines WHERE provider_fees_cents = 0 AND allowed_fees_cents = 0 AND claim_seq = "+s.seq("pending"))
		}, []string{"line-count"}},
		{"the first line of a claim that waits is missing, and with it what the message is held against", func(s *system) {
			s.plant("claims", "DELETE FROM lines WHERE provider_fees_cents = 300 AND claim_seq = "+s.seq("pending"))
		}, []string{"net-fee", "line-count", "claim-provider", "provider-total", "ranking"}},
		{"a line is another claim's", func(s *system) {
			s.plant("claims", "UPDATE lines SET claim_seq = "+s.seq("free")+
				" WHERE provider_fees_cents = 0 AND allowed_fees_cents = 0 AND claim_seq = "+s.seq("pending"))
		}, []string{"line-count", "row-has-claim"}},
		{"a message says another amount", func(s *system) {
			s.plant("claims", "UPDATE outbox SET net_fee_cents = net_fee_cents + 1 WHERE claim_seq = "+s.seq("pending"))
		}, []string{"message-amount"}},
		{"a message says nothing of providers", func(s *system) {
			s.plant("claims", "UPDATE outbox SET postings = '' WHERE claim_seq = "+s.seq("pending"))
		}, []string{"message-postings"}},
		{"a message gives a cent of one provider to another", func(s *system) {
			s.plant("claims", "UPDATE outbox SET postings = '"+npiA+" 299,"+npiB+" -19' WHERE claim_seq = "+s.seq("pending"))
		}, []string{"message-postings"}},
		{"a key changed", func(s *system) {
			s.plant("claims", "UPDATE claims SET key_value = 'x' WHERE claim_id = "+s.id("pending"))
		}, []string{"claim-id"}},
		{"a key changed its kind", func(s *system) {
			s.plant("claims", "UPDATE claims SET key_kind = 'file' WHERE claim_id = "+s.id("pending"))
		}, []string{"claim-id"}},
		{"a claim lost its key", func(s *system) {
			s.plant("claims", "UPDATE claims SET key_kind = '', key_value = '' WHERE claim_id = "+s.id("pending"))
		}, []string{"claim-id"}},
		{"a key lost its kind", func(s *system) {
			s.plant("claims", "UPDATE claims SET key_kind = '' WHERE claim_id = "+s.id("settled"))
		}, []string{"claim-id"}},
		{"a key is of no known kind", func(s *system) {
			s.plant("claims", "UPDATE claims SET key_kind = 'nickname' WHERE claim_id = "+s.id("settled"))
		}, []string{"claim-id"}},
		{"a claim without a key got one", func(s *system) {
			s.plant("claims", "UPDATE claims SET key_kind = 'external', key_value = 'x' WHERE key_kind = ''")
		}, []string{"claim-id"}},
		{"a key changed its submitter", func(s *system) {
			s.plant("claims", "UPDATE claims SET submitter = 'x' WHERE claim_id = "+s.id("pending"))
		}, []string{"claim-id"}},
	}
}

func totalBreaches() []breach {
	return []breach{
		{"a provider has a claim too many", func(s *system) {
			s.plant("claims", "UPDATE provider_totals SET claim_count = claim_count + 1 WHERE provider_npi = "+npiA)
		}, []string{"provider-total"}},
		{"a total is a cent too high", func(s *system) {
			s.plant("claims", "UPDATE provider_totals SET total_net_fee_cents = total_net_fee_cents + 1 WHERE provider_npi = "+npiA)
		}, []string{"provider-total", "ranking"}},
		{"a provider has no total", func(s *system) {
			s.plant("claims", "DELETE FROM provider_totals WHERE provider_npi = "+npiB)
		}, []string{"provider-total", "ranking"}},
		{"a total is of nobody", func(s *system) {
			s.plant("claims", "INSERT INTO provider_totals VALUES (6, 1, 1)")
		}, []string{"provider-total", "ranking"}},
		{"the index of the ranking is out of date", (*system).spoilIndex, []string{"ranking"}},
	}
}

func importBreaches() []breach {
	change := func(assignments string) func(s *system) {
		return func(s *system) { s.plant("claims", "UPDATE imports SET "+assignments+" WHERE state = 'done'") }
	}
	return []breach{
		{"an import has lost a claim", change("claims_read = claims_read + 1"), []string{"imports"}},
		{"an import has lost a line", change("lines_rejected = lines_rejected - 1"), []string{"imports"}},
		{"an import counts what it can not", change("claims_duplicate = -1, claims_rejected = 3"), []string{"imports"}},
		{"an import has accepted more claims than there are", change("claims_read = 15, claims_accepted = 14, claims_duplicate = 0"), []string{"imports"}},
		{"an import has accepted more lines than there are", change("lines_read = 23, lines_accepted = 19, lines_duplicate = 0"), []string{"imports"}},
		{"imports together have accepted more claims than there are", func(s *system) {
			s.plant("claims", "UPDATE imports SET claims_accepted = 13 WHERE state = 'running' AND NOT dry_run")
		}, []string{"imports"}},
	}
}

// Every planted fault is found, told with an example, and blamed on the right
// checks and on no other; and every check finds at least one of them.
func TestBreaches(t *testing.T) {
	t.Parallel()
	all := slices.Concat(statusBreaches(), strayBreaches(), paymentBreaches(), claimBreaches(), listingBreaches(), totalBreaches(), importBreaches())
	onEach(t, func(t *testing.T, filled func(testing.TB) *system) {
		for _, b := range all {
			t.Run(b.name, func(t *testing.T) {
				t.Parallel()
				s := filled(t)
				b.plant(s)
				report := s.run()
				if diff := cmp.Diff(b.want, failed(&report)); diff != "" {
					t.Errorf("failed checks: want -, got +:\n%s", diff)
					wantClean(t, &report)
				}
				if report.Clean() || report.Breaches() < len(b.want) {
					t.Errorf("clean is %t with %d breaches", report.Clean(), report.Breaches())
				}
				for _, check := range report.Checks {
					if check.Breaches > check.Checked+1 || len(check.Examples) != min(check.Breaches, 10) {
						t.Errorf("%s: %d breaches of %d, %d examples", check.Name, check.Breaches, check.Checked, len(check.Examples))
					}
				}
			})
		}
	})
	report := newSystem(t).run()
	for _, check := range report.Checks {
		if check.Name != "payment-kept" && !slices.ContainsFunc(all, func(b breach) bool { return slices.Contains(b.want, check.Name) }) {
			t.Errorf("no fault is planted for %s", check.Name)
		}
	}
}

// A payment that changes or goes away under a run is found, though each view for
// itself is in order.
func TestPaymentKept(t *testing.T) {
	t.Parallel()
	for name, statements := range map[string][]string{
		"changed": {"UPDATE payments SET recorded_at = recorded_at + 1 WHERE claim_id = %s"},
		"removed": {
			"DELETE FROM postings WHERE payment_seq = (SELECT seq FROM payments WHERE claim_id = %s)",
			"DELETE FROM payments WHERE claim_id = %s",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSystem(t)
			s.fill()
			report := s.run(hook{3, func() {
				for _, statement := range statements {
					s.plant("payments", fmt.Sprintf(statement, s.id("paid")))
				}
			}})
			if diff := cmp.Diff([]string{"payment-kept"}, failed(&report)); diff != "" {
				t.Errorf("failed checks: want -, got +:\n%s", diff)
			}
		})
	}
}

// Of many breaches the first ten are told, and all are counted.
func TestManyBreaches(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	s.fill()
	s.plant("claims", "UPDATE claims SET line_count = 999, first_line_id = 1000")
	report := s.run()
	at := slices.IndexFunc(report.Checks, func(c verify.Check) bool { return c.Name == "line-count" })
	if check := report.Checks[at]; check.Breaches != 13 || check.Checked != 13 || len(check.Examples) != 10 {
		t.Errorf("got %d breaches of %d with %d examples, want 13 of 13 with 10", check.Breaches, check.Checked, len(check.Examples))
	}
	var page strings.Builder
	if err := report.WriteText(&page); err != nil || !strings.Contains(page.String(), "and 3 more") {
		t.Errorf("got %v and this page:\n%s", err, page.String())
	}
}
