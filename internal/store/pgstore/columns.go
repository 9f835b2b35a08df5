package pgstore

import (
	"slices"
	"time"

	"github.com/claimrail/claimrail/internal/claim"
	"github.com/claimrail/claimrail/internal/pgfile"
)

func (r *acceptRows) keyRows() pgfile.Rows {
	return pgfile.Rows{Table: "claim_keys", Columns: []pgfile.Column{
		{Name: "claim_id", Values: &r.keyID},
		{Name: "seq", Values: &r.keySeq},
		{Name: "first_line_id", Values: &r.keyLine},
		{Name: "received_at", Values: &r.keyReceived},
		{Name: "fingerprint", Values: &r.keyFingerprint},
	}}
}

func (r *acceptRows) shareRows() pgfile.Rows {
	return pgfile.Rows{Table: "claim_providers", Columns: []pgfile.Column{
		{Name: "provider_npi", Values: &r.shares.npi},
		{Name: "claim_seq", Values: &r.shares.seq},
		{Name: "received_at", Values: &r.shares.received},
		{Name: "net_fee_cents", Values: &r.shares.net},
	}}
}

func (r *acceptRows) messageRows() pgfile.Rows {
	return pgfile.Rows{Table: "outbox", Columns: []pgfile.Column{
		{Name: "claim_id", Values: &r.messages.id},
		{Name: "claim_seq", Values: &r.messages.seq},
		{Name: "received_at", Values: &r.messages.received},
		{Name: "due_at", Values: &r.messages.due},
		{Name: "version", Values: &r.messages.version},
		{Name: "net_fee_cents", Values: &r.messages.net},
		{Name: "postings", Values: &r.messages.postings},
		{Name: "traceparent", Values: &r.messages.traceparent},
	}}
}

// claimColumns are the rows of claims.
type claimColumns struct {
	seq, firstLine, lineCount, net, plan, version pgfile.Int8s
	received                                      pgfile.Times
	id                                            pgfile.UUIDs
	submitter, kind, value, external, warnings    pgfile.Texts
}

func (c *claimColumns) grow(rows int) {
	for _, column := range []*pgfile.Int8s{&c.seq, &c.firstLine, &c.lineCount, &c.net, &c.plan, &c.version} {
		*column = slices.Grow(*column, rows)
	}
	for _, column := range []*pgfile.Texts{&c.submitter, &c.kind, &c.value, &c.external, &c.warnings} {
		*column = slices.Grow(*column, rows)
	}
}

func (c *claimColumns) add(seq int64, receivedAt time.Time, firstLine int64, made *claim.Claim, warnings string) {
	c.seq = append(c.seq, seq)
	c.received = append(c.received, receivedAt)
	c.firstLine = append(c.firstLine, firstLine)
	c.lineCount = append(c.lineCount, int64(len(made.Lines)))
	c.net = append(c.net, int64(made.NetFee()))
	c.plan = append(c.plan, int64(made.ExpectedPlanPayment()))
	c.version = append(c.version, int64(made.Version))
	c.id = append(c.id, made.ID)
	c.submitter = append(c.submitter, made.Key.Submitter)
	c.kind = append(c.kind, string(made.Key.Kind))
	c.value = append(c.value, made.Key.Value)
	c.external = append(c.external, made.ExternalID)
	c.warnings = append(c.warnings, warnings)
}

func (c *claimColumns) rows() pgfile.Rows {
	return pgfile.Rows{Table: "claims", Columns: []pgfile.Column{
		{Name: "seq", Values: &c.seq},
		{Name: "received_at", Values: &c.received},
		{Name: "first_line_id", Values: &c.firstLine},
		{Name: "line_count", Values: &c.lineCount},
		{Name: "net_fee_cents", Values: &c.net},
		{Name: "expected_plan_payment_cents", Values: &c.plan},
		{Name: "version", Values: &c.version},
		{Name: "claim_id", Values: &c.id},
		{Name: "submitter", Values: &c.submitter},
		{Name: "key_kind", Values: &c.kind},
		{Name: "key_value", Values: &c.value},
		{Name: "external_id", Values: &c.external},
		{Name: "warnings", Values: &c.warnings},
	}}
}

// lineColumns are the rows of lines.
type lineColumns struct {
	id, claimSeq, date, npi                 pgfile.Int8s
	fees, allowed, coinsurance, copay       pgfile.Int8s
	received                                pgfile.Times
	procedure, quadrant, plan, subscriberNo pgfile.Texts
}

func (c *lineColumns) grow(rows int) {
	for _, column := range []*pgfile.Int8s{&c.id, &c.claimSeq, &c.date, &c.npi, &c.fees, &c.allowed, &c.coinsurance, &c.copay} {
		*column = slices.Grow(*column, rows)
	}
	for _, column := range []*pgfile.Texts{&c.procedure, &c.quadrant, &c.plan, &c.subscriberNo} {
		*column = slices.Grow(*column, rows)
	}
	c.received = slices.Grow(c.received, rows)
}

func (c *lineColumns) add(id int64, receivedAt time.Time, claimSeq int64, line *claim.Line) {
	c.id = append(c.id, id)
	c.received = append(c.received, receivedAt)
	c.claimSeq = append(c.claimSeq, claimSeq)
	c.date = append(c.date, line.ServiceDate.Unix())
	c.npi = append(c.npi, int64(line.ProviderNPI))
	c.fees = append(c.fees, int64(line.ProviderFees))
	c.allowed = append(c.allowed, int64(line.AllowedFees))
	c.coinsurance = append(c.coinsurance, int64(line.MemberCoinsurance))
	c.copay = append(c.copay, int64(line.MemberCopay))
	c.procedure = append(c.procedure, line.Procedure)
	c.quadrant = append(c.quadrant, line.Quadrant)
	c.plan = append(c.plan, line.PlanGroupNumber)
	c.subscriberNo = append(c.subscriberNo, line.SubscriberNumber.Reveal())
}

func (c *lineColumns) rows() pgfile.Rows {
	return pgfile.Rows{Table: "lines", Columns: []pgfile.Column{
		{Name: "id", Values: &c.id},
		{Name: "received_at", Values: &c.received},
		{Name: "claim_seq", Values: &c.claimSeq},
		{Name: "service_date", Values: &c.date},
		{Name: "provider_npi", Values: &c.npi},
		{Name: "provider_fees_cents", Values: &c.fees},
		{Name: "allowed_fees_cents", Values: &c.allowed},
		{Name: "member_coinsurance_cents", Values: &c.coinsurance},
		{Name: "member_copay_cents", Values: &c.copay},
		{Name: "procedure", Values: &c.procedure},
		{Name: "quadrant", Values: &c.quadrant},
		{Name: "plan_group_number", Values: &c.plan},
		{Name: "subscriber_number", Values: &c.subscriberNo},
	}}
}
