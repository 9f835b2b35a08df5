package api_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/claimrail/claimrail/internal/api"
	"github.com/claimrail/claimrail/internal/store"
)

// sink is a client that looks at nothing.
type sink struct{ header http.Header }

func (s *sink) Header() http.Header          { return s.header }
func (*sink) Write(body []byte) (int, error) { return len(body), nil }
func (*sink) WriteHeader(int)                {}

// BenchmarkProcessClaim is a claim of four lines from its header to its answer, without network and
// database.
func BenchmarkProcessClaim(b *testing.B) {
	handler := setup(b, func(config *api.Config) {
		config.Submitter = submitter{outcome: store.Outcome{FirstLineID: 1_000_000}}
	}).api
	body := "[" + strings.Repeat(line(`"quadrant": "UR"`)+",", 3) + line() + "]"
	b.ReportAllocs()
	for b.Loop() {
		r := httptest.NewRequestWithContext(b.Context(), http.MethodPost, "/claim-process", strings.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		handler.ServeHTTP(&sink{http.Header{}}, r)
	}
}
