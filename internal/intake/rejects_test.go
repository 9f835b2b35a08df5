package intake_test

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/claimrail/claimrail/internal/claim"
	"github.com/claimrail/claimrail/internal/intake"
)

// otherClaim is what the claims database says of a claim that Validate takes.
func otherClaim() []claim.Violation {
	return []claim.Violation{{Line: claim.WholeClaim, Field: claim.ExternalIDField, Code: "other-claim", Severity: claim.Error, Message: "send it under a new number"}}
}

// failer is what testing.T and rapid.T have in common.
type failer interface {
	Helper()
	Fatalf(string, ...any)
}

// rejected reads a file and gives its claims, and what is rejected of it: what is wrong and, if
// all, the rest too, as if another claim had its number.
func rejected(t failer, input string, all bool) (*intake.File, []*intake.Parcel, string) {
	t.Helper()
	file, err := intake.Open(strings.NewReader(input), intake.Options{FileSHA256: "sum"})
	if err != nil {
		return nil, nil, ""
	}
	var out bytes.Buffer
	rejects := file.Rejects(&out)
	var parcels []*intake.Parcel
	for err == nil {
		var parcel *intake.Parcel
		if parcel, err = file.Next(); err != nil {
			break
		}
		parcels = append(parcels, parcel)
		found, faults := judge(file, parcel)
		if found != nil && all {
			found, faults = nil, file.Faults(parcel, otherClaim())
		}
		if found != nil {
			err = rejects.Advance(parcel)
		} else {
			err = rejects.Add(parcel, faults)
		}
	}
	if err == io.EOF {
		err = rejects.Close()
	}
	if err != nil {
		t.Fatalf("read %.200q: %v", input, err)
	}
	return file, parcels, out.String()
}

// said is what a parcel says, as far as it must come back from a file of rejects: of a row that
// was too short, no cell and an empty one are the same.
type said struct {
	Number  string
	Key     claim.Key
	Lines   [][claim.FieldCount]string
	Refused []string
	Rows    []int
}

func sayings(parcels []*intake.Parcel) []said {
	var all []said
	for _, parcel := range parcels {
		var one said
		if parcel.Draft != nil {
			one.Number, one.Key = parcel.Draft.ExternalID.Text, parcel.Draft.Given
			for i := range parcel.Draft.Lines {
				var texts [claim.FieldCount]string
				for field, raw := range parcel.Draft.Lines[i].Fields {
					texts[field] = raw.Text
				}
				one.Lines = append(one.Lines, texts)
			}
		}
		for _, v := range parcel.Refused {
			one.Refused = append(one.Refused, fmt.Sprint(v.Line, v.Field, v.Code))
		}
		for _, row := range parcel.Rows {
			one.Rows = append(one.Rows, row.Number)
		}
		all = append(all, one)
	}
	return all
}

// checkReturn proves of a file: rejected as a whole and read again it says the same, claim by
// claim, and rejected once more it is the same file, nothing doubled.
func checkReturn(t failer, input string) {
	t.Helper()
	file, before, first := rejected(t, input, true)
	if file == nil || file.Format() == intake.X12 { // which has tests of its own
		return
	}
	if len(before) == 0 {
		if first != "" {
			t.Fatalf("nothing was rejected, and %q was written", first)
		}
		return
	}
	again, after, second := rejected(t, first, true)
	if again == nil {
		if f := file.Format(); f == intake.JSONList || f == intake.JSONObject {
			return // no JSON, and given back as it was
		}
		t.Fatalf("the rejects of %.300q can not be opened: %.300q", input, first)
	}
	if diff := cmp.Diff(sayings(before), sayings(after)); diff != "" {
		t.Fatalf("read again from %.2000q: want -, got +:\n%s", first, diff)
	}
	if _, _, third := rejected(t, second, true); third != second {
		t.Fatalf("rejected again: got %.2000q, want %.2000q", third, second)
	}
}

// What was sent is read again from the file of rejects, for every hostile input of the goldens.
func TestRejectsReturnWhatWasSent(t *testing.T) {
	t.Parallel()
	for _, golden := range []string{"csv.verdicts", "json.verdicts", "file.verdicts"} {
		for _, test := range trials(t, golden) {
			t.Run(golden+"/"+test.name, func(t *testing.T) {
				t.Parallel()
				checkReturn(t, expandCSV(expand(test.input)))
			})
		}
	}
}

// Rejects have the bytes of the file, in its order, with the reasons behind; see the cases for
// what is added, and what is not.
func TestRejects(t *testing.T) {
	t.Parallel()
	const (
		quote    = `,,quote,"a quote is not closed, or text stands behind the quote that closes it; write a quote inside quotes twice"`
		required = `,provider_npi,required,"this field is required and must not be blank"`
		npi      = "an NPI must have exactly 10 digits"
	)
	row := func(number, group, npi, note string) string {
		return strings.Join([]string{number, "3/28/18", "D4346", "UR", group, "3730189502", npi, "130", "65", "16.25", "0", note}, ",")
	}
	head := "\ufeff\r\n\"claim\nnumber\"," + csvHead + `, "no""te" `
	for name, test := range map[string]struct{ input, want string }{
		"nothing": {head + "\r\n" + row("1", "G", "1497775530", ""), ""},
		"the claim's other rows": {
			head + "\r\n" + row("1", "G", "1497775530", "a") + "\r\n" + row("2", "G", "1497775530", "b") + "\n" + row("1", "G", "12", "\"c\nd\""),
			head + ",error_field,error_code,error_message\r\n" +
				row("1", "G", "1497775530", "a") + ",,claim-rejected,\"this claim was rejected for what is said of row 3\"\r\n" +
				row("1", "G", "12", "\"c\nd\"") + ",provider_npi,npi-digits,\"" + npi + "\"\r\n",
		},
		"formulas": {
			head + "\n" + row("=1", "'=2", "", "\"-cmd,\"\n") + row("-1", "'", "", "@x\n") + row("+5.00", "+x", "", "-$1 \n"),
			head + ",error_field,error_code,error_message\n" + row("'=1", "''=2", "", "\"'-cmd,\"") + required + "\n" +
				row("-1", "'", "", "'@x") + required + "\n" + row("+5.00", "'+x", "", "-$1 ") + required + "\n",
		},
		"too few and too many cells": {
			head + "\n1,3/28/18\n" + row("2", "G", "1497775530", ",,") + "\n",
			head + ",error_field,error_code,error_message\n1,3/28/18,,,,,,,,,," +
				",submitted_procedure; plan_group_number; subscriber_number; provider_npi; provider_fees; allowed_fees; member_coinsurance; member_copay," +
				strings.Repeat("required; ", 7) + "required,\"" + strings.Repeat("this field is required; ", 7) + "this field is required\"\n" +
				row("2", "G", "1497775530", ",,") + ",,too-many-cells,\"this row has more cells than the header; put quotes around a cell that holds a separator\"\n",
		},
		"a quote that is not closed": {
			head + "\n1,\"open,=x,\"+y\n" + row("2", "G", "1497775530", "\"good\"") + "\n" + row("3", "G", "12", "6\"") + "\n",
			head + ",error_field,error_code,error_message\n1,\"open,'=x,\"'+y" + quote + "\n" + row("3", "G", "12", "6\"") + ",provider_npi,npi-digits,\"" + npi + "\"\n",
		},
		"rejects again": {
			head + ",error_field,error_code,error_message\n" + row("1", "'=G", "12", "") + ",provider_npi,npi-digits,\"x\"\n" +
				row("2", "=G", "12", "") + ",,claim-rejected,\"x\"\n" + row("3", "G", "1497775530", "") + ",,claim-rejected,\"x\"\n1,\"open" + quote + "\n",
			head + ",error_field,error_code,error_message\n" + row("1", "'=G", "12", "") + ",provider_npi,npi-digits,\"" + npi + "\"\n" +
				row("2", "'=G", "12", "") + ",provider_npi,npi-digits,\"" + npi + "\"\n1,\"open" + quote + "\n",
		},
		"semicolons": {
			expandCSV("<head;>\n") + strings.ReplaceAll(strings.Replace(csvRow, "1497775530", "", 1), ",", ";") + "\n",
			expandCSV("<head;>;error_field;error_code;error_message\n") + strings.ReplaceAll(strings.Replace(csvRow, "1497775530", "", 1)+required, ",", ";") + "\n",
		},
		"lines": {
			"\ufeff" + `{"lines":[] , "external_claim_id":"=1" } ` + "\r\n\n [1]\n" + `{"error_code":"x","lines":17,"error_field":"y" ,"x":1}` + "\n{}\nhello\n\"a\"",
			`{"lines":[] , "external_claim_id":"=1","error_field":"","error_code":"no-lines","error_message":"send at least one line"} ` + "\r\n" +
				`{"lines": [1],"error_field":"lines[0]","error_code":"type","error_message":"a line must be an object"}` + "\n" +
				`{"lines":17 ,"x":1,"error_field":"; ","error_code":"type; unknown-field","error_message":"\"lines\" must be a list; a claim has \"external_claim_id\", \"lines\" and \"source\"; remove or correct the other name"}` + "\n" +
				`{"error_field":"","error_code":"required","error_message":"\"lines\" is required"}` + "\n{}\n" +
				`{"error_field":"","error_code":"syntax","error_message":"not read: column 1: not JSON: this character can not stand here"}` + "\nhello\n" +
				`{"error_field":"","error_code":"type","error_message":"send a JSON list of lines, or an object that holds it as \"lines\""}` + "\n\"a\"\n",
		},
	} {
		if _, _, got := rejected(t, test.input, false); got != test.want {
			t.Errorf("%s: want -, got +:\n%s", name, cmp.Diff(test.want, got))
		}
	}
}

// Rows come back in the order in which they stood, though claims are given in another.
func TestRejectsKeepTheOrder(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var input strings.Builder
		input.WriteString("claim number," + csvHead + ",note\n")
		numbers := rapid.SliceOfN(rapid.SampledFrom([]string{"", "A", "B", "C", `"open`}), 1, 30).Draw(t, "numbers")
		for i, number := range numbers {
			fmt.Fprintf(&input, "%s,%s,<%d>\n", number, csvRow, i)
		}
		_, _, rejects := rejected(t, input.String(), true)
		var got []string
		for line := range strings.Lines(rejects) {
			if _, behind, ok := strings.Cut(line, "<"); ok {
				note, _, _ := strings.Cut(behind, ">")
				got = append(got, note)
			}
		}
		var want []string
		for i := range numbers {
			want = append(want, fmt.Sprint(i))
		}
		if !cmp.Equal(got, want) {
			t.Fatalf("got rows %v of %d", got, len(numbers))
		}
	})
}

// A row that is too long comes back whole, its reason once and behind it, however often it is sent.
func TestRejectsOfTooLong(t *testing.T) {
	t.Parallel()
	for _, length := range []int{intake.MaxRowBytes + 1, intake.MaxRowBytes + 20_000, 3*intake.MaxRowBytes + 100, 40 * intake.MaxRowBytes} {
		for _, end := range []string{"\n", "\r\n", ""} {
			long := "C-1," + csvRow + ","
			long += strings.Repeat("=x,", (length-len(long))/3)
			guarded := strings.ReplaceAll(long, "=x", "'=x")
			_, _, first := rejected(t, "claim number,"+csvHead+",note\nC-1,"+csvRow+",\n"+long+end, true)
			const reason = `,,row-too-long,"shorten this row: it is longer than 65536 bytes"`
			if end == "" {
				end = "\n"
			}
			want := "claim number," + csvHead + ",note,error_field,error_code,error_message\nC-1," + csvRow +
				",,,claim-rejected,\"this claim was rejected for what is said of row 2\"\n" + guarded + reason + end
			if first != want {
				t.Fatalf("length %d: got %d bytes that end in %.300q, want %d", length, len(first), first[max(0, len(first)-200):], len(want))
			}
			if _, _, second := rejected(t, first, true); second != first {
				t.Errorf("length %d, sent again: got %d bytes that end in %.300q, want %d", length, len(second), second[max(0, len(second)-200):], len(first))
			}
		}
	}
	long := `{"lines":[` + strings.Repeat(" ", 3*intake.MaxLineBytes) + "]}"
	good := expand("[{<line>}]\n")
	_, parcels, first := rejected(t, good+long+"\n"+good, false)
	const note = `{"error_field":"","error_code":"line-too-long","error_message":"shorten this line, or split the claim: a line is at most 1048576 bytes long"}`
	if first != note+"\n"+long+"\n" || len(parcels) != 6 {
		t.Errorf("line: got %d bytes of %d parcels, want it back behind a note", len(first), len(parcels))
	}
	if _, _, second := rejected(t, first, false); second != first {
		t.Errorf("line, sent again: got %d bytes, want %d", len(second), len(first))
	}
}

// What is as long as it may be is not too long for what is said of it.
func TestRejectsOfTheLongest(t *testing.T) {
	t.Parallel()
	pad := func(text string, length int) string {
		return strings.Replace(text, "<pad>", strings.Repeat(" ", length-len(text)+len("<pad>")), 1)
	}
	for name, input := range map[string]string{
		"row":    csvHead + ",note\n" + pad(csvRow+",\"<pad>\"", intake.MaxRowBytes) + "\r\n",
		"line":   pad(expand("{\"lines\":<pad>[{<line>}]}"), intake.MaxLineBytes) + "\r\n[1]\n",
		"list":   pad(expand("[<pad>{<line>}]"), intake.MaxLineBytes) + "\n[1]\n",
		"object": pad(expand("{\"lines\":\n<pad>[{<line>}]}"), intake.MaxLineBytes) + "\n",
	} {
		file, parcels, first := rejected(t, input, true)
		if file == nil || len(parcels[0].Refused) > 0 || len(first) <= len(input) {
			t.Errorf("%s: got %d parcels, want the first to be good, and rejects", name, len(parcels))
			continue
		}
		checkReturn(t, input)
	}
}

// Random files with faults at random places, rejected and repaired by putting what was right in the
// place of what was wrong: then every claim is accepted, once, with its rows; what was accepted
// and rejected is what was read; the order is kept, and so is the header, byte for byte.
func TestRejectsRepaired(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		separator := rapid.SampledFrom([]string{",", ";", "\t"}).Draw(t, "separator")
		end := rapid.SampledFrom([]string{"\n", "\r\n", "\r"}).Draw(t, "line end")
		cell := func(text string) string {
			if strings.ContainsAny(text, separator+"\"\r\n") || rapid.IntRange(0, 4).Draw(t, "quoted") == 0 {
				return `"` + strings.ReplaceAll(text, `"`, `""`) + `"`
			}
			return text
		}
		header := rapid.SampledFrom([]string{"", "\ufeff", end + end}).Draw(t, "front") + "claim number" + separator + strings.ReplaceAll(csvHead, ",", separator) + separator + cell("note, \"of\" all")
		numbers := rapid.SliceOfN(rapid.SampledFrom([]string{"A", "B", "=C", "-4", "'@E", "F G"}), 1, 12).Draw(t, "numbers")
		input, rows := header+end, map[string]int{}
		wrong := map[string]bool{}
		for _, number := range numbers {
			rows[number]++
			texts := append(append([]string{number}, strings.Split(strings.TrimSuffix(csvRow, " "), ",")...),
				rapid.OneOf(rapid.StringMatching(`['=+@",; \t\r\nx-]{0,6}`), rapid.Just("-5.00")).Draw(t, "note"))
			if rapid.IntRange(0, 3).Draw(t, "fault") == 0 {
				wrong[number] = true
				texts[rapid.SampledFrom([]int{1, 6, 7, 8}).Draw(t, "place")] = "WRONG"
			}
			for i, text := range texts {
				texts[i] = cell(text)
			}
			input += strings.Join(texts, separator) + end
		}
		_, before, rejects := rejected(t, input, false)
		if len(wrong) == 0 {
			if rejects != "" {
				t.Fatalf("nothing is wrong, and %q is rejected", rejects)
			}
			return
		}
		if !strings.HasPrefix(rejects, header+separator+"error_field"+separator) {
			t.Fatalf("header: got %q, want %q and three columns", rejects, header)
		}
		repaired := repair(rejects, csvRow)
		_, after, rest := rejected(t, repaired, false)
		if rest != "" || len(after) != len(wrong) {
			t.Fatalf("repaired: got %d claims, rejected %q, want %d and none; repaired %q", len(after), rest, len(wrong), repaired)
		}
		var order []string // of the claims that were wrong, as they were read
		for _, parcel := range before {
			if number := parcel.Draft.ExternalID.Text; wrong[number] {
				order = append(order, number)
			}
		}
		for i, parcel := range after {
			number := parcel.Draft.ExternalID.Text
			if number != order[i] || len(parcel.Rows) != rows[number] {
				t.Fatalf("claim %d: got %q of %d rows, want %q of %d", i, number, len(parcel.Rows), order[i], rows[number])
			}
		}
		if len(before) != len(rows) {
			t.Fatalf("got %d claims, want %d", len(before), len(rows))
		}
	})
}

// repair puts a date, or an amount, in the place of each wrong cell, by the error that stands in
// its row.
func repair(rejects, row string) string {
	// A number is taken for a date nowhere, and the other way round: try by the field that is named.
	right := strings.Split(row, ",")
	var out strings.Builder
	for {
		before, behind, found := strings.Cut(rejects, "WRONG")
		out.WriteString(before)
		if !found {
			return out.String()
		}
		at := strings.Index(behind, "service_date")
		next := strings.Index(behind, "WRONG")
		switch other := strings.Index(behind, "provider_npi"); {
		case at >= 0 && (next < 0 || at < next):
			out.WriteString(right[0])
		case other >= 0 && (next < 0 || other < next):
			out.WriteString(right[5])
		default:
			out.WriteString("12.50")
		}
		rejects = behind
	}
}

// brokenWriter takes some bytes, and then none.
type brokenWriter struct{ left int }

func (w *brokenWriter) Write(text []byte) (int, error) {
	if w.left -= len(text); w.left < 0 {
		return 0, io.ErrShortWrite
	}
	return len(text), nil
}

// A writer that breaks is told of, at the latest at the end.
func TestRejectsWriterBreaks(t *testing.T) {
	t.Parallel()
	for _, input := range []string{csvHead + "\n" + strings.Repeat(csvRow+",\n", 900), strings.Repeat("[1]\n", 900)} {
		for _, left := range []int{0, 10_000} {
			file, err := intake.Open(strings.NewReader(input), intake.Options{})
			if err != nil {
				t.Fatal(err)
			}
			rejects := file.Rejects(&brokenWriter{left})
			for err == nil {
				var parcel *intake.Parcel
				if parcel, err = file.Next(); err == nil {
					_, faults := judge(file, parcel)
					err = rejects.Add(parcel, faults)
				}
			}
			if err == io.EOF {
				err = rejects.Close()
			}
			if err == nil || !strings.Contains(err.Error(), "write rejects: short write") {
				t.Errorf("%.10q, broken after %d bytes: got %v", input, left, err)
			}
		}
	}
}
