package intake

import (
	"strconv"
	"strings"

	"github.com/claimrail/claimrail/internal/claim"
	"github.com/claimrail/claimrail/internal/x12"
)

// elementNumbers are the reference numbers of elements, for IK402.
var elementNumbers = map[string]string{
	"CLM01": "1028", "CLM02": "782", "CLM05-3": "1325", "CLM19": "1383", "DTP02": "1250", "DTP03": "1251", "HL01": "628", "HL02": "734", "NM109": "67",
	"SBR03": "127", "SV301-1": "235", "SV301-2": "234", "SV302": "782", "SV304": "1361",
}

// x12Error is a fault in the terms of a 999.
type x12Error struct {
	id        string // IK301: the segment, or the one that is missing
	index     int    // of the segment in its set
	code      string // IK304
	element   int    // IK401; 0: it is about the segment as a whole
	component int    // of the element; 0: the whole element
	fault     string // IK403
	column    string
}

// isMissing tells whether the segment is not there.
func (e *x12Error) isMissing() bool { return e.code == "3" }

// report writes down which segments of a claim are in error.
func (a *Acknowledgement) report(source *X12Source, faults []Fault) {
	last := x12Error{index: -1}
	for i := range faults {
		if faults[i].Severity != claim.Error {
			continue
		}
		found := errorOf(source, &faults[i])
		same := found.element > 0 && last.element > 0 && found.index == last.index
		if !same {
			if a.set.errors++; a.set.errors > maxSetErrors {
				return
			}
			a.out.Segment("IK3", found.id, strconv.Itoa(found.index+1), loopOf(source, &found), found.code)
			if number := source.claimNumber(); number != "" {
				a.out.Segment("CTX", a.out.Composite("CLM01", number))
			}
		}
		if found.element > 0 {
			position := strconv.Itoa(found.element)
			if found.component > 0 {
				position = a.out.Composite(position, strconv.Itoa(found.component))
			}
			a.out.Segment("IK4", position, elementNumbers[found.column], found.fault)
		}
		last = found
	}
}

// claimNumber gives the claim's number, if it may stand in a CTX.
func (s *X12Source) claimNumber() string {
	number := strings.Trim(s.part.Segment(int(s.body.begin)).Element(1), blanks)
	d := s.part.Interchange.Delimiters
	if strings.IndexByte(number, d.Component) >= 0 || d.Repetition != 0 && strings.IndexByte(number, d.Repetition) >= 0 {
		return ""
	}
	return plainText(number, maxContextBytes)
}

// errorOf puts a fault into the terms of a 999. One that only the claims database can find has
// no segment, and is about the claim's number.
func errorOf(source *X12Source, f *Fault) x12Error {
	found := x12Error{index: f.Segment - source.part.First, column: f.Column}
	if f.Segment == 0 || found.index >= source.part.Len() {
		found.index, found.column = int(source.body.begin), "CLM01"
	}
	found.id = source.part.Segment(found.index).ID()
	name, component, _ := strings.Cut(found.column, "-")
	if digits := len(name) - 2; digits >= 2 && strings.Trim(name[digits:], "0123456789") == "" {
		found.element, _ = strconv.Atoi(name[digits:])
		found.component, _ = strconv.Atoi(component)
		name = name[:digits]
	}
	switch {
	case name != "" && name != found.id: // what it is about is not there
		found.id, found.element, found.code = name, 0, "3"
		if f.Code == claim.CodeTooManyLines {
			found.code = "4"
		}
	case found.element > 0:
		found.code, found.fault = "8", elementCode(f)
	default:
		found.code = segmentCode(f)
	}
	return found
}

// segmentCode says what is wrong with a segment as a whole, in the codes of IK304.
func segmentCode(f *Fault) string {
	switch f.Code {
	case CodeOtherPayers:
		return "4" // its loop occurs too often
	case claim.CodeRepeated, CodeHierarchy:
		return "5" // it occurs too often
	case CodeMisplacedSegment:
		return "7" // it is not in its place
	default:
		return "2"
	}
}

// elementCode says what is wrong with an element, in the codes of IK403.
func elementCode(f *Fault) string {
	switch f.Code {
	case claim.CodeRequired:
		return "1"
	case claim.CodeTooLong, claim.CodeMoneyRange:
		return "5"
	case claim.CodeMoney, claim.CodeControlCharacter, CodeEncoding:
		if f.Found == "" && f.Code == claim.CodeMoney {
			return "1"
		}
		return "6"
	case claim.CodeServiceDate:
		return "8"
	case CodeClaimFrequency, CodePredetermination:
		return "I6" // the value is not used here
	case CodeHierarchy:
		if f.Column == "HL01" {
			return "1"
		}
		return "7"
	case claim.CodeNPIDigits, claim.RuleNPICheckDigit, claim.RuleProcedurePrefix, claim.RuleCDTPattern, claim.CodeMoneyPrecision:
		return "I12" // it is not of the form that it must have
	default:
		return "7"
	}
}

// loopOf names the loop of a segment, or of the one that is missing there, as the guide does;
// nothing where that is not told.
func loopOf(source *X12Source, e *x12Error) string {
	at := int32(e.index)
	entity := source.part.Segment(e.index).Trimmed(1)
	for level, names := range [...]struct{ own, name, entity string }{{"2000A", "2010AA", "85"}, {"2000B", "2010BA", "IL"}, {"2000C", "2010CA", "QC"}} {
		switch in := source.levels[level]; {
		case in.begin == 0 || at < in.begin || at >= in.end:
		case e.id == "HL" || e.id == "SBR" || e.id == "PAT":
			return names.own
		case e.id == "NM1" && (e.isMissing() || entity == names.entity):
			return names.name
		default:
			return ""
		}
	}
	if at < source.body.begin || e.id == "HL" {
		return ""
	}
	if e.id == "LX" {
		return "2400"
	}
	loop := bodyLoop(source.part, int(source.body.begin), e.index)
	switch {
	case e.id != "NM1":
		return loop
	case loop == "2300":
		return "2310B"
	case loop == "2400":
		return "2420A"
	default:
		return ""
	}
}

// bodyLoop finds the loop that was begun last in a claim, up to a segment.
func bodyLoop(part *x12.Part, begin, index int) string {
	for i := index; i > begin; i-- {
		switch part.Segment(i).ID() {
		case "SVD":
			return "2430"
		case "LX":
			return "2400"
		case "SBR":
			return "2320"
		}
	}
	return "2300"
}
