package intake_test

import (
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"github.com/claimrail/claimrail/internal/claim"
	"github.com/claimrail/claimrail/internal/intake"
)

// rowsOf gives a file with a row for each number, in their order.
func rowsOf(numbers ...string) string {
	var text strings.Builder
	text.WriteString("claim number," + csvHead + "\n")
	for _, number := range numbers {
		text.WriteString(number + "," + csvRow + "\n")
	}
	return text.String()
}

// fillers gives so many rows of claims of 900 lines.
func fillers(name string, rows int) []string {
	numbers := make([]string, rows)
	for i := range numbers {
		numbers[i] = fmt.Sprintf("%s-%d", name, i/900)
	}
	return numbers
}

// againOf gives a text as often as asked.
func againOf(text string) func() (io.Reader, error) {
	return func() (io.Reader, error) { return strings.NewReader(text), nil }
}

// parcelsOf gives the parcels of an open file.
func parcelsOf(t testing.TB, file *intake.File, err error) []*intake.Parcel {
	t.Helper()
	var parcels []*intake.Parcel
	for err == nil {
		var parcel *intake.Parcel
		if parcel, err = file.Next(); err == nil {
			parcels = append(parcels, parcel)
		}
	}
	if err != io.EOF {
		t.Fatal(err)
	}
	return parcels
}

// A claim of which a row stands outside of the window is refused whole: every row of it, those
// within the window too, and all of them are one claim. Others stay as they are.
func TestClaimsThatStandApart(t *testing.T) {
	t.Parallel()
	numbers := append([]string{"C", "C", "D"}, fillers("F", intake.WindowRows-5)...)
	numbers = append(append(numbers, "D"), fillers("G", intake.WindowRows)...)
	text := rowsOf(append(append(numbers, "C"), append(fillers("H", intake.WindowRows), "C", "C")...)...)
	for name, text := range map[string]string{"plain": text, "gzip": packed(t, text)} {
		file, err := intake.OpenAgain(againOf(text), intake.Options{})
		var parts []int
		claims := 0
		for _, parcel := range parcelsOf(t, file, err) {
			number := parcel.Draft.ExternalID.Text
			if number != "C" {
				if len(parcel.Refused) > 0 || parcel.Claims != 1 {
					t.Errorf("%s: got %s refused: %v", name, number, parcel.Refused)
				}
				continue
			}
			parts, claims = append(parts, len(parcel.Rows)), claims+parcel.Claims
			faults := file.Faults(parcel, nil)
			if len(faults) != len(parcel.Rows) {
				t.Errorf("%s: got %s, want one fault of each of the %d rows", name, describeFaults(faults), len(parcel.Rows))
			}
			for i, fault := range faults {
				if fault.Row != parcel.Rows[i].Number || fault.Code != intake.CodeClaimClosed || fault.Severity != claim.Error {
					t.Errorf("%s: got %s", name, describeFaults(faults))
				}
			}
		}
		if want := []int{2, 1, 2}; !cmp.Equal(parts, want) || claims != 1 {
			t.Errorf("%s: got parts of %v rows that are %d claims, want %v, of one", name, parts, claims, want)
		}
	}
}

// Where nothing stands apart, a file is given as without the look: claims side by side, without a
// number, too large, broken, and one whose last row is the last within the window.
func TestLookChangesNothing(t *testing.T) {
	t.Parallel()
	many := make([]string, 0, 4*intake.WindowRows)
	for i := range cap(many) - 3000 {
		many = append(many, fmt.Sprintf("N-%d", i/2000*500+i%500))
	}
	many = append(many, "", "")
	for range 3*claim.MaxLines + 4 {
		many = append(many, "L")
	}
	edge := append(append([]string{"E"}, fillers("F", intake.WindowRows-2)...), "E")
	broken := rowsOf("A", "B", `"A`, "B") + "A,B,C\n" + strings.Repeat("x", intake.MaxRowBytes+9) + "\nA," + csvRow
	for name, text := range map[string]string{
		"many": rowsOf(many...), "edge": rowsOf(edge...), "broken": broken,
		"without a number": csvHead + "\n" + strings.Repeat(csvRow+"\n", 2*intake.WindowRows),
	} {
		plain, err := intake.Open(strings.NewReader(text), intake.Options{})
		want := parcelsOf(t, plain, err)
		looked, err := intake.OpenAgain(againOf(text), intake.Options{})
		got := parcelsOf(t, looked, err)
		if len(got) != len(want) {
			t.Fatalf("%s: got %d parcels, want %d", name, len(got), len(want))
		}
		for i := range want {
			if !reflect.DeepEqual(got[i], want[i]) {
				t.Fatalf("%s, parcel %d: without the look -, with it +:\n%.2000s", name, i, cmp.Diff(want[i], got[i]))
			}
		}
	}
}

// A file of which too many claims stand apart is refused before any is given.
func TestTooManyStandApart(t *testing.T) {
	t.Parallel()
	numbers := make([]string, 2*65_537)
	for i := range numbers {
		numbers[i] = fmt.Sprintf("N-%d", i%(len(numbers)/2))
	}
	for _, tt := range []struct {
		rows    int
		refused bool
	}{{len(numbers), true}, {len(numbers) - 1, false}} {
		_, err := intake.OpenAgain(againOf(rowsOf(numbers[:tt.rows]...)), intake.Options{})
		if format, ok := errors.AsType[*intake.FormatError](err); ok != tt.refused || ok && !strings.Contains(format.Problem, "sort the file") {
			t.Errorf("%d rows: got %v, refused must be %t", tt.rows, err, tt.refused)
		}
	}
}

// What is wrong with a file is told as it is without the look; a source that breaks is no fault of
// the file, and the look is not thought to be whole.
func TestLookAtFileThatBreaks(t *testing.T) {
	t.Parallel()
	text := packed(t, rowsOf(fillers("F", 2*intake.WindowRows)...))
	for name, text := range map[string]string{"no header": "a,b\n1,2\n", "empty": "", "cut": text[:len(text)/2]} {
		plain, want := intake.Open(strings.NewReader(text), intake.Options{})
		for want == nil {
			_, want = plain.Next()
		}
		looked, got := intake.OpenAgain(againOf(text), intake.Options{})
		for got == nil {
			_, got = looked.Next()
		}
		if got.Error() != want.Error() {
			t.Errorf("%s: got %v, want %v", name, got, want)
		}
	}
	broken := errors.New("disk broken")
	_, err := intake.OpenAgain(func() (io.Reader, error) {
		return io.MultiReader(strings.NewReader(rowsOf("A", "B")), iotest.ErrReader(broken)), nil
	}, intake.Options{})
	if !errors.Is(err, broken) {
		t.Errorf("got %v, want %v", err, broken)
	}
}

// BenchmarkOpenAgain tells what the look adds to reading a file of claims of four lines.
func BenchmarkOpenAgain(b *testing.B) {
	numbers := make([]string, 100_000)
	for i := range numbers {
		numbers[i] = fmt.Sprintf("N-%d", i/4)
	}
	text := rowsOf(numbers...)
	for name, read := range map[string]bool{"look": false, "read": true} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			for b.Loop() {
				var file *intake.File
				var err error
				if read {
					file, err = intake.Open(strings.NewReader(text), intake.Options{})
				} else {
					_, err = intake.OpenAgain(againOf(text), intake.Options{})
				}
				for read && err == nil {
					_, err = file.Next()
				}
				if err != nil && err != io.EOF {
					b.Fatal(err)
				}
			}
		})
	}
}
