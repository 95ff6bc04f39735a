package localstack_test

import (
	"bufio"
	"os"
	"os/exec"
	"testing"
)

// TestParentKilled: a test that is killed must not leave anything behind, which only Linux can promise.
func TestParentKilled(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	child := exec.CommandContext(t.Context(), os.Args[0])
	child.Env = append(os.Environ(), childDir+"="+dir)
	child.Stderr = t.Output()
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("the child said %q: %v", line, err)
	}
	if got := len(processesIn(t, dir)); got < 4 {
		t.Errorf("only %d processes found while it runs", got)
	}
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = child.Wait() // It was killed.
	eventually(t, "the end of all processes", func() bool { return len(processesIn(t, dir)) == 0 })
}
