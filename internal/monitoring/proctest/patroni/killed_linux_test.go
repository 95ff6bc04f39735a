package patroni_test

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"speedybites/internal/monitoring/proctest/patroni"
	"speedybites/internal/pgtest"
)

// child marks the test program that is to be killed.
const child = "PATRONI_TEST_CHILD"

// TestParentKilled: a test that is killed must not leave anything running, which only Linux can promise.
func TestParentKilled(t *testing.T) {
	pgtest.Slow(t)
	t.Parallel()
	if os.Getenv(child) != "" {
		fmt.Printf("dir=%s\n", patroni.StartAlone(t))
		time.Sleep(time.Minute)
		return
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), child+"=1")
	cmd.Stderr = t.Output()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var dir string
	for lines := bufio.NewScanner(out); dir == "" && lines.Scan(); {
		t.Log(lines.Text())
		if _, found, ok := strings.Cut(lines.Text(), "dir="); ok {
			dir = found
		}
	}
	if dir == "" {
		t.Fatalf("the child has started nothing: %v", cmd.Wait())
	}
	defer func() { _ = os.RemoveAll(dir) }() // the child cannot
	if got := running(t, dir); len(got) < 3 {
		t.Errorf("only %q found while it runs", got)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // It was killed.
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		left := running(t, dir)
		if len(left) == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("after a minute there are still %q", left)
		}
	}
}

// running returns the command lines of the processes that name a directory.
func running(t *testing.T, dir string) (list []string) {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err == nil && bytes.Contains(text, []byte(dir)) {
			list = append(list, string(bytes.ReplaceAll(text, []byte{0}, []byte{' '})))
		}
	}
	return list
}
