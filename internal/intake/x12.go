package intake

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/claimrail/claimrail/internal/claim"
	"github.com/claimrail/claimrail/internal/x12"
)

// Limits of claims in X12, beside those of package x12.
const (
	// MaxSetClaims is how many claims a transaction set may have; the guide's limit.
	MaxSetClaims = 5_000
	// MaxSetLevels is how many HL segments a set may have: with each claim its own billing
	// provider, subscriber and patient there are three for one.
	MaxSetLevels = 3 * MaxSetClaims
	// maxReaderFaults is how many faults the reader itself finds in one claim; the first say
	// enough.
	maxReaderFaults = 100
)

// Codes of what can be wrong with X12, beside those of packages claim and x12.
const (
	CodeSetType             = "set-type"            // ST01 is not 837
	CodeGuide               = "guide"               // not the guide of dental claims
	CodeTooManyClaims       = "too-many-claims"     // more than MaxSetClaims
	CodeTooManyLevels       = "too-many-levels"     // more than MaxSetLevels
	CodeNoClaims            = "no-claims"           // a set without any
	CodeHierarchy           = "hierarchy"           // HL segments that do not fit together
	CodeClaimAmount         = "claim-amount"        // CLM02 is not the sum of the lines
	CodeClaimFrequency      = "claim-frequency"     // CLM05-3: not an original claim
	CodePredetermination    = "predetermination"    // CLM19: nothing is to be paid yet
	CodeProcedureQualifier  = "procedure-qualifier" // SV301-1 is not AD
	CodeOtherPayers         = "other-payers"        // amounts of more than one other payer
	CodeMisplacedSegment    = x12.CodeMisplacedSegment
	CodeAmountsAssumed      = "amounts-assumed"    // a warning: X12 carries no allowed fees
	CodeServiceDateRange    = "service-date-range" // a warning: the first day of the range was taken
	CodeClaimAdjustment     = "claim-adjustment"   // a warning: an amount of the claim was put to its first line
	dentalSet               = "837"
	dentalGuide             = "005010X224"
	dentalGroup             = "HC"
	acknowledgementFunction = "FA"
)

// X12Reader reads dental claims from X12 837: any number of interchanges, groups and sets. A claim is
// given when its set was seen to its end and its counts and numbers fit; a set that is
// wrong is refused whole, and the next one is read.
//
// The guide is 005010X224A2; its other releases, 005010X224 and with A1 or A3, have what is read
// here in the same places, and are read too.
type X12Reader struct {
	parts *x12.Reader
	walk  x12Walk
	// what most claims are warned of; nobody changes them
	assumedAll, assumedAllowed []claim.Violation
}

// X12Source is where in the input a parcel of X12 comes from. Nothing in it changes any more.
type X12Source struct {
	part   *x12.Part
	levels [levelCount]x12Range // billing provider, subscriber and patient: the HL and what belongs to it
	lost   x12Range             // in their place: an HL of a level that is not known
	body   x12Range             // the claim itself; empty where the parcel is none
	// of the levels: where the fields of all lines stand, 0 for nowhere
	provider, group, member int32
	head                    int32                    // the end of what stands in front of the hierarchy
	controls                [levelCount + 1]x12Place // characters that may not be, in the levels and in the head
	wrong                   x12Place                 // why the levels can not be used
	places                  []x12Place               // of what the parcel was refused for, in its order
}

// x12Range is a range of segments of a set, by index.
type x12Range struct{ begin, end int32 }

// x12Place is where a fault stands: the index of a segment of the set, and an element.
type x12Place struct {
	segment int32
	element string // such as "NM109"; of a segment that is missing where its ID is another
}

// NewX12 reads the first header. Errors: *SyntaxError, and those of r, wrapped.
func NewX12(r io.Reader) (*X12Reader, error) {
	parts, err := x12.NewReader(r)
	if syntax, ok := errors.AsType[*x12.SyntaxError](err); ok {
		return nil, &SyntaxError{Line: syntax.Line, Column: syntax.Column, Problem: syntax.Problem}
	}
	if err != nil {
		return nil, err
	}
	warning := func(message string) []claim.Violation {
		return []claim.Violation{{
			Line: claim.WholeClaim, Field: claim.AllowedFeesField, Code: CodeAmountsAssumed, Severity: claim.Warning, Message: message,
		}}
	}
	return &X12Reader{
		parts:          parts,
		assumedAll:     warning("X12 carries no allowed fees, and no other payer's coinsurance and copay are given: the fees as billed, 0 and 0 were taken"),
		assumedAllowed: warning("X12 carries no allowed fees: the fees as billed were taken"),
	}, nil
}

// Next gives the next claim, or a set that is refused as a whole, or a note about an envelope, in
// the order in which they stand. Errors: io.EOF at the end, and those of the reader, wrapped.
func (x *X12Reader) Next() (*Parcel, error) {
	for {
		if x.walk.part != nil {
			if source := x.walk.next(); source != nil {
				return x.parcel(source), nil
			}
			x.walk = x12Walk{}
		}
		part, err := x.parts.Next()
		if err != nil {
			return nil, err
		}
		claims, lines, levels := countX12(part)
		faults := part.Faults
		if part.Kind == x12.TransactionSet && len(faults) == 0 {
			if faults = judgeSet(part, claims, levels); len(faults) == 0 {
				x.walk = newX12Walk(part)
				continue
			}
		}
		return refusedPart(part, claims, lines, faults), nil
	}
}

// countX12 counts what a part holds. Only a set of this guide has lines that are told so.
func countX12(part *x12.Part) (claims, lines, levels int) {
	for i := range part.Len() {
		switch {
		case part.Is(i, "CLM"):
			claims++
		case part.Is(i, "LX"):
			lines++
		case part.Is(i, "HL"):
			levels++
		}
	}
	return claims, lines, levels
}

// judgeSet says why a set whose envelope is well is refused; nothing if it is not.
func judgeSet(part *x12.Part, claims, levels int) []x12.Fault {
	header := part.Segment(0)
	guide := header.Trimmed(3)
	if guide == "" {
		guide = part.Group.Header.Trimmed(8)
	}
	refuse := func(element, code, message string) []x12.Fault {
		return []x12.Fault{{Segment: part.First, Line: part.Line, Element: element, Code: code, Message: message}}
	}
	switch {
	case header.Trimmed(1) != dentalSet:
		return refuse("ST01", CodeSetType, "send claims as transaction set 837; this is another one")
	case part.Group.Header.Trimmed(1) != dentalGroup:
		return refuse("ST01", CodeSetType, "send claims in a group of HC (GS01); this is another one")
	case !isDentalGuide(guide) || !isDentalGuide(part.Group.Header.Trimmed(8)):
		return refuse("ST03", CodeGuide, "send dental claims by guide 005010X224A2 (ST03 and GS08); this is another one")
	case claims == 0:
		return refuse("ST", CodeNoClaims, "leave out a transaction set without claims")
	case claims > MaxSetClaims:
		return refuse("ST", CodeTooManyClaims, "put at most 5000 claims into one transaction set")
	case levels > MaxSetLevels:
		return refuse("ST", CodeTooManyLevels, "put at most 15000 HL segments into one transaction set")
	default:
		return nil
	}
}

// isDentalGuide tells whether a guide is that of dental claims, in any release.
func isDentalGuide(guide string) bool {
	switch release, found := strings.CutPrefix(guide, dentalGuide); release {
	case "", "A1", "A2", "A3":
		return found
	default:
		return false
	}
}

// refusedPart makes the parcel of what can not be read as claims.
func refusedPart(part *x12.Part, claims, lines int, faults []x12.Fault) *Parcel {
	source := &X12Source{part: part}
	parcel := &Parcel{Claims: claims, Lines: lines, Rows: []Row{{Line: part.Line, Offset: part.Offset}}, Size: part.Size(), X12: source}
	for _, fault := range faults {
		parcel.Refused = append(parcel.Refused, claim.Violation{
			Line: claim.WholeClaim, Field: claim.NoField, Code: fault.Code, Severity: claim.Error, Message: fault.Message,
		})
		source.places = append(source.places, x12Place{int32(fault.Segment - part.First), fault.Element})
	}
	return parcel
}

// parcel makes the parcel of a claim.
func (x *X12Reader) parcel(source *X12Source) *Parcel {
	reading := &x.walk.reading
	reading.read(source)
	clm := source.body.begin
	number := reading.text(claim.WholeClaim, claim.ExternalIDField, clm, "CLM01", strings.Trim(source.part.Segment(int(clm)).Element(1), blanks))
	draft := &claim.Draft{
		ExternalID: number,
		Given:      claim.Key{Kind: claim.X12Key, Value: x.walk.keyPrefix + escapedKey(number.Text)},
		Lines:      reading.draftLines(source),
	}
	draft.Warnings = x.warnings(reading)
	source.places = reading.places
	size := x.walk.unweighed
	x.walk.unweighed = 0
	return &Parcel{
		Draft: draft, Refused: reading.refused, Claims: 1, Lines: reading.lineCount, Size: size, X12: source,
		Rows: []Row{{Line: source.part.LineOf(int(clm)), Offset: source.part.OffsetOf(int(clm))}},
	}
}

// warnings gives what the format left open in a claim.
func (x *X12Reader) warnings(reading *x12Reading) []claim.Violation {
	warnings := x.assumedAll
	if reading.adjusted {
		warnings = x.assumedAllowed
	}
	if len(reading.warnings) == 0 {
		return warnings
	}
	return append(warnings[:len(warnings):len(warnings)], reading.warnings...)
}

// keySeparator stands between the parts of a key.
const keySeparator = "*"

// x12KeyPrefix gives what all keys of a set begin with: who sent it, and the numbers of the
// three envelopes. With the claim's own number behind it a key is unique as far as the sender
// keeps to the rules, and unambiguous in any case.
func x12KeyPrefix(part *x12.Part) string {
	header := part.Interchange.Header
	return fmt.Sprint(
		escapedKey(header.Trimmed(6)), keySeparator, escapedKey(header.Trimmed(13)), keySeparator,
		escapedKey(part.Group.Header.Trimmed(6)), keySeparator, escapedKey(part.Segment(0).Trimmed(2)), keySeparator,
	)
}

// escapedKey puts a backslash in front of what would end a part of a key.
func escapedKey(text string) string {
	if strings.ContainsAny(text, keySeparator+`\`) {
		return strings.NewReplacer(keySeparator, `\`+keySeparator, `\`, `\\`).Replace(text)
	}
	return text
}
