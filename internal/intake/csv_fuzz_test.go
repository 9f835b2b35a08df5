package intake_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/claimrail/claimrail/internal/claim"
	"github.com/claimrail/claimrail/internal/intake"
)

// checkRows proves that the rows of all claims, in the order of the input, are the
// input: nothing lies between them but blank rows, numbers rise by one, and lines
// are counted right.
func checkRows(t *testing.T, input []byte, header []byte, rows []intake.Row) {
	t.Helper()
	if !bytes.HasPrefix(input, header) {
		t.Fatalf("header %q is not the start of the input", header)
	}
	slices.SortFunc(rows, func(a, b intake.Row) int { return int(a.Offset - b.Offset) })
	at, number := int64(len(header)), 0
	for _, row := range rows {
		if row.Offset < at || !bytes.HasPrefix(input[row.Offset:], row.Raw) || len(row.Raw) == 0 {
			t.Fatalf("row %d at %d: %q does not stand there, or was given before", row.Number, row.Offset, row.Raw)
		}
		if gap := input[at:row.Offset]; len(bytes.Trim(gap, " \t,;\r\n")) > 0 {
			t.Fatalf("%q in front of row %d was lost", gap, row.Number)
		}
		if !row.Rest {
			number++
		}
		before := strings.ReplaceAll(strings.ReplaceAll(string(input[:row.Offset]), "\r\n", "\n"), "\r", "\n")
		ends := strings.Count(before, "\n")
		if row.Number != number || row.Line != ends+1 {
			t.Fatalf("at %d: got row %d on line %d, want %d, %d", row.Offset, row.Number, row.Line, number, ends+1)
		}
		at = row.Offset + int64(len(row.Raw))
	}
	if gap := input[at:]; len(bytes.Trim(gap, " \t,;\r\n")) > 0 {
		t.Fatalf("%q at the end was lost", gap)
	}
}

// checkSettled proves of a parcel, the last of those with the rows given, that all rows in front
// of its Settled were given, and that it stands for the rows that it has; settled is that
// of the parcel before.
func checkSettled(t *testing.T, parcel *intake.Parcel, given []intake.Row, settled *int) {
	t.Helper()
	below, lines := map[int]bool{}, 0
	for i, row := range given {
		if row.Number < parcel.Settled {
			below[row.Number] = true
		}
		if i >= len(given)-len(parcel.Rows) {
			if row.Number < *settled {
				t.Fatalf("row %d is given, though rows below %d were settled", row.Number, *settled)
			}
			if !row.Rest {
				lines++
			}
		}
	}
	if len(below) != parcel.Settled-1 {
		t.Fatalf("got %d rows below %d, want all", len(below), parcel.Settled)
	}
	if claims := min(lines, 1); parcel.Lines != lines || parcel.Claims != claims {
		t.Fatalf("got %d claims of %d lines, want %d of %d", parcel.Claims, parcel.Lines, claims, lines)
	}
	*settled = parcel.Settled
}

// No file makes the reader panic, lose a byte, give a claim twice or refuse one
// without a reason.
func FuzzCSV(f *testing.F) {
	for _, test := range trials(f, "csv.verdicts") {
		f.Add([]byte(test.input))
	}
	f.Fuzz(func(t *testing.T, marked []byte) {
		input := []byte(expandCSV(string(marked))) // so that a change does not break the header first
		reader, err := intake.NewCSV(bytes.NewReader(input), "sum")
		var header *intake.HeaderError
		var syntax *intake.SyntaxError
		switch {
		case errors.As(err, &header) && len(header.Faults) > 0, errors.As(err, &syntax) && syntax.Line > 0 && syntax.Column > 0:
			return
		case err != nil:
			t.Fatalf("got %v, want a *HeaderError or a *SyntaxError", err)
		}
		var rows []intake.Row
		settled := 1
		accepted := map[claim.Key]bool{}
		for {
			parcel, err := reader.Next()
			if err == io.EOF {
				break
			}
			if err != nil || len(parcel.Rows) == 0 || len(parcel.Rows) != len(parcel.Draft.Lines) || len(parcel.Rows) > claim.MaxLines+1 {
				t.Fatalf("got %v, %d rows, %d lines", err, len(parcel.Rows), len(parcel.Draft.Lines))
			}
			if parcel.Draft.Source.Row != parcel.Rows[0].Number {
				t.Fatalf("got source row %d, want %d", parcel.Draft.Source.Row, parcel.Rows[0].Number)
			}
			found, violations := validate(parcel.Draft)
			faults := reader.Faults(parcel, violations)
			if found == nil && len(faults) == 0 || len(faults) < len(parcel.Refused) {
				t.Fatalf("refused for nothing: rows from %d", parcel.Rows[0].Number)
			}
			if found != nil && len(parcel.Refused) == 0 {
				if accepted[found.Key] {
					t.Fatalf("claim %v was given twice", found.Key)
				}
				accepted[found.Key] = true
			}
			rows = append(rows, parcel.Rows...)
			checkSettled(t, parcel, rows, &settled)
		}
		checkRows(t, input, reader.Header(), rows)
	})
}

// A row costs three allocations and its share of a claim: its bytes, its texts and
// the lists that they go to.
func TestCSVAllocations(t *testing.T) {
	const count = 4000
	var input strings.Builder
	input.WriteString("claim number," + csvHead + "\n")
	for i := range count {
		input.WriteString(fmt.Sprintf("N-%d,%s\n", i/4, csvRow))
	}
	allocations := testing.AllocsPerRun(5, func() { all(t, strings.NewReader(input.String())) })
	if each := allocations / count; each > 5 {
		t.Errorf("got %.1f allocations a row, want 5 at most", each)
	}
}

func BenchmarkCSV(b *testing.B) {
	var input bytes.Buffer
	input.WriteString("claim number," + csvHead + "\n")
	for i := range 40_000 {
		fmt.Fprintf(&input, "N-%d,%s\n", i/4, csvRow)
	}
	sum := fmt.Sprintf("%x", sha256.Sum256(input.Bytes()))
	b.SetBytes(int64(input.Len()))
	b.ReportAllocs()
	for b.Loop() {
		reader, err := intake.NewCSV(bytes.NewReader(input.Bytes()), sum)
		if err != nil {
			b.Fatal(err)
		}
		for {
			if _, err := reader.Next(); err == io.EOF {
				break
			} else if err != nil {
				b.Fatal(err)
			}
		}
	}
}
