package claim

import "errors"

// NPI is a National Provider Identifier: ten digits, kept as a number.
type NPI int64

const npiDigits = 10

// ErrNPI: the text is not ten digits.
var ErrNPI = errors.New("an NPI is exactly 10 digits")

// ParseNPI reads exactly ten ASCII digits, or gives ErrNPI. It does not look at
// the check digit: see CheckDigitOK.
func ParseNPI(text string) (NPI, error) {
	if len(text) != npiDigits {
		return 0, ErrNPI
	}
	var n NPI
	for i := range npiDigits {
		c := text[i]
		if c < '0' || c > '9' {
			return 0, ErrNPI
		}
		n = n*10 + NPI(c-'0')
	}
	return n, nil
}

// String gives the ten digits.
func (n NPI) String() string { return string(n.Append(make([]byte, 0, npiDigits))) }

// Append adds the ten digits to dst.
func (n NPI) Append(dst []byte) []byte {
	var text [npiDigits]byte
	for i := range text {
		text[npiDigits-1-i] = byte('0' + n%10)
		n /= 10
	}
	return append(dst, text[:]...)
}

// MarshalText gives the ten digits, so that JSON carries a string.
func (n NPI) MarshalText() ([]byte, error) { return n.Append(nil), nil }

// CheckDigitOK tells whether the last digit is the Luhn digit over 80840 and
// the first nine (source: the NPI final rule, 45 CFR 162.406).
func (n NPI) CheckDigitOK() bool {
	// The prefix 80840 adds 24 to the Luhn sum of any NPI.
	sum := 24
	rest := int64(n)
	for i := range npiDigits {
		digit := int(rest % 10)
		rest /= 10
		if i%2 == 1 {
			if digit *= 2; digit > 9 {
				digit -= 9
			}
		}
		sum += digit
	}
	return sum%10 == 0
}
