package sample

import (
	"strings"

	"github.com/claimrail/claimrail/internal/claim"
	"github.com/claimrail/claimrail/internal/money"
)

// Bad is what is wrong with a claim. All kinds are errors under the default rules, and
// all but the first name can not be set to anything less.
type Bad uint8

// Kinds of bad claims.
const (
	Good           Bad = iota
	BadProcedure       // a procedure that does not start with D
	BadNPI             // an NPI of nine digits
	BadPrecision       // provider fees with three decimals
	BadAmount          // provider fees with the letter O in place of zeros
	BadNegative        // provider fees below zero
	NoSubscriber       // no subscriber number, on no line
	ImpossibleDate     // 30 February

	badKinds = iota - 1
)

// verdicts are the names of the kinds, and what is found where a claim is one of them.
var verdicts = [...]struct {
	name  string
	field claim.Field
	code  string
}{
	Good:           {"good", claim.NoField, ""},
	BadProcedure:   {"procedure", claim.ProcedureField, claim.RuleProcedurePrefix},
	BadNPI:         {"npi", claim.ProviderNPIField, claim.CodeNPIDigits},
	BadPrecision:   {"precision", claim.ProviderFeesField, claim.CodeMoneyPrecision},
	BadAmount:      {"amount", claim.ProviderFeesField, claim.CodeMoney},
	BadNegative:    {"negative", claim.ProviderFeesField, claim.CodeMoneyNegative},
	NoSubscriber:   {"subscriber", claim.SubscriberField, claim.CodeRequired},
	ImpossibleDate: {"date", claim.ServiceDateField, claim.CodeServiceDate},
}

// String gives the kind's name, such as "procedure".
func (b Bad) String() string { return verdicts[b].name }

// Verdict gives the one field that is found wrong, and the code of the violation: on
// Claim.BadLine, or on every line. It is for what is not Good.
func (b Bad) Verdict() (field claim.Field, code string) {
	return verdicts[b].field, verdicts[b].code
}

// ofClaim tells whether all lines are wrong: what a claim has once in some format can
// be missing from all its lines only.
func (b Bad) ofClaim() bool { return b == NoSubscriber }

// appendProcedure appends a procedure as it is to be written.
func (b Bad) appendProcedure(dst []byte, code string) []byte {
	if b == BadProcedure {
		return append(append(dst, 'P'), strings.TrimPrefix(code, "D")...)
	}
	return append(dst, code...)
}

// appendNPI appends an NPI as it is to be written.
func (b Bad) appendNPI(dst []byte, npi claim.NPI) []byte {
	if b == BadNPI {
		npi /= 10 // ten digits, the first of them 9, become nine
	}
	return appendPadded(dst, 0, uint64(npi))
}

// appendBilled appends provider fees as they are to be written, behind a sign for the
// currency, which may be empty.
func (b Bad) appendBilled(dst []byte, currency string, cents money.Cents) []byte {
	if b == BadNegative {
		dst = append(dst, '-')
	}
	dst = cents.Append(append(dst, currency...))
	switch b {
	case BadPrecision:
		dst = append(dst, '5')
	case BadAmount:
		dst = append(dst[:len(dst)-2], "OO"...)
	}
	return dst
}

// date gives the parts of a service date as they are to be written.
func (b Bad) date(date claim.ServiceDate) (year, month, day uint64) {
	year, month, day = civil(date)
	if b == ImpossibleDate {
		month, day = 2, 30
	}
	return year, month, day
}
