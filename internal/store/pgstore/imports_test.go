package pgstore_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/claimrail/claimrail/internal/pgtest"
	"github.com/claimrail/claimrail/internal/store"
	"github.com/claimrail/claimrail/internal/store/pgstore"
)

// lockHolder opens an engine whose statements wait long for locks, and a connection that
// is to hold some.
func lockHolder(t *testing.T) (*pgstore.Store, *pgx.Conn) {
	t.Helper()
	url := pgtest.With(t, pgtest.Start(t).Database(t), "lock_timeout", "60000", "statement_timeout", "60000")
	engine := open(t, url)
	ctx := context.WithoutCancel(t.Context())
	conn, err := pgx.Connect(ctx, pgtest.With(t, url, "search_path", "claims"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = conn.Close(ctx), engine.Close() })
	return engine, conn
}

// running creates an import that runs.
func running(t *testing.T, engine *pgstore.Store, id uuid.UUID) {
	t.Helper()
	i := store.Import{ID: id, State: store.ImportRunning, CreatedAt: noon(), LeasedUntil: noon().Add(time.Minute)}
	if err := engine.CreateImport(t.Context(), i); err != nil {
		t.Fatal(err)
	}
}

// exec runs statements on the connection.
func exec(t *testing.T, conn *pgx.Conn, statements string) {
	t.Helper()
	if _, err := conn.Exec(context.Background(), statements); err != nil {
		t.Fatalf("%s: %v", statements, err)
	}
}

// Committers whose batches are of the same imports take them in one order, by their ids, so
// that two never wait for each other: who waits for the first holds no other.
func TestImportsAreCountedInOrder(t *testing.T) {
	t.Parallel()
	engine, holder := lockHolder(t)
	var batch []store.Submission
	for n := byte(6); n > 0; n-- {
		submission := made(int(n), 5)
		submission.Import = uuid.UUID{15: n}
		running(t, engine, submission.Import)
		batch = append(batch, submission)
	}
	exec(t, holder, "BEGIN; SELECT FROM imports WHERE import_id = '00000000-0000-0000-0000-000000000001' FOR UPDATE")
	accepted := make(chan error, 1)
	go func() {
		_, err := engine.Accept(context.WithoutCancel(t.Context()), batch, noon())
		accepted <- err
	}()
	waitForLocks(t, holder, 1)
	exec(t, holder, "SELECT FROM imports FOR UPDATE NOWAIT; ROLLBACK")
	if err := <-accepted; err != nil {
		t.Error(err)
	}
}

// A runner that lost its import while it was about to write a part does not write it: the
// take-over that is just being committed is waited for, and then seen.
func TestPartOfALostRunnerIsNotKept(t *testing.T) {
	t.Parallel()
	engine, other := lockHolder(t)
	ctx, id := context.WithoutCancel(t.Context()), uuid.New()
	running(t, engine, id)
	exec(t, other, "BEGIN; UPDATE imports SET run = 2")
	results := make(chan error, 2)
	go func() { results <- engine.AppendPart(ctx, id, 1, store.RejectsPart, 0, []byte("x")) }()
	go func() { results <- engine.DropParts(ctx, id, 1, store.RejectsPart, 0) }()
	waitForLocks(t, other, 2)
	exec(t, other, "COMMIT")
	for range 2 {
		if err := <-results; !errors.Is(err, store.ErrLostImport) {
			t.Errorf("got %v, want %v", err, store.ErrLostImport)
		}
	}
	if body, err := engine.Part(t.Context(), id, store.RejectsPart, 0); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("part: got %q, %v, want %v", body, err, store.ErrNotFound)
	}
}
