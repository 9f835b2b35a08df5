// Package sqlitestore keeps claims at rest in one SQLite file: the engine of the
// embedded default. One writer takes whole batches, many readers see the last commit.
// Package store says what it promises; storetest holds it to that.
package sqlitestore

import (
	"context"
	"crypto/rand"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"

	"github.com/claimrail/claimrail/internal/claim"
	"github.com/claimrail/claimrail/internal/sqlitefile"
	"github.com/claimrail/claimrail/internal/store"
)

//go:embed migrations/*.sql
var migrationFiles embed.FS

// Store is the claims database in one file.
type Store struct {
	file   *sqlitefile.File
	accept acceptStatements
	moves  moveStatements
	closes []func() error // of the prepared statements
}

var _ store.Engine = (*Store)(nil)

// Open opens the claims database at path, or makes it, identity secret included.
// Close it. Errors are those of sqlitefile.Open.
func Open(ctx context.Context, path string, logger *slog.Logger) (*Store, error) {
	migrations, err := fs.Sub(migrationFiles, "migrations")
	if err != nil {
		return nil, fmt.Errorf("read embedded migrations: %w", err)
	}
	file, err := sqlitefile.Open(ctx, path, migrations, logger)
	if err != nil {
		return nil, translate(err)
	}
	s := &Store{file: file}
	if err := s.prepare(ctx); err != nil {
		return nil, errors.Join(translate(err), s.Close())
	}
	if err := s.makeIdentity(ctx); err != nil {
		return nil, errors.Join(translate(err), s.Close())
	}
	return s, nil
}

// OpenExisting opens the claims database at path only to read it; methods that write are
// not to be called. Errors are those of sqlitefile.OpenExisting.
func OpenExisting(ctx context.Context, path string) (*Store, error) {
	migrations, err := fs.Sub(migrationFiles, "migrations")
	if err != nil {
		return nil, fmt.Errorf("read embedded migrations: %w", err)
	}
	file, err := sqlitefile.OpenExisting(ctx, path, migrations)
	if err != nil {
		return nil, translate(err)
	}
	return &Store{file: file}, nil
}

// prepare prepares what Accept and Apply run, row after row.
func (s *Store) prepare(ctx context.Context) error {
	var firstError error
	statement := func(query string) *sql.Stmt {
		if firstError != nil {
			return nil
		}
		prepared, err := s.file.Prepare(ctx, query)
		if err != nil {
			firstError = err
			return nil
		}
		s.closes = append(s.closes, prepared.Close)
		return prepared
	}
	s.accept = prepareAccept(statement)
	s.moves = prepareMoves(statement)
	return firstError
}

// makeIdentity makes the identity secret where the file has none yet.
func (s *Store) makeIdentity(ctx context.Context) error {
	secret := make([]byte, claim.IdentitySecretSize)
	_, _ = rand.Read(secret) // never fails
	return s.file.Write(ctx, "make identity secret", func(ctx context.Context, tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "INSERT INTO identity (id, secret) VALUES (1, ?) ON CONFLICT DO NOTHING", secret)
		return err
	})
}

// IdentitySecret gives the secret that claim ids are derived with.
func (s *Store) IdentitySecret(ctx context.Context) ([claim.IdentitySecretSize]byte, error) {
	var secret [claim.IdentitySecretSize]byte
	var stored []byte
	if err := s.file.Reader().QueryRowContext(ctx, "SELECT secret FROM identity").Scan(&stored); err != nil {
		return secret, fmt.Errorf("read identity secret: %w", translate(err))
	}
	copy(secret[:], stored)
	return secret, nil
}

// Ping fails where the file can not be used or its schema is not this program's.
func (s *Store) Ping(ctx context.Context) error {
	return translate(s.file.Ping(ctx))
}

// Close closes the file. No other method may be running.
func (s *Store) Close() error {
	var errs []error
	for _, closeStatement := range s.closes {
		errs = append(errs, closeStatement())
	}
	return errors.Join(append(errs, s.file.Close())...)
}

// translate gives an error of the file the kind that package store has for it.
func translate(err error) error {
	err = sqlitefile.Classify(err)
	switch {
	case errors.Is(err, sqlitefile.ErrUnavailable):
		return fmt.Errorf("%w: %w", store.ErrUnavailable, err)
	case errors.Is(err, sqlitefile.ErrUnknownOutcome):
		return fmt.Errorf("%w: %w", store.ErrUnknownOutcome, err)
	default:
		return err
	}
}
