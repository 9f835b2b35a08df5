package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/claimrail/claimrail/internal/api"
)

// strictRules differ from the defaults: what is a warning there rejects a claim here.
const strictRules = "npi-check-digit=error,cdt-pattern=error,quadrant-code=error,future-date=error,allowed-above-billed=error"

// lineFields are the fields of a line in the order of importHeader, and what a good one holds.
var lineFields = [...][2]string{
	{"service_date", "3/28/18 0:00"},
	{"submitted_procedure", "D0180"},
	{"quadrant", "UR"},
	{"plan_group_number", "GRP-1000"},
	{"subscriber_number", "3730189502"},
	{"provider_npi", "1497775530"},
	{"provider_fees", "100"},
	{"allowed_fees", "90"},
	{"member_coinsurance", "5"},
	{"member_copay", "0"},
}

// badLines are what is wrong with the second line of claims.
var badLines = []map[string]string{
	{"service_date": "13/28/18 0:00", "provider_npi": "14977"},
	{"service_date": "", "submitted_procedure": "", "subscriber_number": "  ", "provider_fees": ""},
	{"submitted_procedure": "X0180", "plan_group_number": strings.Repeat("G", 1000)},
	{"submitted_procedure": "D01", "quadrant": "XX", "service_date": "3/28/2999 0:00"},
	{"provider_npi": "1234567890", "provider_fees": "80"},
	{"provider_fees": "1.005", "allowed_fees": "-1", "member_coinsurance": "1e3", "member_copay": "100000000"},
	{"provider_npi": "149777553O", "subscriber_number": "37\u0007"},
}

// fields gives the fields of a line of a claim: the second is the bad one.
func fields(line int, bad map[string]string) (names, values []string) {
	for _, field := range lineFields {
		name, value := field[0], field[1]
		if wrong, ok := bad[name]; ok && line == 1 {
			value = wrong
		}
		names, values = append(names, name), append(values, value)
	}
	return names, values
}

// The same claims are judged alike, to the word and by the rules that are set, whether they come as JSON to
// the API, or as CSV or NDJSON in a file, imported here or by a server.
func TestVerdictsAreAlike(t *testing.T) {
	t.Parallel()
	server := startServer(t, t.TempDir(), "--rules", strictRules)
	var want []string
	csv, ndjson := strings.Builder{}, strings.Builder{}
	csv.WriteString(importHeader)
	for n, bad := range badLines {
		var lines []map[string]string
		for line := range 2 {
			names, values := fields(line, bad)
			object := map[string]string{}
			for i, name := range names {
				object[name] = values[i]
			}
			lines = append(lines, object)
			fmt.Fprintf(&csv, "V-%d,%s\n", n, strings.Join(values, ","))
		}
		body, err := json.Marshal(map[string]any{"external_claim_id": fmt.Sprintf("V-%d", n), "lines": lines})
		if err != nil {
			t.Fatal(err)
		}
		ndjson.Write(append(body, '\n'))
		want = append(want, postedVerdict(t, server, n, body)...)
	}
	if len(want) < 15 {
		t.Errorf("got %q from the API, want at least 15 violations", want)
	}
	for name, text := range map[string]string{"claims.csv": csv.String(), "claims.ndjson": ndjson.String()} {
		file := writeText(t, name, text)
		for _, where := range [][]string{{"--data-dir", t.TempDir(), "--rules", strictRules}, {"--server", server}} {
			if difference := cmp.Diff(importedVerdict(t, file, where...), want); difference != "" {
				t.Errorf("%s, %s: got -, want as from the API +:\n%s", name, where[0], difference)
			}
		}
	}
}

// postedVerdict sends a claim to the API, and gives what is wrong with it.
func postedVerdict(t *testing.T, server string, claim int, body []byte) (told []string) {
	t.Helper()
	answer, err := http.Post(server+"/v1/claims", "application/json", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	var problem api.Problem
	if err := json.NewDecoder(answer.Body).Decode(&problem); err != nil || answer.StatusCode != http.StatusUnprocessableEntity {
		t.Fatalf("claim %d: got %s, %v, want that it is refused", claim, answer.Status, err)
	}
	for _, e := range problem.Errors {
		if e.Line == nil {
			t.Fatalf("claim %d: got %+v, want a line", claim, e)
		}
		told = append(told, fmt.Sprintf("claim %d, line %d, %s: %s (%s)", claim, *e.Line, e.Field, e.Message, e.Code))
	}
	slices.Sort(told)
	return told
}

// importedVerdict imports a file, of which all claims are rejected, and gives what is wrong with them.
func importedVerdict(t *testing.T, file string, where ...string) (told []string) {
	t.Helper()
	code, stdout, stderr := do(t, append([]string{"import", file, "--json"}, where...)...)
	var report importReport
	if err := json.Unmarshal([]byte(stdout), &report); err != nil || code != exitFailed || len(report.Files) != 1 || report.Files[0].Rejected != int64(len(badLines)) {
		t.Fatalf("%s: got exit code %d, %s and %s, want that all are rejected", file, code, stdout, stderr)
	}
	for _, f := range report.Files[0].Faults {
		claim, line := f.Row-1, 0
		if _, err := fmt.Sscanf(f.Column, "lines[%d]", &line); err != nil { // of CSV
			claim, line = (f.Row-1)/2, (f.Row-1)%2
		}
		told = append(told, fmt.Sprintf("claim %d, line %d, %s: %s (%s)", claim, line, f.Field, f.Message, f.Code))
	}
	slices.Sort(told)
	return told
}
