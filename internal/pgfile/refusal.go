package pgfile

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// OpenError is what keeps a schema from being opened, in one line, and what to do about
// it, in another. It names user, database and host, never the password.
type OpenError struct {
	Schema  string
	Problem string
	Advice  string // empty where there is nothing to do

	kind error // of those above; nil: none
}

// Error gives the problem, without the advice.
func (e *OpenError) Error() string { return "open schema " + e.Schema + ": " + e.Problem }

// Unwrap gives the kind.
func (e *OpenError) Unwrap() error { return e.kind }

// refuse makes an OpenError of what was found; explain says where. A kind of nil is none.
func refuse(kind error, advice, problem string, arguments ...any) error {
	return &OpenError{Problem: fmt.Sprintf(problem, arguments...), Advice: advice, kind: kind}
}

// explain makes an OpenError of whatever kept the schema from being opened.
func (s *Schema) explain(err error, config *pgx.ConnConfig) error {
	var refused *OpenError
	failure := serverError(err)
	switch {
	case errors.As(err, &refused):
	case failure != nil:
		refused = explainServer(failure, config)
		if isPassing(failure.Code) {
			refused.kind = ErrUnavailable
		}
	default:
		refused = explainConnection(err, config)
		if isLost(err) && !isTLS(err) {
			refused.kind = ErrUnavailable
		}
	}
	refused.Schema = s.name
	return refused
}

// explainServer explains what a server says.
func explainServer(failure *pgconn.PgError, config *pgx.ConnConfig) *OpenError {
	said := fmt.Sprintf("%s (SQLSTATE %s)", oneLine(errors.New(failure.Message)), failure.Code)
	switch failure.Code {
	case stateWrongPassword, stateRefusedUser:
		return &OpenError{
			Problem: "the server refuses the user: " + said,
			Advice:  "correct user, password or sslmode in the URL, or pg_hba.conf on the server",
		}
	case stateNoDatabase:
		return &OpenError{Problem: said, Advice: "make it with CREATE DATABASE, or name another in the URL"}
	case stateDenied:
		return &OpenError{
			Problem: fmt.Sprintf("user %q may not make or use it: %s", config.User, said),
			Advice:  "have the owner of the database run internal/pgfile/roles.sql, and use the role that it makes for this schema",
		}
	case stateTooMany:
		return &OpenError{
			Problem: "the server has no connection left: " + said,
			Advice:  fmt.Sprintf("raise max_connections on the server, or set pool_max_conns in the URL of each instance, which is %d by default", defaultConns),
		}
	case stateLockNotAvailable:
		return &OpenError{
			Problem: "another session keeps a table of it locked: " + said,
			Advice:  "end that session and try again; pg_locks and pg_stat_activity show it",
		}
	}
	if isPassing(failure.Code) {
		return &OpenError{Problem: "the server can not do it now: " + said, Advice: "try again when it is up; its log may say more"}
	}
	return &OpenError{Problem: said, Advice: "the log of the server may say more"}
}

// explainConnection explains what happened without a word of the server.
func explainConnection(err error, config *pgx.ConnConfig) *OpenError {
	places := strings.Join(addresses(config), ", ")
	var errno syscall.Errno
	var name *net.DNSError
	switch {
	case isTLS(err):
		return &OpenError{
			Problem: fmt.Sprintf("no TLS with %s: %s", places, innermost(err)),
			Advice:  "set sslmode in the URL to what the server offers, and sslrootcert to a file of the authority that certifies it",
		}
	case errors.As(err, &name):
		return &OpenError{
			Problem: fmt.Sprintf("can not connect to %s: host %s: %s", places, name.Name, name.Err),
			Advice:  "correct the host in the URL, or have it resolved",
		}
	case errors.Is(err, context.DeadlineExceeded):
		return &OpenError{
			Problem: fmt.Sprintf("can not connect to %s: no answer within %s", places, config.ConnectTimeout.Round(time.Millisecond)),
			Advice:  "start the server, correct host and port in the URL, or open the network between",
		}
	case errors.As(err, &errno):
		return &OpenError{
			Problem: fmt.Sprintf("can not connect to %s: %s", places, errno),
			Advice:  "start the server, or correct host and port in the URL",
		}
	case errors.Is(err, context.Canceled):
		return &OpenError{Problem: "stopped before it was open"}
	case isLost(err):
		return &OpenError{
			Problem: fmt.Sprintf("can not connect to %s: %s", places, innermost(err)),
			Advice:  "is that the server, and does the URL ask for what it is?",
		}
	default:
		return &OpenError{Problem: oneLine(err)}
	}
}

// isTLS tells whether server and client do not agree on encryption.
func isTLS(err error) bool {
	var certificate *tls.CertificateVerificationError
	return errors.As(err, &certificate) || strings.Contains(err.Error(), "tls error") // it has no name of its own
}

// addresses are the places where the server was looked for.
func addresses(config *pgx.ConnConfig) []string {
	var found []string
	add := func(host string, port uint16) {
		address := net.JoinHostPort(host, strconv.Itoa(int(port)))
		if network, path := pgconn.NetworkAddress(host, port); network == "unix" {
			address = path
		}
		if !slices.Contains(found, address) {
			found = append(found, address)
		}
	}
	add(config.Host, config.Port)
	for _, other := range config.Fallbacks {
		add(other.Host, other.Port)
	}
	return found
}

// innermost gives the text of the first cause.
func innermost(err error) string {
	for {
		switch wrapped := err.(type) {
		case interface{ Unwrap() error }:
			if wrapped.Unwrap() == nil {
				return oneLine(err)
			}
			err = wrapped.Unwrap()
		case interface{ Unwrap() []error }:
			err = wrapped.Unwrap()[0]
		default:
			return oneLine(err)
		}
	}
}
