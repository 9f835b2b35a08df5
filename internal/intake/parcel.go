package intake

import "github.com/claimrail/claimrail/internal/claim"

// Row is one row of a file, byte for byte.
type Row struct {
	Number int    // from 1 behind the header; blank rows have none
	Line   int    // of the input, from 1, on which it begins
	Offset int64  // of Raw in the input, in bytes
	Raw    []byte // as it stood, line end included; only the last row may lack one
	// Rest: more of the row before, which has the same number and was longer than
	// MaxRowBytes. It comes in a Parcel of its own.
	Rest bool
}

// Parcel is what the file says of one claim. Draft.Lines[i] was read from Rows[i]; but of
// X12 there is one row alone, which says where it begins.
type Parcel struct {
	Draft *claim.Draft // nil: there is nothing to be accepted
	Rows  []Row
	// Refused is what is wrong with the rows as such. A claim with any of it must not
	// be accepted, even where Validate finds nothing; see the reader's Faults for both together.
	Refused []claim.Violation
	// Claims is how many claims it stands for: 1, but of a set of X12 that is refused as a whole
	// all that are in it, and 0 of a set without claims and of the rest of a row.
	Claims int
	// Lines is how many lines, or rows, it stands for; 0 where they could not be told.
	Lines int
	// Settled: every row before the one of this number is in this parcel or in one before it, so
	// that what is rejected can be written in the order in which it stood. CSV only.
	Settled int
	// Size is how many bytes are held in memory for it beside those of its rows: of X12 the whole
	// set, with the first parcel that comes of it, however many come.
	Size int

	X12 *X12Source // of X12 only; for the reader that made it
}

// Fault is one thing that is wrong, in the one shape that all of them have: with
// the header, with a row, or with what a row says. It holds no values.
type Fault struct {
	Row      int // from 1 behind the header, 0 for the header; the first row of a claim that is at fault as a whole
	Segment  int // of X12, from 1 in the file; Row is 0 then
	Line     int // of the input, from 1
	Field    claim.Field
	Column   string // the field's name as the header has it, or the element, such as "SV302"; may be empty
	Code     string
	Severity claim.Severity
	Found    string // the form of what was found: see Mask; empty where nothing was
	Part     string // of X12, where it is of no single claim: "set", "group", "interchange", or "segments" between sets
	Message  string // what to change
}

// maskOf gives the form of what a violation found, if it found a text, a number or a truth value.
func maskOf(found claim.Raw) string { return Mask(found.Text) }

// maxMaskBytes bounds a mask.
const maxMaskBytes = 24

// Mask gives the form of a value, and nothing of the value: each digit as 9, each letter as
// A, signs and spaces as they are, all else as ?. A value may stand in a field that is not its
// own, so that none may be shown, and its form mostly says what is wrong with it.
func Mask(text string) string {
	mask := make([]byte, 0, maxMaskBytes)
	for _, r := range text {
		if len(mask) == maxMaskBytes-len("...") && len(text) > maxMaskBytes {
			return string(append(mask, "..."...))
		}
		switch {
		case r >= '0' && r <= '9':
			mask = append(mask, '9')
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z':
			mask = append(mask, 'A')
		case r >= ' ' && r < 0x7f:
			mask = append(mask, byte(r))
		default:
			mask = append(mask, '?')
		}
		if len(mask) == maxMaskBytes {
			break
		}
	}
	return string(mask)
}

// Limits of a value that Show gives as it is.
const (
	maxShowBytes   = 32
	maxShowDigits  = 4
	maxShowLetters = 2 // beside digits
)

// Show gives a value as an error may say it: as it is, where it can be neither a subscriber
// number nor a date, or else its Mask. A date has its digits apart, or the name of a month, and a
// number that tells people apart is long: what is shown has no digits, or a few of them together, with a
// decimal point at most and two letters. D01x and Upper are shown, 3/2/18 and 12345 are not.
func Show(text string) string {
	digits, letters, points, runs := 0, 0, 0, 0
	var last byte
	for i := range len(text) {
		c := text[i]
		switch {
		case c >= '0' && c <= '9':
			digits++
			if last == '.' && runs > 0 {
				points++
			} else if last < '0' || last > '9' {
				runs++
			}
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z':
			letters++
		case c < ' ' || c >= 0x7f: // there are digits that are not ASCII
			return Mask(text)
		}
		last = c
	}
	if len(text) > maxShowBytes || digits > maxShowDigits || digits > 0 && (letters > maxShowLetters || runs > 1 || points > 1) {
		return Mask(text)
	}
	return text
}
