package intake_test

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"github.com/claimrail/claimrail/internal/claim"
	"github.com/claimrail/claimrail/internal/intake"
)

// packed gives a text as one gzip member.
func packed(t testing.TB, text string) string {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if _, err := io.WriteString(w, text); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// packing gives a source as one gzip member, as it is read.
func packing(t testing.TB, source io.Reader) io.Reader {
	t.Helper()
	packed, writer := io.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		pack := gzip.NewWriter(writer)
		_, err := io.Copy(pack, source)
		_ = writer.CloseWithError(errors.Join(err, pack.Close()))
	}()
	t.Cleanup(func() {
		_ = packed.Close()
		<-done
	})
	return packed
}

// fileVerdict says what a file is, and what becomes of its claims.
func fileVerdict(source io.Reader, options intake.Options) string {
	file, err := intake.Open(source, options)
	if err != nil {
		return claimVerdicts(nil, err)
	}
	return file.Format().String() + "\n" + claimVerdicts(file, nil)
}

// Hostile and odd files of any format, packed or not, have the verdicts of the golden.
func TestFileVerdicts(t *testing.T) {
	t.Parallel()
	for _, test := range trials(t, "file.verdicts") {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			input := expandCSV(expand(test.input))
			if strings.HasPrefix(test.name, "gzip: ") {
				input = packed(t, input)
			}
			if diff := cmp.Diff(test.want, fileVerdict(strings.NewReader(input), intake.Options{FileSHA256: "sum"})); diff != "" {
				t.Errorf("verdict: want -, got +:\n%s", diff)
			}
		})
	}
}

// The other goldens have the same verdicts through Open: CSV but for what is told before its
// reader is asked, and a body of JSON as the one claim of a file.
func TestGoldensThroughOpen(t *testing.T) {
	t.Parallel()
	for _, test := range trials(t, "csv.verdicts") {
		input := expandCSV(test.input)
		want := csvVerdict(input)
		if intake.Sniff([]byte(input)) == intake.CSVTable && !strings.HasPrefix(test.name, "UTF-16") {
			if got := fileVerdict(strings.NewReader(input), intake.Options{}); strings.TrimPrefix(got, "CSV\n") != want {
				t.Errorf("CSV, %s: got %s, want %s", test.name, got, want)
			}
		}
	}
	for _, test := range trials(t, "json.verdicts") {
		body := expand(test.input)
		draft, readErr := intake.ReadClaim([]byte(body))
		file, err := intake.Open(strings.NewReader(body), intake.Options{})
		if err != nil || file.Format() == intake.CSVTable || strings.Contains(strings.TrimSpace(body), "\n") && file.Format() == intake.NDJSON {
			continue // not one claim in JSON
		}
		parcel, err := file.Next()
		if err == io.EOF && readErr != nil {
			continue // a note
		}
		if err != nil {
			t.Errorf("JSON, %s: %v", test.name, err)
			continue
		}
		if (parcel.Draft == nil) != (readErr != nil) || readErr == nil && !cmp.Equal(draft.Lines, parcel.Draft.Lines) {
			t.Errorf("JSON, %s: got %+v, want what ReadClaim gives: %+v, %v", test.name, parcel.Draft, draft, readErr)
		}
	}
}

// A format that is asked for is held against the content.
func TestFormatAskedFor(t *testing.T) {
	t.Parallel()
	table, list := csvHead+"\n"+csvRow+"\n", expand("[{<line>}]")
	for _, test := range []struct {
		asked       intake.Format
		input, want string
	}{
		{intake.CSVTable, table, "CSV\nclaim of rows 1, net 81.25"},
		{intake.NDJSON, list, "NDJSON\nclaim of rows 1, net 81.25"},
		{intake.NDJSON, list + "\n" + list, "NDJSON\nclaim of rows 1, net 81.25\nclaim of rows 2, net 81.25"},
		{intake.NDJSON, strings.Replace(list, "[", "[\n", 1), "NDJSON\nrefused of rows 1: row 1 at 1 syntax\nrefused of rows 2: row 2 at 2 syntax"},
		{intake.CSVTable, list, "format: JSON list: the file looks like JSON list, not like CSV: name its format, or name none"},
		{intake.NDJSON, table, "format: CSV: the file looks like CSV, not like NDJSON: name its format, or name none"},
		{intake.X12, table, "format: CSV: the file looks like CSV, not like X12: name its format, or name none"},
		{intake.CSVTable, "ISA*00*", "format: X12: the file looks like X12, not like CSV: name its format, or name none"},
		{intake.CSVTable, "", "format: unknown: the file is empty"},
	} {
		for _, input := range []string{test.input, packed(t, test.input)} {
			if got := fileVerdict(strings.NewReader(input), intake.Options{Format: test.asked}); got != test.want {
				t.Errorf("%.20q as %s: got %s, want %s", test.input, test.asked, got, test.want)
			}
		}
	}
}

// What is packed comes out whole, of several members too; what is damaged is refused as such,
// and no claim is given that did not stand in front of the damage.
func TestGzip(t *testing.T) {
	t.Parallel()
	const claims = 3000
	lines := strings.Repeat(expand("[{<line>}]\n"), claims)
	whole := packed(t, lines)
	const damaged = "format: gzip: the gzip file is damaged: pack it anew, or send it again"
	for _, test := range []struct {
		name, input string
		most        int // claims
		last        string
	}{
		{"whole", whole, claims, "claim of rows 3000, net 81.25"},
		{"members", packed(t, lines[:len(lines)/2]) + packed(t, "") + packed(t, lines[len(lines)/2:]), claims, "claim of rows 3000, net 81.25"},
		{"cut", whole[:len(whole)-20], claims, "format: gzip: the gzip file ends too early: send it whole"},
		{"cut in the check", whole[:len(whole)-1], claims, "format: gzip: the gzip file ends too early: send it whole"},
		{"cut in the second header", whole + whole[:5], claims, "format: gzip: the gzip file ends too early: send it whole"},
		{"garbage behind", whole + "hello, this is text", claims, "format: gzip: there is something else behind the gzip data: pack the file anew"},
		{"zeros behind", whole + strings.Repeat("\x00", 512), claims, "format: gzip: there is something else behind the gzip data: pack the file anew"},
		{"wrong check", whole[:len(whole)-8] + "\x00\x00\x00\x00" + whole[len(whole)-4:], claims, damaged},
		{"wrong length", whole[:len(whole)-4] + "\x00\x00\x00\x00", claims, damaged},
		{"wrong second check", whole + whole[:len(whole)-8] + "\x00\x00\x00\x00" + whole[len(whole)-4:], 2 * claims, damaged},
	} {
		for name, source := range map[string]io.Reader{"": strings.NewReader(test.input), ", byte by byte": iotest.OneByteReader(strings.NewReader(test.input))} {
			got := strings.Split(fileVerdict(source, intake.Options{}), "\n")
			given := strings.Count(strings.Join(got, "\n"), "claim of rows")
			if last := got[len(got)-1]; last != test.last || given > test.most {
				t.Errorf("%s%s: got %d claims, then %s, want at most %d, then %s", test.name, name, given, last, test.most, test.last)
			}
		}
	}
}

// zeros are a source without end.
type zeros struct{}

func (zeros) Read(into []byte) (int, error) {
	clear(into)
	return len(into), nil
}

// What unpacks to far more than its length is refused once it is more than may come out at any
// ratio; a file that shrinks as claims do is read.
func TestUnpackRatio(t *testing.T) {
	t.Parallel()
	source, writer := io.Pipe()
	go func() {
		pack := gzip.NewWriter(writer)
		_, err := io.WriteString(pack, expand("[{<line>}]\n[{<line>}]\n"))
		if err == nil {
			_, err = io.CopyN(pack, zeros{}, 8<<30)
		}
		_ = writer.CloseWithError(errors.Join(err, pack.Close()))
	}()
	file, err := intake.Open(source, intake.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = file.Next()
	}
	var format *intake.FormatError
	if !errors.As(err, &format) || !strings.Contains(format.Problem, "250 times") {
		t.Errorf("got %v, want the ratio refused", err)
	}
	if read := file.ReadBytes(); read < intake.UnpackFreeBytes/1100 || read > 1<<20 {
		t.Errorf("got %d bytes read, want what 64 MiB of zeros take", read)
	}
	if err := source.Close(); err != nil {
		t.Error(err)
	}
}

// Claims that have no name but their place in a file have it by what is in the file: packed, in whatever way, it
// is the same one. Those that have a name, or the place in a file that an export gives, keep it.
func TestPackedIsTheSameFile(t *testing.T) {
	t.Parallel()
	lines := expand("[{<line>}]\n") + expand(`{"external_claim_id":"C-1","lines":[{<line>}]}`+"\n") +
		expand(`{"source":{"file_sha256":"`+strings.Repeat("ab", 32)+`","row":7},"lines":[{<line>}]}`+"\n") + expand("[{<line>}]\n")
	for name, text := range map[string]string{
		"CSV": csvHead + "\n" + csvRow + "\n", "CSV with numbers": rowsOf("A", "B"), "NDJSON": lines,
	} {
		keys := func(text string) (keys []claim.Key) {
			t.Helper()
			file, err := intake.OpenAgain(againOf(text), intake.Options{FileSHA256: fmt.Sprintf("%x", sha256.Sum256([]byte(text)))})
			for _, parcel := range parcelsOf(t, file, err) {
				judged, violations := validate(parcel.Draft)
				if judged == nil {
					t.Fatalf("%s: refused: %v", name, violations)
				}
				keys = append(keys, judged.Key)
			}
			return keys
		}
		want := keys(text)
		for _, again := range []string{packed(t, text), packed(t, text[:9]) + packed(t, text[9:])} {
			if diff := cmp.Diff(want, keys(again)); diff != "" {
				t.Errorf("%s: plain -, packed +:\n%s", name, diff)
			}
		}
	}
}

// A source that breaks is not taken for a file that is damaged, packed or not.
func TestFileSourceBreaks(t *testing.T) {
	t.Parallel()
	broken := errors.New("connection lost")
	lines := strings.Repeat(expand("[{<line>}]\n"), 20_000)
	for name, text := range map[string]string{"lines": lines, "gzip": packed(t, lines), "CSV": csvHead + "\n" + strings.Repeat(csvRow+"\n", 100)} {
		for _, kept := range []int{0, 1, 30, len(text) / 2} {
			for _, why := range []error{broken, io.ErrUnexpectedEOF} {
				file, err := intake.Open(io.MultiReader(strings.NewReader(text[:kept]), iotest.ErrReader(why)), intake.Options{})
				for err == nil {
					_, err = file.Next()
				}
				var format *intake.FormatError
				if !errors.Is(err, why) || errors.As(err, &format) {
					t.Errorf("%s, broken after %d: got %v, want %v", name, kept, err, why)
				}
			}
		}
	}
}

// stuck is a source that gives nothing more, and neither ends nor breaks.
type stuck struct{}

// Read implements io.Reader.
func (stuck) Read([]byte) (int, error) { return 0, nil }

// A source that gives nothing more, without an end, is an error, and keeps no reader for ever.
func TestFileSourceStuck(t *testing.T) {
	t.Parallel()
	lines := strings.Repeat(expand("[{<line>}]\n"), 20_000)
	csv := csvHead + "\n" + strings.Repeat(csvRow+"\n", 1000)
	for name, text := range map[string]string{"lines": lines, "CSV": csv, "X12": "ISA*00*          *00*"} {
		for _, kept := range []int{0, 10, len(text)} {
			file, err := intake.Open(io.MultiReader(strings.NewReader(text[:kept]), stuck{}), intake.Options{})
			for err == nil {
				_, err = file.Next()
			}
			if !errors.Is(err, io.ErrNoProgress) {
				t.Errorf("%s, stuck after %d: got %v, want %v", name, kept, err, io.ErrNoProgress)
			}
		}
	}
	x, err := intake.NewX12(stuck{})
	for err == nil {
		_, err = x.Next()
	}
	if !errors.Is(err, io.ErrNoProgress) {
		t.Errorf("X12: got %v, want %v", err, io.ErrNoProgress)
	}
}

// The bytes that were read are those of the file as sent, all of them at its end.
func TestReadBytes(t *testing.T) {
	t.Parallel()
	text := strings.Repeat(expand("[{<line>}]\n"), 5000)
	for name, input := range map[string]string{"lines": text, "gzip": packed(t, text), "CSV": csvHead + "\n" + csvRow} {
		file, err := intake.Open(strings.NewReader(input), intake.Options{})
		if err != nil {
			t.Fatal(err)
		}
		before := file.ReadBytes()
		for err == nil {
			_, err = file.Next()
		}
		if got := file.ReadBytes(); before == 0 || got != int64(len(input)) {
			t.Errorf("%s: got %d bytes read, %d of them at once, want %d", name, got, before, len(input))
		}
	}
}

// The form of what was found is told, and only its form.
func TestFound(t *testing.T) {
	t.Parallel()
	const found = "3/28/18 of 3730189502"
	for name, input := range map[string]string{
		"CSV":    csvHead + "\n" + strings.Replace(csvRow, "3/28/18 0:00", found, 1) + "\n",
		"NDJSON": strings.Replace(expand("[{<line>}]\n"), "3/28/18 0:00", found, 1),
	} {
		file, err := intake.Open(strings.NewReader(input), intake.Options{})
		if err != nil {
			t.Fatal(err)
		}
		parcel, err := file.Next()
		if err != nil {
			t.Fatal(err)
		}
		_, faults := judge(file, parcel)
		if len(faults) != 1 || faults[0].Found != "9/99/99 AA 9999999999" || faults[0].Field != claim.ServiceDateField {
			t.Errorf("%s: got %+v, want one fault of form 9/99/99 AA 9999999999", name, faults)
		}
	}
}
