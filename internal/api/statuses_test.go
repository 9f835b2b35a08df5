package api_test

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/uuid"

	"github.com/claimrail/claimrail/internal/api"
	"github.com/claimrail/claimrail/internal/event"
	"github.com/claimrail/claimrail/internal/payment"
)

// operation is what the specification says of one.
type operation struct {
	Parameters []struct {
		Name    string `json:"name"`
		In      string `json:"in"`
		Example any    `json:"example"`
		Schema  struct {
			Enum []string `json:"enum"`
		} `json:"schema"`
	} `json:"parameters"`
	RequestBody struct {
		Content map[string]struct {
			Example json.RawMessage `json:"example"`
		} `json:"content"`
	} `json:"requestBody"`
	Responses map[string]any `json:"responses"`
}

// attempt is one request to an operation.
type attempt struct {
	query  string
	body   string
	header http.Header
	change func(*http.Request)
}

// attempts gives requests to an operation, good and bad.
func (o *operation) attempts(method string) []attempt {
	tries := []attempt{
		{},
		{query: "unknown=1"},
		{query: "%zz"},
		{query: "a;b"},
		{change: func(r *http.Request) { r.Proto, r.ProtoMinor = "HTTP/1.0", 0 }},
		{change: func(r *http.Request) { r.Host = "evil.example" }},
		{header: http.Header{"Sec-Fetch-Site": {"cross-site"}}},
		{header: http.Header{"Idempotency-Key": {strings.Repeat("k", 256)}}},
	}
	for _, p := range o.Parameters {
		if p.In != "query" {
			continue
		}
		values := append([]string{"~", "", "-1", "999999999999999999999"}, p.Schema.Enum...)
		if p.Example != nil {
			values = append(values, fmt.Sprint(p.Example))
		}
		for _, value := range values {
			tries = append(tries, attempt{query: p.Name + "=" + url.QueryEscape(value)})
		}
		tries = append(tries, attempt{query: p.Name + "=1&" + p.Name + "=1"})
	}
	if method != http.MethodPost {
		return tries
	}
	bodies := []string{
		"", "{", "[]", "{}", "7", `{"reason": ""}`, `{"reason": "x", "lines": []}`, "[{}]", "[" + line(`"provider_npi": 1`) + "]",
		claimOf("C-1", line(`"provider_fees": 1`)), strings.Repeat(" ", api.MaxBodyBytes+1),
	}
	for _, err := range []error{os.ErrDeadlineExceeded, io.ErrUnexpectedEOF} { // too slow, and broken off
		tries = append(tries, attempt{change: func(r *http.Request) { r.Body = io.NopCloser(iotest.ErrReader(err)) }})
	}
	for kind, content := range o.RequestBody.Content {
		bodies = append(bodies, string(content.Example), string(content.Example)) // the second time it may be there
		for _, body := range []string{"", "x", table("A", "B!")} {
			tries = append(tries, attempt{body: body, header: http.Header{"Content-Type": {kind}}})
		}
	}
	for _, body := range bodies {
		for _, kind := range []string{"application/json", "", "text/html", "application/json; charset=latin1", "/"} {
			tries = append(tries, attempt{body: body, header: http.Header{"Content-Type": {kind}}})
		}
	}
	return append(tries, attempt{body: "[]", header: http.Header{"Content-Encoding": {"gzip"}}},
		attempt{body: "[" + line(`"provider_fees": 1`) + "]", header: http.Header{"Idempotency-Key": {"k"}}},
		attempt{body: "[" + line(`"provider_fees": 2`) + "]", header: http.Header{"Idempotency-Key": {"k"}}})
}

// Whatever an operation is sent, good or bad, it answers with a status that the specification lists for it.
func TestStatusesAreDocumented(t *testing.T) {
	t.Parallel()
	b := setup(t, func(c *api.Config) { c.Loopback, c.Hosts = true, []string{"example.com"} })
	b.working()
	claimed := decode[api.Claim](t, b.want(b.send(http.MethodPost, "/v1/claims", claimOf("C-1", line())), 201).body)
	sent := b.want(b.send(http.MethodPost, "/v1/imports", table("A", "B!"), "Content-Type: text/csv"), 202)
	imported := b.ended(sent.header.Get("Location"))
	ref := event.Ref{Key: event.Key{ClaimID: uuid.MustParse(claimed.ClaimID), Version: 1}}
	letters := []string{fmt.Sprint(b.park("m1", ref, payment.ReasonFailed)), fmt.Sprint(b.park("m2", event.Ref{}, payment.ReasonMalformed))}
	ids := map[string][]string{"{claim_id}": {claimed.ClaimID}, "{import_id}": {imported.ImportID}, "{id}": letters}
	spec := decode[struct {
		Paths map[string]map[string]operation `json:"paths"`
	}](t, b.want(b.send(http.MethodGet, "/openapi.json", ""), 200).body)
	requests, undocumented := 0, map[string]string{}
	for pattern, operations := range spec.Paths {
		paths := []string{pattern}
		for name, known := range ids {
			if strings.Contains(pattern, name) {
				paths = nil
				for _, id := range append(known, uuid.NewString(), "999999", "0", "x", "%00") {
					paths = append(paths, strings.Replace(pattern, name, id, 1))
				}
			}
		}
		for method, operation := range operations {
			method = strings.ToUpper(method)
			for _, path := range paths {
				for _, try := range operation.attempts(method) {
					requests++
					got := b.attempt(method, path, try, requests)
					if _, listed := operation.Responses[fmt.Sprint(got.status)]; !listed {
						undocumented[fmt.Sprintf("%s %s: %d", method, pattern, got.status)] = fmt.Sprintf("%s %.80s %v: %.200s", try.query, try.body, try.header, got.body)
					}
				}
			}
		}
	}
	for _, status := range slices.Sorted(maps.Keys(undocumented)) {
		t.Errorf("not in the specification: %s, as for %s", status, undocumented[status])
	}
	if requests < 1000 {
		t.Errorf("got %d requests, want more than 1000", requests)
	}
}

// attempt sends a request from an address of its own, so that no limit of requests is met.
func (b *bench) attempt(method, path string, try attempt, number int) answer {
	b.t.Helper()
	r := httptest.NewRequestWithContext(b.t.Context(), method, path, strings.NewReader(try.body))
	r.URL.RawQuery = try.query
	maps.Copy(r.Header, try.header)
	r.RemoteAddr = fmt.Sprintf("10.0.%d.%d:1", number/256, number%256)
	if try.change != nil {
		try.change(r)
	}
	recorder := httptest.NewRecorder()
	b.api.ServeHTTP(recorder, r)
	return answer{recorder.Code, recorder.Header(), recorder.Body.String()}
}
