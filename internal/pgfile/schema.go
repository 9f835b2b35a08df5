package pgfile

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
)

const (
	// migrationWait is how long Open waits for another one that migrates the same
	// schema, and how long a migration waits for a table in use.
	migrationWait = 30 * time.Second
	// minServer is the oldest server, as server_version_num has it: Postgres 15.
	minServer = 150_000
)

// versionQuery reads what goose keeps: the newest migration that was made.
const versionQuery = "SELECT max(version_id) FROM goose_db_version WHERE is_applied"

// withConnection runs do on a connection made for it alone, of a pool that has no other limit:
// a migration may take longer than a statement is allowed otherwise.
func (s *Schema) withConnection(ctx context.Context, config *pgx.ConnConfig, do func(*Schema, context.Context, *sql.DB, *sql.Conn) error) (err error) {
	config = config.Copy()
	config.RuntimeParams["statement_timeout"] = "0"
	if config.RuntimeParams["lock_timeout"] == milliseconds(lockTimeout) { // the URL has no other
		config.RuntimeParams["lock_timeout"] = milliseconds(migrationWait)
	}
	db := stdlib.OpenDB(*config)
	defer func() { err = errors.Join(err, db.Close()) }()
	conn, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	return do(s, ctx, db, conn)
}

// prepare checks the settings and migrates.
func (s *Schema) prepare(ctx context.Context, db *sql.DB, conn *sql.Conn, options *Options, logger *slog.Logger) error {
	unsafe, advice, err := checkSettings(ctx, conn)
	switch {
	case err != nil:
		return err
	case unsafe != "" && !options.Unsafe:
		return refuse(nil, advice+"; to try things out only, allow it with CLAIMRAIL_UNSAFE=true",
			"%s: the server could lose what it has committed", unsafe)
	case unsafe != "":
		logger.ErrorContext(ctx, "UNSAFE: the database server could lose committed claims", "schema", s.name, "setting", unsafe)
	}
	// Held by the session: it ends with the connection, whatever becomes of us.
	const lock = "SELECT pg_advisory_lock(hashtextextended('claimrail migration ' || $1, 0))"
	if _, err := conn.ExecContext(ctx, lock, s.name); err != nil {
		if failure := serverError(err); failure != nil && failure.Code == stateLockNotAvailable {
			return refuse(ErrUnavailable, "try again when it is done; if none is, end the session that pg_locks shows with locktype advisory",
				"another instance is migrating it and was waited for in vain")
		}
		return err
	}
	found, err := s.inspect(ctx, conn, options.Table)
	if err != nil {
		return err
	}
	if !found.there {
		if _, err := conn.ExecContext(ctx, "CREATE SCHEMA "+s.name); err != nil {
			return fmt.Errorf("make schema: %w", err)
		}
	}
	return s.migrate(ctx, db, options, logger)
}

// checkSettings gives the first setting in force that could lose a committed row, as
// "name is value", and what to do about it.
func checkSettings(ctx context.Context, conn *sql.Conn) (unsafe, advice string, err error) {
	const query = `SELECT current_setting('server_version_num')::int, current_setting('transaction_read_only'),
		current_setting('fsync'), current_setting('full_page_writes'), current_setting('synchronous_commit')`
	var server int
	var readOnly, fsync, pages, commit string
	if err := conn.QueryRowContext(ctx, query).Scan(&server, &readOnly, &fsync, &pages, &commit); err != nil {
		return "", "", fmt.Errorf("read settings: %w", err)
	}
	switch {
	case server < minServer:
		return "", "", refuse(nil, "use a newer server", "the server is Postgres %d, and %d is the oldest that will do", server/10_000, minServer/10_000)
	case readOnly == "on":
		return "", "", refuse(ErrUnavailable, "name the primary in the URL; one that names several hosts finds it with target_session_attrs=read-write",
			"the server only reads, as a standby does")
	case fsync != "on":
		return "fsync is " + fsync, "set fsync = on in postgresql.conf and restart the server", nil
	case pages != "on":
		return "full_page_writes is " + pages, "set full_page_writes = on in postgresql.conf and reload it", nil
	case commit == "off" || commit == "local":
		return "synchronous_commit is " + commit, "take synchronous_commit out of the URL", nil
	}
	return "", "", nil
}

// contents are what a schema was found to hold.
type contents struct {
	there   bool
	version int64 // of the newest migration that was made; 0: none
}

// inspect looks what the schema holds. It refuses what belongs to others.
func (s *Schema) inspect(ctx context.Context, conn *sql.Conn, table string) (contents, error) {
	const query = `SELECT has_schema_privilege(n.oid, 'USAGE'), count(c.oid),
		coalesce(bool_or(c.relname = 'goose_db_version'), false), coalesce(bool_or(c.relname = $2), false)
		FROM pg_namespace AS n LEFT JOIN pg_class AS c ON c.relnamespace = n.oid AND c.relkind IN ('r', 'p')
		WHERE n.nspname = $1 GROUP BY n.oid`
	const advice = "name a schema of its own with search_path in the URL, or another database"
	var usable, versioned, ours bool
	var tables int
	switch err := conn.QueryRowContext(ctx, query, s.name, table).Scan(&usable, &tables, &versioned, &ours); {
	case errors.Is(err, sql.ErrNoRows):
		return contents{}, nil
	case err != nil:
		return contents{}, fmt.Errorf("look for schema: %w", err)
	case !usable:
		return contents{}, refuse(nil, "use the role that internal/pgfile/roles.sql makes for it, or "+advice, "it belongs to another role")
	case tables == 0:
		return contents{there: true}, nil
	case !versioned:
		return contents{}, refuse(nil, advice, "it holds %d tables that are not claimrail's", tables)
	}
	var version sql.NullInt64
	if err := conn.QueryRowContext(ctx, versionQuery).Scan(&version); err != nil {
		return contents{}, fmt.Errorf("read schema version: %w", err)
	}
	if version.Int64 > 0 && !ours {
		return contents{}, refuse(nil, advice, "it is another program's, or that of the other database of claimrail: it has no table %s", table)
	}
	return contents{there: true, version: version.Int64}, nil
}

// checkVersion refuses a schema that is not exactly that of the newest migration.
func (s *Schema) checkVersion(ctx context.Context, db *sql.DB, conn *sql.Conn, options *Options) error {
	provider, err := goose.NewProvider(goose.DialectPostgres, db, options.Migrations, goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return fmt.Errorf("read migrations: %w", err)
	}
	for _, source := range provider.ListSources() {
		s.version = max(s.version, source.Version)
	}
	found, err := s.inspect(ctx, conn, options.Table)
	switch {
	case err != nil:
		return err
	case found.version == 0:
		return refuse(ErrOlderSchema, "make it with 'claimrail migrate', or correct database and search_path in the URL",
			"there is no such schema, or nothing in it")
	case found.version < s.version:
		return refuse(ErrOlderSchema, "bring it up to date with 'claimrail migrate', once no older version needs it, or use the version that serves",
			"it has version %d, and this program's is %d", found.version, s.version)
	}
	return s.checkNewer(found.version)
}

// checkNewer refuses a version that this program does not know.
func (s *Schema) checkNewer(version int64) error {
	if version > s.version {
		return refuse(ErrNewerSchema, "use the version of claimrail that migrated it, or a newer one",
			"it has version %d, and this program knows %d", version, s.version)
	}
	return nil
}

func (s *Schema) migrate(ctx context.Context, db *sql.DB, options *Options, logger *slog.Logger) error {
	provider, err := goose.NewProvider(goose.DialectPostgres, db, options.Migrations, goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return fmt.Errorf("read migrations: %w", err)
	}
	current, target, err := provider.GetVersions(ctx)
	if err != nil {
		return fmt.Errorf("read schema version: %w", err)
	}
	s.version = target
	if err := s.checkNewer(current); err != nil {
		return err
	}
	done, err := provider.Up(ctx)
	if err != nil {
		return fmt.Errorf("migrate from version %d to %d: %w", current, target, err)
	}
	if len(done) > 0 {
		logger.InfoContext(ctx, "migrated database", "schema", s.name, "from", current, "to", target)
	}
	return nil
}
