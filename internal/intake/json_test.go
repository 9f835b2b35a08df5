package intake_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/claimrail/claimrail/internal/claim"
	"github.com/claimrail/claimrail/internal/intake"
)

// jsonVerdict is that of both readers; where they differ, one line for each.
func jsonVerdict(body string) string {
	lines, whole := verdict(intake.ReadLines([]byte(body))), verdict(intake.ReadClaim([]byte(body)))
	if lines == whole {
		return lines
	}
	return "list only: " + lines + "\nor object: " + whole
}

// Hostile and odd bodies have the verdicts, and the places, of the golden.
func TestJSONVerdicts(t *testing.T) {
	t.Parallel()
	for _, test := range trials(t, "json.verdicts") {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(test.want, jsonVerdict(expand(test.input))); diff != "" {
				t.Errorf("verdict: want -, got +:\n%s", diff)
			}
		})
	}
}

// The place of a fault is that of the byte at fault, wherever line breaks stand:
// a wrong byte put behind any prefix of a claim is found where it was put.
func TestSyntaxErrorPlace(t *testing.T) {
	t.Parallel()
	body := "[\n" + strings.ReplaceAll(expand("{<line>}"), `",`, "\",\r\n  ") + "\n]\n"
	inside := false // a string
	for i := range len(body) {
		if c := body[i]; c == '"' {
			inside = !inside
		}
		broken := body[:i+1] + "\x01" + body[i+1:]
		_, err := intake.ReadLines([]byte(broken))
		var got *intake.SyntaxError
		if !errors.As(err, &got) {
			t.Fatalf("byte %d, string %t: got %v, want a *SyntaxError", i+1, inside, err)
		}
		before := broken[:i+1]
		line, column := strings.Count(before, "\n")+1, i+1-strings.LastIndex(before, "\n")
		if got.Line != line || got.Column != column {
			t.Fatalf("byte %d, string %t: got line %d, column %d, want %d, %d", i+1, inside, got.Line, got.Column, line, column)
		}
	}
}

// JSON nests to 32 and no deeper, whether what nests is read, skipped or refused;
// the place is that of the bracket that is one too many.
func TestDepth(t *testing.T) {
	t.Parallel()
	for _, form := range []struct{ before, open, close, after string }{
		{``, `[`, `]`, ``},
		{`[{"tooth":`, `[`, `]`, `}]`},
		{`[{"quadrant":`, `[`, `]`, `}]`},
		{`[{"quadrant":`, `{"a":`, `}`, `}]`},
		{`{"lines":[{}],"external_claim_id":`, `[`, `]`, `}`},
		{`{"lines":[{}],"source":{"row":`, `[`, `]`, `}}`},
		{`{"lines":`, `{"":`, `}`, `}`},
		{`{"other":`, `[`, `]`, `}`},
	} {
		used := strings.Count(form.before, "[") + strings.Count(form.before, "{") -
			strings.Count(form.before, "]") - strings.Count(form.before, "}")
		for _, depth := range []int{intake.MaxDepth, intake.MaxDepth + 1, 100_000} {
			opened := strings.Repeat(form.open, depth-used)
			body := form.before + opened + "0" + strings.Repeat(form.close, depth-used) + form.after
			_, err := intake.ReadClaim([]byte(body))
			var syntax *intake.SyntaxError
			switch deep := errors.As(err, &syntax); {
			case deep != (depth > intake.MaxDepth):
				t.Errorf("%s, depth %d: got %v", form.before, depth, err)
			case deep:
				column := len(form.before) + (intake.MaxDepth-used)*len(form.open) + 1
				if syntax.Column != column || !strings.Contains(syntax.Problem, "32") {
					t.Errorf("%s: got %v, want column %d", form.before, syntax, column)
				}
			}
		}
	}
}

// A list of more than 999 lines is read to its end, kept to one line beyond the
// limit, and then refused for that alone.
func TestTooManyLines(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		lines, kept int
		want        string
	}{
		{claim.MaxLines, claim.MaxLines, "claim: 999 lines, net 81168.75"},
		{claim.MaxLines + 1, claim.MaxLines + 1, "invalid: claim too-many-lines"},
		{10 * claim.MaxLines, claim.MaxLines + 1, "invalid: claim too-many-lines"},
	} {
		list := "[" + strings.TrimSuffix(strings.Repeat(expand("{<line>},"), test.lines), ",") + "]"
		draft, err := intake.ReadLines([]byte(list))
		if err != nil {
			t.Fatalf("%d lines: %v", test.lines, err)
		}
		if got := verdict(draft, err); len(draft.Lines) != test.kept || got != test.want {
			t.Errorf("%d lines: got %d kept, %s, want %d kept, %s", test.lines, len(draft.Lines), got, test.kept, test.want)
		}
		if _, err := intake.ReadLines([]byte(list + "]")); err == nil {
			t.Errorf("%d lines: the bracket behind them was not seen", test.lines)
		}
	}
}

// An envelope full of wrong names is refused with a list that stays short.
func TestRefusalsAreBounded(t *testing.T) {
	t.Parallel()
	var refused *intake.Refused
	_, err := intake.ReadClaim([]byte(`{` + strings.Repeat(`"x":1,`, 50_000) + `"lines":[]}`))
	if !errors.As(err, &refused) || len(refused.Violations) != 100 {
		t.Errorf("got %v, want 100 violations", err)
	}
}

// Names are found in every spelling in which they are met; others mean nothing.
func TestFieldOf(t *testing.T) {
	t.Parallel()
	for field, names := range map[claim.Field][]string{
		claim.ServiceDateField:  {"service_date", "service date", "Service-Date", " SERVICE  DATE ", "service\ndate", "\ufeffservice date"},
		claim.ProcedureField:    {"submitted_procedure", "submitted procedure", "submitted \nprocedure", "Submitted\r\nProcedure"},
		claim.QuadrantField:     {"quadrant", "Quadrant", "quadrant ", "__quadrant__", `"quadrant"`},
		claim.PlanGroupField:    {"plan_group_number", "Plan/Group #", "Plan/\nGroup #", "Plan/Group#", "plan group number", "Plan_group", "group/plan", "PLAN GROUP"},
		claim.SubscriberField:   {"subscriber_number", "Subscriber#", "Subscriber #", "subscriber", "Subscriber ID", "Subscriber_Number", "subscriber.number"},
		claim.ProviderNPIField:  {"provider_npi", "Provider\n NPI", "Provider NPI", "Provider_NPI", "provider-npi", "PROVIDER\u00a0NPI"},
		claim.ProviderFeesField: {"provider_fees", "provider\n fees", "provider fees", "Provider Fees"},
		claim.AllowedFeesField:  {"allowed_fees", "Allowed\n fees", "Allowed fees", "Allowed_fees"},
		claim.CoinsuranceField:  {"member_coinsurance", "member \ncoinsurance", "member coinsurance", "Member Coinsurance"},
		claim.CopayField:        {"member_copay", "member\n copay", "member copay", "member_copay "},
		claim.ExternalIDField:   {"claim_number", "Claim #", "Claim#", "Claim Number", "claim ID", "external_claim_id"},
		claim.NoField: {
			"", "#", "_", "provider", "providernpi", "provider_npi_2", "npi", "fees", "member copays", "serviсe_date", // a Cyrillic letter
			"quadrant number", "#quadrant", strings.Repeat("#", 500), strings.Repeat(" ", 500) + "quadrant", strings.Repeat("quadrant", 500),
		},
	} {
		for _, name := range names {
			if got, ok := intake.FieldOf(name); got != field || ok != (field != claim.NoField) {
				t.Errorf("%.40q: got %q, %t, want %q", name, got, ok, field)
			}
		}
	}
}

// Every spelling works as the name of a member of a line, not only in FieldOf.
func TestNamesOfTheWild(t *testing.T) {
	t.Parallel()
	const body = `[{"service date":"3/28/18 0:00","submitted \nprocedure":"D4346","Quadrant":null,"Plan/\nGroup #":"GRP-1000",
		"Subscriber#":3730189502,"Provider\n NPI":1497775530,"provider\n fees":"$130.00 ","Allowed\n fees":"$65.00 ",
		"member \ncoinsurance":"$16.25 ","member\n copay":"$0.00 ","Tooth #":"8"}]`
	if got, want := verdict(intake.ReadLines([]byte(body))), "claim: 1 lines, net 81.25"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// The texts of a line are those of its members, unquoted, though they share memory.
func TestTexts(t *testing.T) {
	t.Parallel()
	body := []byte(`[{"quadrant":"U\u0052\n","provider_npi":17,"provider_fees":-1.50e2,"member_copay":true,"allowed_fees":null,"service_date":""},
		{"quadrant":"LL","quadrant":"UL","provider_npi":"ü\"\\"}]`)
	draft, err := intake.ReadLines(body)
	if err != nil {
		t.Fatal(err)
	}
	clear(body) // the draft keeps nothing of the body
	want := []claim.RawLine{{Shape: claim.Object, Fields: [claim.FieldCount]claim.Raw{
		claim.ServiceDateField:  {Shape: claim.Text},
		claim.QuadrantField:     {Shape: claim.Text, Text: "UR\n"},
		claim.ProviderNPIField:  {Shape: claim.Number, Text: "17"},
		claim.ProviderFeesField: {Shape: claim.Number, Text: "-1.50e2"},
		claim.AllowedFeesField:  {Shape: claim.Null},
		claim.CopayField:        {Shape: claim.Bool, Text: "true"},
	}}, {Shape: claim.Object, Fields: [claim.FieldCount]claim.Raw{
		claim.QuadrantField:    {Shape: claim.Repeated},
		claim.ProviderNPIField: {Shape: claim.Text, Text: "ü\"\\"},
	}}}
	if diff := cmp.Diff(want, draft.Lines); diff != "" {
		t.Errorf("lines: want -, got +:\n%s", diff)
	}
}

// What is refused is refused without words of the input: they may be PHI.
func TestJSONErrorsHoldNoInput(t *testing.T) {
	t.Parallel()
	for _, test := range trials(t, "json.verdicts") {
		for _, secret := range []string{"3730189502", "3/28/18"} {
			if strings.Contains(test.want, secret) {
				t.Errorf("%s: %s shows in: %s", test.name, secret, test.want)
			}
		}
	}
	_, err := intake.ReadLines([]byte(`[{"subscriber_number":"3730189502" "3730189502"}]`))
	if err == nil || strings.Contains(err.Error(), "37") {
		t.Errorf("got %v, want an error without the number", err)
	}
}

// The public suite of JSON texts: what must not parse does not, what must parse
// does, whatever is then said of it as a claim.
func TestJSONTestSuite(t *testing.T) {
	t.Parallel()
	for _, file := range corpus(t, filepath.Join(corpora, "JSONTestSuite"), "*.json") {
		body := read(t, file)
		_, err := intake.ReadClaim(body)
		var syntax *intake.SyntaxError
		unparsable := errors.As(err, &syntax)
		switch name := filepath.Base(file); {
		case strings.HasPrefix(name, "y_") && unparsable:
			t.Errorf("%s: got %v, want it to parse", name, err)
		case strings.HasPrefix(name, "n_") && !unparsable:
			t.Errorf("%s: got %v, want a *SyntaxError", name, err)
		case err == nil && !json.Valid(bytes.TrimPrefix(body, []byte("\ufeff"))):
			t.Errorf("%s: taken, though it is not JSON", name)
		}
	}
}

// Naughty strings, in every field, are judged and not choked on: a claim that is
// accepted holds each of them as it was sent, but for spaces around it.
func TestNaughtyStrings(t *testing.T) {
	t.Parallel()
	var naughty []string
	if err := json.Unmarshal(read(t, corpus(t, corpora, "blns.json")[0]), &naughty); err != nil {
		t.Fatal(err)
	}
	for _, word := range naughty {
		quoted, err := json.Marshal(word)
		if err != nil {
			t.Fatal(err)
		}
		for field := claim.Field(0); int(field) < claim.FieldCount; field++ {
			body := expand(fmt.Sprintf(`[{<line-%s>,"%s":%s,%s:1}]`, field, field, quoted, quoted))
			draft, err := intake.ReadLines([]byte(body))
			if err != nil {
				t.Errorf("%q as %s: %v", word, field, err)
				continue
			}
			if got := draft.Lines[0].Fields[field]; got.Text != word && got.Shape != claim.Repeated {
				t.Errorf("%q as %s: got %q", word, field, got.Text)
			}
			validate(draft)
		}
	}
}

// seedJSON gives a fuzz target the bodies of the golden.
func seedJSON(f *testing.F) {
	for _, test := range trials(f, "json.verdicts") {
		f.Add([]byte(expand(test.input)))
	}
}

// checkJSON proves of any body: it is read or refused in one of two ways; what is
// not JSON is a *SyntaxError, what is JSON and shallow is none; the place is inside.
func checkJSON(t *testing.T, body []byte, draft *claim.Draft, err error) {
	t.Helper()
	value := bytes.TrimPrefix(body, []byte("\ufeff"))
	var syntax *intake.SyntaxError
	var refused *intake.Refused
	switch {
	case errors.As(err, &syntax):
		lines := bytes.Split(body, []byte("\n"))
		if syntax.Line < 1 || syntax.Line > len(lines) || syntax.Column < 1 || syntax.Column > len(lines[syntax.Line-1])+1 {
			t.Fatalf("%v: not inside the body", syntax)
		}
		excused := !utf8.Valid(value) || bytes.Contains(value, []byte(`\u`)) || bytes.Count(value, []byte("{"))+bytes.Count(value, []byte("[")) > intake.MaxDepth
		if json.Valid(value) && !excused {
			t.Fatalf("%v: the body is JSON", syntax)
		}
		return
	case errors.As(err, &refused):
		if len(refused.Violations) == 0 {
			t.Fatal("refused for nothing")
		}
	case err != nil:
		t.Fatalf("got %v, want a *SyntaxError or a *Refused", err)
	case len(draft.Lines) > claim.MaxLines+1:
		t.Fatalf("%d lines are kept", len(draft.Lines))
	default:
		validate(draft)
	}
	if !json.Valid(value) {
		t.Fatalf("got %v of what is not JSON", err)
	}
}

// Whatever is sent as a list of lines is read, or refused with its place.
// No body makes the reader of lists panic, or say of JSON that it is none.
func FuzzReadLines(f *testing.F) {
	seedJSON(f)
	f.Fuzz(func(t *testing.T, body []byte) {
		draft, err := intake.ReadLines(body)
		checkJSON(t, body, draft, err)
	})
}

// Whatever is sent as a claim is read, or refused with its place.
// The same for the reader of envelopes.
func FuzzReadClaim(f *testing.F) {
	seedJSON(f)
	f.Fuzz(func(t *testing.T, body []byte) {
		draft, err := intake.ReadClaim(body)
		checkJSON(t, body, draft, err)
	})
}

// fourLines is the body of a claim of four lines, with names as the field has them.
func fourLines() []byte {
	return []byte("[" + strings.TrimSuffix(strings.Repeat(expand("{<line>},"), 4), ",") + "]")
}

// Reading costs a few allocations for a claim and one for a line, however many
// names and values it has; names in any known spelling cost none.
func TestAllocations(t *testing.T) {
	body := fourLines()
	allocations := testing.AllocsPerRun(100, func() {
		if _, err := intake.ReadLines(body); err != nil {
			t.Fatal(err)
		}
	})
	if allocations > 20 {
		t.Errorf("a claim of four lines: got %v allocations, want 20 at most", allocations)
	}
	for _, name := range []string{"plan_group_number", "member_coinsurance", "Plan/\nGroup #", "member \ncoinsurance", "tooth"} {
		if got := testing.AllocsPerRun(100, func() { intake.FieldOf(name) }); got > 0 {
			t.Errorf("%q: got %v allocations, want none", name, got)
		}
	}
}

func BenchmarkReadLines(b *testing.B) {
	body := fourLines()
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := intake.ReadLines(body); err != nil {
			b.Fatal(err)
		}
	}
}
