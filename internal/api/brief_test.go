package api_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/claimrail/claimrail/internal/api"
	"github.com/claimrail/claimrail/internal/claim"
)

// briefClaim is the brief's example as it is found in the wild: messy names, numbers and
// strings mixed.
const briefClaim = `[
{"service date":"3/28/18 0:00","submitted \nprocedure":"D0180","quadrant":null,"Plan/\nGroup #":"GRP-1000","Subscriber#":3730189502,"Provider\n NPI":1497775530,"provider\n fees":"$100.00 ","Allowed\n fees":"$100.00 ","member \ncoinsurance":"$0.00 ","member\n copay":"$0.00 "},
{"service_date":"2018-03-28","submitted_procedure":"D0210","Plan_group":"GRP-1000","subscriber":"3730189502","Provider_NPI":"1497775530","provider_fees":108,"Allowed_fees":108.0,"member_coinsurance":"0","member_copay":"$0.00"},
{"service_date":"2018-03-28T00:00:00","submitted_procedure":"D4346","quadrant":"","Plan/Group #":"GRP-1000","Subscriber#":"3730189502","Provider NPI":"1497775530","provider fees":130.0,"Allowed fees":"65.00","member coinsurance":16.25,"member copay":0},
{"service_date":"03/28/18 00:00","submitted_procedure":"D4211","quadrant":"UR","group_plan":"GRP-1000","subscriber_id":3730189502,"provider_npi":1497775530,"provider_fees":"$178.00","allowed_fees":"$178.00","member_coinsurance":"$35.60","member_copay":"$0.00"}]`

// The brief's claim is answered to the letter: a bare list, line by line, canonical.
func TestProcessClaim(t *testing.T) {
	t.Parallel()
	b := setup(t)
	got := decode[[]map[string]any](t, b.want(b.send(http.MethodPost, "/claim-process", briefClaim), http.StatusOK).body)
	want := make([]map[string]any, 4)
	for i, expected := range []struct {
		procedure, fees, allowed, coinsurance, net string
		quadrant                                   any
	}{
		{"D0180", "100.00", "100.00", "0.00", "0.00", nil},
		{"D0210", "108.00", "108.00", "0.00", "0.00", nil},
		{"D4346", "130.00", "65.00", "16.25", "81.25", nil},
		{"D4211", "178.00", "178.00", "35.60", "35.60", "UR"},
	} {
		want[i] = map[string]any{
			"id": float64(i + 1), "unique_claim_id": got[0]["unique_claim_id"], "service_date": "2018-03-28T00:00:00",
			"submitted_procedure": expected.procedure, "quadrant": expected.quadrant, "plan_group_number": "GRP-1000",
			"subscriber_number": "3730189502", "provider_npi": "1497775530", "provider_fees": expected.fees,
			"allowed_fees": expected.allowed, "member_coinsurance": expected.coinsurance, "member_copay": "0.00",
			"net_fee": expected.net,
		}
	}
	same(t, "lines", got, want)
	if id, _ := got[0]["unique_claim_id"].(string); len(id) != 36 {
		t.Errorf("unique_claim_id: got %q, want a UUID", id)
	}
	second := decode[[]map[string]any](t, b.send(http.MethodPost, "/claim-process", briefClaim).body)
	if second[0]["unique_claim_id"] == got[0]["unique_claim_id"] || second[0]["id"] != float64(5) {
		t.Errorf("without a key, a claim sent again is another one: got %v", second[0])
	}
}

// An empty list is answered with one, and stores nothing.
func TestProcessNothing(t *testing.T) {
	t.Parallel()
	b := setup(t)
	if got := b.want(b.send(http.MethodPost, "/claim-process", "[]"), http.StatusOK); strings.TrimSpace(got.body) != "[]" {
		t.Errorf("got %s, want []", got.body)
	}
	if b.stored() != 0 {
		t.Errorf("got %d claims, want none", b.stored())
	}
}

// All errors of all lines come at once, each with its place, in the brief's shape, and no warning is among
// them; neither the subscriber number nor the service date is sent back.
func TestProcessClaimErrors(t *testing.T) {
	t.Parallel()
	b := setup(t)
	body := "[" + strings.Join([]string{
		line(`"provider_npi": 12345`, `"provider_fees": "a lot"`),
		line(),
		line(`"service_date": "31/12/18 0:00"`, `"submitted_procedure": "X0180"`, `"quadrant": "Upper"`, `"subscriber_number": "12\u000034"`, `"member_copay": true`, `"plan_group_number": null`),
	}, ",") + "]"
	got := decode[map[string]map[string][]map[string]any](t, b.want(b.send(http.MethodPost, "/claim-process", body), 422).body)
	index := func(i int) any { return float64(i) }
	same(t, "errors", got["detail"]["errors"], []map[string]any{
		{
			"loc": []any{index(0), "provider_npi"}, "type": "value_error", "msg": "an NPI must have exactly 10 digits", "input": "99999",
			"line": index(0), "field": "provider_npi", "code": "npi-digits",
		},
		{
			"loc": []any{index(0), "provider_fees"}, "type": "value_error", "msg": "write an amount as $1,234.50 or 1234.5", "input": "a lot",
			"line": index(0), "field": "provider_fees", "code": "money",
		},
		{
			"loc": []any{index(2), "service_date"}, "type": "value_error",
			"msg":  "write a real date as MM/DD/YY HH:MM or as YYYY-MM-DD, optionally with THH:MM:SS and no zone",
			"line": index(2), "field": "service_date", "code": "service-date",
		},
		{
			"loc": []any{index(2), "submitted_procedure"}, "type": "value_error", "msg": "a submitted procedure must start with the letter D",
			"input": "X0180", "line": index(2), "field": "submitted_procedure", "code": "procedure-prefix",
		},
		{
			"loc": []any{index(2), "plan_group_number"}, "type": "missing", "msg": "this field is required", "input": nil,
			"line": index(2), "field": "plan_group_number", "code": "required",
		},
		{
			"loc": []any{index(2), "subscriber_number"}, "type": "value_error", "msg": "remove the control characters",
			"line": index(2), "field": "subscriber_number", "code": "control-character",
		},
		{
			"loc": []any{index(2), "member_copay"}, "type": "type_error", "msg": "send a string", "input": true,
			"line": index(2), "field": "member_copay", "code": "type",
		},
	})
	if b.stored() != 0 {
		t.Errorf("got %d claims stored, want none", b.stored())
	}
}

// Under an Idempotency-Key a claim is stored once and answered alike; another claim
// under it is refused with 422, for the brief knows no 409.
func TestProcessClaimAgain(t *testing.T) {
	t.Parallel()
	b := setup(t)
	const key = "Idempotency-Key: k-1"
	first := b.want(b.send(http.MethodPost, "/claim-process", "["+line()+"]", key), 200)
	again := b.want(b.send(http.MethodPost, "/claim-process", "["+line(`"provider_fees": 130.0`)+"]", key), 200)
	same(t, "the same claim again", again.body, first.body)
	other := b.want(b.send(http.MethodPost, "/claim-process", "["+line(`"provider_fees": 131`)+"]", key), 422)
	if got := decode[api.BriefFault](t, other.body).Detail.Errors; len(got) != 1 || got[0].Code != "other-claim" {
		t.Errorf("another claim under the key: got %+v, want one error, other-claim", got)
	}
	if b.stored() != 1 {
		t.Errorf("got %d claims, want 1", b.stored())
	}
	for _, bad := range []string{"", strings.Repeat("k", 256), "k\x7f"} {
		b.want(b.send(http.MethodPost, "/claim-process", "["+line()+"]", "Idempotency-Key: "+bad), 400)
	}
}

// Rules that are set to error refuse a claim that is taken, with a warning, by default.
func TestProcessClaimRules(t *testing.T) {
	t.Parallel()
	lenient := setup(t)
	strict := setup(t, func(c *api.Config) { c.Validator.Rules.NPICheckDigit = claim.Error })
	body := "[" + line(`"provider_npi": "1234567890"`) + "]"
	lenient.want(lenient.send(http.MethodPost, "/claim-process", body), 200)
	strict.want(strict.send(http.MethodPost, "/claim-process", body), 422)
}

// What is not a claim at all gets a 4xx that says what and where, in the shape of the
// endpoint it was sent to, and nothing is stored.
func TestBadInput(t *testing.T) {
	t.Parallel()
	b := setup(t)
	many := "[" + strings.Repeat(line()+",", 999) + line() + "]"
	deep := strings.Repeat("[", 33) + strings.Repeat("]", 33)
	for _, c := range []struct {
		name, body string
		header     string
		status     int
		code       string
		says       string
	}{
		{"no JSON", `[{"a": }]`, "", 400, "syntax", "line 1, column 8"},
		{"cut off", `[{"a": 1}`, "", 400, "syntax", "too early"},
		{"text behind", `[] []`, "", 400, "syntax", "behind the end"},
		{"not UTF-8", "[{\"quadrant\": \"\xff\"}]", "", 400, "syntax", "UTF-8"},
		{"too deep", deep, "", 400, "syntax", "deeper than 32"},
		{"a string", `"claim"`, "", 422, "type", "list of lines"},
		{"a line that is none", `[7]`, "", 422, "type", "must be an object"},
		{"a name twice", "[" + strings.Replace(line(), "{", `{"Provider NPI":"1497775530",`, 1) + "]", "", 422, "repeated-field", "two names"},
		{"NUL", "[" + line(`"quadrant": "U\u0000R"`) + "]", "", 422, "control-character", "control"},
		{"too many lines", many, "", 422, "too-many-lines", "999"},
		{"too large", "[" + strings.Repeat(" ", api.MaxBodyBytes) + "]", "", 413, "too-large", "1 MiB"},
		{"a form", "a=b", "Content-Type: application/x-www-form-urlencoded", 415, "content-type", "application/json"},
		{"other charset", "[]", "Content-Type: application/json; charset=latin1", 415, "content-type", "UTF-8"},
		{"compressed", "[]", "Content-Encoding: gzip", 415, "content-encoding", "Content-Encoding"},
	} {
		for _, path := range []string{"/claim-process", "/v1/claims"} {
			var header []string
			if c.header != "" {
				header = append(header, c.header)
			}
			got := b.send(http.MethodPost, path, c.body, header...)
			if got.status != c.status || !strings.Contains(got.body, `"code":"`+c.code+`"`) || !strings.Contains(got.body, c.says) {
				t.Errorf("%s to %s: got %d %.300s, want %d, code %s, %q", c.name, path, got.status, got.body, c.status, c.code, c.says)
			}
			wantType := map[string]string{"/claim-process": "application/json", "/v1/claims": "application/problem+json"}[path]
			if kind := got.header.Get("Content-Type"); kind != wantType {
				t.Errorf("%s to %s: got content type %s, want %s", c.name, path, kind, wantType)
			}
		}
	}
	if b.stored() != 0 {
		t.Errorf("got %d claims stored, want none", b.stored())
	}
}

// The ranking is by total, descending, ties by NPI; a bare list, empty without claims.
func TestTopProviders(t *testing.T) {
	t.Parallel()
	b := setup(t)
	if got := b.want(b.send(http.MethodGet, "/top-providers", ""), 200); strings.TrimSpace(got.body) != "[]" {
		t.Errorf("empty store: got %s, want []", got.body)
	}
	for _, npi := range []string{"1999999984", "1497775530", "1497775530", "1234567890"} {
		b.want(b.send(http.MethodPost, "/claim-process", "["+line(`"provider_npi": "`+npi+`"`)+"]"), 200)
	}
	want := []api.RankedProvider{
		{ProviderNPI: "1497775530", TotalNetFee: "162.50", ClaimCount: 2, Rank: 1},
		{ProviderNPI: "1234567890", TotalNetFee: "81.25", ClaimCount: 1, Rank: 2},
		{ProviderNPI: "1999999984", TotalNetFee: "81.25", ClaimCount: 1, Rank: 3},
	}
	same(t, "all", decode[[]api.RankedProvider](t, b.send(http.MethodGet, "/top-providers?limit=1000", "").body), want)
	same(t, "two", decode[[]api.RankedProvider](t, b.send(http.MethodGet, "/top-providers?limit=2", "").body), want[:2])
	for _, limit := range []string{"0", "1001", "-1", "x", "", "1.5", "99999999999999999999"} {
		// Each from a client of its own, for they all count against the limit.
		got := b.want(b.sendFrom("[2001:db8::"+fmt.Sprint(len(limit))+"]:1", http.MethodGet, "/top-providers?limit="+limit, ""), 422)
		if e := decode[api.BriefFault](t, got.body).Detail.Errors; len(e) != 1 || e[0].Field != "limit" {
			t.Errorf("limit %q: got %s, want one error about limit", limit, got.body)
		}
	}
}

// In any 60 seconds a client has ten requests: the eleventh is refused with headers that
// say when the next is allowed, the window slides, and another address is another client.
func TestTopProvidersLimit(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ask := func(address string) answer { return b.sendFrom(address, http.MethodGet, "/top-providers", "") }
	headers := func(a answer) string {
		return fmt.Sprint(a.status, " ", a.header.Get("Ratelimit-Limit"), " ", a.header.Get("Ratelimit-Remaining"), " ",
			a.header.Get("Ratelimit-Reset"), " ", a.header.Get("Retry-After"))
	}
	for i := range 10 {
		same(t, fmt.Sprint("request ", i), headers(ask("192.0.2.1:1000")), fmt.Sprint("200 10 ", 9-i, " 60 "))
		b.clock.add(5 * time.Second)
	}
	// 50 s after the first.
	for range 3 { // known to be refused, whether the database is asked or not
		same(t, "the eleventh", headers(ask("192.0.2.1:2000")), "429 10 0 55 10")
	}
	same(t, "another address", headers(ask("192.0.2.2:1000")), "200 10 9 60 ")
	b.clock.add(10*time.Second - time.Millisecond)
	same(t, "a moment too early", headers(ask("192.0.2.1:1000")), "429 10 0 46 1")
	b.clock.add(time.Millisecond)
	same(t, "the first is 60 s old", headers(ask("192.0.2.1:1000")), "200 10 0 60 ")
	same(t, "and its place is taken", headers(ask("192.0.2.1:1000")), "429 10 0 60 5")
}
