package store

import (
	"context"
	"iter"
	"slices"

	"github.com/google/uuid"

	"github.com/claimrail/claimrail/internal/claim"
	"github.com/claimrail/claimrail/internal/event"
	"github.com/claimrail/claimrail/internal/money"
	"github.com/claimrail/claimrail/internal/outbox"
)

// Snapshot is the whole store at one moment. Close it.
type Snapshot interface {
	// Claims gives every claim, ascending by the bytes of its id.
	Claims(ctx context.Context) iter.Seq2[Audited, error]
	// Rows counts the rows of a table, whether they are of a claim that is there or not.
	Rows(ctx context.Context, table Table) (int64, error)
	// Strays gives the rows of a table that are not in what Claims gives, in no order. It may
	// take as long as Claims does, so ask Rows first.
	Strays(ctx context.Context, table Table) iter.Seq2[Stray, error]
	// Totals gives every provider's stored total, ascending by NPI.
	Totals(ctx context.Context) iter.Seq2[ProviderTotal, error]
	// Imports gives every import, ascending by Cursor.
	Imports(ctx context.Context) iter.Seq2[Import, error]
	// Top ranks providers as Engine.TopProviders does, at the moment of the snapshot.
	Top(ctx context.Context, limit int) ([]ProviderTotal, error)
	Close() error
}

// Audited is what verification needs of a claim. No PHI.
type Audited struct {
	event.Key
	Identity  claim.Key
	NetFee    money.Cents // as stored with the claim
	LineCount int         // as stored with the claim
	// Shares are recomputed from the lines that are the claim's own by their ids and by its number.
	// What does not fit is not added: then Overflown names the provider.
	Shares    []claim.Share
	Overflown []claim.NPI
	// PlanPayment is what the plan is expected to pay: as stored with the claim, and recomputed from the
	// lines, unless PlanOverflown.
	PlanPayment, PlanOfLines money.Cents
	PlanOverflown            bool
	// Listed is what is stored of the providers in Shares, ascending by NPI; Lines is 0. Who is stored
	// without a line is among the Strays.
	Listed       []claim.Share
	InOutbox     outbox.State // "" if it has no outbox row, of its number, id and version
	OutboxNetFee money.Cents  // as the message says, if it has an outbox row
	// OutboxPostings is what the message says, as EncodePostings gives it; nil if there is no
	// outbox row, or if the claim's first line is not there but others are.
	OutboxPostings *string
	Settled        bool      // it has a settlement of its version
	PaymentID      uuid.UUID // of the settlement
}

// AuditedLine is a line of a claim, with the claim's stored share of the line's provider if there is one.
type AuditedLine struct {
	ProviderNPI                                           claim.NPI
	ProviderFees, AllowedFees, Coinsurance, Copay, Listed money.Cents
	HasListed                                             bool
}

// Add adds a line to what is recomputed.
func (a *Audited) Add(line *AuditedLine) {
	providers := len(a.Shares)
	net, err := money.Sum(line.ProviderFees, -line.AllowedFees, line.Coinsurance, line.Copay)
	if err == nil {
		var shares []claim.Share
		if shares, err = claim.MergeShares(a.Shares, []claim.Share{{ProviderNPI: line.ProviderNPI, NetFee: net, Lines: 1}}); err == nil {
			a.Shares = shares
		}
	}
	if err != nil {
		a.Shares, _ = claim.MergeShares(a.Shares, []claim.Share{{ProviderNPI: line.ProviderNPI, Lines: 1}}) // nothing fits always
		if !slices.Contains(a.Overflown, line.ProviderNPI) {
			a.Overflown = append(a.Overflown, line.ProviderNPI)
		}
	}
	a.addPlan(line)
	if line.HasListed && len(a.Shares) > providers {
		at, _ := slices.BinarySearchFunc(a.Listed, line.ProviderNPI, func(s claim.Share, npi claim.NPI) int { return int(s.ProviderNPI - npi) })
		a.Listed = slices.Insert(a.Listed, at, claim.Share{ProviderNPI: line.ProviderNPI, NetFee: line.Listed})
	}
}

func (a *Audited) addPlan(line *AuditedLine) {
	plan, err := money.Sum(a.PlanOfLines, line.AllowedFees, -line.Coinsurance, -line.Copay)
	if err != nil {
		a.PlanOverflown = true
		return
	}
	a.PlanOfLines = plan
}

// Table is a table of what belongs to claims.
type Table string

// Tables.
const (
	Outbox         Table = "outbox"          // by number, id and version of the claim
	Settlements    Table = "settlements"     // by number and version
	Lines          Table = "lines"           // by number, and by the ids that the claim says
	ClaimProviders Table = "claim_providers" // by number, if the claim has a line of the provider
)

// Stray is a row of a table of which Claims gives nothing.
type Stray struct {
	ClaimSeq    int64     // the number of the claim that it is said to be of
	ClaimID     uuid.UUID // of Outbox: as the row says; else of the claim of that number, uuid.Nil if there is none
	Version     int       // of Outbox and Settlements
	LineID      int64     // of Lines
	ProviderNPI claim.NPI // of ClaimProviders
}
