package pgtest

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"
)

// StartWithoutStandby makes a server whose synchronous standby never comes, with a database: its
// commits wait for ever. URL alone is that of sessions that do not wait.
func StartWithoutStandby(t testing.TB) (address, alone string) {
	t.Helper()
	address = StartOwn(t, "synchronous_standby_names=nobody", "synchronous_commit=local").Database(t)
	return With(t, address, "synchronous_commit", "on"), With(t, address, "synchronous_commit", "local")
}

// EndWaiting runs do, and ends the sessions of its database whose commit waits for a standby, until do
// is done. It says whether there were any, and gives the error of do.
func EndWaiting(t testing.TB, address string, do func() error) (waited bool, err error) {
	t.Helper()
	return whileWaiting(t, address, "pg_terminate_backend", do)
}

// CancelWaiting is EndWaiting that only cancels the wait: the server then takes the commit for done.
func CancelWaiting(t testing.TB, address string, do func() error) (waited bool, err error) {
	t.Helper()
	return whileWaiting(t, address, "pg_cancel_backend", do)
}

func whileWaiting(t testing.TB, address, stop string, do func() error) (waited bool, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), adminTimeout)
	defer cancel()
	conn, err := pgx.Connect(ctx, address)
	if err != nil {
		t.Fatalf("connect to test database: %v", err)
	}
	defer func() { _ = conn.Close(ctx) }()
	done := make(chan error, 1)
	go func() { done <- do() }()
	for {
		select {
		case err := <-done:
			return waited, err
		default:
		}
		var ended int
		end := `SELECT count(` + stop + `(pid)) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'SyncRep'`
		if err := conn.QueryRow(ctx, end).Scan(&ended); err != nil {
			t.Fatalf("end sessions that wait: %v", err)
		}
		waited = waited || ended > 0
	}
}
