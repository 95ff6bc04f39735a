package sqlstate_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"speedybites/internal/postgres/sqlstate"
)

func pg(code string) error { return fmt.Errorf("wrapped: %w", &pgconn.PgError{Code: code}) }

// refused is what pgx returns for a port that nobody listens on: a real one, as its types are not exported.
func refused(tb testing.TB) error {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	addr := l.Addr().String()
	_ = l.Close()
	_, err = pgx.Connect(tb.Context(), "postgres://u:p@"+addr+"/d?sslmode=disable")
	if err == nil {
		tb.Fatal("connected to a closed port")
	}
	return err
}

// mute is what pgx returns for a server that accepts and says nothing.
func mute(tb testing.TB) error {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = l.Close() })
	ctx, cancel := context.WithTimeout(tb.Context(), 20*time.Millisecond)
	defer cancel()
	_, err = pgx.Connect(ctx, "postgres://u:p@"+l.Addr().String()+"/d?sslmode=disable")
	return err
}

func TestClassify(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		err  error
		want sqlstate.Class
	}{
		{"Success", nil, sqlstate.Answered},
		{"NoRows", pgx.ErrNoRows, sqlstate.Answered},
		{"FullDisk", &fs.PathError{Op: "write", Path: "audit.log", Err: syscall.ENOSPC}, sqlstate.Answered},
		{"DomainError", errors.New("menu item is sold out"), sqlstate.Answered},

		{"Refused", refused(t), sqlstate.Connection}, // pgconn.SafeToRetry is false for it
		{"LoginTimedOut", mute(t), sqlstate.Connection},
		{"Reset", &net.OpError{Op: "read", Err: os.NewSyscallError("read", syscall.ECONNRESET)}, sqlstate.Connection},
		{"BrokenPipe", fmt.Errorf("write: %w", syscall.EPIPE), sqlstate.Connection},
		{"EndOfFile", fmt.Errorf("receive: %w", io.ErrUnexpectedEOF), sqlstate.Connection},
		{"ClosedLocally", net.ErrClosed, sqlstate.Connection},
		{"ClosedConnection", pgconn.ErrConnClosed, sqlstate.Connection},
		{"UnknownHost", &net.DNSError{Err: "no such host", IsNotFound: true}, sqlstate.Connection},
		{"Deadline", os.ErrDeadlineExceeded, sqlstate.Connection},

		{"AdminShutdown", pg("57P01"), sqlstate.Connection},
		{"CrashShutdown", pg("57P02"), sqlstate.Connection},
		{"CannotConnectNow", pg("57P03"), sqlstate.Connection},
		{"TooManyConnections", pg("53300"), sqlstate.Connection},
		{"ReadOnly", pg("25006"), sqlstate.Connection},
		{"ConnectionFailure", pg("08006"), sqlstate.Connection},
		{"ResolutionUnknown", pg("08007"), sqlstate.Connection},
		{"CompletionUnknown", pg("40003"), sqlstate.Connection},

		{"InvalidPassword", pg("28P01"), sqlstate.Credentials},
		{"InvalidAuthorization", pg("28000"), sqlstate.Credentials},
		{"NoDatabase", pg("3D000"), sqlstate.Credentials},
		{"NoPrivilegeInAStatement", pg("42501"), sqlstate.Answered},

		{"Serialization", pg("40001"), sqlstate.Conflict},
		{"Deadlock", pg("40P01"), sqlstate.Conflict},
		{"PlanOutdated", pg("0A000"), sqlstate.Conflict},
		{"PlanUnknown", pg("26000"), sqlstate.Conflict},
		{"StatementTimeout", pg("57014"), sqlstate.Timeout},

		{"UniqueViolation", pg("23505"), sqlstate.Answered},
		{"Syntax", pg("42601"), sqlstate.Answered},
		{"DiskFull", pg("53100"), sqlstate.Answered},
		{"LockNotAvailable", pg("55P03"), sqlstate.Answered},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if got := sqlstate.Classify(context.Background(), c.err); got != c.want {
				t.Errorf("Classify(%v): got %v, want %v", c.err, got, c.want)
			}
			ctx, cancel := context.WithCancel(context.Background())
			cancel()
			want := sqlstate.Canceled
			if c.err == nil || errors.Is(c.err, pgx.ErrNoRows) {
				want = sqlstate.Answered // an answer that came in time is one
			}
			if got := sqlstate.Classify(ctx, c.err); got != want {
				t.Errorf("Classify(%v) for a caller that left: got %v, want %v", c.err, got, want)
			}
		})
	}
}

func TestAmbiguous(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		err  error
		want bool
	}{
		{"AnswerLost", io.ErrUnexpectedEOF, true},
		{"ServerGoingDown", pg("57P01"), true},
		{"SaysSoItself", pg("40003"), true},
		{"CutByTheStatementLimit", pg("57014"), true},
		{"DeferredConstraint", pg("23514"), false},
		{"Serialization", pg("40001"), false},
		{"ReadOnly", pg("25006"), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			class := sqlstate.Classify(context.Background(), c.err)
			if got := sqlstate.Ambiguous(class, c.err); got != c.want {
				t.Errorf("Ambiguous(%v, %v): got %v, want %v", class, c.err, got, c.want)
			}
		})
	}
}

func TestViolation(t *testing.T) {
	t.Parallel()
	err := fmt.Errorf("insert: %w", &pgconn.PgError{Code: "23505", ConstraintName: "users_email_key"})
	if got := sqlstate.Violation(err); got != "users_email_key" {
		t.Errorf("got %q", got)
	}
	if got := sqlstate.Violation(&pgconn.PgError{Code: "42601", ConstraintName: "x"}); got != "" {
		t.Errorf("a syntax error violates %q", got)
	}
}

// FuzzClassify holds what must be true of any code a server may send: only the documented classes are connection-class,
// and wrapping changes nothing.
func FuzzClassify(f *testing.F) {
	for _, code := range []string{"57P01", "08006", "53300", "25006", "28P01", "3D000", "40001", "57014", "23505", "", "0"} {
		f.Add(code)
	}
	f.Fuzz(func(t *testing.T, code string) {
		bare := &pgconn.PgError{Code: code}
		class := sqlstate.Classify(context.Background(), bare)
		if wrapped := sqlstate.Classify(context.Background(), pg(code)); wrapped != class {
			t.Errorf("%q: %v bare, %v wrapped", code, class, wrapped)
		}
		if joined := sqlstate.Classify(context.Background(), errors.Join(errors.New("host a"), bare)); joined != class {
			t.Errorf("%q: %v bare, %v joined", code, class, joined)
		}
		if class == sqlstate.Connection && len(code) == 5 {
			switch code[:2] {
			case "08", "57", "53", "25", "40":
			default:
				t.Errorf("%q is taken for a lost connection", code)
			}
		}
		if class.String() == "unknown" {
			t.Errorf("%q has an unnamed class", code)
		}
	})
}
