package intake_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/claimrail/claimrail/internal/claim"
	"github.com/claimrail/claimrail/internal/intake"
)

// What is short and no date is shown as it is, all else by its form.
func TestShow(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":                      "",
		"Z0180":                 "Z0180",
		"d01x":                  "d01x",
		"Upper Right":           "Upper Right",
		"-5.00":                 "-5.00",
		"$.555":                 "$.555",
		"12345":                 "99999",
		"149777553":             "999999999",
		"373-01-89":             "999-99-99",
		"3/2/18":                "9/9/99",
		"3.2.18":                "9.9.99",
		"2/18":                  "9/99",
		"2 Mar 18":              "9 AAA 99",
		"Mar18":                 "AAA99",
		"٣٧٣٠":                  "????",
		strings.Repeat("a", 33): strings.Repeat("A", 21) + "...",
	} {
		if got := intake.Show(text); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}

// No subscriber number of five digits or more, and no date in any usual way to write one, is shown,
// however it is wrapped: of a masked value no digit but 9 is left.
func TestShowHidesGenerated(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	layouts := []string{
		"1/2/06", "1/2/06 15:04", "01/02/2006", "2006-01-02", "2006-01-02T15:04:05", "20060102", "010206", "2.1.06", "1-2-06",
		"Jan 2, 2006", "2 January 06", "02Jan06", "Jan 06", time.RFC1123,
	}
	for range 20_000 {
		day := time.Unix(random.Int64N(4e9), 0).UTC()
		number := fmt.Sprint(10_000 + random.Int64N(1e13))
		part := 1 + random.IntN(len(number)-1)
		values := []string{number, "W" + number, number[:part] + "-" + number[part:], number[:part] + " " + number[part:]}
		for _, layout := range layouts {
			values = append(values, day.Format(layout))
		}
		for _, value := range values {
			for _, text := range []string{value, " " + value, "x" + value, `{"a": "` + value + `"}`, value + "\n"} {
				if got := intake.Show(text); strings.ContainsAny(got, "012345678") {
					t.Fatalf("%q: got %q, want no digit of it", text, got)
				}
			}
		}
	}
}

// Whatever is read as a service date is not shown.
func FuzzShowHidesDates(f *testing.F) {
	for _, text := range []string{"3/28/18 0:00", "1/1/11", "2018-03-28", "2018-03-28T00:00:00", "D0180", "1.5"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if _, err := claim.ParseServiceDate(text); err == nil && strings.ContainsAny(intake.Show(text), "012345678") {
			t.Errorf("%q is a date, and is shown as %q", text, intake.Show(text))
		}
	})
}
