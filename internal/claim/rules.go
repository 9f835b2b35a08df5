package claim

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Severity says what a broken rule does to a claim.
type Severity uint8

// Severities. Error refuses the claim; Warning is stored and returned with it.
const (
	Off Severity = iota
	Warning
	Error
)

// String gives the word that configuration uses.
func (s Severity) String() string {
	return [...]string{"off", "warning", "error"}[s]
}

// Codes of violations: stable words for programs. Those in the second group are
// rules whose severity configuration sets, under the same name.
const (
	CodeRequired         = "required"
	CodeType             = "type"
	CodeRepeated         = "repeated-field"
	CodeControlCharacter = "control-character"
	CodeTooLong          = "too-long"
	CodeServiceDate      = "service-date"
	CodeNPIDigits        = "npi-digits"
	CodeMoney            = "money"
	CodeMoneyPrecision   = "money-precision"
	CodeMoneyRange       = "money-range"
	CodeMoneyNegative    = "money-negative"
	CodeNoLines          = "no-lines"
	CodeTooManyLines     = "too-many-lines"
	CodeClaimKey         = "claim-key"

	RuleProcedurePrefix = "procedure-prefix"
	RuleNPICheckDigit   = "npi-check-digit"
	RuleCDTPattern      = "cdt-pattern"
	RuleQuadrantCode    = "quadrant-code"
	RuleFutureDate      = "future-date"
	RuleAllowedOverFees = "allowed-above-billed"
)

// Rules holds the severity of every rule that has one to set. A claim that
// breaks any other code of this package can not be stored at all, so those are
// always errors.
type Rules struct {
	ProcedurePrefix Severity
	NPICheckDigit   Severity
	CDTPattern      Severity
	QuadrantCode    Severity
	FutureDate      Severity
	AllowedOverFees Severity
}

// DefaultRules: the brief's own rule is an error, everything else a warning.
func DefaultRules() Rules {
	return Rules{
		ProcedurePrefix: Error,
		NPICheckDigit:   Warning,
		CDTPattern:      Warning,
		QuadrantCode:    Warning,
		FutureDate:      Warning,
		AllowedOverFees: Warning,
	}
}

// ParseRules reads "npi-check-digit=error,cdt-pattern=off" over the defaults. An
// unknown rule or severity, or a rule named twice, is an error that lists what there is.
func ParseRules(text string) (Rules, error) {
	rules := DefaultRules()
	byName := map[string]*Severity{
		RuleProcedurePrefix: &rules.ProcedurePrefix,
		RuleNPICheckDigit:   &rules.NPICheckDigit,
		RuleCDTPattern:      &rules.CDTPattern,
		RuleQuadrantCode:    &rules.QuadrantCode,
		RuleFutureDate:      &rules.FutureDate,
		RuleAllowedOverFees: &rules.AllowedOverFees,
	}
	severities := map[string]Severity{"error": Error, "warning": Warning, "off": Off}
	seen := map[string]bool{}
	for item := range strings.SplitSeq(text, ",") {
		if item = strings.TrimSpace(item); item == "" {
			continue
		}
		name, word, _ := strings.Cut(item, "=")
		target, known := byName[name]
		if !known {
			return Rules{}, fmt.Errorf("unknown rule %q: use one of %s", name,
				strings.Join(slices.Sorted(maps.Keys(byName)), ", "))
		}
		severity, known := severities[word]
		if !known {
			return Rules{}, fmt.Errorf("rule %s has severity %q: use error, warning or off", name, word)
		}
		if seen[name] {
			return Rules{}, fmt.Errorf("rule %s is set twice", name)
		}
		seen[name], *target = true, severity
	}
	return rules, nil
}

// Violation is one broken rule at one place of a claim. Its message never holds
// a value; Found does, and whoever shows it decides whether it may be shown.
type Violation struct {
	Line     int // index of the line, from 0; WholeClaim where it is about none
	Field    Field
	Code     string
	Severity Severity
	Message  string // what to change
	Found    Raw
}

// WholeClaim in Violation.Line: the claim is at fault, not one of its lines.
const WholeClaim = -1
