package e2e_test

import (
	"net/http"
	"testing"
)

// What a client sends wrong is refused without a trace of the subscriber or the service
// date in the log, the metrics, or a file other than the claims database; nor does the
// answer of the own API tell them. All other tests search their systems likewise.
func TestNoPHI(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	s.start()
	h := newHistory()
	good := newForm("external", "good", 100)
	s.accept(h, good)
	s.attempt(h, good.other())
	bad := func(field string, value any) any {
		line := newForm("external", "bad", 100).lines[0]
		line[field] = value
		return map[string]any{"external_claim_id": "bad", "lines": []any{line}}
	}
	for _, tt := range []struct {
		name   string
		body   any
		status int
	}{
		{"a bad NPI", bad("provider_npi", "1"), http.StatusUnprocessableEntity},
		{"a subscriber that is no text", bad("subscriber_number", []string{subscriber}), http.StatusUnprocessableEntity},
		{"a date that is none", bad("service_date", serviceDate+" "+subscriber), http.StatusUnprocessableEntity},
		{"an amount that is none", bad("provider_fees", -1), http.StatusUnprocessableEntity},
		{"a name twice", bad("Subscriber#", subscriber), http.StatusUnprocessableEntity},
		{"no claim at all", []string{subscriber, serviceDate}, http.StatusUnprocessableEntity},
		{"text", subscriber + serviceDate, http.StatusUnprocessableEntity},
	} {
		for _, path := range []string{"/v1/claims", "/claim-process", "/v1/dead-letters/1/discard"} {
			a, err := s.call(s.server.url, http.MethodPost, path, http.Header{"Idempotency-Key": {"bad"}}, tt.body)
			if err != nil || a.status < 400 || a.status >= 500 || path == "/v1/claims" && a.status != tt.status {
				t.Errorf("%s: %s: got %d %s, %v, want it refused", path, tt.name, a.status, a.body, err)
			}
			if path != "/claim-process" {
				wantNoPHI(t, path+": "+tt.name, a.body)
			}
		}
	}
	for _, path := range []string{"/v1/claims/" + subscriber, "/v1/payments/" + subscriber, "/v1/claims?cursor=" + subscriber, "/" + subscriber} {
		if a := s.get(path); a.status < 400 || a.status >= 500 {
			t.Errorf("GET %s: got %d, want it refused", path, a.status)
		}
	}
	s.finish(h)
}
