package app_test

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"speedybites/internal/pgtest"
)

// TestSlowBodies has 500 clients that nobody knows send nearly the largest body that is taken, and stop before its end.
// Together they would hold a gigabyte. Meanwhile others order. It does not run beside other tests, which would feel it.
func TestSlowBodies(t *testing.T) {
	pgtest.Slow(t)
	const (
		clients = 500
		size    = 1 << 20
		most    = 150 // MB
	)
	server := pgtest.Server(t)
	c := startChild(t, server.URL())
	loadDemo(t, c, server.URL())
	token := c.customer()
	before := c.resident("VmHWM")
	body, stop := bytes.Repeat([]byte(" "), size-1), make(chan struct{})
	var sending, holding sync.WaitGroup
	for range clients {
		sending.Add(1)
		holding.Go(func() {
			conn, err := net.Dial("tcp", strings.TrimPrefix(c.base, "http://"))
			if err != nil {
				t.Error(err)
				sending.Done()
				return
			}
			defer func() { _ = conn.Close() }()
			// What is written to a connection that the service has closed is lost: so be it.
			_ = conn.SetWriteDeadline(time.Now().Add(10 * time.Second))
			_, _ = fmt.Fprintf(conn, "POST /api/auth/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n", size)
			_, _ = conn.Write(body)
			sending.Done()
			<-stop
		})
	}
	sending.Wait()
	for i := range 20 {
		if a := c.call("POST", "/api/orders", demoOrder(strconv.Itoa(i)), "Authorization", "Bearer "+token); a.status != http.StatusCreated {
			t.Errorf("an order meanwhile: got %d %s", a.status, a.body)
		}
	}
	s := (&observed{service: &service{t: t, base: c.ops}}).scrape()
	refused := s.sum(t, "speedybites_http_requests_rejected_total", "reason", "large_bodies")
	close(stop)
	holding.Wait()
	peak := c.resident("VmHWM")
	t.Logf("at most %.0f MB before, %.0f with %d large bodies, of which %v were refused", before, peak, clients, refused)
	if peak-before > most {
		t.Errorf("the service took %.0f MB, and %.0f before", peak, before)
	}
	if refused < clients/2 {
		t.Errorf("%v of %d large bodies were refused", refused, clients)
	}
}
