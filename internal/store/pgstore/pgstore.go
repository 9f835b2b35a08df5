// Package pgstore keeps claims at rest in a schema of a Postgres database: the engine
// for more than one instance. Committers of all instances write at once; what they
// have in common, the claims' keys and the providers' totals, they take in one order.
// Package store says what it promises; storetest holds it to that.
package pgstore

import (
	"context"
	"crypto/rand"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"sync/atomic"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/claimrail/claimrail/internal/claim"
	"github.com/claimrail/claimrail/internal/pgfile"
	"github.com/claimrail/claimrail/internal/store"
)

//go:embed migrations/*.sql
var migrationFiles embed.FS

// schema is the schema's name where the URL gives no search_path.
const schema = "claims"

// Options says how to open the database.
type Options struct {
	URL    string // see pgfile.Options; the schema is claims, unless search_path names another
	Unsafe bool   // use a server whose settings can lose committed claims
}

// Store is the claims database in one schema.
type Store struct {
	schema    *pgfile.Schema
	block     idBlock
	lookFirst atomic.Bool // the last claims that were sent again are not long ago; see Accept
}

var _ store.Engine = (*Store)(nil)

// Open opens the claims database, and makes the schema where it is missing, identity
// secret included. Close it. Errors: store.ErrUnavailable, and those of pgfile.Open.
func Open(ctx context.Context, options Options, logger *slog.Logger) (*Store, error) {
	s, err := open(options, func(options pgfile.Options) (*pgfile.Schema, error) {
		return pgfile.Open(ctx, options, logger)
	})
	if err != nil {
		return nil, err
	}
	if err := s.makeIdentity(ctx); err != nil {
		return nil, errors.Join(translate(err), s.Close())
	}
	return s, nil
}

// OpenExisting opens a claims database that is there, to read it: nothing is made or
// migrated. Close it. Errors: store.ErrUnavailable, and those of pgfile.OpenExisting.
func OpenExisting(ctx context.Context, options Options) (*Store, error) {
	return open(options, func(options pgfile.Options) (*pgfile.Schema, error) {
		return pgfile.OpenExisting(ctx, options)
	})
}

func open(options Options, open func(pgfile.Options) (*pgfile.Schema, error)) (*Store, error) {
	migrations, err := fs.Sub(migrationFiles, "migrations")
	if err != nil {
		return nil, fmt.Errorf("read embedded migrations: %w", err)
	}
	opened, err := open(pgfile.Options{
		URL: options.URL, Schema: schema, Table: "claim_keys", Migrations: migrations, Unsafe: options.Unsafe,
	})
	if err != nil {
		return nil, translate(err)
	}
	return &Store{schema: opened}, nil
}

// makeIdentity makes the identity secret where the schema has none yet.
func (s *Store) makeIdentity(ctx context.Context) error {
	secret := make([]byte, claim.IdentitySecretSize)
	_, _ = rand.Read(secret) // never fails
	return s.schema.Write(ctx, "make identity secret", func(_ context.Context, tx *pgfile.Tx) error {
		tx.Queue("INSERT INTO identity (id, secret) VALUES (1, $1) ON CONFLICT DO NOTHING", secret)
		return nil
	})
}

// IdentitySecret gives the secret that claim ids are derived with.
func (s *Store) IdentitySecret(ctx context.Context) ([claim.IdentitySecretSize]byte, error) {
	var secret [claim.IdentitySecretSize]byte
	err := s.read(ctx, "read identity secret", func(ctx context.Context, pool *pgxpool.Pool) error {
		var stored []byte
		err := pool.QueryRow(ctx, "SELECT secret FROM identity WHERE id = 1").Scan(&stored)
		copy(secret[:], stored)
		return err
	})
	return secret, err
}

// Ping fails where the schema can not be used or is not this program's.
func (s *Store) Ping(ctx context.Context) error { return translate(s.schema.Ping(ctx)) }

// Close closes all connections. No other method may be running.
func (s *Store) Close() error { return s.schema.Close() }

// read runs do on the pool.
func (s *Store) read(ctx context.Context, what string, do func(context.Context, *pgxpool.Pool) error) error {
	return translate(s.schema.Read(ctx, what, do))
}

// translate gives an error of the database the kind that package store has for it.
func translate(err error) error {
	err = pgfile.Classify(err)
	switch {
	case errors.Is(err, pgfile.ErrUnavailable):
		return fmt.Errorf("%w: %w", store.ErrUnavailable, err)
	case errors.Is(err, pgfile.ErrUnknownOutcome):
		return fmt.Errorf("%w: %w", store.ErrUnknownOutcome, err)
	default:
		return err
	}
}
