package pgtest_test

import (
	"bufio"
	"errors"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"speedybites/internal/pgtest"
)

// echo starts a server that sends every line back, and the number of bytes after the last one.
func echo(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				if _, err := io.Copy(conn, conn); err == nil {
					_, _ = io.WriteString(conn, "bye\n") // Whether it arrives is what the test sees.
				}
			}()
		}
	}()
	return l.Addr().String()
}

func dial(t *testing.T, addr string) *net.TCPConn {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return conn.(*net.TCPConn)
}

func send(t *testing.T, conn net.Conn, line string) {
	t.Helper()
	if _, err := io.WriteString(conn, line+"\n"); err != nil {
		t.Fatal(err)
	}
}

func wantLine(t *testing.T, conn net.Conn, want string) {
	t.Helper()
	got, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil || got != want+"\n" {
		t.Fatalf("got %q, %v; want %q", got, err, want)
	}
}

// wantSilence sees that nothing arrives for a while.
func wantSilence(t *testing.T, conn net.Conn) {
	t.Helper()
	if err := conn.SetReadDeadline(time.Now().Add(100 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	n, err := conn.Read(make([]byte, 100))
	if netErr := net.Error(nil); !errors.As(err, &netErr) || !netErr.Timeout() {
		t.Errorf("got %d bytes, %v; want silence", n, err)
	}
	if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
}

func TestProxy(t *testing.T) {
	t.Parallel()
	t.Run("PassesOn", func(t *testing.T) {
		t.Parallel()
		p := pgtest.Proxy(t, echo(t))
		conn := dial(t, p.Addr())
		send(t, conn, "hello")
		wantLine(t, conn, "hello")
		// The end of one direction leaves the other open.
		if err := conn.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		wantLine(t, conn, "bye")
		if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("got %v, want EOF", err)
		}
	})
	t.Run("Refuse", func(t *testing.T) {
		t.Parallel()
		p := pgtest.Proxy(t, echo(t))
		conn := dial(t, p.Addr())
		send(t, conn, "before")
		wantLine(t, conn, "before")
		p.Refuse()
		if _, err := net.Dial("tcp", p.Addr()); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("got %v, want connection refused", err)
		}
		send(t, conn, "open ones stay")
		wantLine(t, conn, "open ones stay")
		if got := p.Dials(); got != 1 {
			t.Errorf("got %d dials, want 1", got)
		}
		p.Accept()
		conn = dial(t, p.Addr())
		send(t, conn, "again")
		wantLine(t, conn, "again")
		if got := p.Dials(); got != 2 {
			t.Errorf("got %d dials, want 2", got)
		}
	})
	t.Run("Cut", func(t *testing.T) {
		t.Parallel()
		p := pgtest.Proxy(t, echo(t))
		conn := dial(t, p.Addr())
		send(t, conn, "before")
		wantLine(t, conn, "before")
		p.Cut()
		if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("got %v, want connection reset", err)
		}
		conn = dial(t, p.Addr())
		send(t, conn, "new ones work")
		wantLine(t, conn, "new ones work")
	})
	t.Run("Stall", func(t *testing.T) {
		t.Parallel()
		p := pgtest.Proxy(t, echo(t))
		conn := dial(t, p.Addr())
		send(t, conn, "before")
		wantLine(t, conn, "before")
		p.Stall()
		send(t, conn, "meanwhile")
		wantSilence(t, conn)
		late := dial(t, p.Addr())
		send(t, late, "accepted")
		wantSilence(t, late)
		p.Resume()
		wantLine(t, conn, "meanwhile")
		wantLine(t, late, "accepted")
		p.Stall()
		p.Cut() // Also of what is stalled, which then is no obstacle to the end of the test either.
		if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("got %v, want connection reset", err)
		}
	})
	t.Run("HalfOpen", func(t *testing.T) {
		t.Parallel()
		// Of two proxies in a row the second is cut: what had passed it before comes back all the same.
		for dead, passed := range map[pgtest.Direction]bool{pgtest.ToServer: false, pgtest.ToClient: true} {
			second := pgtest.Proxy(t, echo(t))
			first := pgtest.Proxy(t, second.Addr())
			conn := dial(t, first.Addr())
			send(t, conn, "before")
			wantLine(t, conn, "before")
			first.Stall(dead)
			send(t, conn, "meanwhile")
			wantSilence(t, conn)
			second.Refuse()
			second.Cut()
			first.Resume()
			got, err := bufio.NewReader(conn).ReadString('\n')
			if (got == "meanwhile\n") != passed {
				t.Errorf("direction %d stalled: got %q, %v; want it to have passed: %v", dead, got, err, passed)
			}
		}
	})
	t.Run("Vanish", func(t *testing.T) {
		t.Parallel()
		target := pgtest.Proxy(t, echo(t)) // whose end of the connection can be looked at
		p := pgtest.Proxy(t, target.Addr())
		conn := dial(t, p.Addr())
		send(t, conn, "before")
		wantLine(t, conn, "before")
		p.Vanish()
		send(t, conn, "into the void")
		wantSilence(t, conn)
		late := dial(t, p.Addr())
		send(t, late, "new ones work")
		wantLine(t, late, "new ones work")
		send(t, conn, "still open")
		wantSilence(t, conn)
	})
	t.Run("Delay", func(t *testing.T) {
		t.Parallel()
		const delay = 50 * time.Millisecond
		for _, c := range []struct {
			directions []pgtest.Direction
			want       time.Duration
		}{{nil, 2 * delay}, {[]pgtest.Direction{pgtest.ToServer}, delay}, {[]pgtest.Direction{pgtest.ToClient}, delay}} {
			p := pgtest.Proxy(t, echo(t))
			conn := dial(t, p.Addr())
			p.Delay(delay, c.directions...)
			begin := time.Now()
			send(t, conn, "late")
			wantLine(t, conn, "late")
			if took := time.Since(begin); took < c.want {
				t.Errorf("%v: got %v, want at least %v", c.directions, took, c.want)
			}
			p.Delay(0)
			quickest := time.Hour
			for range 20 { // the machine may be slow, but not always
				begin := time.Now()
				send(t, conn, "soon")
				wantLine(t, conn, "soon")
				quickest = min(quickest, time.Since(begin))
			}
			if quickest >= delay {
				t.Errorf("%v: got %v without a delay", c.directions, quickest)
			}
		}
	})
	t.Run("Throttle", func(t *testing.T) {
		t.Parallel()
		p := pgtest.Proxy(t, echo(t))
		conn := dial(t, p.Addr())
		p.Throttle(10_000)
		line := strings.Repeat("x", 2_000)
		begin := time.Now()
		send(t, conn, line)
		wantLine(t, conn, line)
		if took := time.Since(begin); took < 150*time.Millisecond {
			t.Errorf("2 kB at 10 kB/s took %v", took)
		}
	})
	t.Run("NoServer", func(t *testing.T) {
		t.Parallel()
		target := pgtest.Proxy(t, echo(t))
		target.Refuse()
		p := pgtest.Proxy(t, target.Addr())
		conn, err := net.Dial("tcp", p.Addr())
		if err == nil { // Otherwise the reset was faster than the end of the dialling.
			defer conn.Close()
			_, err = conn.Read(make([]byte, 1))
		}
		if !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("got %v, want connection reset", err)
		}
		if got := p.Dials(); got != 1 {
			t.Errorf("got %d dials, want 1", got)
		}
	})
	t.Run("URL", func(t *testing.T) {
		t.Parallel()
		direct := pgtest.DB(t)
		var proxies [2]*pgtest.TCPProxy
		_, rest, _ := strings.Cut(direct, "@")
		addr, _, _ := strings.Cut(rest, "/")
		for i := range proxies {
			proxies[i] = pgtest.Proxy(t, addr)
		}
		conn := connect(t, proxies[0].URL(direct))
		if got := count(t, conn, "SELECT count(*) FROM orders"); got != 0 {
			t.Errorf("got %d orders, want 0", got)
		}
		if proxies[0].Dials() != 1 || proxies[1].Dials() != 0 {
			t.Errorf("got %d and %d dials, want 1 and 0", proxies[0].Dials(), proxies[1].Dials())
		}
	})
}
