package pgstore_test

import (
	"context"
	"maps"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/claimrail/claimrail/internal/pgtest"
)

// The tables whose rows come and go have settings of their own for vacuum: the outbox by the
// number of rows that are gone, however many there are, and neither is slowed down.
func TestVacuumSettings(t *testing.T) {
	t.Parallel()
	url := pgtest.Start(t).Database(t)
	if err := open(t, url).Close(); err != nil {
		t.Fatal(err)
	}
	ctx := context.WithoutCancel(t.Context())
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(ctx) }()
	for table, want := range map[string]map[string]string{
		"outbox": {
			"autovacuum_vacuum_scale_factor": "0", "autovacuum_vacuum_threshold": "5000",
			"autovacuum_analyze_scale_factor": "0", "autovacuum_vacuum_cost_delay": "0", "fillfactor": "70",
		},
		"provider_totals": {"autovacuum_vacuum_scale_factor": "0.05", "autovacuum_vacuum_cost_delay": "0", "fillfactor": "70"},
	} {
		var options []string
		if err := conn.QueryRow(ctx, "SELECT reloptions FROM pg_class WHERE oid = ('claims.' || $1)::regclass", table).Scan(&options); err != nil {
			t.Fatal(err)
		}
		got := map[string]string{}
		for _, option := range options {
			name, value, _ := strings.Cut(option, "=")
			if want[name] != "" {
				got[name] = value
			}
		}
		if !maps.Equal(got, want) {
			t.Errorf("%s: got %v, want %v", table, got, want)
		}
	}
}
