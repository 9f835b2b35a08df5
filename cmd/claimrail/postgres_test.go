package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/claimrail/claimrail/internal/api"
	"github.com/claimrail/claimrail/internal/pgtest"
)

// onPostgres runs claimrail on two databases.
func onPostgres(t *testing.T, claims, payments string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, messages bytes.Buffer
	code = run(t.Context(), args, strings.NewReader(""), &out, &messages, []string{
		"CLAIMRAIL_DATABASE_URL=" + claims, "CLAIMRAIL_PAYMENTS_DATABASE_URL=" + payments,
		"CLAIMRAIL_DATA_DIR=" + t.TempDir(), "CLAIMRAIL_LISTEN=127.0.0.1:0", "USER=tester",
	})
	return code, out.String(), messages.String()
}

// ask gets one value from a database.
func ask[T any](t *testing.T, url, query string) (value T) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(ctx) }()
	if err := conn.QueryRow(ctx, query).Scan(&value); err != nil {
		t.Fatal(err)
	}
	return value
}

// roles makes the two roles that internal/pgfile/roles.sql has, and gives the URL of each.
func roles(t *testing.T, url string) (claims, payments string) {
	t.Helper()
	urls := pgtest.Roles(t, url, readRoot(t, "internal/pgfile/roles.sql"), "claims", "payments")
	return urls["claims"], urls["payments"]
}

// Every command that can not have its database says which one, in one line, and what to do,
// in another, whatever the command is; a password is in neither.
func TestDatabaseErrors(t *testing.T) {
	t.Parallel()
	url := pgtest.Start(t).Database(t)
	claims, payments := roles(t, url)
	if code, _, stderr := onPostgres(t, claims, payments, "migrate"); code != exitDone {
		t.Fatalf("migrate: %s", stderr)
	}
	const away = "postgres://u:s3cret@127.0.0.1:1/d?sslmode=disable"
	const notAnswered = "can not connect to 127.0.0.1:1: connection refused\nhint: start the server, or correct host and port in the URL\n"
	for name, test := range map[string]struct {
		claims, payments string
		args             []string
		want             string
	}{
		"serve":    {away, payments, []string{"serve"}, "claims database of CLAIMRAIL_DATABASE_URL: open schema claims: " + notAnswered},
		"payments": {claims, away, []string{"serve"}, "payments database of CLAIMRAIL_PAYMENTS_DATABASE_URL: open schema payments: " + notAnswered},
		"migrate":  {away, away, []string{"migrate"}, "claims database of CLAIMRAIL_DATABASE_URL: open schema claims: " + notAnswered},
		"top":      {away, away, []string{"top"}, "claims database of CLAIMRAIL_DATABASE_URL: open schema claims: " + notAnswered},
		"letters":  {away, away, []string{"dead-letters", "list"}, "payments database of CLAIMRAIL_PAYMENTS_DATABASE_URL: open schema payments: " + notAnswered},
		"swapped": {
			payments, claims,
			[]string{"serve"},
			"claims database of CLAIMRAIL_DATABASE_URL: open schema claims: it belongs to another role\nhint: use the role that internal/pgfile/roles.sql makes for it, " +
				"or name a schema of its own with search_path in the URL, or another database\n",
		},
		"other schema": {
			pgtest.With(t, url, "search_path", "payments"), payments,
			[]string{"serve"},
			"claims database of CLAIMRAIL_DATABASE_URL: open schema payments: it is another program's, or that of the other database of claimrail: " +
				"it has no table claim_keys\nhint: name a schema of its own with search_path in the URL, or another database\n",
		},
		"no URL": {
			"postgres://u:s3cret@[", payments,
			[]string{"serve"},
			"claims database of CLAIMRAIL_DATABASE_URL: read database URL: not of the form postgres://user:password@host:port/database?name=value, " +
				"or a value in it is wrong\nhint: check CLAIMRAIL_DATABASE_URL\n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			code, stdout, stderr := onPostgres(t, test.claims, test.payments, test.args...)
			if want := "claimrail: open the " + test.want; code != exitFailed || stdout != "" || stderr != want {
				t.Errorf("got code %d, stdout %q, stderr %q; want %q", code, stdout, stderr, want)
			}
		})
	}
}

// Commands that come to look, and decisions on dead letters, make no schema and migrate
// none: they say what to do, and the database stays as it is.
func TestLookingMigratesNothing(t *testing.T) {
	t.Parallel()
	const id = "0199a1b2-7c1e-7d3a-9f4b-2a6c8e0d1f35"
	commands := [][]string{
		{"top"},
		{"claims", "list"},
		{"claims", "show", id},
		{"dead-letters", "list"},
		{"dead-letters", "redrive", "1", "--reason", "x"},
		{"dead-letters", "discard", "1", "--reason", "x"},
		{"export", "claims"},
		{"verify"},
	}
	url := pgtest.Start(t).Database(t)
	check := func(want, hint string) {
		t.Helper()
		for _, args := range commands {
			code, _, stderr := onPostgres(t, url, url, args...)
			if code != exitFailed || !strings.Contains(stderr, want) || !strings.Contains(stderr, hint) {
				t.Errorf("%v: got code %d, stderr %q; want %q, %q", args, code, stderr, want, hint)
			}
		}
	}
	check("there is no such schema", "\nhint: make it with 'claimrail migrate'")
	if got := ask[int](t, url, "SELECT count(*) FROM pg_namespace WHERE nspname IN ('claims', 'payments')"); got != 0 {
		t.Errorf("schemas made: got %d, want none", got)
	}
	if code, _, stderr := onPostgres(t, url, url, "migrate"); code != exitDone {
		t.Fatalf("migrate: %s", stderr)
	}
	if code, stdout, stderr := onPostgres(t, url, url, "verify"); code != exitDone || !strings.Contains(stdout, "clean") {
		t.Errorf("verify: got code %d, stdout %q, stderr %q", code, stdout, stderr)
	}
	for _, schema := range []string{"claims", "payments"} {
		pgtest.Exec(t, url, "INSERT INTO "+schema+".goose_db_version (version_id, is_applied) VALUES (999, true)")
	}
	check("it has version 999, and this program knows ", "\nhint: use the version of claimrail that migrated it, or a newer one")
	for _, schema := range []string{"claims", "payments"} {
		pgtest.Exec(t, url, "DELETE FROM "+schema+".goose_db_version WHERE version_id > 0")
	}
	check("nothing in it", "\nhint: make it with 'claimrail migrate'")
}

// Twenty programs that migrate at once all succeed, and each migration is made once.
func TestTwentyMigrateAtOnce(t *testing.T) {
	t.Parallel()
	url := pgtest.Start(t).Database(t)
	var wait sync.WaitGroup
	for range 20 {
		wait.Go(func() {
			if code, stdout, stderr := onPostgres(t, url, url, "migrate"); code != exitDone || stdout != "claims: up to date\npayments: up to date\n" {
				t.Errorf("migrate: got code %d, stdout %q, stderr %q", code, stdout, stderr)
			}
		})
	}
	wait.Wait()
	for schema, folder := range map[string]string{"claims": "internal/store/pgstore/migrations", "payments": "internal/payment/pgledger/migrations"} {
		scripts, err := os.ReadDir(root + "/" + folder)
		if err != nil {
			t.Fatal(err)
		}
		got := ask[string](t, url, "SELECT string_agg(version_id::text, ' ' ORDER BY id) FROM "+schema+".goose_db_version WHERE version_id > 0")
		var want []string
		for _, script := range scripts {
			number, _, _ := strings.Cut(script.Name(), "_")
			want = append(want, strings.TrimLeft(number, "0"))
		}
		if got != strings.Join(want, " ") {
			t.Errorf("migrations of %s: got %s, want %v", schema, got, want)
		}
	}
	if got := ask[int](t, url, "SELECT count(*) FROM claims.identity"); got != 1 {
		t.Errorf("identity secrets: got %d, want 1", got)
	}
}

// The role of each service works on all of its own tables and can read none of the
// other's, in the schemas as the program makes them.
func TestRolesReadOnlyTheirOwn(t *testing.T) {
	t.Parallel()
	url := pgtest.Start(t).Database(t)
	claims, payments := roles(t, url)
	if code, _, stderr := onPostgres(t, claims, payments, "migrate"); code != exitDone {
		t.Fatalf("migrate: %s", stderr)
	}
	const tables = "SELECT array_agg(schemaname || '.' || tablename) FROM pg_tables WHERE schemaname = '%s'"
	for schema, other := range map[string]string{"claims": payments, "payments": claims} {
		own := claims
		if schema == "payments" {
			own = payments
		}
		found := ask[[]string](t, url, fmt.Sprintf(tables, schema))
		if len(found) < 6 {
			t.Errorf("tables of %s: got %v, want more", schema, found)
		}
		for _, table := range found {
			ask[int](t, own, "SELECT count(*) FROM "+table)
			if err := look(t, other, table); err == nil || !strings.Contains(err.Error(), "42501") {
				t.Errorf("%s is read by the other role: got %v, want it denied", table, err)
			}
		}
	}
}

// look reads a table.
func look(t *testing.T, url, table string) error {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(t.Context())) }()
	_, err = conn.Exec(t.Context(), "SELECT count(*) FROM "+table)
	return err
}

// While the server has no connection left, and after it has ended those that there were,
// requests get 503 and are told when to come again; then all is well again.
func TestNoConnectionLeft(t *testing.T) {
	t.Parallel()
	url := pgtest.Start(t).Database(t)
	claims, _ := roles(t, url)
	l, err := openLine(t.Context(), config{DataDir: t.TempDir(), DatabaseURL: claims, Role: roleAll}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.close() }()
	running, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- l.committer.Run(running) }()
	defer func() { stop(); <-ended }()
	handler := api.New(l.apiConfig(config{TopProvidersPerMinute: 10}, newMeter(l)))
	const claim = `[{"service date":"3/28/18 0:00","submitted procedure":"D0180","Plan/Group #":"GRP-1000","Subscriber#":"3730189502",` +
		`"Provider NPI":"1497775530","provider fees":"$100.00","Allowed fees":"$99.00","member coinsurance":"$0.00","member copay":"$0.00"}]`
	check := func(want int) {
		t.Helper()
		for method, path := range map[string]string{http.MethodPost: "/claim-process", http.MethodGet: "/top-providers"} {
			request := httptest.NewRequestWithContext(t.Context(), method, path, strings.NewReader(claim))
			request.Header.Set("Content-Type", "application/json")
			recorder := httptest.NewRecorder()
			handler.ServeHTTP(recorder, request)
			body, _ := io.ReadAll(recorder.Body)
			if recorder.Code != want || want == http.StatusServiceUnavailable && recorder.Header().Get("Retry-After") == "" {
				t.Errorf("%s %s: got %d, Retry-After %q, %s; want %d", method, path, recorder.Code, recorder.Header().Get("Retry-After"), body, want)
			}
		}
	}
	check(http.StatusOK)
	role := ask[string](t, claims, "SELECT current_user")
	pgtest.Exec(t, url, "ALTER ROLE "+role+" CONNECTION LIMIT 0", // which is refused as full slots are: 53300
		"SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE usename = '"+role+"'")
	check(http.StatusServiceUnavailable)
	pgtest.Exec(t, url, "ALTER ROLE "+role+" CONNECTION LIMIT -1")
	check(http.StatusOK)
}
