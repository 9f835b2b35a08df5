package api_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/claimrail/claimrail/internal/api"
)

// On loopback a request must come under a name of loopback or one that was allowed, whatever it
// asks for, probes excepted; elsewhere only names that were allowed make a difference.
func TestHost(t *testing.T) {
	t.Parallel()
	loopback := func(c *api.Config) { c.Loopback = true }
	named := func(c *api.Config) { c.Hosts = []string{"claims.example.org", "Other.example.org:81"} }
	ask := func(b *bench, host, path string) *httptest.ResponseRecorder {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil)
		r.Host = host
		recorder := httptest.NewRecorder()
		b.api.ServeHTTP(recorder, r)
		return recorder
	}
	for name, c := range map[string]struct {
		bench *bench
		takes map[string]bool
	}{
		"loopback": {setup(t, loopback), map[string]bool{
			"localhost": true, "LOCALHOST:8000": true, "127.0.0.1:8000": true, "127.9.9.9": true, "[::1]:8000": true, "[::1]": true,
			"evil.example": false, "evil.example:8000": false, "localhost.evil.example": false, "127.0.0.1.evil.example:8000": false,
			"192.0.2.1:8000": false, "claims.example.org": false, "": false, "0.0.0.0:8000": false,
		}},
		"loopback with names": {setup(t, loopback, named), map[string]bool{
			"localhost": true, "claims.example.org": true, "Claims.Example.org:99": true, "other.example.org:81": true,
			"other.example.org": false, "other.example.org:82": false, "evil.example": false,
		}},
		"names":   {setup(t, named), map[string]bool{"localhost": true, "claims.example.org": true, "evil.example": false}},
		"neither": {setup(t), map[string]bool{"evil.example": true, "": true}},
	} {
		for host, taken := range c.takes {
			for _, path := range []string{"/v1/claims", "/top-providers", "/docs", "/openapi.json", "/"} {
				if got := ask(c.bench, host, path); (got.Code != http.StatusMisdirectedRequest) != taken {
					t.Errorf("%s, %q, %s: got %d, want it taken: %t", name, host, path, got.Code, taken)
				} else if !taken && !(strings.Contains(got.Body.String(), "CLAIMRAIL_ALLOW_HOSTS") && strings.Contains(got.Body.String(), host)) {
					t.Errorf("%s, %q: got %s, want the host and the setting in it", name, host, got.Body)
				}
			}
			if got := ask(c.bench, host, "/metrics").Code; (got != http.StatusMisdirectedRequest) != taken {
				t.Errorf("%s, %q: metrics: got %d", name, host, got)
			}
			for _, path := range []string{"/healthz", "/readyz"} {
				if got := ask(c.bench, host, path).Code; got != http.StatusOK {
					t.Errorf("%s, %q, %s: got %d, want 200", name, host, path, got)
				}
			}
		}
	}
}

// A page of another origin changes nothing, even without a content type; what is no
// browser, and the page of ours, does.
func TestCrossOrigin(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for header, status := range map[string]int{
		"Sec-Fetch-Site: cross-site": 403, "Sec-Fetch-Site: same-site": 403, "Origin: http://evil.example": 403, "Origin: null": 403,
		"Sec-Fetch-Site: same-origin": 200, "Sec-Fetch-Site: none": 200, "Origin: http://example.com": 200, "User-Agent: curl/8": 200,
	} {
		got := b.send(http.MethodPost, "/claim-process", "[]", header)
		if got.status != status {
			t.Errorf("%s: got %d %s, want %d", header, got.status, got.body, status)
		}
		if status != 403 {
			continue
		}
		for _, path := range []string{"/v1/claims", "/v1/dead-letters/1/redrive", "/v1/dead-letters/1/discard", "/v1/imports"} {
			b.want(b.send(http.MethodPost, path, "{}", header, "Content-Type: "), 403)
		}
		b.want(b.send(http.MethodGet, "/v1/claims", "", header), 200)
	}
}
