package pgfile_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/claimrail/claimrail/internal/pgfile"
	"github.com/claimrail/claimrail/internal/pgtest"
)

// numbered are rows of the table, many enough to go by COPY.
func numbered(table string, from int) pgfile.Rows {
	ids := make(pgfile.Int8s, 100)
	for i := range ids {
		ids[i] = int64(from + i)
	}
	return pgfile.Rows{Table: table, Columns: []pgfile.Column{{Name: "id", Values: &ids}}}
}

// Where rows are refused, the error is that of the first that were, whatever was sent behind them;
// nothing of the transaction is stored, and the connection is as good as before.
func TestRowsRefused(t *testing.T) {
	t.Parallel()
	const tables = "-- +goose Up\nCREATE TABLE one (id bigint PRIMARY KEY);\nCREATE TABLE two (id bigint PRIMARY KEY);\n"
	schema := open(t, pgtest.With(t, pgtest.Start(t).Database(t), "pool_max_conns", "1"), first, tables)
	both := func(one, two int) func(context.Context, *pgfile.Tx) error {
		return func(ctx context.Context, tx *pgfile.Tx) error {
			tx.Queue("INSERT INTO parent (id) VALUES ($1)", one)
			err := errors.Join(tx.Insert(ctx, numbered("one", one)), tx.Insert(ctx, numbered("two", two)))
			tx.Queue("INSERT INTO parent (id) VALUES ($1)", two)
			return err
		}
	}
	if err := schema.Write(t.Context(), "insert", both(1000, 5000)); err != nil {
		t.Fatal(err)
	}
	session := get[int](t, schema, "SELECT pg_backend_pid()")
	for table, from := range map[string][2]int{"one": {1050, 6000}, "two": {2000, 5050}} {
		err := schema.Write(t.Context(), "insert", both(from[0], from[1]))
		if !pgfile.IsDuplicate(err, table) || errors.Is(err, pgfile.ErrUnknownOutcome) || errors.Is(err, pgfile.ErrUnavailable) {
			t.Errorf("refused by table %s: got %v, want a duplicate there, of no kind", table, err)
		}
	}
	const query = "SELECT (SELECT count(*) FROM one) + (SELECT count(*) FROM two) + (SELECT count(*) FROM parent)"
	if got, want := get[int](t, schema, query), 202; got != want {
		t.Errorf("rows: got %d, want %d", got, want)
	}
	if err := schema.Write(t.Context(), "insert", both(3000, 7000)); err != nil {
		t.Errorf("the next write: %v", err)
	}
	if got := get[int](t, schema, "SELECT pg_backend_pid()"); got != session {
		t.Errorf("connections: got a new one, want the same")
	}
}

// A caller that gives up between two tables leaves nothing, though rows were sent and
// their answers never read; the next does not get these answers.
func TestRowsGivenUp(t *testing.T) {
	t.Parallel()
	schema := open(t, pgtest.With(t, pgtest.Start(t).Database(t), "pool_max_conns", "1"), first)
	boom := errors.New("boom")
	err := schema.Write(t.Context(), "insert", func(ctx context.Context, tx *pgfile.Tx) error {
		return errors.Join(tx.Insert(ctx, numbered("parent", 1)), boom)
	})
	if !errors.Is(err, boom) {
		t.Errorf("got %v, want %v", err, boom)
	}
	ctx, cancel := context.WithCancel(t.Context())
	err = schema.Write(ctx, "insert", func(ctx context.Context, tx *pgfile.Tx) error {
		err := tx.Insert(ctx, numbered("parent", 1))
		cancel()
		return errors.Join(err, tx.Flush(ctx))
	})
	if !errors.Is(err, pgfile.ErrUnavailable) {
		t.Errorf("cancelled: got %v, want %v", err, pgfile.ErrUnavailable)
	}
	if got := get[int](t, schema, "SELECT count(*) FROM parent"); got != 0 {
		t.Errorf("rows: got %d, want 0", got)
	}
	if err := schema.Write(t.Context(), "insert", insert(1)); err != nil {
		t.Errorf("the next write: %v", err)
	}
}

// A connection that is lost while rows are on their way, and COMMIT is not, stored nothing, and
// that is known.
func TestRowsLost(t *testing.T) {
	t.Parallel()
	proxy := pgtest.NewProxy(t, pgtest.Start(t).Database(t))
	schema := open(t, proxy.URL, first)
	err := schema.Write(t.Context(), "insert", func(ctx context.Context, tx *pgfile.Tx) error {
		err := tx.Insert(ctx, numbered("parent", 1))
		proxy.Cut()
		return err
	})
	if !errors.Is(err, pgfile.ErrUnavailable) || errors.Is(err, pgfile.ErrUnknownOutcome) {
		t.Errorf("got %v, want %v", err, pgfile.ErrUnavailable)
	}
	if got := get[int](t, schema, "SELECT count(*) FROM parent"); got != 0 {
		t.Errorf("rows: got %d, want 0", got)
	}
}

// Rows that take many messages are stored as those that take one, each whole.
func TestLargeRows(t *testing.T) {
	t.Parallel()
	schema := open(t, pgtest.Start(t).Database(t), "-- +goose Up\nCREATE TABLE wide (s text);\n")
	var texts pgfile.Texts
	want := 0
	for i := range 200 {
		texts = append(texts, strings.Repeat("x", 1_000*i))
		want += len(texts[i])
	}
	if err := schema.Write(t.Context(), "insert", func(ctx context.Context, tx *pgfile.Tx) error {
		return tx.Insert(ctx, pgfile.Rows{Table: "wide", Columns: []pgfile.Column{{Name: "s", Values: &texts}}})
	}); err != nil {
		t.Fatal(err)
	}
	if got := get[int](t, schema, "SELECT sum(length(s)) FROM wide"); got != want {
		t.Errorf("characters: got %d, want %d", got, want)
	}
	if got := get[int](t, schema, "SELECT count(*) FROM wide"); got != len(texts) {
		t.Errorf("rows: got %d, want %d", got, len(texts))
	}
}
