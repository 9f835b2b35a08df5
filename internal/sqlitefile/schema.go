package sqlitefile

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"github.com/gofrs/flock"
	"github.com/pressly/goose/v3"
)

const (
	// lockWait is how long Open waits for another one that migrates the same file.
	lockWait = 30 * time.Second
	// lockRetry is the pause between two looks at the lock.
	lockRetry = 20 * time.Millisecond
	// lockSuffix names the lock file beside the database. It stays, empty.
	lockSuffix = ".migrate.lock"
)

// minVersion is the first SQLite that keeps a log through every sequence of
// checkpoints; older ones can corrupt a database in WAL mode.
const minVersion = "3.51.3"

// synchronousFull is what PRAGMA synchronous gives for FULL.
const synchronousFull = 2

// prepareSchema makes the first connection, checks its settings and migrates. The
// lock keeps other processes out: goose has none on SQLite, and two connections
// that switch a new file to WAL at once fail.
func (f *File) prepareSchema(ctx context.Context, migrations fs.FS, logger *slog.Logger) (err error) {
	lock := flock.New(f.path+lockSuffix, flock.SetPermissions(0o600))
	waiting, cancel := context.WithTimeout(ctx, lockWait)
	defer cancel()
	if _, err := lock.TryLockContext(waiting, lockRetry); err != nil {
		return fmt.Errorf("wait for %s: %w", lock.Path(), err)
	}
	defer func() { err = errors.Join(err, lock.Unlock()) }()
	if err := checkSettings(ctx, f.writer); err != nil {
		return err
	}
	return f.migrate(ctx, migrations, logger)
}

// checkSettings refuses settings that could lose a committed row. SQLite ignores
// what it does not like about a pragma, so what is in force has to be read back.
func checkSettings(ctx context.Context, db *sql.DB) error {
	var version, journal string
	var synchronous int
	if err := db.QueryRowContext(ctx, "SELECT sqlite_version()").Scan(&version); err != nil {
		return err
	}
	if err := db.QueryRowContext(ctx, "PRAGMA journal_mode").Scan(&journal); err != nil {
		return fmt.Errorf("read journal_mode: %w", err)
	}
	if err := db.QueryRowContext(ctx, "PRAGMA synchronous").Scan(&synchronous); err != nil {
		return fmt.Errorf("read synchronous: %w", err)
	}
	switch {
	case !atLeast(version, minVersion):
		return fmt.Errorf("SQLite %s is older than %s", version, minVersion)
	case journal != "wal":
		return fmt.Errorf("journal_mode is %s, not wal: does the file lie on a network file system?", journal)
	case synchronous != synchronousFull:
		return fmt.Errorf("synchronous is %d, not %d (FULL)", synchronous, synchronousFull)
	}
	return nil
}

// atLeast compares dotted numbers, part by part.
func atLeast(version, least string) bool {
	have, want := strings.Split(version, "."), strings.Split(least, ".")
	for i := range want {
		if i >= len(have) {
			return false
		}
		h, err := strconv.Atoi(have[i])
		w, _ := strconv.Atoi(want[i])
		if err != nil || h != w {
			return err == nil && h > w
		}
	}
	return true
}

func (f *File) migrate(ctx context.Context, migrations fs.FS, logger *slog.Logger) error {
	provider, err := goose.NewProvider(goose.DialectSQLite3, f.writer, migrations, goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return fmt.Errorf("read migrations: %w", err)
	}
	current, target, err := provider.GetVersions(ctx)
	if err != nil {
		return fmt.Errorf("read schema version: %w", err)
	}
	f.version = target
	if current > target {
		return fmt.Errorf("schema %d, this program knows %d: %w", current, target, ErrNewerSchema)
	}
	done, err := provider.Up(ctx)
	if err != nil {
		return fmt.Errorf("migrate from schema %d to %d: %w", current, target, err)
	}
	if len(done) > 0 {
		logger.InfoContext(ctx, "migrated database", "path", f.path, "from", current, "to", target)
	}
	return nil
}

// newestMigration gives the version of the newest migration that there is. It does not
// touch the database.
func newestMigration(db *sql.DB, migrations fs.FS) (int64, error) {
	provider, err := goose.NewProvider(goose.DialectSQLite3, db, migrations, goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return 0, fmt.Errorf("read migrations: %w", err)
	}
	var newest int64
	for _, source := range provider.ListSources() {
		newest = max(newest, source.Version)
	}
	return newest, nil
}

// schemaVersion reads what goose keeps: the newest migration that was made. A file
// that goose never saw has version 0.
func schemaVersion(ctx context.Context, db *sql.DB) (int64, error) {
	var tables int
	const seen = "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = 'goose_db_version'"
	if err := db.QueryRowContext(ctx, seen).Scan(&tables); err != nil || tables == 0 {
		return 0, err
	}
	var version int64
	err := db.QueryRowContext(ctx, "SELECT max(version_id) FROM goose_db_version WHERE is_applied = 1").Scan(&version)
	return version, err
}
