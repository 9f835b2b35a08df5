package sqlitefile

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"

	"modernc.org/sqlite"
	"modernc.org/sqlite/lib"
)

// Kinds of error. Test for them with errors.Is; engines give them their own names.
var (
	// ErrUnavailable: the file can not be reached, is locked by somebody else, or the
	// disk is full or broken, or the caller's context ended. Nothing was written.
	ErrUnavailable = errors.New("database file unavailable")
	// ErrUnknownOutcome: COMMIT failed in a way that may have written all the same.
	ErrUnknownOutcome = errors.New("outcome of the commit is unknown")
	// ErrNewerSchema: a newer program has migrated the file; this one would not
	// understand what is in it.
	ErrNewerSchema = errors.New("database has a newer schema; use the program that made it, or a newer one")
	// ErrOlderSchema: the file is not migrated to this program's schema yet, and was opened
	// in a way that does not migrate.
	ErrOlderSchema = errors.New("database has an older schema")
)

// Classify marks an error of a statement as ErrUnavailable where the same call may
// succeed later, and otherwise gives it back as it is. A marked error, and nil, stay so.
func Classify(err error) error {
	if err == nil || errors.Is(err, ErrUnavailable) || errors.Is(err, ErrUnknownOutcome) {
		return err
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, driver.ErrBadConn) {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	switch primaryCode(err) {
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL, sqlite3.SQLITE_INTERRUPT,
		sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_NOMEM:
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	default:
		return err // SQLITE_CORRUPT among them: later it will be no better
	}
}

// IsBroken tells whether an error is that of a file which is not as the program needs it, damaged or without
// a table, whatever rows were to be written. It lasts until somebody mends the file. Statements that are wrong in
// themselves give such errors too.
func IsBroken(err error) bool {
	switch primaryCode(err) {
	case sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH, sqlite3.SQLITE_ERROR, sqlite3.SQLITE_SCHEMA:
		return true
	default:
		return false
	}
}

// classifyCommit is Classify for COMMIT itself. Only where SQLite is known to have
// rolled back is the outcome known; a failed fsync, say, leaves a commit record in
// the log that a crash would bring to life.
func classifyCommit(err error) error {
	switch primaryCode(err) {
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_CONSTRAINT:
		return Classify(err)
	default:
		return fmt.Errorf("%w: %w", ErrUnknownOutcome, err)
	}
}

// primaryCode gives SQLite's result code without its extension; 0 for errors
// that are not SQLite's.
func primaryCode(err error) int {
	var failure *sqlite.Error
	if !errors.As(err, &failure) {
		return 0
	}
	return failure.Code() & 0xff
}
