package pgfile

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// Kinds of error. Test for them with errors.Is; engines give them their own names.
var (
	// ErrUnavailable: the database can not be reached, refuses connections or writes, is
	// busy or is full, or the caller's context ended. Nothing was written.
	ErrUnavailable = errors.New("database unavailable")
	// ErrUnknownOutcome: the connection was lost while COMMIT was under way.
	ErrUnknownOutcome = errors.New("outcome of the commit is unknown")
	// ErrNewerSchema: a newer program has migrated the schema; this one would not
	// understand what is in it.
	ErrNewerSchema = errors.New("schema is newer than this program")
	// ErrOlderSchema: the schema is not there, or not migrated to what this program
	// knows, and was opened in a way that does not migrate.
	ErrOlderSchema = errors.New("schema is older than this program")
)

// States that a server reports (SQLSTATE), as far as somebody here asks for them.
const (
	stateUniqueViolation   = "23505"
	stateOutOfRange        = "22003"
	stateReadOnly          = "25006"
	stateIdleTimeout       = "25P03"
	stateWrongPassword     = "28P01"
	stateRefusedUser       = "28000"
	stateNoDatabase        = "3D000"
	stateDeadlock          = "40P01"
	stateSerialization     = "40001"
	stateDenied            = "42501"
	stateObjectInUse       = "55006"
	stateTooMany           = "53300"
	stateLockNotAvailable  = "55P03"
	classConnection        = "08"
	classResources         = "53" // disk full, out of memory, too many connections
	classIntervention      = "57" // shutting down, starting up, cancelled, timed out
	classSystem            = "58" // I/O error
	classAccess            = "42" // no such table or column, or no right to it
	classDatabase          = "3D" // no such database
	classSchema            = "3F" // no such schema
	classInternal          = "XX" // among them: a file is damaged
	stateDropped           = "57P04"
	severityOfTransactions = "ERROR"
)

// markedError is an error of a kind. The engines name the kind, so that it is not named here
// once more; a driver's error that is about several addresses becomes one line.
type markedError struct{ kind, err error }

func (e *markedError) Error() string   { return oneLine(e.err) }
func (e *markedError) Unwrap() []error { return []error{e.kind, e.err} }

// Classify marks an error of a statement as ErrUnavailable where the same call may
// succeed later, and otherwise gives it back as it is. A marked error, and nil, stay so.
// It takes out of a server's error what can hold values of a row.
func Classify(err error) error {
	if err == nil || errors.Is(err, ErrUnavailable) || errors.Is(err, ErrUnknownOutcome) {
		return err
	}
	if failure := serverError(err); failure != nil {
		failure.Detail, failure.Where, failure.InternalQuery = "", "", ""
		if isPassing(failure.Code) {
			return &markedError{ErrUnavailable, err}
		}
		return err
	}
	if isLost(err) {
		return &markedError{ErrUnavailable, err}
	}
	return err
}

// classifyCommit is Classify for the statements that end in COMMIT. Only where the
// server says that it failed a statement, or has heard of none, or of no more than their texts, is the outcome
// known: one that shuts down, say, may have committed and only not said so any more.
func classifyCommit(err error) error {
	failure := serverError(err)
	_, unsent := errors.AsType[pgx.ErrPreprocessingBatch](err)
	switch {
	case unsent, failure != nil && failure.SeverityUnlocalized == severityOfTransactions, errors.Is(err, errNotCommitted), pgconn.SafeToRetry(err):
		return Classify(err)
	default:
		return &markedError{ErrUnknownOutcome, err}
	}
}

// IsDuplicate tells whether an error is that of a row which is there already, in the
// table.
func IsDuplicate(err error, table string) bool {
	failure := serverError(err)
	return failure != nil && failure.Code == stateUniqueViolation && failure.TableName == table
}

// IsOutOfRange tells whether an error is that of a number that does not fit.
func IsOutOfRange(err error) bool {
	failure := serverError(err)
	return failure != nil && failure.Code == stateOutOfRange
}

// IsBroken tells whether an error is that of a database which is not as the program needs it, a right
// or a table that is missing or a file that is damaged, whatever rows were to be written. It lasts until
// somebody mends the database. Statements that are wrong in themselves give such errors too.
func IsBroken(err error) bool {
	failure := serverError(err)
	if failure == nil {
		return false
	}
	class := failure.Code[:min(2, len(failure.Code))]
	return failure.Code == stateDropped || class == classAccess || class == classDatabase || class == classSchema || class == classInternal
}

func serverError(err error) *pgconn.PgError {
	var failure *pgconn.PgError
	if errors.As(err, &failure) {
		return failure
	}
	return nil
}

// isPassing tells whether a state can change without anybody changing the program,
// the database's schema or the claim.
func isPassing(code string) bool {
	switch code {
	case stateReadOnly, stateIdleTimeout, stateDeadlock, stateSerialization, stateObjectInUse, stateLockNotAvailable:
		return true
	case stateDropped:
		return false
	}
	for _, class := range []string{classConnection, classResources, classIntervention, classSystem} {
		if strings.HasPrefix(code, class) {
			return true
		}
	}
	return false
}

// isLost tells whether an error says that the server can not be reached, or that we
// did not wait for it.
func isLost(err error) bool {
	var network net.Error
	var connecting *pgconn.ConnectError
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) ||
		errors.Is(err, pgconn.ErrConnClosed) || errors.As(err, &network) || errors.As(err, &connecting) ||
		pgconn.SafeToRetry(err) || strings.HasSuffix(err.Error(), "closed pool") // it has no name of its own
}

// oneLine gives an error's text without line breaks.
func oneLine(err error) string { return strings.Join(strings.Fields(err.Error()), " ") }
