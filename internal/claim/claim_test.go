package claim_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"pgregory.net/rapid"

	"github.com/claimrail/claimrail/internal/claim"
	"github.com/claimrail/claimrail/internal/money"
)

var now = time.Date(2026, 1, 15, 12, 0, 0, 0, time.UTC)

func validator(rules claim.Rules) *claim.Validator {
	return &claim.Validator{Rules: rules, Now: func() time.Time { return now }}
}

func text(s string) claim.Raw { return claim.Raw{Shape: claim.Text, Text: s} }

// rawLine is the third line of the brief's example: it nets 81.25.
func rawLine() claim.RawLine {
	return claim.RawLine{Shape: claim.Object, Fields: [claim.FieldCount]claim.Raw{
		claim.ServiceDateField:  text("3/28/18 0:00"),
		claim.ProcedureField:    text("D4346"),
		claim.PlanGroupField:    text("GRP-1000"),
		claim.SubscriberField:   text("3730189502"),
		claim.ProviderNPIField:  text("1497775530"),
		claim.ProviderFeesField: text("$130.00 "),
		claim.AllowedFeesField:  text("$65.00 "),
		claim.CoinsuranceField:  text("$16.25 "),
		claim.CopayField:        text("$0.00 "),
	}}
}

func draft(changes ...func(*claim.RawLine)) *claim.Draft {
	line := rawLine()
	for _, change := range changes {
		change(&line)
	}
	return &claim.Draft{Lines: []claim.RawLine{line}}
}

func set(field claim.Field, raw claim.Raw) func(*claim.RawLine) {
	return func(line *claim.RawLine) { line.Fields[field] = raw }
}

// The brief's example line is valid, keeps what was sent, and nets to the cent.
func TestValidateTakesTheBriefsLine(t *testing.T) {
	t.Parallel()
	got, violations := validator(claim.DefaultRules()).Validate(draft())
	if len(violations) > 0 {
		t.Fatalf("violations: %v", violations)
	}
	line := got.Lines[0]
	if date := line.ServiceDate.Reveal(); date != "2018-03-28T00:00:00" {
		t.Errorf("service date: got %s", date)
	}
	if number := line.SubscriberNumber.Reveal(); number != "3730189502" {
		t.Errorf("subscriber number: got %s", number)
	}
	if net := got.NetFee(); net != 8125 {
		t.Errorf("net fee: got %s, want 81.25", net)
	}
	if plan := got.ExpectedPlanPayment(); plan != 4875 {
		t.Errorf("expected plan payment: got %s, want 48.75", plan)
	}
	if len(got.Warnings) != 0 {
		t.Errorf("warnings: got %v, want none", got.Warnings)
	}
}

// Each rule, broken alone, is reported under its code, at its line and field,
// and with its default severity.
func TestEveryRule(t *testing.T) {
	t.Parallel()
	number := func(s string) claim.Raw { return claim.Raw{Shape: claim.Number, Text: s} }
	for _, test := range []struct {
		name     string
		field    claim.Field
		raw      claim.Raw
		code     string
		severity claim.Severity
	}{
		{"date missing", claim.ServiceDateField, claim.Raw{}, "required", claim.Error},
		{"date of no calendar", claim.ServiceDateField, text("2/30/18 0:00"), "service-date", claim.Error},
		{"date in zone", claim.ServiceDateField, text("2018-03-28T00:00:00Z"), "service-date", claim.Error},
		{"date tomorrow week", claim.ServiceDateField, text("2026-01-22"), "future-date", claim.Warning},
		{"procedure null", claim.ProcedureField, claim.Raw{Shape: claim.Null}, "required", claim.Error},
		{"procedure without D", claim.ProcedureField, text("0180"), "procedure-prefix", claim.Error},
		{"procedure in lower case", claim.ProcedureField, text("d0180"), "procedure-prefix", claim.Error},
		{"procedure too short", claim.ProcedureField, text("D018"), "cdt-pattern", claim.Warning},
		{"procedure with NUL", claim.ProcedureField, text("D01\x0080"), "control-character", claim.Error},
		{"quadrant unknown", claim.QuadrantField, text("Upper"), "quadrant-code", claim.Warning},
		{"quadrant number", claim.QuadrantField, number("10"), "type", claim.Error},
		{"plan group blank", claim.PlanGroupField, text("  "), "required", claim.Error},
		{"plan group long", claim.PlanGroupField, text(strings.Repeat("x", 81)), "too-long", claim.Error},
		{"plan group reordered", claim.PlanGroupField, text("GRP\u202e1"), "control-character", claim.Error},
		{"plan group not UTF-8", claim.PlanGroupField, text("GRP\xff"), "control-character", claim.Error},
		{"subscriber list", claim.SubscriberField, claim.Raw{Shape: claim.List}, "type", claim.Error},
		{"subscriber fraction", claim.SubscriberField, number("1.5"), "type", claim.Error},
		{"subscriber negative", claim.SubscriberField, number("-1"), "type", claim.Error},
		{"subscriber repeated", claim.SubscriberField, claim.Raw{Shape: claim.Repeated}, "repeated-field", claim.Error},
		{"NPI of nine digits", claim.ProviderNPIField, text("149777553"), "npi-digits", claim.Error},
		{"NPI of eleven digits", claim.ProviderNPIField, number("14977755300"), "npi-digits", claim.Error},
		{"NPI in other digits", claim.ProviderNPIField, text("١٤٩٧٧٧٥٥٣٠"), "npi-digits", claim.Error},
		{"NPI mistyped", claim.ProviderNPIField, text("1234567890"), "npi-check-digit", claim.Warning},
		{"fees in words", claim.ProviderFeesField, text("hundred"), "money", claim.Error},
		{"fees true", claim.ProviderFeesField, claim.Raw{Shape: claim.Bool, Text: "true"}, "type", claim.Error},
		{"fees exponent", claim.ProviderFeesField, number("1e3"), "money", claim.Error},
		{"fees of three decimals", claim.ProviderFeesField, number("130.001"), "money-precision", claim.Error},
		{"fees too large", claim.ProviderFeesField, text("100,000,000.00"), "money-range", claim.Error},
		{"copay negative", claim.CopayField, text("-$1.00"), "money-negative", claim.Error},
		{"allowed above billed", claim.AllowedFeesField, text("130.01"), "allowed-above-billed", claim.Warning},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got, violations := validator(claim.DefaultRules()).Validate(draft(set(test.field, test.raw)))
			if test.severity == claim.Warning {
				if got == nil {
					t.Fatalf("refused: %v", violations)
				}
				violations = got.Warnings
			} else if got != nil {
				t.Fatal("accepted")
			}
			if len(violations) != 1 {
				t.Fatalf("got %v, want one violation", violations)
			}
			v := violations[0]
			if v.Code != test.code || v.Field != test.field || v.Severity != test.severity || v.Line != 0 {
				t.Errorf("got %s at line %d, %s, %s, want %s at line 0, %s, %s",
					v.Code, v.Line, v.Field, v.Severity, test.code, test.field, test.severity)
			}
		})
	}
}

// All violations of all lines come in one answer, in the order of the lines.
func TestAllViolationsAtOnce(t *testing.T) {
	t.Parallel()
	bad := rawLine()
	bad.Fields[claim.ProcedureField] = text("X1")
	bad.Fields[claim.CopayField] = claim.Raw{}
	_, violations := validator(claim.DefaultRules()).Validate(&claim.Draft{Lines: []claim.RawLine{
		bad, rawLine(), {Shape: claim.Text}, bad,
	}})
	var got []string
	for _, v := range violations {
		got = append(got, fmt.Sprintf("%d %s %s", v.Line, v.Field, v.Code))
	}
	want := []string{
		"0 submitted_procedure procedure-prefix", "0 member_copay required", "2  type",
		"3 submitted_procedure procedure-prefix", "3 member_copay required",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("want -, got +:\n%s", diff)
	}
}

// A claim has 1 to 999 lines.
func TestLineLimits(t *testing.T) {
	t.Parallel()
	lines := make([]claim.RawLine, claim.MaxLines+1)
	for i := range lines {
		lines[i] = rawLine()
	}
	for count, want := range map[int]string{0: "no-lines", claim.MaxLines: "", claim.MaxLines + 1: "too-many-lines"} {
		got, violations := validator(claim.DefaultRules()).Validate(&claim.Draft{Lines: lines[:count]})
		switch {
		case want == "" && got == nil:
			t.Errorf("%d lines: refused: %v", count, violations)
		case want != "" && (got != nil || len(violations) != 1 || violations[0].Code != want):
			t.Errorf("%d lines: got %v, want %s", count, violations, want)
		}
	}
}

// Configuration moves a rule's severity in every direction; what it can not mean
// is refused with a hint.
func TestParseRules(t *testing.T) {
	t.Parallel()
	rules, err := claim.ParseRules(" npi-check-digit=error, cdt-pattern=off ,,procedure-prefix=warning")
	if err != nil {
		t.Fatal(err)
	}
	if _, violations := validator(rules).Validate(draft(set(claim.ProviderNPIField, text("1234567890")))); len(violations) != 1 {
		t.Errorf("check digit as error: got %v", violations)
	}
	got, _ := validator(rules).Validate(draft(set(claim.ProcedureField, text("D1"))))
	if got == nil || len(got.Warnings) != 0 {
		t.Errorf("pattern off: got %v", got)
	}
	got, _ = validator(rules).Validate(draft(set(claim.ProcedureField, text("X1"))))
	if got == nil || len(got.Warnings) != 1 {
		t.Errorf("prefix as warning: got %v", got)
	}
	for _, bad := range []string{"npi=off", "npi-digits=off", "cdt-pattern", "cdt-pattern=no", "cdt-pattern=off,cdt-pattern=off"} {
		if _, err := claim.ParseRules(bad); err == nil {
			t.Errorf("ParseRules(%q): no error", bad)
		}
	}
}

// Dates in all accepted forms are the same moment; the pivot of two-digit years
// is 68.
func TestParseServiceDate(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"03/28/18 00:00":      "2018-03-28T00:00:00",
		"3/28/18 0:00":        "2018-03-28T00:00:00",
		"3/28/2018 14:05":     "2018-03-28T14:05:00",
		"3/28/18":             "2018-03-28T00:00:00",
		"2018-03-28":          "2018-03-28T00:00:00",
		"2018-03-28 0:00:00":  "2018-03-28T00:00:00",
		"2018-03-28T23:59:59": "2018-03-28T23:59:59",
		"1/1/68 0:00":         "2068-01-01T00:00:00",
		"1/1/69 0:00":         "1969-01-01T00:00:00",
		"2/29/00 0:00":        "2000-02-29T00:00:00",
	} {
		got, err := claim.ParseServiceDate(in)
		if err != nil || got.Reveal() != want {
			t.Errorf("%q: got %s, %v, want %s", in, got.Reveal(), err, want)
		}
	}
	for _, bad := range []string{
		"", "x", "13/1/18 0:00", "2/29/19", "0/1/18", "1/0/18", "3/28/118", "3-28-18", "2018-3-28", "2018-03-28T", "3/28/18 24:00",
		"3/28/18 0:60", "3/28/18 0", "3/28/18 0:00 AM", "2018-03-28T00:00:00+01:00", "2018-03-28T00:00:00.5", "1899-01-01", "2200-01-01", "3/28/18/1",
	} {
		if got, err := claim.ParseServiceDate(bad); err == nil {
			t.Errorf("%q: got %s, want an error", bad, got.Reveal())
		}
	}
}

// The check digit agrees with a plain Luhn sum over 80840 and the ten digits.
func TestCheckDigit(t *testing.T) {
	t.Parallel()
	for npi, want := range map[string]bool{
		"1497775530": true, "1234567893": true, "1234567890": false, "2345678901": false, "3456789012": false,
	} {
		parsed, err := claim.ParseNPI(npi)
		if err != nil || parsed.CheckDigitOK() != want || parsed.String() != npi {
			t.Errorf("%s: got %v, %v, want %v", parsed, parsed.CheckDigitOK(), err, want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		npi := claim.NPI(rapid.Int64Range(0, 9_999_999_999).Draw(t, "npi"))
		sum := 0
		whole := "80840" + npi.String()
		for i := range whole {
			digit := int(whole[len(whole)-1-i] - '0')
			if i%2 == 1 {
				digit = digit*2/10 + digit*2%10
			}
			sum += digit
		}
		if got, want := npi.CheckDigitOK(), sum%10 == 0; got != want {
			t.Fatalf("%s: got %v, want %v", npi, got, want)
		}
	})
}

// Shares split the net fee over providers without losing a cent, ascending by NPI.
func TestSharesAddUp(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		amount := rapid.Int64Range(0, int64(money.MaxParsed))
		var c claim.Claim
		for range rapid.IntRange(1, 30).Draw(t, "lines") {
			c.Lines = append(c.Lines, claim.Line{
				ProviderNPI:       claim.NPI(rapid.Int64Range(0, 5).Draw(t, "npi")),
				ProviderFees:      money.Cents(amount.Draw(t, "fees")),
				AllowedFees:       money.Cents(amount.Draw(t, "allowed")),
				MemberCoinsurance: money.Cents(amount.Draw(t, "coinsurance")),
				MemberCopay:       money.Cents(amount.Draw(t, "copay")),
			})
		}
		var sum money.Cents
		lines, last := 0, claim.NPI(-1)
		for _, share := range c.Shares() {
			if share.ProviderNPI <= last {
				t.Fatalf("%s stands after %s", share.ProviderNPI, last)
			}
			last, sum, lines = share.ProviderNPI, sum+share.NetFee, lines+share.Lines
		}
		if sum != c.NetFee() || lines != len(c.Lines) {
			t.Fatalf("got %s over %d lines, want %s over %d", sum, lines, c.NetFee(), len(c.Lines))
		}
	})
}

// The sender's key, and it alone, decides the id: same key, same id; any part
// different, another id; no key, a new id each time.
func TestClaimID(t *testing.T) {
	t.Parallel()
	identity := claim.NewIdentity([claim.IdentitySecretSize]byte{1, 2, 3})
	key := claim.Key{Submitter: "default", Kind: claim.ExternalKey, Value: "C-1"}
	id := identity.ClaimID(key)
	// Computed with an independent HMAC-SHA-256: see the decision on identity.
	if id != identity.ClaimID(key) || id.Version() != 8 || id.Variant() != uuid.RFC4122 {
		t.Errorf("got %s, version %d, variant %s", id, id.Version(), id.Variant())
	}
	others := []uuid.UUID{
		identity.ClaimID(claim.Key{Submitter: "other", Kind: claim.ExternalKey, Value: "C-1"}),
		identity.ClaimID(claim.Key{Submitter: "default", Kind: claim.IdempotencyKey, Value: "C-1"}),
		identity.ClaimID(claim.Key{Submitter: "default", Kind: claim.ExternalKey, Value: "C-2"}),
		identity.ClaimID(claim.Key{Submitter: "defaulte", Kind: "xternal", Value: "C-1"}),
		claim.NewIdentity([claim.IdentitySecretSize]byte{9}).ClaimID(key),
		identity.ClaimID(claim.Key{Submitter: "default"}),
		identity.ClaimID(claim.Key{Submitter: "default"}),
	}
	seen := map[uuid.UUID]bool{id: true}
	for i, other := range others {
		if seen[other] {
			t.Errorf("case %d: %s was given before", i, other)
		}
		seen[other] = true
	}
}

// Of several keys the first in the documented order names the claim.
func TestKeyOrder(t *testing.T) {
	t.Parallel()
	d := draft()
	d.ExternalID, d.IdempotencyKey, d.Source = text("C-1"), "k", claim.Source{FileSHA256: "ab", Row: 7}
	for _, want := range []claim.Key{
		{Submitter: "default", Kind: claim.ExternalKey, Value: "C-1"},
		{Submitter: "default", Kind: claim.IdempotencyKey, Value: "k"},
		{Submitter: "default", Kind: claim.FileKey, Value: "ab:7"},
		{Submitter: "default"},
	} {
		got, _ := validator(claim.DefaultRules()).Validate(d)
		if diff := cmp.Diff(want, got.Key); diff != "" {
			t.Errorf("want -, got +:\n%s", diff)
		}
		switch want.Kind {
		case claim.ExternalKey:
			d.ExternalID = claim.Raw{}
		case claim.IdempotencyKey:
			d.IdempotencyKey = ""
		case claim.FileKey:
			d.Source = claim.Source{}
		}
	}
}

// A key that the reader gives goes before all others, and an id that is given back is the id
// again; what no reader could have been given is refused.
func TestGivenKey(t *testing.T) {
	t.Parallel()
	const id = "01970f3e-8b1e-7c3a-9d55-0123456789ab"
	for name, test := range map[string]struct {
		given claim.Key
		want  claim.Key // no kind: refused
	}{
		"x12":              {claim.Key{Kind: claim.X12Key, Value: "S*1*1*0001*C-1"}, claim.Key{Submitter: "default", Kind: claim.X12Key, Value: "S*1*1*0001*C-1"}},
		"id":               {claim.Key{Kind: claim.IDKey, Value: id}, claim.Key{Submitter: "default", Kind: claim.IDKey, Value: id}},
		"id of version 8":  {claim.Key{Kind: claim.IDKey, Value: "01970f3e-8b1e-8c3a-9d55-0123456789ab"}, claim.Key{}},
		"id in upper case": {claim.Key{Kind: claim.IDKey, Value: strings.ToUpper(id)}, claim.Key{}},
		"unknown kind":     {claim.Key{Kind: "other", Value: "1"}, claim.Key{}},
		"no value":         {claim.Key{Kind: claim.X12Key}, claim.Key{}},
		"control":          {claim.Key{Kind: claim.X12Key, Value: "a\x00b"}, claim.Key{}},
		"too long":         {claim.Key{Kind: claim.X12Key, Value: strings.Repeat("a", 321)}, claim.Key{}},
	} {
		d := draft()
		d.ExternalID, d.Given = text("C-1"), test.given
		got, violations := validator(claim.DefaultRules()).Validate(d)
		switch {
		case got == nil && (test.want.Kind != claim.NoKey || violations[0].Code != claim.CodeClaimKey):
			t.Errorf("%s: got %v", name, violations)
		case got != nil && (got.Key != test.want || got.ExternalID != "C-1"):
			t.Errorf("%s: got key %v of claim %q, want %v", name, got.Key, got.ExternalID, test.want)
		case got != nil && (got.ID.String() == id) != (test.given.Kind == claim.IDKey):
			t.Errorf("%s: got id %s", name, got.ID)
		}
	}
}

// Every key comes back from its text, and means the same claim: one that had none is known by its id.
func TestKeyText(t *testing.T) {
	t.Parallel()
	id := uuid.MustParse("0199a1b2-7c1e-7d3a-9f4b-2a6c8e0d1f35")
	for _, test := range []struct {
		key  claim.Key
		want string
		back claim.Key
	}{
		{claim.Key{Kind: claim.ExternalKey, Value: "CLM-1"}, "", claim.Key{}},
		{claim.Key{}, "id:" + id.String(), claim.Key{Kind: claim.IDKey, Value: id.String()}},
		{claim.Key{Kind: claim.IDKey, Value: id.String()}, "id:" + id.String(), claim.Key{Kind: claim.IDKey, Value: id.String()}},
		{claim.Key{Kind: claim.IdempotencyKey, Value: "a:b"}, "idempotency:a:b", claim.Key{Kind: claim.IdempotencyKey, Value: "a:b"}},
		{claim.Key{Kind: claim.FileKey, Value: "ab:7"}, "file:ab:7", claim.Key{Kind: claim.FileKey, Value: "ab:7"}},
		{claim.Key{Kind: claim.X12Key, Value: "A*1*CLM"}, "x12:A*1*CLM", claim.Key{Kind: claim.X12Key, Value: "A*1*CLM"}},
	} {
		if got := test.key.Text(id); got != test.want {
			t.Errorf("%+v: got %q, want %q", test.key, got, test.want)
		}
		if got := claim.ParseKey(test.want); got != test.back {
			t.Errorf("%q: got %+v, want %+v", test.want, got, test.back)
		}
	}
}

// What the reader warns of is stored with the claim, beside what Validate finds.
func TestReaderWarnings(t *testing.T) {
	t.Parallel()
	d := draft(set(claim.QuadrantField, text("Upper")))
	d.Warnings = []claim.Violation{{Line: 0, Field: claim.AllowedFeesField, Code: "assumed", Severity: claim.Warning, Message: "as billed"}}
	got, _ := validator(claim.DefaultRules()).Validate(d)
	codes := []string{}
	for _, w := range got.Warnings {
		codes = append(codes, w.Code)
	}
	if diff := cmp.Diff([]string{"assumed", claim.RuleQuadrantCode}, codes); diff != "" {
		t.Errorf("want -, got +:\n%s", diff)
	}
}

// The fingerprint is of what the claim says, not of how it was written: other
// spellings give the same, another value in any field gives another.
func TestFingerprint(t *testing.T) {
	t.Parallel()
	print := func(changes ...func(*claim.RawLine)) claim.Fingerprint {
		got, violations := validator(claim.DefaultRules()).Validate(draft(changes...))
		if got == nil {
			t.Fatal(violations)
		}
		return got.Fingerprint
	}
	same := print(
		set(claim.ServiceDateField, text("2018-03-28")), set(claim.ProviderFeesField, claim.Raw{Shape: claim.Number, Text: "130"}),
		set(claim.SubscriberField, claim.Raw{Shape: claim.Number, Text: "3730189502"}), set(claim.QuadrantField, text(" ")),
	)
	if same != print() {
		t.Error("another spelling gave another fingerprint")
	}
	for field, other := range map[claim.Field]string{
		claim.ServiceDateField: "2018-03-29", claim.ProcedureField: "D4347", claim.QuadrantField: "UR", claim.PlanGroupField: "GRP-1001",
		claim.SubscriberField: "3730189503", claim.ProviderNPIField: "1497775531", claim.ProviderFeesField: "131", claim.AllowedFeesField: "66",
		claim.CoinsuranceField: "16.26", claim.CopayField: "1",
	} {
		if print(set(field, text(other))) == print() {
			t.Errorf("%s: another value gave the same fingerprint", field)
		}
	}
}

// PHI does not show, whatever prints it.
func TestPHIDoesNotPrint(t *testing.T) {
	t.Parallel()
	got, _ := validator(claim.DefaultRules()).Validate(draft())
	line := got.Lines[0]
	var printed bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%d", "%x"} {
		fmt.Fprintf(&printed, verb+"\n", line)
		fmt.Fprintf(&printed, verb+"\n", line.SubscriberNumber)
		fmt.Fprintf(&printed, verb+"\n", line.ServiceDate)
	}
	// Without the time, whose nanoseconds may say 2018.
	timeless := &slog.HandlerOptions{ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
		if len(groups) == 0 && a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}}
	slog.New(slog.NewTextHandler(&printed, timeless)).Info("line", "line", line, "subscriber", line.SubscriberNumber, "date", line.ServiceDate)
	slog.New(slog.NewJSONHandler(&printed, timeless)).Info("line", "line", line, "subscriber", line.SubscriberNumber, "date", line.ServiceDate)
	if err := json.NewEncoder(&printed).Encode(line); err != nil {
		t.Fatal(err)
	}
	seconds := fmt.Sprint(line.ServiceDate.Unix())
	for _, secret := range []string{"3730189502", "2018", seconds, fmt.Sprintf("%x", "3730189502")} {
		if strings.Contains(printed.String(), secret) {
			t.Errorf("%q shows in:\n%s", secret, printed.String())
		}
	}
}
