package postgres

import (
	"errors"
	"fmt"

	"speedybites/internal/postgres/sqlstate"
)

// What a caller tells apart. Everything else that Read and Write return is the function's own error, or an SQL error
// that running it again would only repeat.
var (
	// ErrUnavailable means that the database is away, or was for as long as this query could wait.
	ErrUnavailable = errors.New("database unavailable")
	// ErrSaturated means that too many queries wait already, or that this one found no free connection in time.
	ErrSaturated = errors.New("database at capacity")
	// ErrStatementTimeout means that a statement ran into its time limit.
	ErrStatementTimeout = errors.New("statement over its time limit")
	// ErrConflict means that a transaction kept colliding with others until its attempts were used up.
	ErrConflict = errors.New("transaction conflicts with others")
)

// Violation returns the name of the unique, foreign key, check or other integrity constraint that err reports as
// violated, or "".
func Violation(err error) string { return sqlstate.Violation(err) }

// The reasons of ErrSaturated.
var (
	errQueueFull = fmt.Errorf("%w: too many queries wait already", ErrSaturated)
	errTooSlow   = fmt.Errorf("%w: the queue is too long for its pace", ErrSaturated)
	errDisplaced = fmt.Errorf("%w: a write took the place", ErrSaturated)
	errNoneFree  = fmt.Errorf("%w: no free connection in time", ErrSaturated)
)

// errClosed is ErrUnavailable for a query on a DB that was closed.
var errClosed = fmt.Errorf("%w: closed", ErrUnavailable)

// verdict is how a query, or one attempt of it, ended.
type verdict uint8

// The verdicts. Every class of sqlstate has one; refused is the gate's.
const (
	answered verdict = iota
	disconnected
	locked
	conflicting
	overdue
	abandoned
	refused
)

func verdictOf(c sqlstate.Class) verdict {
	switch c {
	case sqlstate.Connection:
		return disconnected
	case sqlstate.Credentials:
		return locked
	case sqlstate.Conflict:
		return conflicting
	case sqlstate.Timeout:
		return overdue
	case sqlstate.Canceled:
		return abandoned
	case sqlstate.Answered:
	}
	return answered
}

// asError gives a query's last error the sentinel that callers know.
func (v verdict) asError(err error) error {
	switch v {
	case disconnected, locked:
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	case conflicting:
		if sqlstate.Stale(err) {
			return err
		}
		return fmt.Errorf("%w: %w", ErrConflict, err)
	case overdue:
		return fmt.Errorf("%w: %w", ErrStatementTimeout, err)
	case answered, abandoned, refused:
	}
	return err
}
