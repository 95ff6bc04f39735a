package compose_test

import (
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"speedybites/internal/config"
)

// makeSecrets runs the script for a directory.
func makeSecrets(t *testing.T, dir string) string {
	t.Helper()
	script, err := filepath.Abs(filepath.Join(root, "observability/stack/secrets.sh"))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "sh", script, dir)
	out, code := run(t, cmd)
	if code != 0 {
		t.Fatalf("exit code %d\n%s", code, out)
	}
	return out
}

func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Name() == ".gitignore" {
			continue
		}
		text, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		files[e.Name()] = string(text)
	}
	return files
}

// TestSecrets: the script makes what the compose file wants, readable by the containers and by nobody else.
func TestSecrets(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "a directory", "secrets")
	makeSecrets(t, dir)
	made := contents(t, dir)
	s := shipped(t, "*")
	if diff := cmp.Diff(slices.Sorted(maps.Keys(s.Secrets)), slices.Sorted(maps.Keys(made))); diff != "" {
		t.Errorf("secrets (-of docker-compose.yml +made):\n%s", diff)
	}
	wantMode(t, dir, 0o700)
	seen := map[string]string{}
	for name, text := range made {
		wantMode(t, filepath.Join(dir, name), 0o444)
		if want, err := filepath.Abs(filepath.Join(root, "secrets", name)); err != nil || s.Secrets[name].File != want {
			t.Errorf("docker-compose.yml has secret %s in %s, want %s (%v)", name, s.Secrets[name].File, want, err)
		}
		if text == "" || strings.ContainsAny(text, "\n ") {
			t.Errorf("%s is %q", name, text)
		}
		if other, twice := seen[text]; twice && text != "unused" {
			t.Errorf("%s and %s are the same", name, other)
		}
		seen[text] = name
	}
	if text, err := os.ReadFile(filepath.Join(dir, ".gitignore")); err != nil || string(text) != "*\n" {
		t.Errorf(".gitignore is %q (%v)", text, err)
	}

	// The API takes them.
	cfg, err := config.Load([]string{
		"APP_ENV=production", "DATABASE_URL_FILE=" + filepath.Join(dir, "database_url"), "TOKEN_SECRET_FILE=" + filepath.Join(dir, "token_secret"),
	}, os.ReadFile)
	if err != nil {
		t.Fatal(err)
	}
	want := "postgres://speedybites:" + made["postgres_password"] + "@postgres:5432,postgres-replica:5432/speedybites"
	if got := cfg.Database.URL.Reveal(); got != want {
		t.Errorf("got database %s, want %s", got, want)
	}
}

// TestSecretsAgain: what is there stays, what is missing or was left half-made is made.
func TestSecretsAgain(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	makeSecrets(t, dir)
	first := contents(t, dir)
	if out := makeSecrets(t, dir); out != "" {
		t.Errorf("the second run says %q", out)
	}
	if diff := cmp.Diff(first, contents(t, dir)); diff != "" {
		t.Errorf("the second run changes (-before +after):\n%s", diff)
	}

	for _, name := range []string{"token_secret", "slack_api_url"} {
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range map[string]string{"slack_api_url": "https://hooks.example/mine", "exporter_password": "", "grafana_admin_password.unfinished": "half"} {
		path := filepath.Join(dir, name)
		_ = os.Remove(path)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Remove(filepath.Join(dir, "grafana_admin_password")); err != nil {
		t.Fatal(err)
	}
	makeSecrets(t, dir)
	again := contents(t, dir)
	for name, text := range again {
		switch name {
		case "token_secret", "exporter_password", "grafana_admin_password":
			if len(text) != 48 || text == first[name] {
				t.Errorf("%s was made anew as %q", name, text)
			}
		case "slack_api_url":
			if text != "https://hooks.example/mine" {
				t.Errorf("%s was changed to %q", name, text)
			}
			wantMode(t, filepath.Join(dir, name), 0o444)
		default:
			if text != first[name] {
				t.Errorf("%s was changed", name)
			}
		}
	}
	if len(again) != len(first) {
		t.Errorf("got %d files, want %d", len(again), len(first))
	}
}

// TestSecretsOfOneServer: who has an older secret is told what it lacks.
func TestSecretsOfOneServer(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	const old = "postgres://speedybites:secret@postgres:5432/speedybites"
	if err := os.WriteFile(filepath.Join(dir, "database_url"), []byte(old), 0o600); err != nil {
		t.Fatal(err)
	}
	if out := makeSecrets(t, dir); !strings.Contains(out, "names no postgres-replica") || strings.Contains(out, "secret@") {
		t.Errorf("got %q", out)
	}
	if got := contents(t, dir)["database_url"]; got != old {
		t.Errorf("it was changed to %q", got)
	}
}

func wantMode(t *testing.T, path string, want fs.FileMode) {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := info.Mode().Perm(); got != want {
		t.Errorf("%s has mode %v, want %v", path, got, want)
	}
}
