// Package sqlstate answers one question about an error of pgx: what does it say about the connection, the server and
// the statement? It judges by type and SQLSTATE, never by the text of a message.
package sqlstate

import (
	"context"
	"errors"
	"io"
	"net"
	"syscall"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// Class is what an error means for retrying, for the circuit breaker and for the connection it came from.
type Class uint8

// The classes. Only Connection counts against the circuit breaker.
const (
	// Answered means that the server answered: success, no rows, or an SQL error that running the statement again would
	// only repeat.
	Answered Class = iota
	// Connection means that no server answered, or that one refused to serve: refused, reset, timed out, unresolved,
	// shutting down, starting up, full, read-only. Retried.
	Connection
	// Credentials means that the server is there but will not let this client in (28xxx), the database does not exist
	// (3D000) or may not be connected to (42501). Waiting does not help, so it is neither retried nor counted.
	Credentials
	// Conflict means a serialization failure or a deadlock (40001, 40P01), or a prepared statement that a migration has
	// outdated or the server has lost (see Stale): the whole transaction may be run again.
	Conflict
	// Timeout means that the server ended the statement at its time limit (57014).
	Timeout
	// Canceled means that the caller gave up. It says nothing about the server.
	Canceled
)

// String returns the class's name as logs and metrics show it.
func (c Class) String() string {
	switch c {
	case Answered:
		return "answered"
	case Connection:
		return "connection"
	case Credentials:
		return "credentials"
	case Conflict:
		return "conflict"
	case Timeout:
		return "timeout"
	case Canceled:
		return "canceled"
	default:
		return "unknown"
	}
}

// Classify returns the class of err, which pgx returned to an operation under ctx; nil is Answered.
//
// The caller's context is asked first: pgx wraps a cancelled context in several ways, and an operation that its caller
// abandoned may fail with any network error.
func Classify(ctx context.Context, err error) Class {
	switch {
	case err == nil, errors.Is(err, pgx.ErrNoRows):
		return Answered
	case ctx.Err() != nil:
		return Canceled
	}
	if pgErr, ok := errors.AsType[*pgconn.PgError](err); ok {
		_, connecting := errors.AsType[*pgconn.ConnectError](err)
		return classifyCode(pgErr.Code, connecting)
	}
	if isNetwork(err) {
		return Connection
	}
	return Answered
}

// Code returns the SQLSTATE that err carries, or "" when no server answered.
func Code(err error) string {
	if pgErr, ok := errors.AsType[*pgconn.PgError](err); ok {
		return pgErr.Code
	}
	return ""
}

// Stale reports whether err may be about a prepared statement instead of what it says: "cached plan must not change
// result type" (0A000, feature_not_supported) after a migration, or one that the server does not know
// (26000, invalid_sql_statement_name). pgx prepares it anew the next time.
func Stale(err error) bool {
	code := Code(err)
	return code == "0A000" || code == "26000"
}

// Undefined reports whether err is about a table, column or function that the server does not know (class 42): a standby
// may not have replayed the migration that makes it.
func Undefined(err error) bool { return hasClass(Code(err), "42") }

// Violation returns the name of the integrity constraint (class 23) that err reports as violated, or "".
func Violation(err error) string {
	if pgErr, ok := errors.AsType[*pgconn.PgError](err); ok && hasClass(pgErr.Code, "23") {
		return pgErr.ConstraintName
	}
	return ""
}

// Ambiguous reports whether a COMMIT that failed with err, whose class is c, may have taken effect all the same: the
// answer was lost, or the server itself says that it does not know. A plain SQL error at COMMIT (a deferred constraint,
// say) means that the transaction was rolled back.
func Ambiguous(c Class, err error) bool {
	switch code := Code(err); {
	case code == "40003", code == "08007": // statement_completion_unknown, transaction_resolution_unknown
		return true
	case code == "53300", code == "25006": // refused before anything was done
		return false
	case c == Connection, c == Canceled, c == Timeout:
		return true
	}
	return false
}

// classifyCode maps an SQLSTATE. The codes and their names are those of PostgreSQL's appendix A, "PostgreSQL Error
// Codes". connecting tells an error of the login from one of a statement: 42501 is a missing CONNECT privilege in the
// one and an ordinary SQL error in the other.
func classifyCode(code string, connecting bool) Class {
	switch code {
	case "57P01", "57P02", "57P03", // admin_shutdown, crash_shutdown, cannot_connect_now
		"57P05", // idle_session_timeout: the server closed the session
		"25P03", // idle_in_transaction_session_timeout: likewise
		"53300", // too_many_connections
		"25006": // read_only_sql_transaction: a standby, or a primary that was demoted
		return Connection
	case "3D000": // invalid_catalog_name
		return Credentials
	case "40001", "40P01", // serialization_failure, deadlock_detected
		"0A000", "26000": // see Stale
		return Conflict
	case "40003": // statement_completion_unknown
		return Connection
	case "57014": // query_canceled, by statement_timeout: a cancelled caller was seen before
		return Timeout
	}
	switch {
	case hasClass(code, "08"): // connection_exception
		return Connection
	case hasClass(code, "28"): // invalid_authorization_specification
		return Credentials
	case code == "42501" && connecting: // insufficient_privilege
		return Credentials
	}
	return Answered
}

func hasClass(code, class string) bool {
	return len(code) == 5 && code[:2] == class
}

// isNetwork reports whether err is a failure to reach a server or to hear from it. Note that pgconn.SafeToRetry is
// false for a refused connection, so that it cannot decide this.
func isNetwork(err error) bool {
	if _, ok := errors.AsType[*pgconn.ConnectError](err); ok {
		return true
	}
	// *net.OpError, *net.DNSError and deadlines are net.Errors. So is a bare errno, which may be a full disk's.
	if e, ok := errors.AsType[net.Error](err); ok {
		if _, errno := e.(syscall.Errno); !errno {
			return true
		}
	}
	for _, target := range networkErrors {
		if errors.Is(err, target) {
			return true
		}
	}
	return pgconn.Timeout(err) || pgconn.SafeToRetry(err)
}

var networkErrors = []error{
	pgconn.ErrConnClosed, net.ErrClosed, io.EOF, io.ErrUnexpectedEOF,
	syscall.ECONNREFUSED, syscall.ECONNRESET, syscall.ECONNABORTED, syscall.EPIPE, syscall.ETIMEDOUT,
	syscall.EHOSTUNREACH, syscall.ENETUNREACH,
}
