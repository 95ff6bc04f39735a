package compose_test

import (
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"testing"
	"time"

	"speedybites/internal/monitoring/proctest"
)

// TestBalancerUnready: an instance whose /readyz says no gets nothing, and is back when it says yes.
func TestBalancerUnready(t *testing.T) {
	t.Parallel()
	b := newBalancer(t)
	one, two := b.instances[0], b.instances[1]
	one.unready.Store(true)
	b.WaitFor(t, "ready", 1)
	for n := range 50 {
		if body, status, err := proctest.Get(b.API + "/api/" + strconv.Itoa(n)); err != nil || status != http.StatusOK {
			t.Fatalf("got %q, %d, %v", body, status, err)
		}
	}
	if one.total() != 0 || two.total() != 50 {
		t.Errorf("the unready instance got %d requests and the other %d, want 0 and 50", one.total(), two.total())
	}
	one.unready.Store(false)
	b.WaitFor(t, "ready", 2)
	for range 2 {
		if _, _, err := proctest.Get(b.API + "/api/again"); err != nil {
			t.Fatal(err)
		}
	}
	if one.total() != 1 {
		t.Errorf("ready again, it got %d of 2 requests, want 1", one.total())
	}
}

// TestBalancerHalfOpen: an instance that is ready for a moment, as with a breaker that is HALF_OPEN, is not believed.
func TestBalancerHalfOpen(t *testing.T) {
	t.Parallel()
	b := newBalancer(t)
	one, two := b.instances[0], b.instances[1]
	one.unready.Store(true)
	b.WaitFor(t, "ready", 1)
	one.once.Store(true)
	for n := 0; one.once.Load() || n < 50; n++ { // until the probe, and some more
		if body, status, err := proctest.Get(b.API + "/api/" + strconv.Itoa(n)); err != nil || status != http.StatusOK {
			t.Fatalf("got %q, %d, %v", body, status, err)
		}
	}
	probes := one.probes.Load()
	b.Until(t, func() error {
		if _, _, err := proctest.Get(b.API + "/api/later"); err != nil {
			return err
		}
		if got := one.probes.Load(); got < probes+2 {
			return fmt.Errorf("%d probes since", got-probes)
		}
		return nil
	})
	if one.total() != 0 || two.total() == 0 {
		t.Errorf("the instance got %d requests and the other %d, want none and all", one.total(), two.total())
	}
}

// TestBalancerSeesDrain: an instance that is told to end serves for longer than the balancer takes to notice. Nobody is sent
// to a listener that closes, whose last connections the kernel would reset.
func TestBalancerSeesDrain(t *testing.T) {
	t.Parallel()
	m := regexp.MustCompile(`(?m)default-server inter (\w+) fastinter (\w+) .*\bfall (\d+) `).FindStringSubmatch(read(t, haproxyFile))
	if m == nil {
		t.Fatalf("%s does not say how often it asks", haproxyFile)
	}
	var inter, fast time.Duration
	for at, d := range []*time.Duration{&inter, &fast} {
		var err error
		if *d, err = time.ParseDuration(m[1+at]); err != nil {
			t.Fatal(err)
		}
	}
	fall, _ := strconv.Atoi(m[3]) // It is digits.
	notices := inter + time.Duration(fall-1)*fast
	for _, name := range []string{"api-1", "api-2"} {
		drain, err := strconv.Atoi(*shipped(t).Services[name].Environment["SHUTDOWN_DRAIN_MS"])
		if err != nil {
			t.Fatal(err)
		}
		if got := time.Duration(drain) * time.Millisecond; got < notices+time.Second { // a second for the answers
			t.Errorf("%s drains for %v, the balancer takes %v to notice", name, got, notices)
		}
	}
}
