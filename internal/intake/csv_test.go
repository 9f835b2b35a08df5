package intake_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"github.com/claimrail/claimrail/internal/claim"
	"github.com/claimrail/claimrail/internal/intake"
)

const (
	csvHead = `service date,submitted procedure,quadrant,Plan/Group #,Subscriber#,Provider NPI,provider fees,Allowed fees,member coinsurance,member copay`
	csvRow  = `3/28/18 0:00,D4346,UR,GRP-1000,3730189502,1497775530,$130.00 ,$65.00 ,$16.25 ,$0.00 `
)

// expandCSV puts a header in the place of <head>, and a row that nets 81.25 in the
// place of <row>; <head;> and <row;> are the same with semicolons, <head|> and
// <row|> with tabs.
func expandCSV(text string) string {
	for mark, separator := range map[string]string{"": ",", ";": ";", "|": "\t"} {
		text = strings.ReplaceAll(text, "<head"+mark+">", strings.ReplaceAll(csvHead, ",", separator))
		text = strings.ReplaceAll(text, "<row"+mark+">", strings.ReplaceAll(csvRow, ",", separator))
	}
	return text
}

func describeFaults(faults []intake.Fault) string {
	var text []string
	for _, f := range faults {
		var place strings.Builder
		place.WriteString(fmt.Sprintf("row %d at %d", f.Row, f.Line))
		for _, more := range []string{f.Field.String(), f.Code} {
			if more != "" {
				place.WriteString(" " + more)
			}
		}
		if f.Column != "" {
			place.WriteString(fmt.Sprintf(" (%s)", f.Column))
		}
		if f.Severity == claim.Warning {
			place.WriteString("?")
		}
		text = append(text, place.String())
	}
	return strings.Join(text, "; ")
}

// csvVerdict says what becomes of a file, a line for each claim.
func csvVerdict(input string) string {
	reader, err := intake.NewCSV(strings.NewReader(input), "sum")
	return claimVerdicts(reader, err)
}

// reader is a reader of any format.
type reader interface {
	Next() (*intake.Parcel, error)
	Faults(*intake.Parcel, []claim.Violation) []intake.Fault
}

// claimVerdicts says what becomes of the claims of a reader that was opened, or not.
func claimVerdicts(from reader, err error) string {
	var text []string
	for err == nil {
		var parcel *intake.Parcel
		if parcel, err = from.Next(); err == nil {
			text = append(text, parcelVerdict(from, parcel))
		}
	}
	var header *intake.HeaderError
	var syntax *intake.SyntaxError
	var format *intake.FormatError
	switch {
	case errors.As(err, &header):
		text = append(text, "header: "+describeFaults(header.Faults))
	case errors.As(err, &syntax):
		text = append(text, "syntax: "+syntax.Error())
	case errors.As(err, &format):
		text = append(text, "format: "+format.Found.String()+": "+format.Problem)
	case err != io.EOF:
		text = append(text, "unexpected: "+err.Error())
	}
	if text == nil {
		return "nothing"
	}
	return strings.Join(text, "\n")
}

// judge says whether a claim is accepted, and what is wrong with it.
func judge(from reader, parcel *intake.Parcel) (*claim.Claim, []intake.Fault) {
	if parcel.Draft == nil {
		return nil, from.Faults(parcel, nil)
	}
	found, violations := validate(parcel.Draft)
	if found != nil {
		violations = found.Warnings
	}
	if len(parcel.Refused) > 0 {
		found = nil
	}
	return found, from.Faults(parcel, violations)
}

func parcelVerdict(from reader, parcel *intake.Parcel) string {
	var rows []string
	for _, row := range parcel.Rows {
		rows = append(rows, fmt.Sprint(row.Number))
	}
	found, faults := judge(from, parcel)
	word, rest := "refused", ""
	if found != nil {
		word, rest = "claim", fmt.Sprintf(", net %s", found.NetFee())
		if found.ExternalID != "" {
			rest += ", id " + found.ExternalID
		}
		if parcel.Draft.Given.Kind != claim.NoKey {
			rest += fmt.Sprintf(", key %s %s", found.Key.Kind, found.Key.Value)
		}
	}
	rest = word + " of rows " + strings.Join(rows, " ") + rest
	if len(faults) > 0 {
		rest += ": " + describeFaults(faults)
	}
	return rest
}

// Hostile and odd files have the verdicts, and the places, of the golden.
func TestCSVVerdicts(t *testing.T) {
	t.Parallel()
	for _, test := range trials(t, "csv.verdicts") {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(test.want, csvVerdict(expandCSV(test.input))); diff != "" {
				t.Errorf("verdict: want -, got +:\n%s", diff)
			}
		})
	}
}

// netFees reads a file that is one claim, and gives the net fee of each line and
// then of the claim.
func netFees(t *testing.T, path string) []string {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	reader, err := intake.NewCSV(file, "")
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	parcel, err := reader.Next()
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	found, violations := validate(parcel.Draft)
	if found == nil || len(parcel.Refused) > 0 {
		t.Fatalf("%s: refused: %v", path, reader.Faults(parcel, violations))
	}
	if _, err := reader.Next(); err != io.EOF {
		t.Errorf("%s: behind the claim: got %v, want io.EOF", path, err)
	}
	var fees []string
	for i := range found.Lines {
		fees = append(fees, found.Lines[i].NetFee().String())
	}
	return append(fees, found.NetFee().String())
}

// The brief's example, in the forms in which it is met, nets to the cent.
func TestExampleFiles(t *testing.T) {
	t.Parallel()
	brief := []string{"0.00", "0.00", "81.25", "35.60", "116.85"}
	// provider fees + coinsurance + copay - allowed fees, by hand: 150+10+20-10,
	// 450+20+5-30, 750+35+40-75, 950+50+50-95.
	plain := []string{"170.00", "445.00", "750.00", "955.00", "2320.00"}
	for path, want := range map[string][]string{
		"testdata/claim_multiline_headers.csv":                           brief,
		"testdata/claim_underscored_headers.csv":                         brief,
		"testdata/claim_plain_headers.csv":                               plain,
		"../../../shared/data/claims/claim_1234.csv":                     brief,
		"../../../shared/data/claims/claim_1234_underscored_headers.csv": brief,
		"../../../shared/data/claims/claim_1234_plain_headers.csv":       plain,
		"../../../shared/data/claims/claims_97_rows.csv":                 nil,
	} {
		t.Run(filepath.Base(path), func(t *testing.T) {
			t.Parallel()
			if strings.HasPrefix(path, "..") {
				corpus(t, filepath.Dir(path), filepath.Base(path))
			}
			got := netFees(t, path)
			if want == nil { // the sum was computed from the file by another program
				got, want = []string{fmt.Sprint(len(got) - 1), got[len(got)-1]}, []string{"97", "2468.73"}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("net fees: want -, got +:\n%s", diff)
			}
		})
	}
}

// all reads a file to its end.
func all(t testing.TB, source io.Reader) (*intake.CSV, []*intake.Parcel) {
	t.Helper()
	reader, err := intake.NewCSV(source, "sum")
	if err != nil {
		t.Fatal(err)
	}
	var parcels []*intake.Parcel
	for {
		parcel, err := reader.Next()
		if err == io.EOF {
			return reader, parcels
		}
		if err != nil {
			t.Fatal(err)
		}
		parcels = append(parcels, parcel)
	}
}

// Rows keep their bytes, line ends and all, with their number, line and offset; the
// claim's source is its first row.
func TestRowsAreKeptByteForByte(t *testing.T) {
	t.Parallel()
	rows := []string{
		"C-1," + csvRow + "\r\n", "C-2," + csvRow + "\n", "\n , ,\r\n", "\"C-\n1\"," + csvRow + "\r", "C-1 ," + csvRow + ",\"surplus\"\r\n", " C-2," + csvRow,
	}
	head := "\ufeff\r\n\"claim\nnumber\"," + csvHead + ",\r\n"
	reader, parcels := all(t, strings.NewReader(head+strings.Join(rows, "")))
	if got := string(reader.Header()); got != head {
		t.Errorf("header: got %q, want %q", got, head)
	}
	type seen struct {
		Source claim.Source
		Rows   []intake.Row
	}
	var got []seen
	for _, parcel := range parcels {
		got = append(got, seen{parcel.Draft.Source, parcel.Rows})
	}
	offset := func(n int) int64 { return int64(len(head) + len(strings.Join(rows[:n], ""))) }
	row := func(number, line, n int) intake.Row {
		return intake.Row{Number: number, Line: line, Offset: offset(n), Raw: []byte(rows[n])}
	}
	want := []seen{
		{claim.Source{FileSHA256: "sum", Row: 1}, []intake.Row{row(1, 4, 0), row(4, 10, 4)}},
		{claim.Source{FileSHA256: "sum", Row: 2}, []intake.Row{row(2, 5, 1), row(5, 11, 5)}},
		{claim.Source{FileSHA256: "sum", Row: 3}, []intake.Row{row(3, 8, 3)}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("claims: want -, got +:\n%s", diff)
	}
}

// numbered gives a header and rows of the given claim numbers.
func numbered(numbers ...string) io.Reader {
	readers := []io.Reader{strings.NewReader("claim number," + csvHead + "\n")}
	for _, number := range numbers {
		readers = append(readers, strings.NewReader(number+","+csvRow+"\n"))
	}
	return io.MultiReader(readers...)
}

// A claim stays open for WindowRows rows, its first one counted. A row that comes
// later is refused, never a second claim; and so is each that comes still later.
func TestClaimStaysOpenForTheWindow(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		between int
		late    bool
	}{{intake.WindowRows - 2, false}, {intake.WindowRows - 1, true}, {3 * intake.WindowRows, true}} {
		numbers := []string{"C"}
		for i := range test.between {
			numbers = append(numbers, fmt.Sprintf("N-%d", i/4))
		}
		_, parcels := all(t, numbered(append(numbers, "C", "C")...))
		var refused, rows []int
		for _, parcel := range parcels {
			if strings.TrimSpace(parcel.Draft.ExternalID.Text) != "C" {
				continue
			}
			rows = append(rows, len(parcel.Rows))
			for _, v := range parcel.Refused {
				if v.Code == intake.CodeClaimClosed && v.Severity == claim.Error {
					refused = append(refused, len(rows)-1)
				}
			}
		}
		want, wantRefused := []int{3}, []int(nil)
		switch {
		case test.between == intake.WindowRows-2: // the second is the last in the window
			want, wantRefused = []int{2, 1}, []int{1}
		case test.late:
			want, wantRefused = []int{1, 2}, []int{1}
		}
		if !cmp.Equal(rows, want) || !cmp.Equal(refused, wantRefused) {
			t.Errorf("%d rows between: got claims of %v rows, refused %v, want %v, %v", test.between, rows, refused, want, wantRefused)
		}
	}
}

// A claim number is remembered when more others came between than one generation holds.
func TestClosedClaimsAreRemembered(t *testing.T) {
	t.Parallel()
	const others = 300_000
	row := csvRow + "\n"
	source := io.MultiReader(numbered("C"), &repeated{count: others, row: func(i int) string { return fmt.Sprintf("N-%d,%s", i, row) }},
		strings.NewReader("C,"+row))
	reader, err := intake.NewCSV(source, "")
	if err != nil {
		t.Fatal(err)
	}
	refused, given := 0, 0
	for {
		parcel, err := reader.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		given++
		refused += len(parcel.Refused)
	}
	if refused != 1 || given != others+2 {
		t.Errorf("got %d claims, %d refused, want %d, 1", given, refused, others+2)
	}
}

// repeated makes count rows, one after the other.
type repeated struct {
	count, made int
	row         func(int) string
	left        []byte
}

func (r *repeated) Read(into []byte) (int, error) {
	for len(r.left) == 0 {
		if r.made == r.count {
			return 0, io.EOF
		}
		r.left = []byte(r.row(r.made))
		r.made++
	}
	n := copy(into, r.left)
	r.left = r.left[n:]
	return n, nil
}

// A claim of too many lines is refused in parts that stay small, whether its rows
// have a number or are the whole file; no row is lost.
func TestTooManyRows(t *testing.T) {
	t.Parallel()
	const count = 5*claim.MaxLines + 7
	for prefix, head := range map[string]string{"": csvHead, "C-1,": "claim #," + csvHead} {
		input := head + "\n" + strings.Repeat(prefix+csvRow+"\n", count)
		reader, parcels := all(t, strings.NewReader(input))
		back := bytes.Clone(reader.Header())
		for i, parcel := range parcels {
			if len(parcel.Rows) > claim.MaxLines+1 || len(parcel.Rows) != len(parcel.Draft.Lines) {
				t.Errorf("%q, part %d: got %d rows, %d lines", prefix, i, len(parcel.Rows), len(parcel.Draft.Lines))
			}
			found, violations := validate(parcel.Draft)
			if found != nil && len(parcel.Refused) == 0 {
				t.Errorf("%q, part %d: accepted", prefix, i)
			}
			faults := reader.Faults(parcel, violations)
			if len(faults) != 1 || faults[0].Code != claim.CodeTooManyLines || faults[0].Row != parcel.Rows[0].Number {
				t.Errorf("%q, part %d: got %v, want one fault: %s", prefix, i, describeFaults(faults), claim.CodeTooManyLines)
			}
			for _, row := range parcel.Rows {
				back = append(back, row.Raw...)
			}
		}
		if string(back) != input {
			t.Errorf("%q: the rows are not those of the file", prefix)
		}
	}
}

// A claim whose rows are too long together is refused in parts, the first for its
// length, and is never accepted short of a row; memory is what two parts take.
func TestClaimTooLong(t *testing.T) {
	t.Parallel()
	const noteBytes = 60_000
	for prefix, head := range map[string]string{"": csvHead, "C-1,": "claim #," + csvHead} {
		row := prefix + csvRow + "," + strings.Repeat("x", noteBytes) + "\n"
		const count = intake.WindowBytes/noteBytes + 10
		_, parcels := all(t, io.MultiReader(strings.NewReader(head+",note\n"), &repeated{count: count, row: func(int) string { return row }}))
		var rows int
		var codes []string
		for _, parcel := range parcels {
			rows += len(parcel.Rows)
			for _, v := range parcel.Refused {
				codes = append(codes, v.Code)
			}
		}
		want := []string{intake.CodeClaimTooLong, claim.CodeTooManyLines}
		if rows != count || len(parcels) != 2 || !cmp.Equal(codes, want) {
			t.Errorf("%q: got %d rows in %d parts, refused %v, want %d in 2, %v", prefix, rows, len(parcels), codes, count, want)
		}
	}
}

// A row over the limit comes in pieces that together are its bytes, each refused; the
// row behind it is read as if nothing had been.
func TestRowTooLong(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		length int // of the first row
		fault  bool
	}{{intake.MaxRowBytes, false}, {intake.MaxRowBytes + 1, true}, {2 * intake.MaxRowBytes, true}, {10*intake.MaxRowBytes + 5, true}} {
		for _, end := range []string{"\n", "\r\n", "\r"} {
			first := csvRow + ","
			long := first + strings.Repeat("x", test.length-len(first)) + end
			input := csvHead + ",note" + end + long + csvRow + "," + end
			reader, parcels := all(t, strings.NewReader(input))
			back := bytes.Clone(reader.Header())
			whole := parcels[len(parcels)-1]
			rows := []intake.Row{whole.Rows[0]}
			for _, parcel := range parcels[:len(parcels)-1] {
				if !parcel.Rows[0].Rest || parcel.Rows[0].Number != 1 || len(parcel.Refused) != 1 || parcel.Refused[0].Code != intake.CodeRowTooLong {
					t.Errorf("length %d: got piece of row %d, refused %v", test.length, parcel.Rows[0].Number, parcel.Refused)
				}
				rows = append(rows, parcel.Rows...)
			}
			given, settled := []intake.Row(nil), 1
			for _, parcel := range parcels {
				given = append(given, parcel.Rows...)
				checkSettled(t, parcel, given, &settled)
			}
			for _, row := range append(rows, whole.Rows[1:]...) {
				if len(row.Raw) > intake.MaxRowBytes+len("\r\n") {
					t.Errorf("length %d: a piece has %d bytes", test.length, len(row.Raw))
				}
				back = append(back, row.Raw...)
			}
			if string(back) != input {
				t.Errorf("length %d: the pieces are not the file", test.length)
			}
			if last := whole.Rows[len(whole.Rows)-1]; last.Number != 2 || last.Line != 3 || len(whole.Rows) != 2 {
				t.Errorf("length %d: got %d rows, the last number %d on line %d, want 2, 2, 3", test.length, len(whole.Rows), last.Number, last.Line)
			}
			if refused := len(whole.Refused) > 0; refused != test.fault {
				t.Errorf("length %d: got refused %v", test.length, whole.Refused)
			}
		}
	}
}

// However the bytes come in, the same claims come out; and of a source that breaks
// no claim is given that might lack rows.
func TestSources(t *testing.T) {
	t.Parallel()
	const input = "claim number," + csvHead + "\r\nC-1," + csvRow + "\r\nC-2," + csvRow + "\r\n\r\nC-1," + csvRow
	_, want := all(t, strings.NewReader(input))
	for name, source := range map[string]io.Reader{
		"byte by byte": iotest.OneByteReader(strings.NewReader(input)), "end with data": iotest.DataErrReader(strings.NewReader(input)),
		"by halves": iotest.HalfReader(strings.NewReader(input)),
	} {
		if _, got := all(t, source); !cmp.Equal(want, got) {
			t.Errorf("%s: want -, got +:\n%s", name, cmp.Diff(want, got))
		}
	}
	broken := errors.New("connection lost")
	reader, err := intake.NewCSV(io.MultiReader(numbered("C-1", "C-2"), strings.NewReader(strings.Repeat("C-3,"+csvRow+"\n", 999)), iotest.ErrReader(broken)), "")
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if parcel, err := reader.Next(); !errors.Is(err, broken) || parcel != nil {
			t.Errorf("got %v, %v, want the error of the source", parcel, err)
		}
	}
	if _, err := intake.NewCSV(iotest.ErrReader(broken), ""); !errors.Is(err, broken) {
		t.Errorf("header: got %v, want the error of the source", err)
	}
}

// Messages, columns and header errors hold no values: a file without a header is
// refused without a word of its first row.
func TestCSVErrorsHoldNoInput(t *testing.T) {
	t.Parallel()
	_, err := intake.NewCSV(strings.NewReader(csvRow+"\n"+csvRow), "")
	var header *intake.HeaderError
	if !errors.As(err, &header) {
		t.Fatalf("got %v, want a *HeaderError", err)
	}
	var said strings.Builder
	said.WriteString(fmt.Sprintf("%v %+v", err, header.Faults))
	reader, parcels := all(t, strings.NewReader(csvHead+"\n3730189502,3/28/18 0:00,\x00\xff,\"3730189502\"3730189502\n"+strings.Repeat("3730189502,", 12)))
	for _, parcel := range parcels {
		_, violations := validate(parcel.Draft)
		said.WriteString(fmt.Sprintf("%+v", reader.Faults(parcel, violations)))
	}
	for _, secret := range []string{"3730189502", "3/28/18", "GRP-1000"} {
		if strings.Contains(said.String(), secret) {
			t.Errorf("%s shows in: %s", secret, said.String())
		}
	}
}

// A row that is too long, of no claim, is not settled before its last piece; and rows that wait
// for an open claim do so for SpanBytes of the file at most, then the claim is given out.
func TestSettledRows(t *testing.T) {
	t.Parallel()
	head, long := "claim number,"+csvHead+",note\n", strings.Repeat("x", 3*intake.MaxRowBytes)
	_, parcels := all(t, strings.NewReader(head+"C-1,"+csvRow+",\n,"+csvRow+","+long+"\n"))
	_, alone := all(t, strings.NewReader(head+","+csvRow+","+long+"\n"))
	for _, list := range [][]*intake.Parcel{parcels, alone} {
		given, settled := []intake.Row(nil), 1
		for _, parcel := range list {
			given = append(given, parcel.Rows...)
			checkSettled(t, parcel, given, &settled)
		}
	}
	const noteBytes = 60_000
	lost := "," + csvRow + "," + strings.Repeat("x", noteBytes) + "\n"
	const count = 2 * intake.SpanBytes / noteBytes
	_, parcels = all(t, io.MultiReader(strings.NewReader(head+"C-1,"+csvRow+",\n"), &repeated{count: count, row: func(int) string { return lost }}))
	waits := 0
	for i, parcel := range parcels {
		if parcel.Settled <= 1 {
			waits = i + 1
		}
	}
	if most := intake.SpanBytes/noteBytes + 2; len(parcels) != count+1 || waits == 0 || waits > most {
		t.Errorf("got %d parcels, of which %d wait, want %d, of which at most %d wait", len(parcels), waits, count+1, most)
	}
}
