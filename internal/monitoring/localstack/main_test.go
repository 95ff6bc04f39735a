package localstack_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"speedybites/internal/monitoring/localstack"
)

// childDir makes the test program start a stack in that directory, say so, and wait to be killed.
const childDir = "LOCALSTACK_TEST_CHILD_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		s, err := localstack.Start(context.Background(), localstack.Config{Dir: dir, Instances: 1, Ephemeral: true})
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		fmt.Println("running in", s.Dir())
		select {}
	}
	code := m.Run()
	_ = os.RemoveAll(serviceDir) // It is in the directory for what may go at any time.
	os.Exit(code)
}

// serviceDir is where service builds, "" until it does.
var serviceDir string

// newDir returns a directory that PostgreSQL's user can reach, as those of t.TempDir are not when root runs the tests.
func newDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "localstack-") //nolint:usetesting // See above.
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// bounded returns a context that gives a slow machine time, and a hanging test an end.
func bounded(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// start starts a stack that ends with the test.
func start(t *testing.T, cfg localstack.Config) *localstack.Stack {
	t.Helper()
	cfg.Logger, cfg.Ephemeral = testLogger(t), true
	s, err := localstack.Start(bounded(t), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	return s
}

func testLogger(t *testing.T) *slog.Logger {
	t.Helper()
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// service is the service's program, built once for all tests that do not build it themselves.
var service = sync.OnceValues(func() (string, error) {
	root, err := localstack.RepoRoot()
	if err != nil {
		return "", err
	}
	if serviceDir, err = os.MkdirTemp("", "localstack-service-"); err != nil {
		return "", err
	}
	path := filepath.Join(serviceDir, "speedy-bites")
	cmd := exec.CommandContext(context.Background(), "go", "build", "-buildvcs=false", "-o", path, "./cmd/speedy-bites")
	cmd.Dir = root
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return path, nil
})

// eventually waits for a condition, with patience.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !condition(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within a minute", what)
		}
	}
}

// processesIn returns the processes that work in a directory or below, where the system tells. Those of PostgreSQL do,
// too.
func processesIn(t *testing.T, dir string) []int {
	t.Helper()
	links, err := filepath.Glob("/proc/[0-9]*/cwd")
	if err != nil {
		t.Fatal(err)
	}
	var pids []int
	for _, link := range links {
		cwd, err := os.Readlink(link)
		if err != nil || !strings.HasPrefix(cwd+"/", dir+"/") {
			continue // It has ended, or is not ours to look at.
		}
		pid, err := strconv.Atoi(strings.Split(link, "/")[2])
		if err != nil {
			t.Fatal(err)
		}
		pids = append(pids, pid)
	}
	return pids
}

func wantError(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("got error %v, want one that is %q", err, want)
	}
}
