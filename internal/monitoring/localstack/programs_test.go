package localstack_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"speedybites/internal/monitoring/localstack"
)

// script writes a program.
func script(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

func lines(t *testing.T, path string) int {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Count(string(text), "\n")
}

func wantText(t *testing.T, err error, texts ...string) {
	t.Helper()
	for _, want := range texts {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got error %v, want it to say %s", err, want)
		}
	}
}

func TestFind(t *testing.T) {
	t.Parallel()
	p, err := localstack.Find(bounded(t), localstack.Options{Logger: testLogger(t)})
	if err != nil {
		t.Fatal(err)
	}
	for path, version := range map[string]string{
		p.Prometheus: "prometheus, version ", p.Promtool: "promtool, version ",
		p.Alertmanager: "alertmanager, version 0.31.1", p.Amtool: "amtool, version 0.31.1",
		p.PostgresExporter: "version",
	} {
		if path == "" { // There need not be an exporter.
			continue
		}
		out, err := exec.CommandContext(t.Context(), path, "--version").CombinedOutput()
		if err != nil || !filepath.IsAbs(path) || !strings.Contains(string(out), version) {
			t.Errorf("%s --version: got %s (%v), want %s", path, out, err, version)
		}
	}
	_, err = localstack.Find(t.Context(), localstack.Options{RepoRoot: filepath.Join(os.DevNull, "none")})
	wantText(t, err, "find alertmanager", os.DevNull)
}

// TestDebian has a program in apt-get's place: the real one would change the machine.
func TestDebian(t *testing.T) {
	bin := t.TempDir()
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	type answer struct {
		path string
		err  error
	}
	find := func(aptGet, systemd, program string) answer {
		path, err := localstack.FindDebian(bounded(t), aptGet, filepath.Join(bin, "locks"), systemd, program, "a-package")
		return answer{path, err}
	}
	const nowhere = "/nonexistent"

	t.Run("InPath", func(t *testing.T) {
		want := script(t, filepath.Join(bin, "there"), "")
		if got := find(nowhere, nowhere, "there"); got.err != nil || got.path != want {
			t.Errorf("got %v, want %s", got, want)
		}
	})
	t.Run("Systemd", func(t *testing.T) {
		got := find(nowhere, t.TempDir(), "missing")
		wantText(t, got.err, "no program missing in PATH", "apt-get install a-package")
		if os.Geteuid() == 0 {
			wantText(t, got.err, "systemd might start it")
		}
	})
	if os.Geteuid() != 0 {
		t.Run("TakesRoot", func(t *testing.T) {
			wantText(t, find(nowhere, nowhere, "missing").err, "apt-get install a-package", "takes root")
		})
		return
	}
	t.Run("Installs", func(t *testing.T) {
		// Without package lists the first install fails, as on a fresh image.
		dir := t.TempDir()
		calls, program := filepath.Join(dir, "calls"), filepath.Join(bin, "installed")
		apt := script(t, filepath.Join(dir, "apt-get"), `echo "$DEBIAN_FRONTEND $*" >> `+calls+`
case $1 in
update) touch `+dir+`/lists ;;
install) test -e `+dir+`/lists || { echo "E: Unable to locate package" >&2; exit 100; }
	sleep 0.1; printf '#!/bin/sh\n' > `+program+`; chmod +x `+program+` ;;
esac`)
		answers := make([]answer, 3)
		var all sync.WaitGroup
		for i := range answers {
			all.Go(func() { answers[i] = find(apt, nowhere, "installed") })
		}
		all.Wait()
		for _, got := range answers {
			if got.err != nil || got.path != program {
				t.Errorf("got %v, want %s", got, program)
			}
		}
		text, err := os.ReadFile(calls)
		if err != nil || lines(t, calls) != 3 || !strings.HasPrefix(string(text), "noninteractive install -y") ||
			!strings.Contains(string(text), " a-package\nnoninteractive update\n") {
			t.Errorf("got the calls (%v)\n%s\nwant install, update and install, once", err, text)
		}
	})
	t.Run("Fails", func(t *testing.T) {
		apt := script(t, filepath.Join(t.TempDir(), "apt-get"), "echo 'E: Could not get lock' >&2; exit 100")
		wantText(t, find(apt, nowhere, "missing").err, "install the package a-package", "apt-get install: exit status 100: E: Could not get lock")
	})
	t.Run("PackageWithoutTheProgram", func(t *testing.T) {
		apt := script(t, filepath.Join(t.TempDir(), "apt-get"), "")
		wantText(t, find(apt, nowhere, "missing").err, "a-package is installed, yet it has no program missing")
	})
}

// makes is what go install does with these programs, told to a file.
func makes(calls string, programs ...string) string {
	return `echo "$* CGO_ENABLED=$CGO_ENABLED" >> ` + calls + `
sleep 0.1
for program in ` + strings.Join(programs, " ") + `; do
	printf '#!/bin/sh\necho %s, version 3.16.0\n' $program > "$GOBIN/$program"
	chmod +x "$GOBIN/$program"
done`
}

func TestBuild(t *testing.T) {
	t.Parallel()
	t.Run("Once", func(t *testing.T) {
		t.Parallel()
		dir, calls := filepath.Join(t.TempDir(), "tools"), filepath.Join(t.TempDir(), "calls")
		command := script(t, filepath.Join(t.TempDir(), "go"), makes(calls, "alertmanager", "amtool"))
		// What a build that was killed has left, and half of an installation.
		script(t, filepath.Join(dir, "alertmanager-0.31.1.unfinished-1", "amtool"), "")
		script(t, filepath.Join(dir, "alertmanager-0.31.1", "amtool"), "")
		var all sync.WaitGroup
		for range 3 {
			all.Go(func() {
				got, err := localstack.Build(bounded(t), dir, command)
				if want := filepath.Join(dir, "alertmanager-0.31.1"); err != nil || got != want {
					t.Errorf("got %s (%v), want %s", got, err, want)
				}
			})
		}
		all.Wait()
		text, err := os.ReadFile(calls)
		if err != nil || lines(t, calls) != 1 ||
			!strings.Contains(string(text), "github.com/prometheus/alertmanager/cmd/amtool@v0.31.1 CGO_ENABLED=0") {
			t.Errorf("got the calls (%v)\n%s\nwant one that installs both", err, text)
		}
		left, err := filepath.Glob(filepath.Join(dir, "*"))
		if err != nil || len(left) != 2 {
			t.Errorf("got %v (%v), want the programs and the lock", left, err)
		}
		if _, err := localstack.Build(t.Context(), dir, "/nonexistent"); err != nil {
			t.Errorf("what is there needs no go command: %v", err)
		}
	})
	t.Run("Fails", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		command := script(t, filepath.Join(t.TempDir(), "go"), "echo 'no required module' >&2; exit 1")
		_, err := localstack.Build(bounded(t), dir, command)
		wantText(t, err, "build github.com/prometheus/alertmanager@v0.31.1", "no required module")
		_, err = localstack.Build(bounded(t), dir, script(t, filepath.Join(t.TempDir(), "go"), ""))
		wantText(t, err, "made none of")
		if left, _ := filepath.Glob(filepath.Join(dir, "*/*")); len(left) > 0 {
			t.Errorf("%v is left", left)
		}
	})
}

// TestFindPrometheus: a package that is missing, or too old for the shipped rules, is replaced by a build.
func TestFindPrometheus(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		version string // that the package has; "" for none
		built   bool
	}{
		"Packaged": {"2.42.0+ds", false},
		"Newer":    {"3.5.0", false},
		"TooOld":   {"2.31.2", true},
		"Strange":  {"unknown", true},
		"Missing":  {"", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			packages, tools := t.TempDir(), t.TempDir()
			packaged := func(_ context.Context, program, _ string) (string, error) {
				if test.version == "" {
					return "", errors.New("no such package")
				}
				return script(t, filepath.Join(packages, program), "echo "+program+", version "+test.version), nil
			}
			command := script(t, filepath.Join(t.TempDir(), "go"), makes(filepath.Join(t.TempDir(), "calls"), "prometheus", "promtool"))
			prometheus, promtool, err := localstack.FindPrometheus(bounded(t), packaged, tools, command)
			if err != nil {
				t.Fatal(err)
			}
			want := packages
			if test.built {
				want = filepath.Join(tools, "prometheus-0.316.0")
			}
			if filepath.Dir(prometheus) != want || filepath.Dir(promtool) != want {
				t.Errorf("got %s and %s, want those in %s", prometheus, promtool, want)
			}
		})
	}
	t.Run("Neither", func(t *testing.T) {
		t.Parallel()
		packaged := func(context.Context, string, string) (string, error) { return "", errors.New("no such package") }
		_, _, err := localstack.FindPrometheus(bounded(t), packaged, t.TempDir(), "/nonexistent")
		wantText(t, err, "no such package", "build github.com/prometheus/prometheus@v0.316.0")
	})
}
