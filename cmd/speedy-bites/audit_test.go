package main

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"speedybites/internal/audit/chain"
	"speedybites/internal/config"
	"speedybites/internal/migrate"
	"speedybites/internal/pgtest"
)

// auditLog writes a chain of three lines and returns its head.
func auditLog(t *testing.T, dir string) chain.Head {
	t.Helper()
	head := chain.Head{ChainID: uuid.New()}
	var text strings.Builder
	for i := range 3 {
		object := fmt.Sprintf(`{"time":"2026-01-02T03:04:0%dZ","msg":"audit","auditId":%q,"after":null}`, i, head.ChainID)
		line, next, err := head.Seal([]byte(object))
		if err != nil {
			t.Fatal(err)
		}
		text.Write(line)
		head = next
	}
	if err := os.WriteFile(filepath.Join(dir, "audit.log"), []byte(text.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	return head
}

// auditCommand runs the command line with settings.
func auditCommand(t *testing.T, environ []string, args ...string) (string, error) {
	t.Helper()
	var out strings.Builder
	cmd := newAudit(func() (config.Config, error) { return config.Load(environ, os.ReadFile) })
	cmd.SilenceUsage, cmd.SilenceErrors = true, true
	cmd.SetArgs(args)
	cmd.SetOut(&out)
	cmd.SetErr(&out)
	err := cmd.ExecuteContext(t.Context())
	return out.String(), err
}

func TestAuditVerify(t *testing.T) {
	t.Parallel()

	t.Run("Whole", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		head := auditLog(t, dir)
		for _, args := range [][]string{{"verify", "--dir", dir}, {"verify"}} {
			out, err := auditCommand(t, []string{"LOG_DIR=" + dir}, args...)
			if err != nil {
				t.Error(err)
			}
			for _, want := range []string{
				"files    1\n", "lines    3\n", "2026-01-02T03:04:00Z number 1\n", "2026-01-02T03:04:02Z number 3\n", head.Hash.String(),
			} {
				if !strings.Contains(out, want) {
					t.Errorf("%q is not in\n%s", want, out)
				}
			}
		}
	})

	t.Run("Broken", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		auditLog(t, dir)
		path := filepath.Join(dir, "audit.log")
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(strings.Replace(string(text), "03:04:01", "03:04:59", 1)), 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := auditCommand(t, nil, "verify", "--dir", dir)
		if err == nil || !strings.Contains(err.Error(), path+":2: changed") || !strings.Contains(out, "broken") {
			t.Errorf("got %v\n%s", err, out)
		}
	})

	t.Run("NoFile", func(t *testing.T) {
		t.Parallel()
		for _, dir := range []string{t.TempDir(), filepath.Join(t.TempDir(), "none")} {
			if out, err := auditCommand(t, nil, "verify", "--dir", dir); err == nil || !strings.Contains(err.Error(), dir) {
				t.Errorf("got %v\n%s", err, out)
			}
		}
	})

	t.Run("Database", func(t *testing.T) {
		t.Parallel()
		server := pgtest.Server(t)
		dir := t.TempDir()
		head := auditLog(t, dir)
		args := []string{"verify", "--dir", dir, "--database"}
		if _, err := auditCommand(t, nil, args...); err == nil || !strings.Contains(err.Error(), "DATABASE_URL") {
			t.Errorf("without a database: got %v", err)
		}
		environ := []string{"DATABASE_URL=" + server.URL()}
		if _, err := auditCommand(t, environ, args...); err == nil || !strings.Contains(err.Error(), "audit_chain") {
			t.Errorf("without a schema: got %v", err)
		}
		if _, err := migrate.Up(t.Context(), server.URL(), slog.New(slog.DiscardHandler)); err != nil {
			t.Fatal(err)
		}
		conn, err := pgx.Connect(t.Context(), server.AdminURL(""))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close(t.Context()) }()
		for lines, want := range map[int]string{3: "", 4: "missing at the end"} {
			if _, err := conn.Exec(t.Context(), `DELETE FROM audit_chain`); err != nil {
				t.Fatal(err)
			}
			_, err := conn.Exec(t.Context(), `INSERT INTO audit_chain (chain_id, stream, seq, hash) VALUES ($1, 's', $2, $3)`,
				head.ChainID.String(), lines, head.Hash[:])
			if err != nil {
				t.Fatal(err)
			}
			out, err := auditCommand(t, environ, args...)
			if (err != nil) != (want != "") || err != nil && !strings.Contains(err.Error(), want) {
				t.Errorf("%d lines known: got %v, want %q\n%s", lines, err, want, out)
			}
		}
	})
}

// TestAuditVerifyKilled kills the service under load and verifies what it leaves, before and after the next start.
func TestAuditVerifyKilled(t *testing.T) {
	t.Parallel()
	s := underLoad(t)
	check := func(when string) {
		out, err := auditCommand(t, s.env, "verify", "--dir", filepath.Join(s.dir, "logs"), "--database")
		if err != nil {
			t.Errorf("%s: %v\n%s", when, err, out)
		}
	}
	for range 3 {
		time.Sleep(time.Second)
		check("running")
		s.program.kill()
		check("killed")
		s.restart()
	}
	time.Sleep(time.Second)
	s.end()
	out, err := auditCommand(t, s.env, "verify", "--dir", filepath.Join(s.dir, "logs"), "--database")
	if err != nil || strings.Contains(out, "note") {
		t.Errorf("ended: %v\n%s", err, out)
	}
	t.Log(out)
}
