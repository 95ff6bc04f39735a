package observability_test

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"speedybites/observability"
)

func writeAudit(t *testing.T, logs *observability.Logs, line string) {
	t.Helper()
	if n, err := io.WriteString(logs.Audit(), line); err != nil || n != len(line) {
		t.Errorf("write %q: got %d, %v", line, n, err)
	}
}

// TestLogFile is about what others do to the files.
func TestLogFile(t *testing.T) {
	t.Parallel()
	setup := func(t *testing.T) (*observability.Logs, string) {
		t.Helper()
		logs, dir := open(t, observability.LogConfig{}, io.Discard)
		writeAudit(t, logs, "{\"n\":1}\n")
		if err := logs.Audit().Sync(); err != nil {
			t.Fatalf("Sync: %v", err)
		}
		return logs, dir + "/audit.log"
	}
	check := func(t *testing.T, path, want string) {
		t.Helper()
		if diff := cmp.Diff(want, read(t, path)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", filepath.Base(path), diff)
		}
	}

	t.Run("TornLineCutOffByItsOwner", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		path := filepath.Join(dir, "audit.log")
		if err := os.WriteFile(path, []byte("{\"n\":1}\n{\"n\":"), 0o600); err != nil {
			t.Fatal(err)
		}
		logs, _ := open(t, observability.LogConfig{Dir: dir}, io.Discard)
		if err := os.Truncate(path, int64(len("{\"n\":1}\n"))); err != nil {
			t.Fatal(err)
		}
		writeAudit(t, logs, "{\"n\":2}\n")
		check(t, path, "{\"n\":1}\n{\"n\":2}\n")
	})

	t.Run("Deleted", func(t *testing.T) {
		t.Parallel()
		logs, path := setup(t)
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		if err := logs.Audit().Sync(); err == nil {
			t.Error("Sync: got no error, want one: the lines are gone")
		}
		writeAudit(t, logs, "{\"n\":2}\n")
		writeAudit(t, logs, "{\"n\":3}\n")
		if err := logs.Audit().Sync(); err != nil {
			t.Errorf("Sync: %v", err)
		}
		check(t, path, "{\"n\":2}\n{\"n\":3}\n")
	})

	t.Run("Replaced", func(t *testing.T) {
		t.Parallel()
		logs, path := setup(t)
		if err := os.Rename(path, path+".1"); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("{\"n\":0}\n{}\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := logs.Audit().Sync(); err == nil {
			t.Error("Sync: got no error, want one: it was another file")
		}
		writeAudit(t, logs, "{\"n\":2}\n")
		writeAudit(t, logs, "{\"n\":3}\n")
		if err := logs.Audit().Sync(); err != nil {
			t.Errorf("Sync: %v", err)
		}
		check(t, path, "{\"n\":0}\n{}\n{\"n\":2}\n{\"n\":3}\n")
	})

	t.Run("EmptiedAfterRotation", func(t *testing.T) {
		t.Parallel()
		logs, path := setup(t)
		writeAudit(t, logs, strings.Repeat("x", 900<<10)+"\n")
		writeAudit(t, logs, strings.Repeat("x", 900<<10)+"\n")
		if err := os.Truncate(path, 0); err != nil {
			t.Fatal(err)
		}
		writeAudit(t, logs, "{\"n\":2}\n")
		check(t, path, "{\"n\":2}\n")
	})

	t.Run("CutOff", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		for _, name := range []string{"app.log", "error.log", "audit.log"} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte("{}\n{\"msg\":\"cut o"), 0o640); err != nil {
				t.Fatal(err)
			}
		}
		logs, _ := open(t, observability.LogConfig{Dir: dir}, io.Discard)
		writeAudit(t, logs, "{\"n\":1}\n")
		writeAudit(t, logs, "{\"n\":2}\n")
		logs.Logger().Error("next")
		check(t, dir+"/audit.log", "{}\n{\"msg\":\"cut o\n{\"n\":1}\n{\"n\":2}\n")
		for _, name := range []string{"app.log", "error.log"} {
			_, last, _ := strings.Cut(read(t, filepath.Join(dir, name)), "cut o\n")
			if got := parse(t, last); len(got) != 1 || got[0]["msg"] != "next" {
				t.Errorf("%s: got %q", name, last)
			}
		}
	})

	t.Run("FailsAndRecovers", func(t *testing.T) {
		t.Parallel()
		var stderr screen
		logs, dir := open(t, observability.LogConfig{}, &stderr)
		// The directory becomes a file: nothing can be created, whoever asks.
		if err := os.Rename(dir, dir+".away"); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(dir, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		logs.Logger().Error("one")
		logs.Logger().Error("two")
		if n, err := logs.Audit().Write([]byte("{}\n")); n != 0 || err == nil {
			t.Errorf("audit: got %d, %v, want an error", n, err)
		}
		if err := os.Remove(dir); err != nil {
			t.Fatal(err)
		}
		logs.Logger().Error("three")
		shut(t, logs)

		for _, name := range []string{"app.log", "error.log"} {
			if got := statsOf(t, logs, name); got.WriteErrors != 2 || got.LostLines != 2 {
				t.Errorf("got %+v, want 2 errors, 2 lines", got)
			}
			if diff := cmp.Diff([]string{"three"}, messages(parse(t, read(t, filepath.Join(dir, name))))); diff != "" {
				t.Errorf("%s (-want +got):\n%s", name, diff)
			}
		}
		if got := statsOf(t, logs, "audit.log"); got.WriteErrors != 1 || got.LostLines != 1 {
			t.Errorf("got %+v, want 1 error, 1 line", got)
		}
		told := make(map[string]int)
		for _, msg := range messages(parse(t, stderr.String())) {
			told[msg]++
		}
		if told["log file cannot be written"] != 3 || told["log file is written again"] != 2 || told["one"] != 1 || told["two"] != 1 {
			t.Errorf("stderr: got %v", told)
		}
	})
}
