// Package sqlitefile is the ground under both SQLite engines: one database file,
// opened the only way that loses nothing. It sees to durable settings, to one
// writer and many readers, to migrations that run once, and it tells an error
// that stored nothing from one that leaves doubt. The claims store and the
// payments ledger keep one file each; neither knows the other's.
package sqlitefile

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"modernc.org/sqlite"
)

// Limits and settings of every file.
const (
	// busyTimeout is how long a statement waits for another process's lock.
	busyTimeout = 5 * time.Second
	// maxReaders bounds the connections that read at once; more wait in line.
	maxReaders = 8
	// cacheKiB is the page cache of one connection. There is no memory map beside it: an
	// I/O error in a map kills the process, where read gives an error.
	cacheKiB = 16 << 10
	// checkpointPages is the length of the log, in pages of 4 KiB, from which a
	// commit copies it back into the database. Ids are random, so each batch of an import
	// changes many of the pages that the one before has changed: what is copied back less
	// often is copied less.
	checkpointPages = 16000
	// logBytes is what is left of the log file after it had to grow beyond that.
	logBytes = 96 << 20
)

// File is one open database file. All methods may be called at once.
type File struct {
	path    string
	version int64 // of the newest embedded migration
	writer  *sql.DB
	readers *sql.DB
}

// Open opens the database at path and brings its schema up to the newest of
// the migrations, which stand at the root of that file system as goose SQL files.
// The folder is made (mode 0700) where it is missing, and so is the file (mode
// 0600). Open refuses settings that could lose a committed row. Errors:
// ErrNewerSchema, ErrUnavailable, or a plain one that says what is wrong with path.
func Open(ctx context.Context, path string, migrations fs.FS, logger *slog.Logger) (*File, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("open database %s: %w", path, err)
	}
	if err := create(path); err != nil {
		return nil, fmt.Errorf("open database %s: %w", path, err)
	}
	f := &File{path: path}
	if f.writer, err = pool(path, 1, url.Values{
		"_txlock":       {"immediate"},
		"_journal_mode": {"WAL"},
		"_pragma": {
			fmt.Sprintf("wal_autocheckpoint(%d)", checkpointPages),
			fmt.Sprintf("journal_size_limit(%d)", logBytes),
		},
	}); err != nil {
		return nil, fmt.Errorf("open database %s: %w", path, err)
	}
	if f.readers, err = pool(path, maxReaders, url.Values{"_query_only": {"on"}}); err != nil {
		return nil, errors.Join(fmt.Errorf("open database %s: %w", path, err), f.writer.Close())
	}
	if err := f.prepareSchema(ctx, migrations, logger); err != nil {
		return nil, errors.Join(fmt.Errorf("open database %s: %w", path, Classify(err)), f.Close())
	}
	return f, nil
}

// OpenExisting opens the database at path only to read it, also while another process
// writes: nothing is made or migrated, and Prepare and Write are not to be called. Errors:
// fs.ErrNotExist where there is no such file, ErrOlderSchema, ErrNewerSchema,
// ErrUnavailable.
func OpenExisting(ctx context.Context, path string, migrations fs.FS) (*File, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("open database %s: %w", path, err)
	}
	if _, err := os.Stat(path); err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	f := &File{path: path}
	if f.readers, err = pool(path, maxReaders, url.Values{"_query_only": {"on"}}); err != nil {
		return nil, fmt.Errorf("open database %s: %w", path, err)
	}
	if f.version, err = newestMigration(f.readers, migrations); err != nil {
		return nil, errors.Join(fmt.Errorf("open database %s: %w", path, err), f.Close())
	}
	if err := f.Ping(ctx); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// create makes the folder and an empty file, so that both have modes that keep
// other users out; SQLite gives the modes of the file to its log.
func create(path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	return file.Close()
}

// pool makes a pool of connections that all have the settings, and those that
// are the same for readers and writer. It does not connect yet.
func pool(path string, connections int, settings url.Values) (*sql.DB, error) {
	settings.Set("_busy_timeout", strconv.FormatInt(busyTimeout.Milliseconds(), 10))
	settings.Set("_synchronous", "FULL")
	settings.Set("_foreign_keys", "on")
	settings.Set("_defensive", "1")
	settings.Set("_dqs", "0")
	settings.Set("_error_rc", "1")
	settings.Set("mode", "rw")
	settings.Add("_pragma", fmt.Sprintf("cache_size(-%d)", cacheKiB))
	settings.Add("_pragma", "trusted_schema(0)")
	settings.Add("_pragma", "temp_store(2)") // a statement of many rows keeps its undo log in memory
	name := url.URL{Scheme: "file", Path: filepath.ToSlash(path), RawQuery: settings.Encode()}
	connector, err := sqlite.NewConnector(name.String())
	if err != nil {
		return nil, err
	}
	db := sql.OpenDB(connector)
	db.SetMaxOpenConns(connections)
	db.SetMaxIdleConns(connections)
	return db, nil
}

// Reader gives the pool of read-only connections. Pass what its errors are to
// Classify.
func (f *File) Reader() *sql.DB { return f.readers }

// Prepare prepares a statement on the writer, to be used by tx.StmtContext in
// Write. It waits for a Write under way. The caller closes it, before Close.
func (f *File) Prepare(ctx context.Context, query string) (*sql.Stmt, error) {
	statement, err := f.writer.PrepareContext(ctx, query)
	if err != nil {
		return nil, fmt.Errorf("prepare %q: %w", query, Classify(err))
	}
	return statement, nil
}

// Write runs do in a transaction on the only writer and commits it. It waits for
// other writers of this process as long as ctx allows, and busyTimeout for those of other
// processes. When do gives an error or panics, everything is rolled back. From the
// start of COMMIT on, ctx no longer counts: a caller that went away must not make the outcome
// doubtful. what names the action in errors. Errors: those of do, ErrUnavailable,
// ErrUnknownOutcome.
func (f *File) Write(ctx context.Context, what string, do func(context.Context, *sql.Tx) error) (err error) {
	conn, err := f.writer.Conn(ctx)
	if err != nil {
		return fmt.Errorf("%s: %w", what, Classify(err))
	}
	defer func() { _ = conn.Close() }() // gives it back to the pool; nothing to learn from it
	// The driver watches the context of BEGIN during COMMIT too.
	tx, err := conn.BeginTx(context.WithoutCancel(ctx), nil)
	if err != nil {
		return fmt.Errorf("%s: begin: %w", what, Classify(err))
	}
	finished := false
	defer func() {
		if finished {
			return
		}
		if tx.Rollback() != nil {
			discard(conn)
		}
	}()
	if err := do(ctx, tx); err != nil {
		return fmt.Errorf("%s: %w", what, Classify(err))
	}
	finished = true
	if err := tx.Commit(); err != nil {
		discard(conn)
		return fmt.Errorf("%s: commit: %w", what, classifyCommit(err))
	}
	return nil
}

// discard closes a connection that may still be in a transaction, so that the
// pool opens another.
func discard(conn *sql.Conn) {
	_ = conn.Raw(func(any) error { return driver.ErrBadConn })
}

// Ping fails where the database can not be read, or where its schema is not
// exactly that of this program's newest migration.
func (f *File) Ping(ctx context.Context) error {
	version, err := schemaVersion(ctx, f.readers)
	switch {
	case err != nil:
		return fmt.Errorf("ping database %s: %w", f.path, Classify(err))
	case version > f.version:
		return fmt.Errorf("ping database %s: schema %d, this program knows %d: %w", f.path, version, f.version, ErrNewerSchema)
	case version < f.version:
		return fmt.Errorf("ping database %s: schema %d, this program's is %d: %w", f.path, version, f.version, ErrOlderSchema)
	}
	return nil
}

// Close closes all connections. No other method may be running.
func (f *File) Close() error {
	err := f.readers.Close()
	if f.writer != nil {
		err = errors.Join(err, f.writer.Close())
	}
	if err != nil {
		return fmt.Errorf("close database %s: %w", f.path, err)
	}
	return nil
}

// Micros gives the time as it is stored: microseconds since 1970 UTC, 0 for the
// zero Time.
func Micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

// Time gives the UTC time that Micros made micros of.
func Time(micros int64) time.Time {
	if micros == 0 {
		return time.Time{}
	}
	return time.UnixMicro(micros).UTC()
}
