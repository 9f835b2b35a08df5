package claim

import (
	"errors"
	"strings"
	"time"
)

// ErrServiceDate: the text is in none of the accepted forms, or no such day exists.
var ErrServiceDate = errors.New("not a date as MM/DD/YY HH:MM or YYYY-MM-DD[THH:MM[:SS]]")

const (
	minYear = 1900
	maxYear = 2199
	// twoDigitPivot: two-digit years up to 68 are 20xx, from 69 on 19xx.
	twoDigitPivot = 68
)

// ParseServiceDate reads MM/DD/YY HH:MM, padded or not, with two or four digits
// of year, and ISO 8601 as a date or a date and time without a zone. A missing
// time is midnight. Error: ErrServiceDate.
func ParseServiceDate(text string) (ServiceDate, error) {
	day, clock, hasClock := strings.Cut(text, " ")
	if !hasClock {
		day, clock, hasClock = strings.Cut(text, "T")
	}
	var year, month, dayOfMonth int
	var ok bool
	if strings.IndexByte(day, '/') >= 0 {
		year, month, dayOfMonth, ok = parseSlashed(day)
	} else {
		year, month, dayOfMonth, ok = parseISODay(day)
	}
	if !ok || year < minYear || year > maxYear {
		return ServiceDate{}, ErrServiceDate
	}
	var hour, minute, second int
	if hasClock {
		if hour, minute, second, ok = parseClock(strings.TrimLeft(clock, " ")); !ok {
			return ServiceDate{}, ErrServiceDate
		}
	}
	at := time.Date(year, time.Month(month), dayOfMonth, hour, minute, second, 0, time.UTC)
	if at.Day() != dayOfMonth || int(at.Month()) != month {
		return ServiceDate{}, ErrServiceDate // 31 April and the like
	}
	return ServiceDate{at.Unix()}, nil
}

// parseSlashed reads M/D/YY or M/D/YYYY.
func parseSlashed(text string) (year, month, day int, ok bool) {
	first, rest, _ := strings.Cut(text, "/")
	second, third, _ := strings.Cut(rest, "/")
	month, okMonth := digits(first, 1, 2)
	day, okDay := digits(second, 1, 2)
	switch len(third) {
	case 2:
		if year, ok = digits(third, 2, 2); year <= twoDigitPivot {
			year += 2000
		} else {
			year += 1900
		}
	case 4:
		year, ok = digits(third, 4, 4)
	}
	return year, month, day, ok && okMonth && okDay
}

// parseISODay reads YYYY-MM-DD.
func parseISODay(text string) (year, month, day int, ok bool) {
	if len(text) != len("2006-01-02") || text[4] != '-' || text[7] != '-' {
		return 0, 0, 0, false
	}
	year, okYear := digits(text[:4], 4, 4)
	month, okMonth := digits(text[5:7], 2, 2)
	day, okDay := digits(text[8:], 2, 2)
	return year, month, day, okYear && okMonth && okDay
}

// parseClock reads H:MM or H:MM:SS.
func parseClock(text string) (hour, minute, second int, ok bool) {
	first, rest, _ := strings.Cut(text, ":")
	middle, last, hasSeconds := strings.Cut(rest, ":")
	hour, okHour := digits(first, 1, 2)
	minute, okMinute := digits(middle, 2, 2)
	okSecond := true
	if hasSeconds {
		second, okSecond = digits(last, 2, 2)
	}
	ok = okHour && okMinute && okSecond && hour < 24 && minute < 60 && second < 60
	return hour, minute, second, ok
}

// digits reads a number of atLeast to atMost ASCII digits.
func digits(text string, atLeast, atMost int) (n int, ok bool) {
	if len(text) < atLeast || len(text) > atMost {
		return 0, false
	}
	for i := 0; i < len(text); i++ {
		if text[i] < '0' || text[i] > '9' {
			return 0, false
		}
		n = n*10 + int(text[i]-'0')
	}
	return n, true
}
