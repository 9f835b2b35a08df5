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

// prepareSchema checks the settings and migrates, on connections of its own: a
// migration may take longer than a statement is allowed otherwise.
func (s *Schema) prepareSchema(ctx context.Context, config *pgx.ConnConfig, options *Options, logger *slog.Logger) (err error) {
	config = config.Copy()
	config.RuntimeParams["statement_timeout"] = "0"
	config.RuntimeParams["lock_timeout"] = milliseconds(migrationWait)
	db := stdlib.OpenDB(*config)
	defer func() { err = errors.Join(err, db.Close()) }()
	conn, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	unsafe, err := checkSettings(ctx, conn)
	switch {
	case err != nil:
		return err
	case unsafe != "" && !options.Unsafe:
		return fmt.Errorf("%s: the server could lose committed claims; change that, or allow unsafe settings", unsafe)
	case unsafe != "":
		logger.ErrorContext(ctx, "UNSAFE: the database server could lose committed claims", "schema", s.name, "setting", unsafe)
	}
	// Held by the session: it ends with the connection, whatever becomes of us.
	const lock = "SELECT pg_advisory_lock(hashtextextended('claimrail migration ' || $1, 0))"
	if _, err := conn.ExecContext(ctx, lock, s.name); err != nil {
		return fmt.Errorf("wait for another instance that migrates: %w", err)
	}
	if err := s.create(ctx, conn); err != nil {
		return err
	}
	return s.migrate(ctx, db, options, logger)
}

// checkSettings gives the first setting in force that could lose a committed row, as
// "name is value".
func checkSettings(ctx context.Context, conn *sql.Conn) (string, error) {
	const query = `SELECT current_setting('server_version_num')::int, current_setting('fsync'),
		current_setting('full_page_writes'), current_setting('synchronous_commit')`
	var server int
	var fsync, pages, commit string
	if err := conn.QueryRowContext(ctx, query).Scan(&server, &fsync, &pages, &commit); err != nil {
		return "", fmt.Errorf("read settings: %w", err)
	}
	switch {
	case server < minServer:
		return "", fmt.Errorf("the server is Postgres %d; %d is the oldest that will do", server/10_000, minServer/10_000)
	case fsync != "on":
		return "fsync is " + fsync, nil
	case pages != "on":
		return "full_page_writes is " + pages, nil
	case commit == "off" || commit == "local":
		return "synchronous_commit is " + commit, nil
	}
	return "", nil
}

// create makes the schema where it is missing. It looks first: who may not make
// schemas may use one that is there.
func (s *Schema) create(ctx context.Context, conn *sql.Conn) error {
	var usable bool
	const query = "SELECT has_schema_privilege(oid, 'USAGE') FROM pg_namespace WHERE nspname = $1"
	switch err := conn.QueryRowContext(ctx, query, s.name).Scan(&usable); {
	case errors.Is(err, sql.ErrNoRows): // to be made
	case err != nil:
		return fmt.Errorf("look for schema: %w", err)
	case !usable:
		return errors.New("it belongs to another role: use the role that roles.sql has for it, or name another schema")
	default:
		return nil
	}
	if _, err := conn.ExecContext(ctx, "CREATE SCHEMA "+s.name); err != nil {
		return fmt.Errorf("make schema: %w", err)
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
	if current > target {
		return fmt.Errorf("version %d, this program knows %d: %w", current, target, ErrNewerSchema)
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
