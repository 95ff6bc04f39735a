package localstack_test

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"speedybites/internal/monitoring/localstack"
)

// TestStartFails has a stack fail at one place or another, after which nothing of it may go on.
func TestStartFails(t *testing.T) {
	t.Parallel()
	program, err := service()
	if err != nil {
		t.Fatal(err)
	}
	t.Run("Configuration", func(t *testing.T) {
		t.Parallel()
		for _, cfg := range []localstack.Config{{}, {Dir: "x", Instances: -1}, {Dir: "x", Instances: 1, Ports: localstack.Ports{API: []int{0, 0}}}} {
			if _, err := localstack.Start(t.Context(), cfg); err == nil {
				t.Errorf("%+v was started", cfg)
			}
		}
	})
	t.Run("NoFiles", func(t *testing.T) {
		t.Parallel()
		dir, files := newDir(t), t.TempDir()
		_, err := localstack.Start(bounded(t), localstack.Config{Dir: dir, Files: files, Service: program})
		wantError(t, err, os.ErrNotExist)
		wantNothingLeft(t, dir, nil)
	})
	t.Run("BrokenFile", func(t *testing.T) {
		t.Parallel()
		dir, files := newDir(t), copyShipped(t)
		path := filepath.Join(files, "alerts", "alertmanager.yml")
		if err := os.WriteFile(path, []byte("rout: {}\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := localstack.Start(bounded(t), localstack.Config{Dir: dir, Files: files, Service: program, Instances: 1, Ephemeral: true})
		for _, want := range []string{"alertmanager has ended (exit status 1)", "field rout not found"} {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("got error %v, want it to say %s", err, want)
			}
		}
		wantNothingLeft(t, dir, nil)
	})
	t.Run("Cancelled", func(t *testing.T) {
		t.Parallel()
		dir := newDir(t)
		ctx, cancel := context.WithCancel(bounded(t))
		defer cancel()
		failed := make(chan error)
		go func() {
			_, err := localstack.Start(ctx, localstack.Config{Dir: dir, Service: program, Ephemeral: true})
			failed <- err
		}()
		eventually(t, "the first instance", func() bool {
			_, err := os.Stat(filepath.Join(dir, "output", "api-1.log"))
			return err == nil
		})
		cancel()
		wantError(t, <-failed, context.Canceled)
		wantNothingLeft(t, dir, nil)
	})
	t.Run("WrongSetting", func(t *testing.T) {
		t.Parallel()
		dir := newDir(t)
		_, err := localstack.Start(bounded(t), localstack.Config{
			Dir: dir, Service: program, Ephemeral: true, Environ: []string{"DB_POOL_MAX=many"},
		})
		for _, want := range []string{"api-1 has ended (exit status 2)", "DB_POOL_MAX"} {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("got error %v, want it to say %s", err, want)
			}
		}
		wantNothingLeft(t, dir, nil)
	})
}

// copyShipped copies what a stack reads of the repository, to be spoilt.
func copyShipped(t *testing.T) string {
	t.Helper()
	root, err := localstack.RepoRoot()
	if err != nil {
		t.Fatal(err)
	}
	files := t.TempDir()
	for _, dir := range []string{"alerts", "observability/stack"} {
		if err := os.CopyFS(filepath.Join(files, dir), os.DirFS(filepath.Join(root, dir))); err != nil {
			t.Fatal(err)
		}
	}
	return files
}

func TestPortTaken(t *testing.T) {
	t.Parallel()
	taken := make([]int, 2)
	for i := range taken {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		taken[i] = l.Addr().(*net.TCPAddr).Port
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	free := l.Addr().(*net.TCPAddr).Port
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	dir := newDir(t)
	_, err = localstack.Start(bounded(t), localstack.Config{Dir: dir, Ports: localstack.Ports{
		API: []int{taken[0]}, Prometheus: taken[1], Receiver: free, Alertmanager: free,
	}})
	wantError(t, err, localstack.ErrPortTaken)
	if _, ok := errors.AsType[*localstack.PortError](err); !ok {
		t.Fatalf("got error %v, want a PortError", err)
	}
	var lines []string
	for line := range strings.SplitSeq(err.Error(), "\n") {
		_, line, _ = strings.Cut(line, " of ")
		lines = append(lines, line)
	}
	want := []string{
		"alertmanager: is that of receiver, too", "prometheus: is taken by another program", "api-1: is taken by another program",
	}
	if diff := cmp.Diff(want, lines); diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	if _, err := os.Stat(filepath.Join(dir, "postgres")); err == nil {
		t.Error("PostgreSQL was started first")
	}
}
