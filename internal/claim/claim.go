package claim

import (
	"slices"

	"github.com/google/uuid"

	"github.com/claimrail/claimrail/internal/money"
)

// MaxLines is how many lines one claim may have; it is the limit of X12 837.
const MaxLines = 999

// FirstVersion is the version of a claim as first sent. A replacement or a void
// will raise it; (id, version) is what is paid once.
const FirstVersion = 1

// Claim is a valid claim with its identity. Only Validator makes one from
// outside input.
type Claim struct {
	ID          uuid.UUID
	Version     int
	Key         Key
	ExternalID  string // the sender's claim number; empty if none was given
	Fingerprint Fingerprint
	Lines       []Line
	Warnings    []Violation
}

// Line is one valid line. All amounts are in [0, money.MaxParsed].
type Line struct {
	ServiceDate       ServiceDate
	Procedure         string
	Quadrant          string // empty if none was given
	PlanGroupNumber   string
	SubscriberNumber  SubscriberNumber
	ProviderNPI       NPI
	ProviderFees      money.Cents
	AllowedFees       money.Cents
	MemberCoinsurance money.Cents
	MemberCopay       money.Cents
}

// NetFee is provider fees + member coinsurance + member copay - allowed fees, in
// cents. Bounded amounts keep it, and its sum over MaxLines, far inside int64.
func (l Line) NetFee() money.Cents {
	return l.ProviderFees + l.MemberCoinsurance + l.MemberCopay - l.AllowedFees
}

// ExpectedPlanPayment is what the plan pays of the line: allowed fees - member
// coinsurance - member copay, in cents. It can be negative.
func (l Line) ExpectedPlanPayment() money.Cents {
	return l.AllowedFees - l.MemberCoinsurance - l.MemberCopay
}

// NetFee is the sum over the lines, in cents.
func (c *Claim) NetFee() money.Cents {
	var total money.Cents
	for i := range c.Lines {
		total += c.Lines[i].NetFee()
	}
	return total
}

// ExpectedPlanPayment is the sum over the lines, in cents.
func (c *Claim) ExpectedPlanPayment() money.Cents {
	var total money.Cents
	for i := range c.Lines {
		total += c.Lines[i].ExpectedPlanPayment()
	}
	return total
}

// Share is the part of a claim's net fee that falls to one provider.
type Share struct {
	ProviderNPI NPI
	NetFee      money.Cents
	Lines       int
}

// Shares splits the claim's net fee by provider, ascending by NPI, so that any
// two writers touch providers in the same order.
func (c *Claim) Shares() []Share {
	shares := make([]Share, 0, 1)
	for i := range c.Lines {
		line := &c.Lines[i]
		at, found := findShare(shares, line.ProviderNPI)
		if !found {
			shares = slices.Insert(shares, at, Share{ProviderNPI: line.ProviderNPI})
		}
		shares[at].NetFee += line.NetFee()
		shares[at].Lines++
	}
	return shares
}

// MergeShares adds shares to those of the same claim before, ascending by NPI. It fails where a sum leaves the range of
// money.Cents.
func MergeShares(shares, more []Share) ([]Share, error) {
	for _, share := range more {
		at, found := findShare(shares, share.ProviderNPI)
		if !found {
			shares = slices.Insert(shares, at, share)
			continue
		}
		sum, err := shares[at].NetFee.Add(share.NetFee)
		if err != nil {
			return nil, err
		}
		shares[at].NetFee = sum
		shares[at].Lines += share.Lines
	}
	return shares, nil
}

// findShare gives the place of a provider's share, or where it would be.
func findShare(shares []Share, npi NPI) (at int, found bool) {
	return slices.BinarySearchFunc(shares, npi, func(s Share, npi NPI) int { return int(s.ProviderNPI - npi) })
}
