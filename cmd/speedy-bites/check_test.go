package main

import (
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"

	"speedybites/internal/config"
)

// TestCheck asks instances of every kind, with the settings that they run with.
func TestCheck(t *testing.T) {
	t.Parallel()
	const unready = `{"status":"unavailable"}`
	instance := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/livez":
		case "/readyz":
			http.Error(w, unready, http.StatusServiceUnavailable)
		default:
			http.NotFound(w, r)
		}
	}))
	t.Cleanup(instance.Close)
	_, port, err := net.SplitHostPort(instance.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	elsewhere := httptest.NewServer(http.RedirectHandler(instance.URL+"/livez", http.StatusFound))
	t.Cleanup(elsewhere.Close)
	_, redirecting, err := net.SplitHostPort(elsewhere.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	closed := closedPort(t)
	for _, c := range []struct {
		name string
		env  []string
		args []string
		code int
		want []string
	}{
		{"Live", []string{"PORT=" + port}, []string{"--live"}, 0, nil},
		{"LiveOnAllInterfaces", []string{"PORT=" + port, "HOST=0.0.0.0"}, []string{"--live"}, 0, nil},
		{"LiveByName", []string{"PORT=" + port, "HOST=localhost"}, []string{"--live"}, 0, nil},
		{"NotReady", []string{"PORT=" + port}, []string{"--ready"}, exitFailure, []string{"/readyz", "503", "unavailable"}},
		{"LiveAndReady", []string{"PORT=" + port}, []string{"--live", "--ready"}, exitFailure, []string{"/readyz", "503"}},
		{"Redirected", []string{"PORT=" + redirecting}, []string{"--live"}, exitFailure, []string{"302"}},
		{"NobodyThere", []string{"PORT=" + closed}, []string{"--live"}, exitFailure, []string{"127.0.0.1:" + closed, "refused"}},
		{"PortUnknown", []string{"PORT=0"}, []string{"--live"}, exitFailure, []string{"PORT is 0"}},
		{"NoFlag", nil, nil, exitUsage, []string{"--live", "--ready"}},
		{"OtherArgument", nil, []string{"--live", "now"}, exitUsage, []string{"now"}},
		{"WrongSetting", []string{"PORT=http"}, []string{"--live"}, exitUsage, []string{"PORT"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			stdout, stderr, code := tool(t, c.env, "", append([]string{"check"}, c.args...)...)
			if code != c.code {
				t.Errorf("exit code: got %d, want %d\n%s", code, c.code, stderr)
			}
			for _, want := range c.want {
				if !strings.Contains(stderr, want) {
					t.Errorf("%q is not in %q", want, stderr)
				}
			}
			if lines := strings.Count(stderr, "\n"); code == exitFailure && lines != 1 {
				t.Errorf("got %d lines, want one:\n%s", lines, stderr)
			}
			if stdout != "" {
				t.Errorf("stdout has %q", stdout)
			}
		})
	}
}

// closedPort is one on which nobody listens: taken, but not listened on, so that no other test gets it.
func closedPort(t *testing.T) string {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Close(fd) })
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	name, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	return config.HTTP{Port: name.(*syscall.SockaddrInet4).Port}.Addr()[1:]
}

// TestCheckServed asks the program itself.
func TestCheckServed(t *testing.T) {
	t.Parallel()
	p := serveProgram(t, t.TempDir(), "DATABASE_URL=postgres://nobody:secret@127.0.0.1:"+closedPort(t)+"/none", "DB_OUTAGE_GRACE_MS=0")
	_, port, err := net.SplitHostPort(strings.TrimPrefix(p.base, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	env := []string{"PORT=" + port}
	if _, stderr, code := tool(t, env, "", "check", "--live"); code != 0 {
		t.Errorf("live without its database: exit code %d\n%s", code, stderr)
	}
	if _, stderr, code := tool(t, env, "", "check", "--ready"); code != exitFailure {
		t.Errorf("ready without its database: exit code %d\n%s", code, stderr)
	}
	p.kill()
	if _, stderr, code := tool(t, env, "", "check", "--live"); code != exitFailure {
		t.Errorf("killed: exit code %d\n%s", code, stderr)
	}
}

func TestAskAt(t *testing.T) {
	t.Parallel()
	for host, want := range map[string]string{
		"": "127.0.0.1:4000", "0.0.0.0": "127.0.0.1:4000", "::": "[::1]:4000", "::ffff:0.0.0.0": "127.0.0.1:4000",
		"10.1.2.3": "10.1.2.3:4000", "api": "api:4000", "fe80::1": "[fe80::1]:4000",
	} {
		if got, err := askAt(config.HTTP{Host: host, Port: 4000}); err != nil || got != want {
			t.Errorf("HOST=%q: got %s, %v, want %s", host, got, err, want)
		}
	}
}
