package intake

import (
	"slices"
	"strings"

	"github.com/claimrail/claimrail/internal/claim"
	"github.com/claimrail/claimrail/internal/x12"
)

// Faults gives all that is wrong with a claim, by segment: what the parcel was refused for, and
// what Validate found, warnings included. What only follows from a refusal is left
// out, and what is wrong in one place, though with all lines, is told once. Any goroutine may
// call it.
func (x *X12Reader) Faults(parcel *Parcel, found []claim.Violation) []Fault {
	source := parcel.X12
	whole := partName(source)
	faults := make([]Fault, 0, len(parcel.Refused)+len(found))
	type place struct {
		x12Place
		code string
	}
	told := map[place]bool{}
	add := func(v *claim.Violation, at x12Place) {
		if told[place{at, v.Code}] {
			return
		}
		told[place{at, v.Code}] = true
		fault := Fault{
			Segment: source.part.First + int(at.segment), Line: source.part.Line, Field: v.Field, Column: at.element,
			Code: v.Code, Severity: v.Severity, Found: maskOf(v.Found), Message: v.Message, Part: whole,
		}
		if int(at.segment) < source.part.Len() {
			fault.Line = source.part.LineOf(int(at.segment))
		}
		faults = append(faults, fault)
	}
	for i := range parcel.Refused {
		add(&parcel.Refused[i], source.places[i])
	}
	if parcel.Draft != nil && len(found) > 0 {
		var reading x12Reading
		reading.read(source)
		for i := range found {
			if v := inX12(found[i]); !follows(parcel.Refused, &v) {
				add(&v, reading.placeOf(source, &v))
			}
		}
	}
	slices.SortStableFunc(faults, func(a, b Fault) int { return a.Segment - b.Segment })
	return faults
}

// inX12 says what Validate found of a field in the words of X12: how it is written there, and as it stands there.
func inX12(v claim.Violation) claim.Violation {
	switch v.Code {
	case claim.CodeServiceDate:
		v.Message = x12DateAdvice
	case claim.CodeMoney:
		v.Message = "write an amount as 1234.5, without a sign for the currency or thousands"
	}
	if v.Field == claim.ServiceDateField {
		v.Found.Text = strings.ReplaceAll(v.Found.Text, "-", "") // a reading put it in
	}
	return v
}

// partName says what is refused where that is no single claim; "" of a claim.
func partName(source *X12Source) string {
	switch part := source.part; {
	case source.body.end > 0:
		return ""
	case part.Kind == x12.Stray:
		return "segments"
	case part.Kind != x12.Envelope:
		return "set"
	case part.Group != nil:
		return "group"
	default:
		return "interchange"
	}
}

// follows tells whether a violation only follows from what a parcel was refused for.
func follows(refused []claim.Violation, v *claim.Violation) bool {
	for i := range refused {
		r := &refused[i]
		sameLine := r.Line == v.Line || r.Line == claim.WholeClaim
		switch {
		case r.Code == CodeHierarchy:
			if v.Field == claim.PlanGroupField || v.Field == claim.SubscriberField || v.Field == claim.ProviderNPIField {
				return true
			}
		case sameLine && r.Field == v.Field && r.Field != claim.NoField:
			return true
		case r.Code == CodeMisplacedSegment && v.Code == claim.CodeRequired && sameLine:
			return true
		}
	}
	return false
}

// placeOf finds where the field of a violation stands, or should stand.
func (r *x12Reading) placeOf(source *X12Source, v *claim.Violation) x12Place {
	clm := source.body.begin
	switch {
	case v.Field == claim.ExternalIDField, v.Code == claim.CodeClaimKey:
		return x12Place{clm, "CLM01"}
	case v.Code == claim.CodeNoLines || v.Code == claim.CodeTooManyLines:
		return x12Place{clm, "LX"}
	case v.Line < 0 || v.Line >= len(r.lines) || v.Field == claim.NoField:
		return x12Place{clm, ""}
	}
	line := &r.lines[v.Line]
	or := func(at int32, element string, otherwise int32) x12Place {
		if at == 0 {
			at = otherwise
		}
		return x12Place{at, element}
	}
	service := line.service
	switch v.Field {
	case claim.ServiceDateField:
		at := line.date
		if at == 0 {
			at = r.date
		}
		return or(at, "DTP03", line.begin)
	case claim.ProcedureField:
		return or(service, "SV301-2", line.begin)
	case claim.QuadrantField:
		return or(service, "SV304", line.begin)
	case claim.PlanGroupField:
		return or(source.group, "SBR03", source.levels[subscriberLevel].begin)
	case claim.SubscriberField:
		return or(source.member, "NM109", source.levels[subscriberLevel].begin)
	case claim.ProviderNPIField:
		return or(r.providerOf(source, line), "NM109", clm)
	case claim.ProviderFeesField, claim.AllowedFeesField:
		return or(service, "SV302", line.begin)
	case claim.CoinsuranceField:
		return or(line.amounts[coinsuranceAmount].at, line.amounts[coinsuranceAmount].element, line.begin)
	default:
		return or(line.amounts[copayAmount].at, line.amounts[copayAmount].element, line.begin)
	}
}
