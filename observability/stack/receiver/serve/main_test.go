package main

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
)

// asCommand makes the test program be the command.
const asCommand = "RECEIVER_TEST_COMMAND"

func TestMain(m *testing.M) {
	if os.Getenv(asCommand) != "" {
		main()
	}
	os.Exit(m.Run())
}

func TestMistakes(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		args []string
		code int
		says string
	}{
		"Flag":         {[]string{"-port", "1"}, 2, "-port"},
		"Argument":     {[]string{"there"}, 2, `unexpected argument "there"`},
		"Silence":      {[]string{"-silent-after", "0s"}, 2, "not positive"},
		"NoRunbooks":   {[]string{"-runbooks", file + "s"}, 2, "no such file"},
		"RunbooksFile": {[]string{"-runbooks", file}, 2, "no directory"},
		"Address":      {[]string{"-listen", "nowhere"}, 1, "missing port"},
		"Help":         {[]string{"-help"}, 0, "127.0.0.1:9096"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var stderr bytes.Buffer
			if got := run(t.Context(), test.args, io.Discard, &stderr); got != test.code || !strings.Contains(stderr.String(), test.says) {
				t.Errorf("got code %d and %q, want %d and %q", got, stderr.String(), test.code, test.says)
			}
		})
	}
}

func TestCommand(t *testing.T) {
	t.Parallel()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-listen", "127.0.0.1:0", "-runbooks", t.TempDir())
	cmd.Env = append(os.Environ(), asCommand+"=1")
	cmd.Cancel = func() error { return cmd.Process.Kill() }
	var stdout bytes.Buffer
	cmd.Stdout = &stdout
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line := make([]byte, 200)
	n, err := stderr.Read(line)
	url := regexp.MustCompile(`http://127\.0\.0\.1:\d+`).FindString(string(line[:n]))
	if err != nil || url == "" {
		t.Fatalf("it said %q (%v)", line[:n], err)
	}
	notify(t, url+"/page")
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("after SIGTERM: %v", err)
	}
	if got := stdout.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "alerts=One") {
		t.Errorf("got on stdout %q, want one line with alerts=One", got)
	}
}

func notify(t *testing.T, url string) {
	t.Helper()
	const body = `{"version": "4", "status": "firing", "alerts": [{"status": "firing", "labels": {"alertname": "One"}}]}`
	req, err := http.NewRequestWithContext(context.WithoutCancel(t.Context()), http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusNoContent {
		t.Errorf("got %s, want 204", resp.Status)
	}
}
