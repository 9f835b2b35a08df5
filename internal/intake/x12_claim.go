package intake

import (
	"strings"
	"unicode/utf8"

	"github.com/claimrail/claimrail/internal/claim"
	"github.com/claimrail/claimrail/internal/money"
	"github.com/claimrail/claimrail/internal/x12"
)

// x12Reading is what one claim says: where its fields stand, and what is wrong with it as
// far as the form goes. Its memory is used again for the next claim.
type x12Reading struct {
	part      *x12.Part
	loop      x12Loop
	lines     []x12Line
	lineCount int // those beyond claim.MaxLines + 1 are not kept
	date      int32
	provider  int32
	payers    int                    // other payers
	another   int32                  // the SBR of the second one
	amounts   [amountKinds]x12Amount // that another payer gave for the claim as a whole
	adjusted  bool                   // there is any amount of another payer
	refused   []claim.Violation
	places    []x12Place // of refused, in its order
	warnings  []claim.Violation
	dateAt    int32 // the DTP that was turned into dateText last
	dateText  string
}

// x12Loop is the part of a claim that a segment stands in; the same segment means another
// thing in each.
type x12Loop int

const (
	claimLoop        x12Loop = iota // 2300 and 2310
	otherPayerLoop                  // 2320 and 2330
	lineLoop                        // 2400 and 2420
	adjudicationLoop                // 2430
)

// x12Line says where a line's fields stand: the index of each segment, 0 for none.
type x12Line struct {
	begin, service, date, provider int32
	amounts                        [amountKinds]x12Amount
}

// Kinds of amount that another payer gives: reasons 2 and 3 of CAS*PR.
const (
	coinsuranceAmount = iota
	copayAmount
	amountKinds
)

// x12Amount is one or more amounts of another payer. The zero value is none.
type x12Amount struct {
	at      int32 // the CAS
	element string
	text    string // the amount as it stands; of more than one, their sum; or what is no amount
	sum     money.Cents
	bad     bool
}

// read goes through the claim of a source.
func (r *x12Reading) read(source *X12Source) {
	*r = x12Reading{part: source.part, lines: r.lines[:0]} // what was given out with a parcel is its own
	r.checkText(source)
	if source.wrong.segment != 0 {
		r.refuse(claim.WholeClaim, claim.NoField, CodeHierarchy,
			"this claim stands under no billing provider (HL level 20) and subscriber (22), or these do not fit together", "", source.wrong)
	}
	r.readHeader(int(source.body.begin))
	for i := source.body.begin + 1; i < source.body.end; i++ {
		r.readSegment(i)
	}
	for kind := range r.amounts {
		r.placeAmount(kind)
	}
	if r.payers > 1 && r.adjusted {
		r.refuse(claim.WholeClaim, claim.NoField, CodeOtherPayers,
			"coinsurance and copay of more than one other payer can not be told apart; send those of the last one alone", "", x12Place{r.another, ""})
	}
	r.checkSum(source.body.begin)
}

// checkText looks for characters that may not stand in a claim, or in what it stands under.
func (r *x12Reading) checkText(source *X12Source) {
	for _, at := range [...]x12Place{
		source.controls[levelCount], source.controls[billingLevel], source.controls[subscriberLevel], source.controls[patientLevel],
		controlIn(r.part, source.body),
	} {
		if at.segment != 0 {
			r.refuse(claim.WholeClaim, claim.NoField, claim.CodeControlCharacter,
				"remove the control characters; line breaks may stand behind segments only", "", at)
		}
	}
}

// elementName names an element as the standard does, such as "NM109".
func elementName(id string, element int) string {
	if element == 0 {
		return ""
	}
	return id + string([]byte{'0' + byte(element/10%10), '0' + byte(element%10)})
}

// refuse adds what is wrong.
func (r *x12Reading) refuse(line int, field claim.Field, code, message, found string, place x12Place) {
	if len(r.refused) == maxReaderFaults {
		return
	}
	violation := claim.Violation{Line: line, Field: field, Code: code, Severity: claim.Error, Message: message}
	if found != "" {
		violation.Found = claim.Raw{Shape: claim.Text, Text: found}
	}
	r.refused = append(r.refused, violation)
	r.places = append(r.places, place)
}

// readHeader judges a CLM.
func (r *x12Reading) readHeader(at int) {
	segment := r.part.Segment(at)
	refuse := func(element, code, message, found string) {
		r.refuse(claim.WholeClaim, claim.NoField, code, message, found, x12Place{int32(at), element})
	}
	switch frequency := strings.Trim(segment.Component(5, 3), blanks); frequency {
	case "1":
	case "7", "8":
		refuse("CLM05-3", CodeClaimFrequency, "replacements (7) and voids (8) are not taken yet; send original claims (1) only", frequency)
	default:
		refuse("CLM05-3", CodeClaimFrequency, "send original claims only: frequency 1", frequency)
	}
	if segment.Trimmed(19) == "PB" {
		refuse("CLM19", CodePredetermination, "predeterminations are not taken: nothing is to be paid of them; send the claim when the work is done", "PB")
	}
}

// current gives the line being read, and its index.
func (r *x12Reading) current() (*x12Line, int) { return &r.lines[len(r.lines)-1], len(r.lines) - 1 }

// readSegment takes what a segment of the claim says; most say nothing that is needed.
func (r *x12Reading) readSegment(at int32) {
	segment := r.part.Segment(int(at))
	switch segment.ID() {
	case "LX":
		r.loop = lineLoop
		r.lineCount++
		if len(r.lines) > claim.MaxLines {
			r.lines = r.lines[:claim.MaxLines] // the last one kept stands for all that are too many
		}
		r.lines = append(r.lines, x12Line{begin: at})
	case "SV3":
		r.readService(at)
	case "DTP":
		r.readDate(at, segment)
	case "NM1":
		if segment.Trimmed(1) == "82" && segment.Trimmed(8) == "XX" {
			r.readProvider(at)
		}
	case "SBR":
		if r.loop == claimLoop || r.loop == otherPayerLoop {
			r.loop = otherPayerLoop
			if r.payers++; r.payers == 2 {
				r.another = at
			}
		} else {
			r.misplaced(at, "put other payers (SBR) in front of the first line (LX)")
		}
	case "SVD":
		if r.loop == lineLoop || r.loop == adjudicationLoop {
			r.loop = adjudicationLoop
		} else {
			r.misplaced(at, "put what another payer paid (SVD) behind the line (LX) that it is of")
		}
	case "CAS":
		r.readAdjustments(at, segment)
	case "SV1", "SV2":
		r.misplaced(at, "a line of a dental claim has its service in SV3")
	}
}

func (r *x12Reading) misplaced(at int32, message string) {
	line := claim.WholeClaim
	if len(r.lines) > 0 {
		line = len(r.lines) - 1
	}
	r.refuse(line, claim.NoField, CodeMisplacedSegment, message, "", x12Place{at, ""})
}

func (r *x12Reading) readService(at int32) {
	if r.loop != lineLoop {
		r.misplaced(at, "put a service (SV3) behind the line (LX) that it is of")
		return
	}
	line, n := r.current()
	if line.service != 0 {
		r.refuse(n, claim.ProcedureField, claim.CodeRepeated, "a line has one service (SV3); begin another line with LX", "", x12Place{at, ""})
	}
	line.service = at
	segment := r.part.Segment(int(at))
	if qualifier := strings.Trim(segment.Component(1, 1), blanks); qualifier != "AD" {
		r.refuse(n, claim.ProcedureField, CodeProcedureQualifier, "name the procedure by the dental code list: qualifier AD", qualifier, x12Place{at, "SV301-1"})
	}
}

// readDate takes a service date: of the claim, or of a line.
func (r *x12Reading) readDate(at int32, segment x12.Segment) {
	if segment.Trimmed(1) != "472" {
		return
	}
	into, n := &r.date, claim.WholeClaim
	switch r.loop {
	case claimLoop:
	case lineLoop:
		var line *x12Line
		line, n = r.current()
		into = &line.date
	default:
		return
	}
	if *into != 0 {
		r.refuse(n, claim.ServiceDateField, claim.CodeRepeated, "give one service date (DTP*472)", "", x12Place{at, ""})
	}
	*into = at
}

// readProvider takes a rendering provider: of the claim, or of a line. Of another payer's
// provider nothing is taken.
func (r *x12Reading) readProvider(at int32) {
	into, n := &r.provider, claim.WholeClaim
	switch r.loop {
	case claimLoop:
	case lineLoop, adjudicationLoop:
		var line *x12Line
		line, n = r.current()
		into = &line.provider
	default:
		return
	}
	if *into != 0 {
		r.refuse(n, claim.ProviderNPIField, claim.CodeRepeated, "give one rendering provider (NM1*82)", "", x12Place{at, ""})
	}
	*into = at
}

// readAdjustments takes the coinsurance and copay of a CAS*PR, with up to six reasons.
func (r *x12Reading) readAdjustments(at int32, segment x12.Segment) {
	amounts := &r.amounts
	switch r.loop {
	case otherPayerLoop:
	case adjudicationLoop:
		line, _ := r.current()
		amounts = &line.amounts
	default:
		r.misplaced(at, "put adjustments (CAS) behind the other payer (SBR), or behind what it paid of the line (SVD)")
		return
	}
	if segment.Trimmed(1) != "PR" {
		return
	}
	for n := 2; n+1 <= segment.Elements(); n += 3 {
		switch segment.Trimmed(n) {
		case "2":
			amounts[coinsuranceAmount].add(at, n+1, segment)
		case "3":
			amounts[copayAmount].add(at, n+1, segment)
		default:
			continue
		}
		r.adjusted = true
	}
}

// add adds the amount in an element.
func (a *x12Amount) add(at int32, element int, segment x12.Segment) {
	text := segment.Element(element)
	cents, err := money.Parse(text)
	switch {
	case a.bad:
		return
	case err != nil:
		a.bad, a.text = true, text
	case a.at == 0:
		a.text, a.sum = text, cents
	default:
		if a.sum, err = a.sum.Add(cents); err != nil {
			a.bad = true
		}
		a.text = a.sum.String()
	}
	if a.at == 0 || a.bad {
		a.at, a.element = at, elementName("CAS", element)
	}
}

// placeAmount puts an amount of the claim as a whole to its first line: there is none that it
// belongs to more.
func (r *x12Reading) placeAmount(kind int) {
	whole := &r.amounts[kind]
	if whole.at == 0 || len(r.lines) == 0 {
		return
	}
	field := [...]claim.Field{claim.CoinsuranceField, claim.CopayField}[kind]
	first := &r.lines[0].amounts[kind]
	switch {
	case first.at == 0:
		*first = *whole
	case first.bad:
	case whole.bad:
		*first = *whole
	default:
		sum, err := first.sum.Add(whole.sum)
		first.sum, first.text, first.bad = sum, sum.String(), err != nil
	}
	if len(r.lines) > 1 {
		r.warnings = append(r.warnings, claim.Violation{
			Line: 0, Field: field, Code: CodeClaimAdjustment, Severity: claim.Warning,
			Message: "another payer gave this amount for the claim as a whole; it was put to the first line",
		})
	}
}

// checkSum holds the charges of the lines against CLM02.
func (r *x12Reading) checkSum(clm int32) {
	place := x12Place{clm, "CLM02"}
	text := r.part.Segment(int(clm)).Element(2)
	total, err := money.ParseTotal(text)
	if err != nil {
		r.refuse(claim.WholeClaim, claim.NoField, claim.CodeMoney, "write the charge of the claim as 1234.5", text, place)
		return
	}
	if len(r.lines) == 0 || r.lineCount > claim.MaxLines {
		return
	}
	var sum money.Cents // of 999 amounts that Parse took: far from its limit
	for i := range r.lines {
		if r.lines[i].service == 0 {
			return
		}
		cents, err := money.Parse(r.part.Segment(int(r.lines[i].service)).Element(2))
		if err != nil {
			return // that is told of the line
		}
		sum += cents
	}
	if sum != total {
		r.refuse(claim.WholeClaim, claim.NoField, CodeClaimAmount, "the charge of the claim must be the sum of its lines (SV302)", text, place)
	}
}

// draftLines gives the lines as the domain wants them.
func (r *x12Reading) draftLines(source *X12Source) []claim.RawLine {
	lines := make([]claim.RawLine, len(r.lines))
	var group, member claim.Raw
	if source.group != 0 {
		group = r.text(claim.WholeClaim, claim.PlanGroupField, source.group, "SBR03", r.part.Segment(int(source.group)).Element(3))
	}
	if source.member != 0 {
		member = r.text(claim.WholeClaim, claim.SubscriberField, source.member, "NM109", r.part.Segment(int(source.member)).Element(9))
	}
	for i := range r.lines {
		found, line := &r.lines[i], &lines[i]
		line.Shape = claim.Object
		line.Fields[claim.PlanGroupField], line.Fields[claim.SubscriberField] = group, member
		line.Fields[claim.ServiceDateField] = r.serviceDate(i, found)
		if at := r.providerOf(source, found); at != 0 {
			line.Fields[claim.ProviderNPIField] = r.text(i, claim.ProviderNPIField, at, "NM109", r.part.Segment(int(at)).Element(9))
		}
		for kind, field := range [...]claim.Field{claim.CoinsuranceField, claim.CopayField} {
			line.Fields[field] = claim.Raw{Shape: claim.Text, Text: "0"}
			if amount := &found.amounts[kind]; amount.at != 0 {
				line.Fields[field].Text = amount.text
			}
		}
		if found.service == 0 {
			continue
		}
		segment := r.part.Segment(int(found.service))
		line.Fields[claim.ProcedureField] = r.text(i, claim.ProcedureField, found.service, "SV301-2", segment.Component(1, 2))
		line.Fields[claim.ProviderFeesField] = r.text(i, claim.ProviderFeesField, found.service, "SV302", segment.Element(2))
		line.Fields[claim.AllowedFeesField] = line.Fields[claim.ProviderFeesField]
		if quadrant := segment.Element(4); quadrant != "" {
			// with more than one code in it, they stand apart by ":" whatever the sender's delimiter is
			quadrant = strings.ReplaceAll(quadrant, string([]byte{r.part.Interchange.Delimiters.Component}), ":")
			line.Fields[claim.QuadrantField] = r.text(i, claim.QuadrantField, found.service, "SV304", quadrant)
		}
	}
	return lines
}

// providerOf finds who did a line: by the line, by the claim, or else who bills it. 0: nobody
// with an NPI.
func (r *x12Reading) providerOf(source *X12Source, line *x12Line) int32 {
	switch {
	case line.provider != 0:
		return line.provider
	case r.provider != 0:
		return r.provider
	case source.provider != 0 && r.part.Segment(int(source.provider)).Trimmed(8) == "XX":
		return source.provider
	default:
		return 0
	}
}

// text gives a field's text, which must be UTF-8.
func (r *x12Reading) text(line int, field claim.Field, at int32, element, text string) claim.Raw {
	if !r.part.Plain && !utf8.ValidString(text) {
		r.refuse(line, field, CodeEncoding, "this element is not UTF-8; send it so, or in plain letters", text, x12Place{at, element})
	}
	return claim.Raw{Shape: claim.Text, Text: text}
}

// x12DateAdvice says how a service date is written.
const x12DateAdvice = "write a real date as CCYYMMDD; a range (RD8) as two of them with a hyphen between"

// serviceDate gives the date of a line, its own or the claim's, as ISO 8601.
func (r *x12Reading) serviceDate(n int, line *x12Line) claim.Raw {
	at := line.date
	if at == 0 {
		at = r.date
	}
	if at == 0 {
		return claim.Raw{}
	}
	if at == r.dateAt {
		return claim.Raw{Shape: claim.Text, Text: r.dateText}
	}
	segment := r.part.Segment(int(at))
	text := strings.Trim(segment.Element(3), blanks)
	first, last, isRange := strings.Cut(text, "-")
	switch format := segment.Trimmed(2); {
	case format == "D8" && isDay(text):
	case format == "RD8" && isRange && isDay(first) && isDay(last):
		text = first
		if first != last {
			r.warnings = append(r.warnings, claim.Violation{
				Line: n, Field: claim.ServiceDateField, Code: CodeServiceDateRange, Severity: claim.Warning,
				Message: "the service date is a range; its first day was taken",
			})
		}
	case format == "D8" || format == "RD8":
		r.refuse(n, claim.ServiceDateField, claim.CodeServiceDate, x12DateAdvice, text, x12Place{at, "DTP03"})
		return claim.Raw{Shape: claim.Text, Text: text}
	default:
		r.refuse(n, claim.ServiceDateField, claim.CodeServiceDate, "give the service date as D8, or as RD8 for a range", format, x12Place{at, "DTP02"})
		return claim.Raw{Shape: claim.Text, Text: text}
	}
	r.dateAt, r.dateText = at, text[:4]+"-"+text[4:6]+"-"+text[6:]
	return claim.Raw{Shape: claim.Text, Text: r.dateText}
}

// isDay tells whether a text has the form CCYYMMDD; whether there is such a day is for the
// domain to say.
func isDay(text string) bool {
	for i := range len(text) {
		if text[i] < '0' || text[i] > '9' {
			return false
		}
	}
	return len(text) == len("20060102")
}
