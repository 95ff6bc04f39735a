package localpg

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// AcceptsConnections reports whether an ordinary login to the database works now, within a second.
func (s *Server) AcceptsConnections(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	conn, err := login(ctx, s.URL())
	if err != nil {
		return false
	}
	_ = conn.Close(ctx) // It has shown what it should.
	return true
}

// WaitReady returns when the server accepts logins, also after crash recovery. The error wraps [ErrNotRunning] if the
// server ends instead, and the context's if that ends first.
func (s *Server) WaitReady(ctx context.Context) error {
	var last error
	err := until(ctx, func() (bool, error) {
		p, err := s.running()
		if err != nil {
			return false, err
		}
		// The server's own word first: a login that comes too early is an error in its log.
		if f := s.home.readPidFile(); f.pid != p.Pid || (f.status != "ready" && f.status != "standby") {
			return false, nil
		}
		attempt, cancel := context.WithTimeout(ctx, 2*time.Second)
		defer cancel()
		conn, err := login(attempt, s.AdminURL("postgres"))
		if err == nil {
			return true, conn.Close(attempt)
		}
		last = err
		if pg := (*pgconn.PgError)(nil); errors.As(err, &pg) && strings.HasPrefix(pg.Code, "28") {
			return false, fmt.Errorf("the password in %s does not fit the data: %w", s.home.password(), err)
		}
		return false, nil
	})
	if err != nil && last != nil && ctx.Err() != nil {
		return fmt.Errorf("wait for postgresql on port %d: %w (%w)", s.port, err, last)
	}
	if err != nil {
		return fmt.Errorf("wait for postgresql on port %d: %w", s.port, err)
	}
	return nil
}

// TerminateBackends ends the sessions of all clients, as pg_terminate_backend does, and returns how many. Those of
// standbys are spared.
func (s *Server) TerminateBackends(ctx context.Context) (int, error) {
	rows, err := s.query(ctx, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
		WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()`)
	if err != nil {
		return 0, fmt.Errorf("terminate the backends of postgresql on port %d: %w", s.port, err)
	}
	return len(rows), nil
}

// ensureDatabase creates the role and the database of URL, unless they are there or the server is a standby.
func (s *Server) ensureDatabase(ctx context.Context) error {
	rows, err := s.query(ctx, `SELECT pg_is_in_recovery(),
		EXISTS (SELECT FROM pg_roles WHERE rolname = $1), EXISTS (SELECT FROM pg_database WHERE datname = $2)`,
		User, s.cfg.Database)
	if err != nil {
		return fmt.Errorf("look for the database: %w", err)
	}
	const yes = "t"
	standby, role, database := rows[0][0] == yes, rows[0][1] == yes, rows[0][2] == yes
	if !role && !standby {
		if _, err := s.query(ctx, "CREATE ROLE "+User+" LOGIN PASSWORD "+literal(s.password)); err != nil {
			return fmt.Errorf("create the role: %w", err)
		}
	}
	if !database && !standby {
		if _, err := s.query(ctx, "CREATE DATABASE "+identifier(s.cfg.Database)+" OWNER "+User); err != nil {
			return fmt.Errorf("create the database: %w", err)
		}
	}
	return nil
}

// query runs one statement as Admin, outside the database of URL, and returns its rows as text.
func (s *Server) query(ctx context.Context, sql string, args ...string) ([][]string, error) {
	conn, err := login(ctx, s.AdminURL("postgres"))
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }() // The statement's own result is what counts.
	values := make([][]byte, len(args))
	for i, arg := range args {
		values[i] = []byte(arg)
	}
	result := conn.ExecParams(ctx, sql, values, nil, nil, nil).Read()
	rows := make([][]string, len(result.Rows))
	for i, row := range result.Rows {
		for _, value := range row {
			rows[i] = append(rows[i], string(value))
		}
	}
	return rows, result.Err
}

// login connects with nothing but what the URL says; the environment may be meant for another server.
func login(ctx context.Context, url string) (*pgconn.PgConn, error) {
	cfg, err := pgconn.ParseConfig(url)
	if err != nil {
		return nil, err
	}
	cfg.RuntimeParams = map[string]string{"application_name": "localpg"}
	cfg.Fallbacks, cfg.ValidateConnect, cfg.AfterConnect = nil, nil, nil
	return pgconn.ConnectConfig(ctx, cfg)
}

func literal(s string) string    { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }
func identifier(s string) string { return `"` + strings.ReplaceAll(s, `"`, `""`) + `"` }
