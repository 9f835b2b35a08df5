package sqlitefile_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/claimrail/claimrail/internal/sqlitefile"
)

const (
	first  = "-- +goose Up\nCREATE TABLE parent (id INTEGER PRIMARY KEY) STRICT;\n"
	second = "-- +goose Up\nCREATE TABLE child (id INTEGER PRIMARY KEY REFERENCES parent DEFERRABLE INITIALLY DEFERRED) STRICT;\n"
)

func migrations(texts ...string) fs.FS {
	files := fstest.MapFS{}
	for i, text := range texts {
		files["0000"+string(rune('1'+i))+"_step.sql"] = &fstest.MapFile{Data: []byte(text)}
	}
	return files
}

func open(t *testing.T, path string, texts ...string) *sqlitefile.File {
	t.Helper()
	file, err := sqlitefile.Open(t.Context(), path, migrations(texts...), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := file.Close(); err != nil {
			t.Error(err)
		}
	})
	return file
}

func insert(id int) func(context.Context, *sql.Tx) error {
	return func(ctx context.Context, tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "INSERT INTO parent (id) VALUES (?)", id)
		return err
	}
}

func countParents(t *testing.T, file *sqlitefile.File) int {
	t.Helper()
	var n int
	if err := file.Reader().QueryRowContext(t.Context(), "SELECT count(*) FROM parent").Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// OpenExisting reads what is committed while the writer has the file open; it makes
// nothing, migrates nothing, and writes nothing.
func TestOpenExisting(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "claims.db")
	if _, err := sqlitefile.OpenExisting(t.Context(), path, migrations(first)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file: got %v, want fs.ErrNotExist", err)
	}
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the file is there afterwards (%v)", err)
	}
	writer := open(t, path, first)
	if err := writer.Write(t.Context(), "insert", insert(1)); err != nil {
		t.Fatal(err)
	}
	if _, err := sqlitefile.OpenExisting(t.Context(), path, migrations(first, second)); !errors.Is(err, sqlitefile.ErrOlderSchema) {
		t.Errorf("older schema: got %v, want ErrOlderSchema", err)
	}
	reader, err := sqlitefile.OpenExisting(t.Context(), path, migrations(first))
	if err != nil {
		t.Fatal(err)
	}
	if got := countParents(t, reader); got != 1 {
		t.Errorf("got %d rows, want 1", got)
	}
	if _, err := reader.Reader().ExecContext(t.Context(), "INSERT INTO parent (id) VALUES (2)"); err == nil {
		t.Error("a write through the reader: got no error")
	}
	if err := reader.Close(); err != nil {
		t.Error(err)
	}
	if err := os.WriteFile(path+".empty", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := sqlitefile.OpenExisting(t.Context(), path+".empty", migrations(first)); !errors.Is(err, sqlitefile.ErrOlderSchema) {
		t.Errorf("empty file: got %v, want ErrOlderSchema", err)
	}
}

// A write that returned is there after a new open; folder, file and log are
// closed to other users, in a path with characters that mean something in a URI.
func TestWriteSurvivesReopening(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "new folder?mode=memory#100%", "claims.db")
	file, err := sqlitefile.Open(t.Context(), path, migrations(first), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if err := file.Write(t.Context(), "insert", insert(1)); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]fs.FileMode{
		filepath.Dir(path): 0o700 | fs.ModeDir, path: 0o600, path + "-wal": 0o600, path + "-shm": 0o600, path + ".migrate.lock": 0o600,
	} {
		if info, err := os.Stat(name); err != nil || info.Mode() != want {
			t.Errorf("%s: got %v, %v, want mode %v", name, info, err, want)
		}
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	if got := countParents(t, open(t, path, first)); got != 1 {
		t.Errorf("rows after reopening: got %d, want 1", got)
	}
}

// Every connection of both pools has the settings that keep committed rows, and
// readers can not write.
func TestSettingsOfEveryConnection(t *testing.T) {
	t.Parallel()
	file := open(t, filepath.Join(t.TempDir(), "f.db"), first)
	check := func(query func(pragma string) *sql.Row, queryOnly string) {
		t.Helper()
		for pragma, want := range map[string]string{
			"journal_mode": "wal", "synchronous": "2", "busy_timeout": "5000", "foreign_keys": "1", "query_only": queryOnly, "trusted_schema": "0",
		} {
			var got string
			if err := query("PRAGMA " + pragma).Scan(&got); err != nil || got != want {
				t.Errorf("%s: got %q, %v, want %q", pragma, got, err, want)
			}
		}
	}
	if err := file.Write(t.Context(), "look", func(ctx context.Context, tx *sql.Tx) error {
		check(func(pragma string) *sql.Row { return tx.QueryRowContext(ctx, pragma) }, "0")
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	for range 3 { // taken and not given back, so each is a connection of its own
		conn, err := file.Reader().Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		check(func(pragma string) *sql.Row { return conn.QueryRowContext(t.Context(), pragma) }, "1")
		if _, err := conn.ExecContext(t.Context(), "INSERT INTO parent (id) VALUES (1)"); !errors.Is(sqlitefile.Classify(err), sqlitefile.ErrUnavailable) {
			t.Errorf("write through a reader: got %v, want it refused as read-only", err)
		}
	}
}

// Programs that start at once on a new file migrate it once, and all can use it.
func TestConcurrentOpensMigrateOnce(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "f.db")
	var wait sync.WaitGroup
	for range 4 {
		wait.Go(func() {
			file, err := sqlitefile.Open(t.Context(), path, migrations(first, second), slog.New(slog.DiscardHandler))
			if err != nil {
				t.Error(err)
				return
			}
			if err := errors.Join(file.Ping(t.Context()), file.Close()); err != nil {
				t.Error(err)
			}
		})
	}
	wait.Wait()
	var made int
	query := "SELECT count(*) FROM goose_db_version WHERE version_id > 0"
	if err := open(t, path, first, second).Reader().QueryRowContext(t.Context(), query).Scan(&made); err != nil || made != 2 {
		t.Errorf("migrations made: got %d, %v, want 2", made, err)
	}
}

// An older program refuses a newer file, at the start and while it runs; a newer
// one brings the file forward.
func TestSchemaVersions(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "f.db")
	older := open(t, path, first)
	if err := older.Ping(t.Context()); err != nil {
		t.Errorf("own schema: got %v", err)
	}
	newer := open(t, path, first, second)
	if err := newer.Ping(t.Context()); err != nil {
		t.Errorf("after migrating: got %v", err)
	}
	if err := older.Ping(t.Context()); !errors.Is(err, sqlitefile.ErrNewerSchema) {
		t.Errorf("older program, newer file: got %v, want %v", err, sqlitefile.ErrNewerSchema)
	}
	file, err := sqlitefile.Open(t.Context(), path, migrations(first), slog.New(slog.DiscardHandler))
	if !errors.Is(err, sqlitefile.ErrNewerSchema) {
		t.Errorf("open by an older program: got %v, %v, want %v", file, err, sqlitefile.ErrNewerSchema)
	}
	if err := newer.Write(t.Context(), "forget", func(ctx context.Context, tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "DELETE FROM goose_db_version WHERE version_id = 2")
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if err := newer.Ping(t.Context()); err == nil {
		t.Error("file older than the program: Ping gives no error")
	}
}

// A path that can not be a database is refused with its name in the error.
func TestOpenNamesThePath(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	garbage := filepath.Join(folder, "garbage.db")
	if err := os.WriteFile(garbage, []byte(strings.Repeat("not a database ", 100)), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{folder, garbage, filepath.Join(garbage, "below a file", "f.db")} {
		file, err := sqlitefile.Open(t.Context(), path, migrations(first), slog.New(slog.DiscardHandler))
		if err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("open %s: got %v, %v, want an error that names it", path, file, err)
		}
	}
}

// What do could not finish, by an error or a panic, is rolled back, and the
// writer goes on working.
func TestWriteRollsBack(t *testing.T) {
	t.Parallel()
	file := open(t, filepath.Join(t.TempDir(), "f.db"), first)
	boom := errors.New("boom")
	err := file.Write(t.Context(), "insert and fail", func(ctx context.Context, tx *sql.Tx) error {
		return errors.Join(insert(1)(ctx, tx), boom)
	})
	if !errors.Is(err, boom) || errors.Is(err, sqlitefile.ErrUnavailable) {
		t.Errorf("got %v, want %v of no kind", err, boom)
	}
	func() {
		defer func() {
			if got := recover(); got != boom {
				t.Errorf("recovered %v, want %v", got, boom)
			}
		}()
		_ = file.Write(t.Context(), "insert and panic", func(ctx context.Context, tx *sql.Tx) error {
			if err := insert(2)(ctx, tx); err != nil {
				return err
			}
			panic(boom)
		})
	}()
	if err := file.Write(t.Context(), "insert", insert(3)); err != nil {
		t.Errorf("write after a panic: %v", err)
	}
	if got := countParents(t, file); got != 1 {
		t.Errorf("rows: got %d, want 1", got)
	}
}

// A caller that goes away before COMMIT stores nothing and hears so; one that goes
// away when do is through does not disturb COMMIT.
func TestCancelledWrite(t *testing.T) {
	t.Parallel()
	file := open(t, filepath.Join(t.TempDir(), "f.db"), first)
	ctx, cancel := context.WithCancel(t.Context())
	err := file.Write(ctx, "insert", func(ctx context.Context, tx *sql.Tx) error {
		cancel()
		return insert(1)(ctx, tx)
	})
	if !errors.Is(err, sqlitefile.ErrUnavailable) || !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled before the statement: got %v, want %v and %v", err, sqlitefile.ErrUnavailable, context.Canceled)
	}
	ctx, cancel = context.WithCancel(t.Context())
	if err := file.Write(ctx, "insert", func(ctx context.Context, tx *sql.Tx) error {
		defer cancel()
		return insert(2)(ctx, tx)
	}); err != nil {
		t.Errorf("cancelled before COMMIT: %v", err)
	}
	if got := countParents(t, file); got != 1 {
		t.Errorf("rows: got %d, want 1", got)
	}
}

// While somebody else holds the file, a write is refused as unavailable after the
// busy timeout, and works again when the file is free.
func TestBusyIsUnavailable(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "f.db")
	holder, waiter := open(t, path, first), open(t, path, first)
	err := holder.Write(t.Context(), "hold", func(context.Context, *sql.Tx) error {
		return waiter.Write(t.Context(), "insert", insert(1))
	})
	if !errors.Is(err, sqlitefile.ErrUnavailable) {
		t.Errorf("held by another: got %v, want %v", err, sqlitefile.ErrUnavailable)
	}
	if err := waiter.Write(t.Context(), "insert", insert(1)); err != nil {
		t.Errorf("free again: %v", err)
	}
}

// The wait for another writer of the same process ends with the context.
func TestWaitForWriterEndsWithContext(t *testing.T) {
	t.Parallel()
	file := open(t, filepath.Join(t.TempDir(), "f.db"), first)
	if err := file.Write(t.Context(), "hold", func(context.Context, *sql.Tx) error {
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if err := file.Write(ctx, "insert", insert(1)); !errors.Is(err, sqlitefile.ErrUnavailable) {
			t.Errorf("got %v, want %v", err, sqlitefile.ErrUnavailable)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}

// A constraint that COMMIT itself refuses is a definite answer: neither
// unavailable nor unknown, and nothing is stored.
func TestCommitRefusedByConstraint(t *testing.T) {
	t.Parallel()
	file := open(t, filepath.Join(t.TempDir(), "f.db"), first, second)
	err := file.Write(t.Context(), "insert orphan", func(ctx context.Context, tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "INSERT INTO child (id) VALUES (1)")
		return errors.Join(err, insert(2)(ctx, tx))
	})
	if err == nil || errors.Is(err, sqlitefile.ErrUnavailable) || errors.Is(err, sqlitefile.ErrUnknownOutcome) {
		t.Errorf("got %v, want an error of no kind", err)
	}
	if got := countParents(t, file); got != 0 {
		t.Errorf("rows: got %d, want 0", got)
	}
}

// A COMMIT whose answer is no definite rollback leaves the outcome unknown, and the
// next write works. The transaction is ended behind the driver's back, so that COMMIT
// fails though the row is stored.
func TestCommitInDoubt(t *testing.T) {
	t.Parallel()
	file := open(t, filepath.Join(t.TempDir(), "f.db"), first)
	err := file.Write(t.Context(), "insert", func(ctx context.Context, tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "INSERT INTO parent (id) VALUES (1); COMMIT")
		return err
	})
	if !errors.Is(err, sqlitefile.ErrUnknownOutcome) {
		t.Errorf("got %v, want %v", err, sqlitefile.ErrUnknownOutcome)
	}
	if err := file.Write(t.Context(), "insert", insert(2)); err != nil {
		t.Errorf("the next write: %v", err)
	}
	if got := countParents(t, file); got != 2 {
		t.Errorf("rows: got %d, want 2", got)
	}
}

// A full database is unavailable, not broken: there may be room later.
func TestFullIsUnavailable(t *testing.T) {
	t.Parallel()
	file := open(t, filepath.Join(t.TempDir(), "f.db"), first, "-- +goose Up\nCREATE TABLE blobs (b BLOB) STRICT;\n")
	err := file.Write(t.Context(), "fill", func(ctx context.Context, tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "PRAGMA max_page_count = 1; INSERT INTO blobs VALUES (zeroblob(1000000))")
		return err
	})
	if !errors.Is(err, sqlitefile.ErrUnavailable) {
		t.Errorf("got %v, want %v", err, sqlitefile.ErrUnavailable)
	}
}

// A prepared statement runs in one transaction after the other.
func TestPrepare(t *testing.T) {
	t.Parallel()
	file := open(t, filepath.Join(t.TempDir(), "f.db"), first)
	statement, err := file.Prepare(t.Context(), "INSERT INTO parent (id) VALUES (?)")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = statement.Close() }()
	for id := range 3 {
		if err := file.Write(t.Context(), "insert", func(ctx context.Context, tx *sql.Tx) error {
			_, err := tx.StmtContext(ctx, statement).ExecContext(ctx, id)
			return err
		}); err != nil {
			t.Error(err)
		}
	}
	if got := countParents(t, file); got != 3 {
		t.Errorf("rows: got %d, want 3", got)
	}
	if _, err := file.Prepare(t.Context(), `SELECT "no such column" FROM parent`); err == nil {
		t.Error("a misspelt name in double quotes is taken for a text")
	}
}

// Times keep their microseconds, and no time stays no time.
func TestMicros(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 1, 15, 12, 0, 0, 123_456_789, time.FixedZone("", 3600))
	if got, want := sqlitefile.Time(sqlitefile.Micros(at)), time.Date(2026, 1, 15, 11, 0, 0, 123_456_000, time.UTC); got != want {
		t.Errorf("got %v, want %v", got, want)
	}
	if got := sqlitefile.Time(sqlitefile.Micros(time.Time{})); !got.IsZero() {
		t.Errorf("zero time: got %v", got)
	}
}

// modernc.org/libc is exactly the one that modernc.org/sqlite was translated
// against; another one breaks it in ways that no compiler sees.
func TestLibcVersion(t *testing.T) {
	t.Parallel()
	run := func(into any, arguments ...string) {
		t.Helper()
		output, err := exec.CommandContext(t.Context(), "go", arguments...).Output()
		if err != nil {
			t.Fatalf("go %v: %v", arguments, err)
		}
		if err := json.Unmarshal(output, into); err != nil {
			t.Fatal(err)
		}
	}
	const libc = "modernc.org/libc"
	var ours struct{ Version string }
	run(&ours, "list", "-m", "-json", libc)
	var driver struct{ GoMod string }
	run(&driver, "list", "-m", "-json", "modernc.org/sqlite")
	var wanted struct {
		Require []struct{ Path, Version string }
	}
	run(&wanted, "mod", "edit", "-json", driver.GoMod)
	for _, requirement := range wanted.Require {
		if requirement.Path == libc {
			if ours.Version != requirement.Version {
				t.Errorf("%s: got %s, want %s, as modernc.org/sqlite names it", libc, ours.Version, requirement.Version)
			}
			return
		}
	}
	t.Errorf("%s does not name %s", driver.GoMod, libc)
}
