package claim

import (
	"errors"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/claimrail/claimrail/internal/money"
)

// Limits of the texts in a claim, in bytes. They are at least those of the X12
// elements that carry the same thing.
const (
	maxProcedureBytes  = 48
	maxQuadrantBytes   = 16
	maxPlanGroupBytes  = 80
	maxSubscriberBytes = 80
	maxExternalIDBytes = 128
)

// futureAllowance is how far ahead of our clock a service date may lie before
// it is called a date in the future: dates carry no zone, and zones differ by up to 14 h.
const futureAllowance = 24 * time.Hour

// Validator turns drafts into claims. The zero Identity derives ids from a zero
// secret; take the one that the claims database keeps.
type Validator struct {
	Rules    Rules
	Identity Identity
	Now      func() time.Time
}

// Validate checks the whole draft and gives either the claim, its warnings
// inside, or every violation of every line: errors first come, first listed, and
// the warnings among them.
func (v *Validator) Validate(draft *Draft) (*Claim, []Violation) {
	check := checker{rules: &v.Rules, now: v.Now()}
	check.line = WholeClaim
	externalID := check.externalID(draft.ExternalID)
	check.given(draft.Given)
	check.found = append(check.found, draft.Warnings...)
	switch {
	case len(draft.Lines) == 0:
		check.fail(NoField, CodeNoLines, "send at least one line", Raw{})
	case len(draft.Lines) > MaxLines:
		check.fail(NoField, CodeTooManyLines, "send at most 999 lines in one claim", Raw{})
		return nil, check.found
	}
	lines := make([]Line, len(draft.Lines))
	for i := range draft.Lines {
		check.line = i
		check.readLine(&draft.Lines[i], &lines[i])
	}
	if check.failed {
		return nil, check.found
	}
	key := draft.key(externalID)
	return &Claim{
		ID:          v.Identity.ClaimID(key),
		Version:     FirstVersion,
		Key:         key,
		ExternalID:  externalID,
		Fingerprint: fingerprint(lines),
		Lines:       lines,
		Warnings:    check.found,
	}, nil
}

// checker collects what is wrong with one draft.
type checker struct {
	rules  *Rules
	now    time.Time
	line   int
	found  []Violation
	failed bool
}

func (c *checker) report(severity Severity, field Field, code, message string, found Raw) {
	if severity == Off {
		return
	}
	c.found = append(c.found, Violation{c.line, field, code, severity, message, found})
	c.failed = c.failed || severity == Error
}

func (c *checker) fail(field Field, code, message string, found Raw) {
	c.report(Error, field, code, message, found)
}

func (c *checker) readLine(raw *RawLine, line *Line) {
	if raw.Shape != Object {
		c.fail(NoField, CodeType, "a line must be an object", Raw{Shape: raw.Shape})
		return
	}
	c.serviceDate(raw, line)
	c.procedure(raw, line)
	c.quadrant(raw, line)
	line.PlanGroupNumber, _ = c.text(PlanGroupField, raw.Fields[PlanGroupField], maxPlanGroupBytes)
	subscriber, _ := c.textOrInteger(SubscriberField, raw.Fields[SubscriberField], maxSubscriberBytes)
	line.SubscriberNumber = NewSubscriberNumber(subscriber)
	c.providerNPI(raw, line)
	billed := c.amount(ProviderFeesField, raw, &line.ProviderFees)
	allowed := c.amount(AllowedFeesField, raw, &line.AllowedFees)
	c.amount(CoinsuranceField, raw, &line.MemberCoinsurance)
	c.amount(CopayField, raw, &line.MemberCopay)
	if billed && allowed && line.AllowedFees > line.ProviderFees {
		c.report(c.rules.AllowedOverFees, AllowedFeesField, RuleAllowedOverFees,
			"the allowed fees are above the provider fees", raw.Fields[AllowedFeesField])
	}
}

func (c *checker) serviceDate(raw *RawLine, line *Line) {
	found := raw.Fields[ServiceDateField]
	text, ok := c.text(ServiceDateField, found, 0)
	if !ok {
		return
	}
	date, err := ParseServiceDate(text)
	if err != nil {
		c.fail(ServiceDateField, CodeServiceDate,
			"write a real date as MM/DD/YY HH:MM or as YYYY-MM-DD, optionally with THH:MM:SS and no zone", found)
		return
	}
	line.ServiceDate = date
	if date.Unix() > c.now.Add(futureAllowance).Unix() {
		c.report(c.rules.FutureDate, ServiceDateField, RuleFutureDate, "the service date is in the future", found)
	}
}

func (c *checker) procedure(raw *RawLine, line *Line) {
	found := raw.Fields[ProcedureField]
	text, ok := c.text(ProcedureField, found, maxProcedureBytes)
	if !ok {
		return
	}
	line.Procedure = text
	if text[0] != 'D' {
		c.report(c.rules.ProcedurePrefix, ProcedureField, RuleProcedurePrefix,
			"a submitted procedure must start with the letter D", found)
		return
	}
	if _, isCDT := digits(text[1:], 4, 4); !isCDT {
		c.report(c.rules.CDTPattern, ProcedureField, RuleCDTPattern,
			"a CDT code is the letter D and four digits", found)
	}
}

func (c *checker) quadrant(raw *RawLine, line *Line) {
	found := raw.Fields[QuadrantField]
	if found.Shape == Absent || found.Shape == Null || found.Shape == Text && strings.TrimSpace(found.Text) == "" {
		return
	}
	text, ok := c.text(QuadrantField, found, maxQuadrantBytes)
	if !ok {
		return
	}
	line.Quadrant = text
	switch text {
	case "UR", "UL", "LL", "LR", "10", "20", "30", "40", "00", "01", "02":
	default:
		c.report(c.rules.QuadrantCode, QuadrantField, RuleQuadrantCode,
			"a quadrant is one of UR, UL, LL, LR, 10, 20, 30, 40, 00, 01, 02", found)
	}
}

func (c *checker) providerNPI(raw *RawLine, line *Line) {
	found := raw.Fields[ProviderNPIField]
	text, ok := c.textOrInteger(ProviderNPIField, found, 0)
	if !ok {
		return
	}
	npi, err := ParseNPI(text)
	if err != nil {
		c.fail(ProviderNPIField, CodeNPIDigits, "an NPI must have exactly 10 digits", found)
		return
	}
	line.ProviderNPI = npi
	if !npi.CheckDigitOK() {
		c.report(c.rules.NPICheckDigit, ProviderNPIField, RuleNPICheckDigit,
			"the last digit of the NPI is not its check digit; was it mistyped?", found)
	}
}

// amount reads one of the four fees; ok is false where it is missing or wrong.
func (c *checker) amount(field Field, raw *RawLine, into *money.Cents) (ok bool) {
	found := raw.Fields[field]
	text := found.Text
	if found.Shape != Number {
		if text, ok = c.text(field, found, 0); !ok {
			return false
		}
	}
	cents, err := money.Parse(text)
	switch {
	case errors.Is(err, money.ErrPrecision):
		c.fail(field, CodeMoneyPrecision, "an amount has at most two decimals", found)
	case errors.Is(err, money.ErrRange):
		c.fail(field, CodeMoneyRange, "an amount is at most $"+money.MaxParsed.String(), found)
	case err != nil:
		c.fail(field, CodeMoney, "write an amount as $1,234.50 or 1234.5", found)
	case cents < 0:
		c.fail(field, CodeMoneyNegative, "an amount can not be negative", found)
	default:
		*into = cents
		return true
	}
	return false
}

// externalID reads the sender's claim number, which may be absent.
func (c *checker) externalID(found Raw) string {
	if found.Shape == Absent || found.Shape == Null {
		return ""
	}
	text, _ := c.textOrInteger(ExternalIDField, found, maxExternalIDBytes)
	return text
}

// maxGivenKeyBytes bounds a key that a reader gives: that of X12, the longest, has four
// control numbers and a claim number in it.
const maxGivenKeyBytes = 320

// given judges the key that the reader gave, if it gave one.
func (c *checker) given(key Key) {
	switch {
	case key.Kind == NoKey:
		return
	case !key.Kind.given(), key.Value == "", len(key.Value) > maxGivenKeyBytes, !isClean(key.Value):
		c.fail(NoField, CodeClaimKey, "this is no key of a claim; leave it as it was exported, or leave it out", Raw{})
	case key.Kind == IDKey:
		if _, ok := randomID(key.Value); !ok {
			c.fail(NoField, CodeClaimKey, "this is not the id of a claim without a key; leave it as it was exported, or leave it out", Raw{})
		}
	}
}

// textOrInteger is text, where a JSON integer counts as the text of its digits.
func (c *checker) textOrInteger(field Field, found Raw, maxBytes int) (string, bool) {
	if found.Shape == Number {
		for i := 0; i < len(found.Text); i++ {
			if found.Text[i] < '0' || found.Text[i] > '9' {
				c.fail(field, CodeType, "send a string, or an integer of digits only", found)
				return "", false
			}
		}
		found.Shape = Text
	}
	return c.text(field, found, maxBytes)
}

// text reads a required string: trimmed, not empty, of clean characters, and of
// maxBytes at most (0: no limit here, the caller's parser has its own).
func (c *checker) text(field Field, found Raw, maxBytes int) (string, bool) {
	switch found.Shape {
	case Text:
	case Absent, Null:
		c.fail(field, CodeRequired, "this field is required", found)
		return "", false
	case Repeated:
		c.fail(field, CodeRepeated, "two names in this line mean this field; send one", Raw{Shape: Repeated})
		return "", false
	default:
		c.fail(field, CodeType, "send a string", found)
		return "", false
	}
	text := strings.Trim(found.Text, " \t\r\n")
	switch {
	case text == "":
		c.fail(field, CodeRequired, "this field is required and must not be blank", found)
	case maxBytes > 0 && len(text) > maxBytes:
		c.fail(field, CodeTooLong, "this text is too long", found)
	case !isClean(text):
		c.fail(field, CodeControlCharacter, "remove the control characters", found)
	default:
		return text, true
	}
	return "", false
}

// isClean tells whether a text holds neither control characters nor characters
// that reorder or hide text, nor anything but UTF-8.
func isClean(text string) bool {
	for i := 0; i < len(text); i++ {
		if c := text[i]; c < ' ' || c >= 0x7f {
			return isCleanUnicode(text)
		}
	}
	return true
}

func isCleanUnicode(text string) bool {
	for _, r := range text {
		if r == utf8.RuneError || unicode.In(r, unicode.Cc, unicode.Cf, unicode.Co, unicode.Zl, unicode.Zp) {
			return false
		}
	}
	return true
}
