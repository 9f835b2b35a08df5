package pgtest_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/claimrail/claimrail/internal/pgtest"
)

// Each database is its own, a copy of its template, on one server that has the
// settings which a store insists on.
func TestDatabases(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t)
	template := server.Template(t, func(url string) { pgtest.Exec(t, url, "CREATE TABLE marks (n int)") })
	first, second := template.Clone(t), template.Clone(t)
	pgtest.Exec(t, first, "INSERT INTO marks VALUES (1)")
	for url, want := range map[string]int{first: 1, second: 0} {
		if got := query[int](t, url, "SELECT count(*) FROM marks"); got != want {
			t.Errorf("rows: got %d, want %d", got, want)
		}
	}
	if got := query[int](t, pgtest.Start(t).Database(t), "SELECT count(*) FROM pg_tables WHERE tablename = 'marks'"); got != 0 {
		t.Errorf("tables of an empty database: got %d, want 0", got)
	}
	if got := query[string](t, pgtest.With(t, first, "application_name", "a b"), "SHOW application_name"); got != "a b" {
		t.Errorf("parameter: got %q, want %q", got, "a b")
	}
	for _, setting := range []string{"fsync", "full_page_writes", "synchronous_commit"} {
		if got := query[string](t, first, "SHOW "+setting); got != "on" {
			t.Errorf("%s: got %s, want on", setting, got)
		}
	}
}

// A server of one's own has the settings that were asked for, can not be reached while it
// is stopped, and keeps what was committed, and only that, over a stop at once.
func TestOwn(t *testing.T) {
	t.Parallel()
	server := pgtest.StartOwn(t, "max_connections=17")
	url := server.Database(t)
	if got := query[int](t, url, "SELECT current_setting('max_connections')::int"); got != 17 {
		t.Errorf("max_connections: got %d, want 17", got)
	}
	pgtest.Exec(t, url, "CREATE TABLE marks (n int)", "INSERT INTO marks VALUES (1)")
	open, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = open.Close(t.Context()) }()
	if _, err := open.Exec(t.Context(), "BEGIN; INSERT INTO marks VALUES (2)"); err != nil {
		t.Fatal(err)
	}
	server.Stop(t)
	if _, err := open.Exec(t.Context(), "COMMIT"); err == nil {
		t.Error("COMMIT on a stopped server: got no error")
	}
	if conn, err := pgx.Connect(t.Context(), url); err == nil {
		_ = conn.Close(t.Context())
		t.Error("connect to a stopped server: got no error")
	}
	server.Start(t)
	if got := query[int](t, url, "SELECT sum(n) FROM marks"); got != 1 {
		t.Errorf("sum: got %d, want 1", got)
	}
}

// A stopped server was killed, and not asked to go: it has not taken its lock file away, none of its
// processes has told a client, and none is left. It starts again all the same.
func TestOwnIsKilled(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("the processes of a server can be listed on Linux only")
	}
	folder, err := os.MkdirTemp("", "claimrail-postgres-killed-") // short enough for a socket
	if err != nil {
		t.Fatal(err)
	}
	server := pgtest.StartOwnIn(t, folder)
	config, err := pgx.ParseConfig(server.URL())
	if err != nil {
		t.Fatal(err)
	}
	said := ""
	config.OnNotice = func(_ *pgconn.PgConn, notice *pgconn.Notice) { said = notice.Message }
	session, err := pgx.ConnectConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = session.Close(context.WithoutCancel(t.Context())) }()
	processes := server.Processes()
	if len(processes) < 3 {
		t.Fatalf("got processes %v, want the server's first, its helpers, and that of the session", processes)
	}
	server.Stop(t)
	var refused *pgconn.PgError
	if _, err := session.Exec(t.Context(), "SELECT 1"); err == nil || errors.As(err, &refused) || said != "" {
		t.Errorf("session of a killed server: got %v, and it was told %q, want the end of the connection and no word", err, said)
	}
	if _, err := os.Stat(filepath.Join(folder, "data", "postmaster.pid")); err != nil {
		t.Errorf("lock file of a killed server: got %v, want it left behind", err)
	}
	for _, pid := range processes {
		if state, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid)); err == nil && !strings.Contains(string(state), ") Z ") {
			t.Errorf("process %d of a killed server is there: %s", pid, state)
		}
	}
	server.Start(t)
	if got := query[int](t, server.URL(), "SELECT 1"); got != 1 {
		t.Errorf("after the kill: got %d, want 1", got)
	}
}

func query[T any](t *testing.T, url, text string) T {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(ctx) }()
	var got T
	if err := conn.QueryRow(ctx, text).Scan(&got); err != nil {
		t.Fatal(err)
	}
	return got
}
