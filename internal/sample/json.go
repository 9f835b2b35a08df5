package sample

import (
	"context"
	"io"

	"github.com/claimrail/claimrail/internal/claim"
)

// WriteNDJSON writes a claim on each line, in the form of AppendClaim. Errors: that of
// ctx, and those of w.
func (s *Sample) WriteNDJSON(ctx context.Context, w io.Writer) (Tally, error) {
	return s.write(ctx, w, nil, func(dst []byte, c *Claim) []byte { return append(AppendClaim(dst, c), '\n') }, nil)
}

// AppendClaim appends a claim as POST /v1/claims takes it: its number, and its lines in
// the form of AppendLines.
func AppendClaim(dst []byte, c *Claim) []byte {
	dst = append(dst, `{"external_claim_id":"`...)
	dst = append(append(dst, c.ExternalID...), `","lines":`...)
	return append(AppendLines(dst, c), '}')
}

// AppendLines appends a claim as POST /claim-process takes it: the bare list of its
// lines, dates in ISO 8601, amounts as "$81.25". No text needs an escape.
func AppendLines(dst []byte, c *Claim) []byte {
	dst = append(dst, '[')
	for i := range c.Lines {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendObject(dst, &c.Lines[i], c.spoils(i))
	}
	return append(dst, ']')
}

// appendObject appends one line.
func appendObject(dst []byte, l *claim.Line, bad Bad) []byte {
	dst = append(dst, `{"service_date":"`...)
	year, month, day := bad.date(l.ServiceDate)
	dst = append(appendPadded(dst, 4, year), '-')
	dst = append(appendPadded(dst, 2, month), '-')
	dst = append(appendPadded(dst, 2, day), `","submitted_procedure":"`...)
	dst = bad.appendProcedure(dst, l.Procedure)
	if l.Quadrant != "" {
		dst = append(dst, `","quadrant":"`...)
		dst = append(dst, l.Quadrant...)
	}
	dst = append(dst, `","plan_group_number":"`...)
	dst = append(dst, l.PlanGroupNumber...)
	if bad != NoSubscriber {
		dst = append(dst, `","subscriber_number":"`...)
		dst = append(dst, l.SubscriberNumber.Reveal()...)
	}
	dst = append(dst, `","provider_npi":"`...)
	dst = bad.appendNPI(dst, l.ProviderNPI)
	dst = append(dst, `","provider_fees":"`...)
	dst = bad.appendBilled(dst, "$", l.ProviderFees)
	dst = append(dst, `","allowed_fees":"$`...)
	dst = l.AllowedFees.Append(dst)
	dst = append(dst, `","member_coinsurance":"$`...)
	dst = l.MemberCoinsurance.Append(dst)
	dst = append(dst, `","member_copay":"$`...)
	dst = l.MemberCopay.Append(dst)
	return append(dst, `"}`...)
}
