package intake_test

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/claimrail/claimrail/internal/intake"
)

// seedFiles gives a fuzz target the inputs of all goldens.
func seedFiles(f *testing.F) {
	for _, golden := range []string{"csv.verdicts", "json.verdicts", "file.verdicts"} {
		for _, test := range trials(f, golden) {
			f.Add([]byte(test.input))
		}
	}
}

// Whatever lines come, they are given back byte for byte, each once, and only blank ones and notes
// are passed over; a line that is refused is refused for a reason.
// No lines make the reader panic, or lose its way.
func FuzzNDJSON(f *testing.F) {
	seedFiles(f)
	f.Fuzz(func(t *testing.T, marked []byte) {
		input := []byte(expand(string(marked)))
		file, err := intake.Open(bytes.NewReader(append([]byte("{}\n"), input...)), intake.Options{Format: intake.NDJSON})
		if err != nil {
			t.Fatalf("got %v", err)
		}
		at, number := int64(len("{}\n")), 0
		for {
			parcel, err := file.Next()
			if err == io.EOF {
				break
			}
			if err != nil || len(parcel.Rows) != 1 {
				t.Fatalf("got %v, %+v", err, parcel)
			}
			row := parcel.Rows[0]
			if number++; row.Number != number {
				t.Fatalf("got row %d, want %d", row.Number, number)
			}
			if number == 1 {
				continue // that of the start
			}
			offset := row.Offset - int64(len("{}\n"))
			if row.Offset < at || !bytes.HasPrefix(input[offset:], row.Raw) {
				t.Fatalf("row %d: %q does not stand at %d", number, row.Raw, row.Offset)
			}
			for passed := range bytes.Lines(input[at-int64(len("{}\n")) : offset]) {
				if len(bytes.Trim(passed, " \t\r\n")) > 0 && !bytes.Contains(passed, []byte("error_")) && !bytes.Contains(passed, []byte(`\u`)) {
					t.Fatalf("%q in front of row %d was lost", passed, number)
				}
			}
			if line := bytes.Count(input[:offset], []byte("\n")) + 2; row.Line != line {
				t.Fatalf("row %d: got line %d, want %d", number, row.Line, line)
			}
			at = row.Offset + int64(len(row.Raw))
			found, faults := judge(file, parcel)
			if found == nil && len(faults) == 0 {
				t.Fatalf("row %d was refused for nothing", number)
			}
		}
	})
}

// Whatever is sent as a file, packed or not, is read to its end or refused in one of the known
// ways, and packing it changes nothing but damage.
// No file makes the door panic or hang.
func FuzzFile(f *testing.F) {
	seedFiles(f)
	f.Add([]byte(packed(f, csvHead+"\n"+csvRow)))
	f.Add([]byte(packed(f, "[1]\n[2]\n") + packed(f, "[3]\n")))
	f.Fuzz(func(t *testing.T, marked []byte) {
		input := expandCSV(expand(string(marked)))
		got := fileVerdict(strings.NewReader(input), intake.Options{FileSHA256: "sum"})
		if strings.Contains(got, "unexpected: ") {
			t.Fatalf("got %s", got)
		}
		if intake.Sniff([]byte(input)) == intake.Gzip {
			return
		}
		if inside := fileVerdict(strings.NewReader(packed(t, input)), intake.Options{FileSHA256: "sum"}); inside != got {
			t.Fatalf("packed: got %s, want %s", inside, got)
		}
	})
}

// What is rejected of a file can be read again and says the same.
// No file makes its rejects say something else than it did.
func FuzzRejects(f *testing.F) {
	seedFiles(f)
	f.Fuzz(func(t *testing.T, marked []byte) {
		checkReturn(t, expandCSV(expand(string(marked))))
	})
}

// Of a file that turns out to be damaged the claims in front are given, and then the damage is told
// of for good.
func TestDamageIsTold(t *testing.T) {
	t.Parallel()
	file, err := intake.Open(strings.NewReader(packed(t, strings.Repeat(expand("[{<line>}]\n"), 20_000))+"garbage"), intake.Options{})
	if err != nil {
		t.Fatal(err)
	}
	given := 0
	for err == nil {
		if _, err = file.Next(); err == nil {
			given++
		}
	}
	_, again := file.Next()
	var format *intake.FormatError
	if given == 0 || !errors.As(err, &format) || !errors.Is(again, err) {
		t.Errorf("got %d claims, then %v, then %v", given, err, again)
	}
}
