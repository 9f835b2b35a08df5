package money_test

import (
	"errors"
	"math"
	"math/big"
	"testing"

	"pgregory.net/rapid"

	"github.com/claimrail/claimrail/internal/money"
)

// Every way in which senders write an amount is read to the exact cent.
func TestParse(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]money.Cents{
		"$100.00":        10000,
		"$100.00 ":       10000,
		" $1,234.50 ":    123450,
		"1234.5":         123450,
		"0":              0,
		"007":            700,
		".5":             50,
		"$.05":           5,
		"$ 16.25":        1625,
		"-3":             -300,
		"-$0.05":         -5,
		"99,999,999.99":  9999999999,
		"$12,345,678.90": 1234567890,
	} {
		got, err := money.Parse(text)
		if err != nil || got != want {
			t.Errorf("Parse(%q): got %d, %v, want %d", text, got, err, want)
		}
	}
}

// What is not an amount is refused, and the kind of error says why.
func TestParseRefuses(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]error{
		"":                         money.ErrSyntax,
		" ":                        money.ErrSyntax,
		"$":                        money.ErrSyntax,
		".":                        money.ErrSyntax,
		"100.":                     money.ErrSyntax,
		"1,23.00":                  money.ErrSyntax,
		"1234,567":                 money.ErrSyntax,
		",123":                     money.ErrSyntax,
		"1,,234":                   money.ErrSyntax,
		"1,234,":                   money.ErrSyntax,
		"1e3":                      money.ErrSyntax,
		"0x10":                     money.ErrSyntax,
		"--1":                      money.ErrSyntax,
		"+1":                       money.ErrSyntax,
		"1.2.3":                    money.ErrSyntax,
		"12 34":                    money.ErrSyntax,
		"$$1":                      money.ErrSyntax,
		"(5.00)":                   money.ErrSyntax,
		"٣":                        money.ErrSyntax,
		"NaN":                      money.ErrSyntax,
		"1.005":                    money.ErrPrecision,
		"100000000":                money.ErrRange,
		"99999999999999999999":     money.ErrRange,
		"9223372036854775807.99":   money.ErrRange,
		"1,000,000,000,000,000.00": money.ErrRange,
	} {
		if got, err := money.Parse(text); !errors.Is(err, want) {
			t.Errorf("Parse(%q): got %d, %v, want %v", text, got, err, want)
		}
	}
}

// The text of any amount reads back as that amount, and agrees with exact
// rational arithmetic done by the standard library.
func TestStringIsExact(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		cents := rapid.Int64Range(int64(-money.MaxParsed), int64(money.MaxParsed)).Draw(t, "cents")
		text := money.Cents(cents).String()
		if want := big.NewRat(cents, 100).FloatString(2); text != want {
			t.Fatalf("got %q, want %q", text, want)
		}
		back, err := money.Parse(text)
		if err != nil || int64(back) != cents {
			t.Fatalf("read back %q: got %d, %v, want %d", text, back, err, cents)
		}
	})
	if got, want := money.Cents(math.MinInt64).String(), "-92233720368547758.08"; got != want {
		t.Errorf("smallest amount: got %s, want %s", got, want)
	}
}

// A total reads back from its text to the cent as far as int64 goes, both ways; a cent more, and what is no
// amount, is refused.
func TestTotals(t *testing.T) {
	t.Parallel()
	for _, want := range []money.Cents{math.MinInt64, math.MinInt64 + 1, -money.MaxParsed - 1, -1, 0, money.MaxParsed + 1, math.MaxInt64 - 1, math.MaxInt64} {
		checkTotal(t, want)
	}
	rapid.Check(t, func(t *rapid.T) { checkTotal(t, money.Cents(rapid.Int64().Draw(t, "cents"))) })
	for text, want := range map[string]error{
		"92233720368547758.08":     money.ErrRange,
		"-92233720368547758.09":    money.ErrRange,
		"92233720368547759":        money.ErrRange,
		"922337203685477580.7":     money.ErrRange,
		"184467440737095516.16":    money.ErrRange, // 2^64 cents
		"99999999999999999999":     money.ErrRange,
		"92233720368547758.075":    money.ErrPrecision,
		"92233720368547758.0x":     money.ErrSyntax,
		"9,2233720368547758":       money.ErrSyntax,
		"":                         money.ErrSyntax,
		"99999999999999999999e9":   money.ErrSyntax,
		"1,000,000,000,000,000,00": money.ErrSyntax,
	} {
		if got, err := money.ParseTotal(text); !errors.Is(err, want) {
			t.Errorf("ParseTotal(%q): got %d, %v, want %v", text, got, err, want)
		}
	}
	if got, err := money.ParseTotal(" $92,233,720,368,547,758.07 "); err != nil || got != math.MaxInt64 {
		t.Errorf("as people write it: got %d, %v, want %d", got, err, int64(math.MaxInt64))
	}
}

// checkTotal reads the text of an amount back, by itself and as a part of JSON.
func checkTotal(t interface{ Errorf(string, ...any) }, want money.Cents) {
	if got, err := money.ParseTotal(want.String()); err != nil || got != want {
		t.Errorf("ParseTotal(%q): got %d, %v, want %d", want, got, err, int64(want))
	}
	text, err := want.MarshalText()
	if err != nil {
		t.Errorf("%d: %v", int64(want), err)
	}
	var got money.Cents
	if err := got.UnmarshalText(text); err != nil || got != want {
		t.Errorf("UnmarshalText(%q): got %d, %v, want %d", text, got, err, int64(want))
	}
}

// A sum is either exact or an error; it never wraps around.
func TestSumNeverWraps(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		a := rapid.Int64().Draw(t, "a")
		b := rapid.Int64().Draw(t, "b")
		exact := new(big.Int).Add(big.NewInt(a), big.NewInt(b))
		got, err := money.Sum(money.Cents(a), money.Cents(b))
		switch {
		case exact.IsInt64() && (err != nil || int64(got) != exact.Int64()):
			t.Fatalf("got %d, %v, want %d", got, err, exact)
		case !exact.IsInt64() && !errors.Is(err, money.ErrRange):
			t.Fatalf("got %d, %v, want %v", got, err, money.ErrRange)
		}
	})
}

// Any bytes at all are answered without a panic, and what is taken is canonical
// after one round.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{"$1,234.50 ", "-.5", "0", "99,999,999.99", "1e3", "\x00"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, err := money.Parse(text)
		if err != nil {
			return
		}
		if back, err := money.Parse(got.String()); err != nil || back != got {
			t.Errorf("%q is %d, read back as %d, %v", text, got, back, err)
		}
		if total, err := money.ParseTotal(text); err != nil || total != got {
			t.Errorf("%q is %d, as a total %d, %v", text, got, total, err)
		}
	})
}
