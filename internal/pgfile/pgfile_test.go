package pgfile_test

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/claimrail/claimrail/internal/pgfile"
	"github.com/claimrail/claimrail/internal/pgtest"
)

const (
	first  = "-- +goose Up\nCREATE TABLE parent (id bigint PRIMARY KEY);\n"
	second = "-- +goose Up\nCREATE TABLE child (id bigint PRIMARY KEY REFERENCES parent DEFERRABLE INITIALLY DEFERRED);\n"
)

func migrations(texts ...string) fs.FS {
	files := fstest.MapFS{}
	for i, text := range texts {
		files["0000"+string(rune('1'+i))+"_step.sql"] = &fstest.MapFile{Data: []byte(text)}
	}
	return files
}

func open(t *testing.T, url string, texts ...string) *pgfile.Schema {
	t.Helper()
	schema, err := try(t, url, texts...)
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

// Who has taken all connections for views of its own is told so, and does not wait for ever.
func TestViewsWaitInBounds(t *testing.T) {
	t.Parallel()
	schema := open(t, pgtest.With(t, pgtest.Start(t).Database(t), "pool_max_conns", "1"), first)
	view, err := schema.Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = view.Close() }()
	_, err = schema.Pages(t.Context())
	if !errors.Is(err, pgfile.ErrUnavailable) || !strings.Contains(err.Error(), "set pool_max_conns") {
		t.Errorf("got %v, want %v, with what to set", err, pgfile.ErrUnavailable)
	}
}

// try opens the schema "toy", which is closed with the test.
func try(t *testing.T, url string, texts ...string) (*pgfile.Schema, error) {
	t.Helper()
	options := pgfile.Options{URL: url, Schema: "toy", Table: "parent", Migrations: migrations(texts...)}
	schema, err := pgfile.Open(t.Context(), options, slog.New(slog.DiscardHandler))
	if err == nil {
		t.Cleanup(func() { _ = schema.Close() })
	}
	return schema, err
}

func insert(id int) func(context.Context, *pgfile.Tx) error {
	return func(_ context.Context, tx *pgfile.Tx) error {
		tx.Queue("INSERT INTO parent (id) VALUES ($1)", id)
		return nil
	}
}

func get[T any](t *testing.T, schema *pgfile.Schema, query string) T {
	t.Helper()
	var got T
	if err := schema.Read(t.Context(), "get", func(ctx context.Context, pool *pgxpool.Pool) error {
		return pool.QueryRow(ctx, query).Scan(&got)
	}); err != nil {
		t.Fatal(err)
	}
	return got
}

// Every connection has the settings that keep committed rows and bound what it does;
// those that the URL gives take their place.
func TestSettingsOfEveryConnection(t *testing.T) {
	t.Parallel()
	url := pgtest.Start(t).Database(t)
	schema := open(t, pgtest.With(t, url, "lock_timeout", "777", "synchronous_commit", "remote_apply"), first)
	for setting, want := range map[string]string{
		"search_path": "toy", "statement_timeout": "10s", "lock_timeout": "777ms", "idle_in_transaction_session_timeout": "30s",
		"synchronous_commit": "remote_apply", "default_transaction_isolation": "read committed", "TimeZone": "UTC", "jit": "off",
	} {
		if got := get[string](t, schema, "SHOW "+setting); got != want {
			t.Errorf("%s: got %s, want %s", setting, got, want)
		}
	}
}

// A write that fails, or whose caller went away, leaves nothing; one that is through is
// not disturbed by a caller that goes away.
func TestWrite(t *testing.T) {
	t.Parallel()
	schema := open(t, pgtest.With(t, pgtest.Start(t).Database(t), "pool_max_conns", "1"), first, second)
	boom := errors.New("boom")
	err := schema.Write(t.Context(), "insert", func(ctx context.Context, tx *pgfile.Tx) error {
		return errors.Join(insert(1)(ctx, tx), tx.Flush(ctx), boom)
	})
	if !errors.Is(err, boom) {
		t.Errorf("got %v, want %v", err, boom)
	}
	ctx, cancel := context.WithCancel(t.Context())
	err = schema.Write(ctx, "insert", func(ctx context.Context, tx *pgfile.Tx) error {
		cancel()
		return errors.Join(insert(1)(ctx, tx), tx.Flush(ctx))
	})
	if !errors.Is(err, pgfile.ErrUnavailable) {
		t.Errorf("cancelled: got %v, want %v", err, pgfile.ErrUnavailable)
	}
	func() {
		defer func() { _ = recover() }()
		_ = schema.Write(t.Context(), "panic", func(ctx context.Context, tx *pgfile.Tx) error {
			_ = insert(1)(ctx, tx)
			_ = tx.Flush(ctx)
			panic(boom)
		})
	}()
	orphan := func(_ context.Context, tx *pgfile.Tx) error {
		tx.Queue("INSERT INTO child (id) VALUES (77)")
		return nil
	}
	if err := schema.Write(t.Context(), "orphan", orphan); err == nil || errors.Is(err, pgfile.ErrUnavailable) || errors.Is(err, pgfile.ErrUnknownOutcome) {
		t.Errorf("refused by COMMIT: got %v, want an error of no kind", err)
	}
	if got := get[int](t, schema, "SELECT count(*) FROM parent"); got != 0 {
		t.Errorf("rows: got %d, want 0", got)
	}
	ctx, cancel = context.WithCancel(t.Context())
	if err := schema.Write(ctx, "insert", func(ctx context.Context, tx *pgfile.Tx) error {
		defer cancel()
		return insert(2)(ctx, tx)
	}); err != nil {
		t.Errorf("cancelled once through: %v", err)
	}
	if got := get[int](t, schema, "SELECT count(*) FROM parent"); got != 1 {
		t.Errorf("rows: got %d, want 1", got)
	}
}

// When the answer to COMMIT is lost, the outcome is unknown, though the row is stored;
// when the connection is lost before, nothing is stored and the same call may be made
// again.
func TestLostConnection(t *testing.T) {
	t.Parallel()
	proxy := pgtest.NewProxy(t, pgtest.Start(t).Database(t))
	schema := open(t, proxy.URL, first)
	proxy.LoseCommit()
	if err := schema.Write(t.Context(), "insert", insert(1)); !errors.Is(err, pgfile.ErrUnknownOutcome) {
		t.Errorf("lost answer: got %v, want %v", err, pgfile.ErrUnknownOutcome)
	}
	err := schema.Write(t.Context(), "insert", func(ctx context.Context, tx *pgfile.Tx) error {
		err := errors.Join(insert(2)(ctx, tx), tx.Flush(ctx))
		proxy.Cut()
		tx.Queue("SELECT 1")
		return errors.Join(err, tx.Flush(ctx))
	})
	if !errors.Is(err, pgfile.ErrUnavailable) || errors.Is(err, pgfile.ErrUnknownOutcome) {
		t.Errorf("lost before COMMIT: got %v, want %v", err, pgfile.ErrUnavailable)
	}
	if err := schema.Write(t.Context(), "insert", insert(3)); err != nil {
		t.Errorf("the next write: %v", err)
	}
	if got := get[string](t, schema, "SELECT string_agg(id::text, ' ' ORDER BY id) FROM parent"); got != "1 3" {
		t.Errorf("rows: got %s, want 1 3", got)
	}
}

// What the server says tells what may be tried again from what may not; values of rows
// are not in it.
func TestErrorKinds(t *testing.T) {
	t.Parallel()
	schema := open(t, pgtest.Start(t).Database(t), first)
	for state, want := range map[string]bool{
		"53300": true, "53100": true, "57P01": true, "57P02": true, "57P03": true, "57014": true, "40001": true, "40P01": true,
		"55P03": true, "25006": true, "08006": true, "58030": true,
		"23505": false, "22003": false, "42P01": false, "XX001": false, "57P04": false, "28P01": false,
	} {
		err := schema.Read(t.Context(), "fail", func(ctx context.Context, pool *pgxpool.Pool) error {
			_, err := pool.Exec(ctx, "DO $$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '"+state+"', DETAIL = 'subscriber 123'; END $$")
			return err
		})
		if err == nil || errors.Is(err, pgfile.ErrUnavailable) != want {
			t.Errorf("state %s: got %v, want unavailable %t", state, err, want)
		}
	}
}

// A statement that waits too long for a row gives up, and may be tried again.
func TestLockTimeout(t *testing.T) {
	t.Parallel()
	schema := open(t, pgtest.With(t, pgtest.Start(t).Database(t), "lock_timeout", "50"), first)
	err := schema.Write(t.Context(), "hold", func(ctx context.Context, tx *pgfile.Tx) error {
		if err := errors.Join(insert(1)(ctx, tx), tx.Flush(ctx)); err != nil {
			return err
		}
		if err := schema.Write(ctx, "insert", insert(1)); !errors.Is(err, pgfile.ErrUnavailable) {
			t.Errorf("got %v, want %v", err, pgfile.ErrUnavailable)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// Few rows and many, which go another way, are stored alike: the largest numbers, any
// text, times before 2000 and after.
func TestRows(t *testing.T) {
	t.Parallel()
	const table = "-- +goose Up\nCREATE TABLE kinds (n bigint, s text, b bytea, u uuid, t timestamptz);\n"
	for _, count := range []int{1, 63, 64, 1000} {
		schema := open(t, pgtest.Start(t).Database(t), table)
		var numbers pgfile.Int8s
		var texts pgfile.Texts
		var blobs pgfile.Blobs
		var ids pgfile.UUIDs
		var times pgfile.Times
		for i := range count {
			numbers = append(numbers, int64(i)<<50-1<<62)
			texts = append(texts, strings.Repeat("Ä\"\\,{}\t\n", i%3))
			blobs = append(blobs, bytes.Repeat([]byte{0, 255, '\\'}, i%4))
			ids = append(ids, [16]byte{byte(i), 15: byte(i >> 8)})
			times = append(times, time.Date(1969+i, 2, 3, 4, 5, 6, 7_000, time.UTC))
		}
		if err := schema.Write(t.Context(), "insert", func(ctx context.Context, tx *pgfile.Tx) error {
			return tx.Insert(ctx, pgfile.Rows{Table: "kinds", Columns: []pgfile.Column{
				{Name: "n", Values: &numbers}, {Name: "s", Values: &texts}, {Name: "b", Values: &blobs}, {Name: "u", Values: &ids}, {Name: "t", Values: &times},
			}})
		}); err != nil {
			t.Fatal(err)
		}
		i := 0
		if err := schema.Read(t.Context(), "read", func(ctx context.Context, pool *pgxpool.Pool) error {
			rows, err := pool.Query(ctx, "SELECT n, s, b, u, t FROM kinds ORDER BY n")
			if err != nil {
				return err
			}
			var n int64
			var s string
			var b []byte
			var u [16]byte
			var at time.Time
			_, err = pgx.ForEachRow(rows, []any{&n, &s, &b, &u, &at}, func() error {
				if n != numbers[i] || s != texts[i] || !bytes.Equal(b, blobs[i]) || u != ids[i] || !at.Equal(times[i]) {
					t.Errorf("row %d of %d: got %d %q %v %v %v", i, count, n, s, b, u, at)
				}
				i++
				return nil
			})
			return err
		}); err != nil || i != count {
			t.Errorf("got %d rows, %v, want %d", i, err, count)
		}
	}
}
