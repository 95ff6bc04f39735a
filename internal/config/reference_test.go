package config_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"speedybites/internal/config"
)

var update = flag.Bool("update", false, "rewrite .env.example")

const examplePath = "../../.env.example"

// example is the text of .env.example: every variable, commented out where it
// has no default.
func example() string {
	var b strings.Builder
	b.WriteString(`# Every setting and its default. Copy this file to .env and change what you need:
# the environment goes before .env, and .env before the defaults.
# Each NAME may also be given as NAME_FILE, a file that holds the value.
# Written by: go test ./internal/config -run TestExample -update
`)
	for _, v := range config.Reference() {
		fmt.Fprintf(&b, "\n# %s\n", upper(v.Meaning)+".")
		if v.Alias != "" {
			fmt.Fprintf(&b, "# %s is another name for it; %s wins.\n", v.Alias, v.Name)
		}
		if v.Default == "" {
			b.WriteString("# ")
		}
		fmt.Fprintf(&b, "%s=%s  # %s\n", v.Name, v.Default, v.Allowed)
	}
	return b.String()
}

func upper(s string) string { return strings.ToUpper(s[:1]) + s[1:] }

func TestExample(t *testing.T) {
	t.Parallel()
	if *update {
		if err := os.WriteFile(examplePath, []byte(example()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	data, err := os.ReadFile(examplePath)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(example(), string(data)); diff != "" {
		t.Errorf(".env.example is out of date, run this test with -update (-want +got):\n%s", diff)
	}
	got := load(t, nil, map[string]string{".env": string(data)})
	want := load(t, nil, nil)
	got.Token.Secret, want.Token.Secret = config.Secret{}, config.Secret{}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf(".env.example gives other settings than none at all (-want +got):\n%s", diff)
	}
}

func TestReference(t *testing.T) {
	t.Parallel()
	seen := make(map[string]bool)
	for _, v := range config.Reference() {
		if v.Name == "" || v.Meaning == "" || v.Allowed == "" || seen[v.Name] {
			t.Errorf("incomplete or doubled: %+v", v)
		}
		seen[v.Name] = true
		// A rejected value is shown unless the row says it is secret.
		_, err := config.Load([]string{v.Name + "=\x01"}, files(nil))
		if err == nil || strings.Contains(err.Error(), `"\x01"`) == v.Secret {
			t.Errorf("%s: secret is %v, and a wrong value gives: %v", v.Name, v.Secret, err)
		}
	}
}

func TestCheckDirs(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	file := filepath.Join(root, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}

	logs := filepath.Join(root, "a", "logs")
	cfg := load(t, []string{"LOG_DIR=" + logs, "UPLOADS_DIR=" + root}, nil)
	if err := cfg.CheckDirs(); err != nil {
		t.Errorf("CheckDirs: %v", err)
	}
	if left, err := os.ReadDir(logs); err != nil || len(left) > 0 {
		t.Errorf("log directory: got %v, %v, want it there and empty", left, err)
	}

	cfg = load(t, []string{"LOG_DIR=" + file, "UPLOADS_DIR=" + filepath.Join(file, "sub")}, nil)
	err := cfg.CheckDirs()
	const must = "must be a directory that exists or can be created, and be writable: not a directory"
	want := fmt.Sprintf("LOG_DIR: %q: %s\nUPLOADS_DIR: %q: %s", file, must, filepath.Join(file, "sub"), must)
	if _, ok := errors.AsType[*config.Error](err); !ok || err.Error() != want {
		t.Errorf("got %v\nwant %s", err, want)
	}
}

// certificate returns a self-made certificate in PEM form.
func certificate(t *testing.T) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}
