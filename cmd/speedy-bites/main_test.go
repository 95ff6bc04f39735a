package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"

	"speedybites/internal/demo"
	"speedybites/internal/migrate"
	"speedybites/internal/pgtest"
)

// asProgram makes the test binary run as the program itself, so that tests can kill it.
const asProgram = "SPEEDY_BITES_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
	}
	os.Exit(m.Run())
}

// program is a running speedy-bites.
type program struct {
	cmd  *exec.Cmd
	base string // once it listens
	out  *output
	log  *output // what it writes to stderr
	addr chan string
	done chan struct{} // closed when it has ended
	err  error         // of its end
}

var listening = regexp.MustCompile(`"msg":"listening","addr":"([^"]+)"`)

// command prepares the program in a directory, with an environment of its own.
func command(ctx context.Context, dir string, env, args []string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, os.Args[0], args...)
	cmd.Dir = dir
	cmd.Env = append([]string{asProgram + "=1", "PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME")}, env...)
	return cmd
}

// serveProgram starts the program and waits until it listens.
func serveProgram(t *testing.T, dir string, env ...string) *program {
	t.Helper()
	p := startProgram(t, dir, env...)
	p.wait(t)
	return p
}

// startProgram starts the program.
func startProgram(t *testing.T, dir string, env ...string) *program {
	t.Helper()
	cmd := command(context.Background(), dir, append([]string{"HOST=127.0.0.1", "PORT=0"}, env...), nil)
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	p := &program{cmd: cmd, out: &output{}, log: &output{}, addr: make(chan string, 1), done: make(chan struct{})}
	cmd.Stdout = p.out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var reading sync.WaitGroup
	reading.Go(func() {
		lines := bufio.NewScanner(stderr)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			fmt.Fprintln(p.log, lines.Text())
			if m := listening.FindStringSubmatch(lines.Text()); m != nil {
				p.addr <- m[1]
			}
		}
		_, _ = io.Copy(io.Discard, stderr)
	})
	go func() {
		defer close(p.done)
		reading.Wait()
		p.err = cmd.Wait()
	}()
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			t.Log(p.log.String())
		}
	})
	return p
}

// wait waits until the program listens.
func (p *program) wait(t *testing.T) {
	t.Helper()
	select {
	case a := <-p.addr:
		p.base = "http://" + a
	case <-p.done:
		t.Fatalf("ended instead of listening: %v\n%s", p.err, p.log.String())
	case <-time.After(2 * time.Minute):
		t.Fatal("does not listen")
	}
}

func (p *program) signal(s os.Signal) { _ = p.cmd.Process.Signal(s) }

func (p *program) kill() {
	p.signal(syscall.SIGKILL)
	<-p.done
}

func tool(t *testing.T, env []string, stdin string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	cmd := command(t.Context(), t.TempDir(), env, args)
	var out, errOut bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &errOut
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return out.String(), errOut.String(), cmd.ProcessState.ExitCode()
}

func post(t *testing.T, url string, body any) map[string]any {
	t.Helper()
	b, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.Post(url, "application/json", bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	var v map[string]any
	if err := json.NewDecoder(resp.Body).Decode(&v); err != nil || resp.StatusCode > 299 {
		t.Fatalf("%s: %d %v %v", url, resp.StatusCode, v, err)
	}
	return v
}

func register(t *testing.T, base string) (token string) {
	t.Helper()
	session := post(t, base+"/api/auth/register", map[string]any{
		"email": uuid.NewString() + "@example.com", "password": "correct horse", "name": "Customer",
	})
	token, _ = session["token"].(string)
	return token
}

// TestFirstRun is what a new user does: start with nothing configured, paste the order, start again.
func TestFirstRun(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	p := serveProgram(t, dir)
	var steps string
	// They are printed beside the line that it listens, on another pipe.
	for deadline := time.Now().Add(time.Minute); !strings.Contains(steps, "deliveryAddress"); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("no first steps in %q", p.out.String())
		}
		_, steps, _ = strings.Cut(p.out.String(), "Place an order:")
	}
	out, err := exec.CommandContext(t.Context(), "bash", "-c", steps).Output()
	if err != nil {
		t.Fatal(err)
	}
	var order struct {
		ID         uuid.UUID
		TotalCents int
	}
	if err := json.Unmarshal(out, &order); err != nil || order.TotalCents == 0 {
		t.Fatalf("the pasted order was answered with %s (%v)", out, err)
	}
	p.signal(syscall.SIGTERM)
	<-p.done
	if p.err != nil {
		t.Errorf("SIGTERM: %v", p.err)
	}

	// The second run finds the customer of the first.
	email := map[string]any{"email": demo.OwnerEmail, "password": demo.OwnerPassword}
	p = serveProgram(t, dir)
	if post(t, p.base+"/api/auth/login", email)["token"] == nil {
		t.Error("no token")
	}
	// Killed, it leaves no server behind that would keep the third from starting.
	p.kill()
	p = serveProgram(t, dir)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, p.base+"/api/orders/"+order.ID.String(), nil)
	if err != nil {
		t.Fatal(err)
	}
	owner, _ := post(t, p.base+"/api/auth/login", email)["token"].(string)
	req.Header.Set("Authorization", "Bearer "+owner)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Errorf("the first run's order: %d", resp.StatusCode)
	}
	p.signal(syscall.SIGTERM)
	<-p.done
}

func TestForeignDataDirectory(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	precious := filepath.Join(dir, ".data", "precious.txt")
	if err := os.MkdirAll(filepath.Dir(precious), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(precious, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := command(t.Context(), dir, []string{"PORT=0"}, nil)
	out, _ := cmd.CombinedOutput()
	if code := cmd.ProcessState.ExitCode(); code != exitFailure || !strings.Contains(string(out), ".data") {
		t.Errorf("exit code %d, output %s", code, out)
	}
	if text, err := os.ReadFile(precious); err != nil || string(text) != "mine" {
		t.Errorf("the foreign file: %q, %v", text, err)
	}
}

func TestExitCodes(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		env  []string
		args []string
		code int
		want []string
	}{
		{"Version", nil, []string{"version"}, 0, []string{"speedy-bites"}},
		{"Help", nil, []string{"--help"}, 0, []string{"migrate", "user", "version"}},
		{"UnknownCommand", nil, []string{"srve"}, exitUsage, []string{"srve"}},
		{"UnknownFlag", nil, []string{"serve", "--fast"}, exitUsage, []string{"--fast"}},
		{"UnknownMigrateCommand", nil, []string{"migrate", "sideways"}, exitUsage, []string{"sideways"}},
		{"MigrateNowhere", nil, []string{"migrate", "up"}, exitFailure, []string{"DATABASE_URL"}},
		{
			"EveryMistakeAtOnce",
			[]string{"APP_ENV=production", "PORT=99999", "DB_POOL_MAX=many", "TOKEN_SECRET=short-secret-value", "DATABASE_URL=mysql://u:hunter2@h/d"},
			nil, exitUsage,
			[]string{"PORT", "99999", "DB_POOL_MAX", "many", "TOKEN_SECRET", "32", "DATABASE_URL", "postgres"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			stdout, stderr, code := tool(t, c.env, "", c.args...)
			if code != c.code {
				t.Errorf("exit code: got %d, want %d\n%s", code, c.code, stderr)
			}
			for _, want := range c.want {
				if !strings.Contains(stdout+stderr, want) {
					t.Errorf("%q is not in %s%s", want, stdout, stderr)
				}
			}
			for _, secret := range []string{"short-secret-value", "hunter2"} {
				if strings.Contains(stdout+stderr, secret) {
					t.Errorf("the secret %q is in %s%s", secret, stdout, stderr)
				}
			}
		})
	}
}

func TestMigrateAndUser(t *testing.T) {
	t.Parallel()
	server := pgtest.Server(t)
	env := []string{"DATABASE_URL=" + server.URL()}
	step := func(want string, stdin string, args ...string) {
		t.Helper()
		stdout, stderr, code := tool(t, env, stdin, args...)
		if code != 0 || !strings.Contains(stdout, want) {
			t.Errorf("%v: exit code %d, %q is not in %s%s", args, code, want, stdout, stderr)
		}
	}
	_, latest, err := migrate.Version(t.Context(), server.URL())
	if err != nil {
		t.Fatal(err)
	}
	step("pending", "", "migrate", "status")
	step(fmt.Sprintf("%d migrations applied", latest), "", "migrate", "up")
	step("0 migrations applied", "", "migrate", "up")
	step(fmt.Sprintf("migration %d taken back", latest), "", "migrate", "down")
	step("1 migrations applied", "", "migrate", "up")
	step("chef@example.com owner", "a long password\n", "user", "create", "--email", "chef@example.com", "--role", "owner")
	step("boss@example.com admin", "", "user", "create", "--email", "boss@example.com", "--role", "admin", "--password", "another password")

	for name, args := range map[string][]string{
		"again":         {"user", "create", "--email", "chef@example.com", "--role", "owner", "--password", "a long password"},
		"short":         {"user", "create", "--email", "x@example.com", "--role", "owner", "--password", "short"},
		"role":          {"user", "create", "--email", "x@example.com", "--role", "chef", "--password", "a long password"},
		"no email":      {"user", "create", "--role", "owner"},
		"no password":   {"user", "create", "--email", "x@example.com", "--role", "owner"},
		"other command": {"user", "destroy"},
	} {
		if _, stderr, code := tool(t, env, "", args...); code == 0 || stderr == "" {
			t.Errorf("%s: exit code %d, stderr %q", name, code, stderr)
		}
	}
}
