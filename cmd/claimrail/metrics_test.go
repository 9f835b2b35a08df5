package main

import (
	"log/slog"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/claimrail/claimrail/internal/store/sqlitestore"
)

// A scrape that can not count the claims under way gives the last count, so that alerts on it hold, and counts
// as a scrape with an error.
func TestMetricsOutliveTheirDatabase(t *testing.T) {
	t.Parallel()
	claims, err := sqlitestore.Open(t.Context(), filepath.Join(t.TempDir(), "c.db"), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	m := &meter{registry: prometheus.NewRegistry()}
	m.registry.MustRegister(&backlogCollector{rows: claims})
	handler := m.handler()
	scrape := func() string {
		answer := httptest.NewRecorder()
		handler.ServeHTTP(answer, httptest.NewRequestWithContext(t.Context(), "GET", "/metrics", nil))
		return answer.Body.String()
	}
	want := []string{"claimrail_outbox_oldest_seconds 0", `claimrail_outbox_claims{state="pending"} 0`}
	for _, state := range []string{"open", "closed", "closed again"} {
		if state == "closed" {
			if err := claims.Close(); err != nil {
				t.Fatal(err)
			}
		}
		got := scrape()
		for _, line := range want {
			if !strings.Contains(got, line+"\n") {
				t.Errorf("database %s: want %s, got\n%s", state, line, got)
			}
		}
		if state == "closed again" && !strings.Contains(got, `promhttp_metric_handler_errors_total{cause="gathering"} 1`) {
			t.Errorf("database %s: the scrape with an error is not counted:\n%s", state, got)
		}
	}
}
