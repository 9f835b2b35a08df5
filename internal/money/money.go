// Package money is the meaning of a cent. Every amount on the line, from the
// bytes of a claim to the payment row, is a whole number of US cents; no float
// ever holds one, and no sum wraps around unnoticed.
package money

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Cents is an amount in US cents. It may be negative: a net fee can be.
type Cents int64

// MaxParsed is the largest amount, in cents, that Parse takes: $99,999,999.99.
// It leaves room for 92 billion such amounts in one total before int64 is full.
const MaxParsed Cents = 99_999_999_99

// maxText bounds what Parse looks at, in bytes; the longest amount is far shorter.
const maxText = 64

// Errors that Parse and Add report. Test for them with errors.Is.
var (
	// ErrSyntax: the text is not an amount such as $1,234.50 or 1234.5.
	ErrSyntax = errors.New("not an amount of money")
	// ErrPrecision: the text has more than two decimals.
	ErrPrecision = errors.New("more than two decimals")
	// ErrRange: the amount, or the sum, is beyond what can be held.
	ErrRange = errors.New("amount out of range")
)

// Parse reads an amount as people and spreadsheets write it: "$81.25",
// "$1,234.50 ", "1234.5", "-3". Spaces around it are ignored; thousands
// separators must stand where thousands are. Errors: ErrSyntax, ErrPrecision,
// ErrRange.
func Parse(text string) (Cents, error) {
	magnitude, negative, err := parse(text, uint64(MaxParsed))
	if err != nil {
		return 0, err
	}
	if negative {
		return -Cents(magnitude), nil
	}
	return Cents(magnitude), nil
}

// ParseTotal reads what Parse reads, and amounts beyond MaxParsed too: sums of any
// number of fees, as far as int64 holds them. A fee itself is for Parse.
func ParseTotal(text string) (Cents, error) {
	magnitude, negative, err := parse(text, -math.MinInt64)
	switch {
	case err != nil:
		return 0, err
	case negative:
		return Cents(-magnitude), nil // of the smallest, too, whose magnitude no Cents holds
	case magnitude > math.MaxInt64:
		return 0, ErrRange
	}
	return Cents(magnitude), nil
}

// parse reads an amount of at most so many cents, whatever its sign.
func parse(text string, most uint64) (magnitude uint64, negative bool, err error) {
	rest := strings.TrimSpace(text)
	if rest == "" || len(rest) > maxText {
		return 0, false, ErrSyntax
	}
	rest, negative = strings.CutPrefix(rest, "-")
	rest, _ = strings.CutPrefix(rest, "$")
	rest = strings.TrimLeft(rest, " ")
	whole, decimals, hasPoint := strings.Cut(rest, ".")
	if hasPoint && decimals == "" || whole == "" && !hasPoint {
		return 0, false, ErrSyntax
	}
	dollars, err := parseWhole(whole, most/100)
	if err != nil {
		return 0, false, err
	}
	cents, err := parseDecimals(decimals)
	if err != nil {
		return 0, false, err
	}
	if magnitude = dollars*100 + cents; magnitude > most {
		return 0, false, ErrRange
	}
	return magnitude, negative, nil
}

// parseWhole reads at most so many dollars, in whole dollars; "" is 0, as in ".50".
func parseWhole(text string, most uint64) (dollars uint64, err error) {
	groups := 0 // digits since the last comma
	seenComma := false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == ',':
			if groups == 0 || groups > 3 || seenComma && groups != 3 {
				return 0, ErrSyntax
			}
			seenComma, groups = true, 0
		case c >= '0' && c <= '9':
			groups++
			if dollars > most {
				continue // already out of range; go on to tell nonsense from large
			}
			dollars = dollars*10 + uint64(c-'0')
		default:
			return 0, ErrSyntax
		}
	}
	if seenComma && groups != 3 {
		return 0, ErrSyntax
	}
	if dollars > most {
		return 0, ErrRange
	}
	return dollars, nil
}

// parseDecimals reads the part behind the point, in cents.
func parseDecimals(text string) (uint64, error) {
	for i := 0; i < len(text); i++ {
		if text[i] < '0' || text[i] > '9' {
			return 0, ErrSyntax
		}
	}
	switch len(text) {
	case 0:
		return 0, nil
	case 1:
		return uint64(text[0]-'0') * 10, nil
	case 2:
		return uint64(text[0]-'0')*10 + uint64(text[1]-'0'), nil
	default:
		return 0, ErrPrecision
	}
}

// String gives the amount in dollars with two decimals and no sign for the
// currency: "81.25", "-0.05".
func (c Cents) String() string {
	return string(c.Append(make([]byte, 0, 24)))
}

// Append adds the text of String to dst.
func (c Cents) Append(dst []byte) []byte {
	magnitude := uint64(c)
	if c < 0 {
		dst = append(dst, '-')
		magnitude = -magnitude
	}
	dst = strconv.AppendUint(dst, magnitude/100, 10)
	rest := magnitude % 100
	return append(dst, '.', byte('0'+rest/10), byte('0'+rest%10))
}

// MarshalText writes the decimal string of String, so that JSON carries "81.25".
func (c Cents) MarshalText() ([]byte, error) {
	return c.Append(nil), nil
}

// UnmarshalText reads what MarshalText wrote, be it a total, and whatever else ParseTotal takes.
func (c *Cents) UnmarshalText(text []byte) error {
	parsed, err := ParseTotal(string(text))
	if err != nil {
		return err
	}
	*c = parsed
	return nil
}

// Add gives c + d, or ErrRange where the sum does not fit.
func (c Cents) Add(d Cents) (Cents, error) {
	if d > 0 && c > math.MaxInt64-d || d < 0 && c < math.MinInt64-d {
		return 0, fmt.Errorf("add %d and %d cents: %w", int64(c), int64(d), ErrRange)
	}
	return c + d, nil
}

// Sum adds up all amounts, or gives ErrRange where a partial sum does not fit.
func Sum(amounts ...Cents) (Cents, error) {
	var total Cents
	for _, amount := range amounts {
		var err error
		if total, err = total.Add(amount); err != nil {
			return 0, err
		}
	}
	return total, nil
}
