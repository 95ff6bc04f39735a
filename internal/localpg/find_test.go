package localpg_test

import (
	"archive/zip"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"speedybites/internal/localpg"
)

// script writes a program. Those that stand for PostgreSQL's are never asked for more than their version here.
func script(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
}

// installation makes a directory that looks like PostgreSQL's programs of a version.
func installation(t *testing.T, dir, version string) {
	t.Helper()
	script(t, filepath.Join(dir, "postgres"), "echo 'postgres (PostgreSQL) "+version+"'")
	script(t, filepath.Join(dir, "initdb"), "")
}

func TestFind(t *testing.T) {
	t.Parallel()
	t.Run("OnThisMachine", func(t *testing.T) {
		t.Parallel()
		b, err := localpg.Find(bounded(t), localpg.Options{Logger: testLogger(t)})
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range []string{b.Postgres, b.Initdb} {
			if _, err := exec.LookPath(path); err != nil || !filepath.IsAbs(path) {
				t.Errorf("%s is no program: %v", path, err)
			}
		}
		if !strings.HasPrefix(b.Version, "1") || b.Major < 13 {
			t.Errorf("got version %q, major %d", b.Version, b.Major)
		}
	})
	t.Run("NewestOfAPlace", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		for _, version := range []string{"9.6.24", "14.3", "18beta1", "17.5 (Debian 17.5-1)"} {
			installation(t, filepath.Join(dir, strings.Fields(version)[0], "bin"), version)
		}
		script(t, filepath.Join(dir, "19", "bin", "initdb"), "") // No postgres beside it.
		b, err := localpg.Find(t.Context(), localpg.Options{Places: []string{dir + "/nothing/*", dir + "/*/bin"}, Local: true})
		if err != nil {
			t.Fatal(err)
		}
		if b.Version != "18beta1" || b.Major != 18 || b.Postgres != filepath.Join(dir, "18beta1", "bin", "postgres") {
			t.Errorf("got %+v, want 18beta1", b)
		}
	})
	t.Run("NothingFits", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		installation(t, filepath.Join(dir, "old"), "9.6.24")
		script(t, filepath.Join(dir, "broken", "postgres"), "echo 'cannot open shared object' >&2; exit 127")
		script(t, filepath.Join(dir, "broken", "initdb"), "")
		script(t, filepath.Join(dir, "half", "postgres"), "")
		_, err := localpg.Find(t.Context(), localpg.Options{Places: []string{dir + "/none/*", dir + "/*"}, Local: true})
		wantError(t, err, localpg.ErrNoBinaries)
		for _, want := range []string{
			dir + "/none/*: no such directory", dir + "/old: version 9.6.24 is too old",
			dir + "/broken: postgres --version: exit status 127: cannot open shared object",
			dir + "/half: no initdb that can be run", "brew install postgresql", "DATABASE_URL",
		} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("got error %q, want it to say %q", err, want)
			}
		}
	})
}

// TestFindInstalls has a program in apt-get's place: the real one would change the machine.
func TestFindInstalls(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("needs root: others are not offered apt-get")
	}
	dir := t.TempDir()
	bin, apt, calls := filepath.Join(dir, "15", "bin"), filepath.Join(dir, "apt-get"), filepath.Join(dir, "calls")
	installation(t, filepath.Join(dir, "package"), "15.1")
	// Without package lists the first install fails, as on a fresh image.
	script(t, apt, `echo "$DEBIAN_FRONTEND $*" >> `+calls+`
case $1 in
update) touch `+dir+`/lists ;;
install) test -e `+dir+`/lists || { echo "E: Unable to locate package postgresql" >&2; exit 100; }
	mkdir -p `+filepath.Dir(bin)+`; cp -r `+dir+`/package `+bin+` ;;
esac`)
	b, err := localpg.Find(bounded(t), localpg.Options{Places: []string{dir + "/*/bin"}, AptGet: apt, Logger: testLogger(t)})
	if err != nil {
		t.Fatal(err)
	}
	if b.Version != "15.1" {
		t.Errorf("got %+v, want the package's 15.1", b)
	}
	got, err := os.ReadFile(calls)
	if err != nil {
		t.Fatal(err)
	}
	const install = "noninteractive install -y --no-install-recommends postgresql\n"
	if want := install + "noninteractive update\n" + install; string(got) != want {
		t.Errorf("got calls\n%swant\n%s", got, want)
	}
}

func TestFindDownloads(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir()) // The library leaves a log there.
	failing := filepath.Join(t.TempDir(), "apt-get")
	script(t, failing, "echo 'E: Could not get lock' >&2; exit 100")
	options := localpg.Options{
		Places: []string{"/nonexistent/*"}, AptGet: failing, CacheDir: filepath.Join(t.TempDir(), "cache"), Logger: testLogger(t),
	}
	var requests atomic.Int64
	broken := true
	repository := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		if broken || !strings.HasSuffix(r.URL.Path, ".jar") {
			http.NotFound(w, r)
			return
		}
		if err := writeJar(w, "testdata/programs.txz"); err != nil {
			t.Error(err)
		}
	}))
	defer repository.Close()
	options.Repository = repository.URL

	_, err := localpg.Find(bounded(t), options)
	wantError(t, err, localpg.ErrNoBinaries)
	for _, want := range []string{"/nonexistent/*", "apt-get: ", "download: postgresql 18", repository.URL} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("got error %q, want it to say %q", err, want)
		}
	}

	broken = false
	for range 2 {
		b, err := localpg.Find(bounded(t), options)
		if err != nil {
			t.Fatal(err)
		}
		if b.Major != 18 || !strings.HasPrefix(b.Postgres, options.CacheDir) {
			t.Errorf("got %+v, want 18 in %s", b, options.CacheDir)
		}
		repository.Close() // What is in the cache needs no repository.
	}
	left, err := os.ReadDir(options.CacheDir)
	if err != nil || len(left) != 1 {
		t.Errorf("got %v in the cache (%v), want the programs alone", left, err)
	}
}

// writeJar packs the programs as the repository does: an archive within an archive.
func writeJar(w http.ResponseWriter, archive string) error {
	programs, err := os.ReadFile(archive)
	if err != nil {
		return err
	}
	jar := zip.NewWriter(w)
	f, err := jar.Create("postgres-linux-x86_64.txz")
	if err != nil {
		return err
	}
	if _, err := f.Write(programs); err != nil {
		return err
	}
	return jar.Close()
}
