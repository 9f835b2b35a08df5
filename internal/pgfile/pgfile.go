// Package pgfile is the ground under both Postgres engines, as sqlitefile is for
// SQLite: one schema of a database, used in the only way that loses nothing. It
// sees to durable settings, to time limits, to migrations that run once however many
// instances start, to transactions of few round trips, and it tells an error that
// stored nothing from one that leaves doubt. The claims store and the payments
// ledger keep one schema each; neither knows the other's.
package pgfile

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
)

// Options says which schema to open, and how.
type Options struct {
	// URL is a connection string as libpq has it: postgres://user:password@host/database,
	// or key=value. Beside what Postgres knows it may set pool_max_conns (1 to
	// MaxConns) and search_path, the one schema to be used. Settings that are given
	// there, such as statement_timeout, take the place of this package's own.
	URL string
	// Schema is the schema where the URL names none. It is made where it is missing.
	Schema string
	// Table is one that the first migration makes. A schema that was migrated and has no
	// such table is another program's.
	Table string
	// Migrations stand at the root of that file system, as goose SQL files.
	Migrations fs.FS
	// Unsafe opens a database whose settings can lose committed rows all the same. It is
	// for trying things out.
	Unsafe bool
}

// Schema is one open schema of a database. All methods may be called at once.
type Schema struct {
	name    string
	version int64 // of the newest embedded migration
	pool    *pgxpool.Pool
	buffers sync.Pool // of *[]byte, for rows on their way
}

// Open connects, checks the settings and brings the schema up to the newest of the
// migrations. Of instances that start at once, one migrates and the others wait. Open
// refuses settings that could lose a committed row, and a schema that somebody else's
// tables are in. Errors: of type OpenError, and among them ErrNewerSchema and
// ErrUnavailable; or a plain one about the URL. None holds a password.
func Open(ctx context.Context, options Options, logger *slog.Logger) (*Schema, error) {
	return open(ctx, &options, func(s *Schema, ctx context.Context, db *sql.DB, conn *sql.Conn) error {
		return s.prepare(ctx, db, conn, &options, logger)
	})
}

// OpenExisting opens a schema that is there already, and makes and migrates nothing: those
// who come to look must not take a schema away from older instances that work on it.
// Settings are not checked. Errors: as of Open, and ErrOlderSchema.
func OpenExisting(ctx context.Context, options Options) (*Schema, error) {
	return open(ctx, &options, func(s *Schema, ctx context.Context, db *sql.DB, conn *sql.Conn) error {
		return s.checkVersion(ctx, db, conn, &options)
	})
}

// open reads the URL, lets prepare see to the schema, and makes the pool.
func open(ctx context.Context, options *Options, prepare func(*Schema, context.Context, *sql.DB, *sql.Conn) error) (*Schema, error) {
	config, name, err := poolConfig(options.URL, options.Schema)
	if err != nil {
		return nil, err
	}
	s := &Schema{name: name}
	if err := s.withConnection(ctx, config.ConnConfig, prepare); err != nil {
		return nil, s.explain(err, config.ConnConfig)
	}
	if s.pool, err = pgxpool.NewWithConfig(context.WithoutCancel(ctx), config); err != nil {
		return nil, s.explain(err, config.ConnConfig)
	}
	return s, nil
}

// Read runs do, whose statements each stand for themselves, within readTimeout. what
// names the action in errors. Errors: those of do, ErrUnavailable.
func (s *Schema) Read(ctx context.Context, what string, do func(context.Context, *pgxpool.Pool) error) error {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	if err := do(ctx, s.pool); err != nil {
		return fmt.Errorf("%s: %w", what, Classify(err))
	}
	return nil
}

// Ping fails where the schema can not be read, or is not exactly that of this
// program's newest migration.
func (s *Schema) Ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	var version int64
	err := s.pool.QueryRow(ctx, versionQuery).Scan(&version)
	switch {
	case err != nil:
		return fmt.Errorf("ping schema %s: %w", s.name, Classify(err))
	case version > s.version:
		return fmt.Errorf("ping schema %s: version %d, this program knows %d: %w", s.name, version, s.version, ErrNewerSchema)
	case version < s.version:
		return fmt.Errorf("ping schema %s: version %d is older than %d: %w", s.name, version, s.version, ErrOlderSchema)
	}
	return nil
}

// Close closes all connections, once those in use are given back.
func (s *Schema) Close() error {
	s.pool.Close()
	return nil
}

// rollbackTimeout bounds the end of a transaction that failed.
const rollbackTimeout = 2 * time.Second

// errNotCommitted: the server answered COMMIT with a rollback.
var errNotCommitted = errors.New("the transaction was rolled back")
