package sample

import (
	"context"
	"fmt"
	"io"
	"strconv"

	"github.com/claimrail/claimrail/internal/claim"
	"github.com/claimrail/claimrail/internal/money"
)

// Limits of claims in 837D.
const (
	// MaxLines837D is how many lines one claim can have: loop 2400 repeats so often.
	MaxLines837D = 50
	// claimsPerSet is how many claims stand in one transaction set.
	claimsPerSet = 200
)

// Write837D writes one interchange of version 005010X224A2, marked as a test, with a
// segment on each line and as many transaction sets as it takes.
//
// 837D has no element for what is allowed, nor for the member's part. They stand as
// another payer's adjustments of the line: allowed fees as CO-45 below what is billed, member
// coinsurance as PR-2, member copay as PR-3. A reader that takes PR-2 and PR-3 alone has
// billed = allowed, so that its net fees are the member's parts. Errors: claims with
// more than MaxLines837D lines, that of ctx, and those of w.
func (s *Sample) Write837D(ctx context.Context, w io.Writer) (Tally, error) {
	if s.config.Lines > MaxLines837D {
		return Tally{}, fmt.Errorf("write a sample: lines is %d; a claim in 837D has at most %d", s.config.Lines, MaxLines837D)
	}
	x := &x12Writer{billing: s.npi(0)}
	const head = "ISA*00*          *00*          *ZZ*SAMPLESENDER   *ZZ*SAMPLERECEIVER *240101*0000*^*00501*000000001*0*T*:~\n" +
		"GS*HC*SAMPLESENDER*SAMPLERECEIVER*20240101*0000*1*X*005010X224A2~\n"
	return s.write(ctx, w, []byte(head), x.appendClaim, x.appendTail)
}

// x12Writer counts what the trailers tell.
type x12Writer struct {
	billing  claim.NPI // who bills: the busiest provider
	sets     int       // begun
	claims   int       // in the open set; 0 means that none is open
	segments int       // of the open set
	levels   uint64    // hierarchical levels of the open set
}

// segment appends a segment of parts that stand as they are, elements and their
// separators, without "*" behind the last element that says something.
func (x *x12Writer) segment(dst []byte, parts ...string) []byte {
	for _, part := range parts {
		dst = append(dst, part...)
	}
	return x.end(dst)
}

// end closes a segment that was appended piece by piece.
func (x *x12Writer) end(dst []byte) []byte {
	x.segments++
	return append(dst, "~\n"...)
}

// beginSet appends the head of a transaction set: who sends it, to whom, who bills.
func (x *x12Writer) beginSet(dst []byte) []byte {
	x.sets++
	x.segments = 0
	x.levels = 1
	number := padded("", 4, uint64(x.sets))
	for _, text := range [...]string{
		"ST*837*" + number + "*005010X224A2",
		"BHT*0019*00*" + number + "*20240101*0000*CH",
		"NM1*41*2*SAMPLE SUBMITTER*****46*SAMPLE",
		"PER*IC*SAMPLE*TE*2025550100", // kept for fiction
		"NM1*40*2*SAMPLE PAYER*****46*SAMPLE",
		"HL*1**20*1",
		"NM1*85*2*SAMPLE CLINIC*****XX*" + x.billing.String(),
		"N3*1 SAMPLE STREET",
		"N4*SAMPLETOWN*NY*000000000",
		"REF*EI*000000000",
	} {
		dst = x.segment(dst, text)
	}
	return dst
}

// endSet appends the trailer of the open set, if one is.
func (x *x12Writer) endSet(dst []byte) []byte {
	if x.claims == 0 {
		return dst
	}
	x.claims = 0
	return x.segment(dst, "SE*", strconv.Itoa(x.segments+1), "*", padded("", 4, uint64(x.sets)))
}

// appendTail closes what is open. A group must have a set, so that an empty sample has
// one without claims.
func (x *x12Writer) appendTail(dst []byte) []byte {
	if x.sets == 0 {
		dst, x.claims = x.beginSet(dst), 1
	}
	dst = x.endSet(dst)
	dst = x.segment(dst, "GE*", strconv.Itoa(x.sets), "*1")
	return x.segment(dst, "IEA*1*000000001")
}

// appendClaim appends a claim, and what must stand in front of it.
func (x *x12Writer) appendClaim(dst []byte, c *Claim) []byte {
	if x.claims == claimsPerSet {
		dst = x.endSet(dst)
	}
	if x.claims == 0 {
		dst = x.beginSet(dst)
	}
	x.claims++
	x.levels++
	dst = append(appendPadded(append(dst, "HL*"...), 0, x.levels), "*1*22*0"...)
	dst = x.end(dst)
	// Whoever names another payer's adjustments is not the first to be asked.
	dst = x.segment(dst, "SBR*S*18*", c.Lines[0].PlanGroupNumber, "******CI")
	if c.Bad == NoSubscriber {
		dst = x.segment(dst, "NM1*IL*1*SAMPLE*SUBSCRIBER")
	} else {
		dst = x.segment(dst, "NM1*IL*1*SAMPLE*SUBSCRIBER****MI*", c.Lines[0].SubscriberNumber.Reveal())
	}
	dst = x.segment(dst, "N3*1 SAMPLE STREET")
	dst = x.segment(dst, "N4*SAMPLETOWN*NY*000000000")
	dst = x.segment(dst, "DMG*D8*19000101*U")
	dst = x.segment(dst, "NM1*PR*2*SAMPLE PAYER*****PI*SAMPLE")
	var billed, paid money.Cents
	for i := range c.Lines {
		if c.spoils(i) == BadNegative { // it is to be refused for its sign, not for a wrong sum
			billed -= c.Lines[i].ProviderFees
		} else {
			billed += c.Lines[i].ProviderFees
		}
		paid += c.Lines[i].ExpectedPlanPayment()
	}
	dst = append(append(append(dst, "CLM*"...), c.ExternalID...), '*')
	dst = x.end(append(billed.Append(dst), "***11:B:1*Y*A*Y*Y"...))
	rendering := c.Lines[0].ProviderNPI
	dst = x.appendRendering(dst, x.billing, rendering, Good)
	dst = x.segment(dst, "SBR*P*18*******CI")
	dst = x.end(paid.Append(append(dst, "AMT*D*"...)))
	dst = x.segment(dst, "OI***Y***Y")
	dst = x.segment(dst, "NM1*IL*1*SAMPLE*SUBSCRIBER****MI*OTHER")
	dst = x.segment(dst, "NM1*PR*2*SAMPLE OTHER PAYER*****PI*OTHER")
	for i := range c.Lines {
		dst = x.appendLine(dst, &c.Lines[i], i, rendering, c.spoils(i))
	}
	return dst
}

// appendLine appends a line, and what the other payer did to it.
func (x *x12Writer) appendLine(dst []byte, l *claim.Line, index int, rendering claim.NPI, bad Bad) []byte {
	dst = x.segment(dst, "LX*", strconv.Itoa(index+1))
	dst = append(bad.appendProcedure(append(dst, "SV3*AD:"...), l.Procedure), '*')
	dst = append(bad.appendBilled(dst, "", l.ProviderFees), "**"...)
	dst = x.end(append(append(dst, l.Quadrant...), "**1"...))
	dst = x.end(appendDate(append(dst, "DTP*472*D8*"...), bad, l.ServiceDate))
	dst = x.appendRendering(dst, rendering, l.ProviderNPI, bad)
	dst = append(l.ExpectedPlanPayment().Append(append(dst, "SVD*OTHER*"...)), "*AD:"...)
	dst = x.end(append(bad.appendProcedure(dst, l.Procedure), "**1"...))
	if cut := l.ProviderFees - l.AllowedFees; cut != 0 {
		dst = x.end(cut.Append(append(dst, "CAS*CO*45*"...)))
	}
	switch {
	case l.MemberCoinsurance != 0 && l.MemberCopay != 0:
		dst = append(l.MemberCoinsurance.Append(append(dst, "CAS*PR*2*"...)), "**3*"...)
		dst = x.end(l.MemberCopay.Append(dst))
	case l.MemberCoinsurance != 0:
		dst = x.end(l.MemberCoinsurance.Append(append(dst, "CAS*PR*2*"...)))
	case l.MemberCopay != 0:
		dst = x.end(l.MemberCopay.Append(append(dst, "CAS*PR*3*"...)))
	}
	return x.end(appendDate(append(dst, "DTP*573*D8*"...), Good, l.ServiceDate))
}

// appendDate appends YYYYMMDD.
func appendDate(dst []byte, bad Bad, date claim.ServiceDate) []byte {
	year, month, day := bad.date(date)
	return appendPadded(appendPadded(appendPadded(dst, 4, year), 2, month), 2, day)
}

// appendRendering appends who did the work, where it is not whom one would assume.
func (x *x12Writer) appendRendering(dst []byte, assumed, npi claim.NPI, bad Bad) []byte {
	if npi == assumed && bad != BadNPI {
		return dst
	}
	return x.end(bad.appendNPI(append(dst, "NM1*82*1*SAMPLE*PROVIDER****XX*"...), npi))
}
