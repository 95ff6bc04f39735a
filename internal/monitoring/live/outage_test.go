package live_test

import (
	"flag"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	v1 "github.com/prometheus/client_golang/api/prometheus/v1"

	"speedybites/internal/monitoring/localstack"
	"speedybites/internal/pgtest"
	"speedybites/observability/stack/receiver"
)

var screenshots = flag.String("screenshots", "", "a directory, from the repository's root, into which the dashboards are drawn when the outage is over; "+
	"takes node, and make screenshots has done what else it takes")

const (
	breakerOpen = "SpeedyBitesCircuitBreakerOpen"
	// outage is long enough for most symptoms to be past their own patience. The slowest waits two minutes after a scrape
	// and two evaluations have seen what it is about, whose turns come when they come: the outage lasts that much longer.
	outage, slowest = 140 * time.Second, 220 * time.Second
	// calm is how long nothing may follow: tickets wait a minute, and are sent when an evaluation has passed.
	calm = 80 * time.Second
)

// symptoms are the alerts that an outage makes true, and that must be muted while the page is out.
var symptoms = []string{
	"SpeedyBitesDatabaseDisconnected", "SpeedyBitesErrorLogs", "SpeedyBitesNotReady", "SpeedyBitesErrorBudgetBurnFast",
	"SpeedyBitesDown",
}

// TestOutageIsOnePage kills PostgreSQL under load, with the shipped files and intervals and real Prometheus and
// Alertmanager, and follows the page to the webhook and back.
func TestOutageIsOnePage(t *testing.T) {
	pgtest.Slow(t)
	t.Parallel()
	s := start(t, localstack.Config{Environ: []string{"DB_OUTAGE_GRACE_MS=0", "GOMEMLIMIT=400MiB"}})
	putUnderLoad(t, s, 20)
	eventually(t, 2*time.Minute, "every instance scraped, and Alertmanager found", func() bool {
		ready, err := s.Query(t.Context(), `sum(up{job="speedy-bites"}) == 2 and sum(rate(speedybites_db_calls_total[20s])) > 0
			and sum(prometheus_notifications_alertmanagers_discovered) == 1`)
		return err == nil && len(ready) == 1
	})
	begin := time.Now()

	if err := s.Database().Kill(t.Context()); err != nil {
		t.Fatal(err)
	}
	opened := firstOpening(t, s)
	page := awaitPage(t, s, "firing", opened, 30*time.Second)
	t.Logf("the page:\n%s", readable(t, page))
	awaitMuted(t, s, opened.Add(slowest))
	time.Sleep(time.Until(opened.Add(outage)))

	if err := s.Database().StartAgain(t.Context()); err != nil {
		t.Fatal(err)
	}
	closed := lastClosing(t, s)
	over := awaitPage(t, s, "resolved", closed, 60*time.Second)
	t.Logf("its end:\n%s", readable(t, over))

	time.Sleep(calm)
	for _, n := range told(s) {
		t.Logf("%s %s %s %s", n.Received.Format("15:04:05"), n.Channel, n.Status, strings.Join(n.Names(), " "))
		if n.Channel != "page" || strings.Join(n.Names(), " ") != breakerOpen {
			t.Errorf("%s %s of %v: only the page of the breaker may come", n.Channel, n.Status, n.Names())
		}
	}
	if !s.Watchdog().Alive {
		t.Error("the Watchdog is not heard of")
	}
	if pages := pagesIn(told(s)); pages != 1 {
		t.Errorf("%d pages, want 1", pages)
	}
	askEveryPanel(t, s, begin)
	checkTimeline(t, s, opened, closed)
	draw(t, s, begin)
}

// firstOpening waits until both breakers are open and returns when the first one opened.
func firstOpening(t *testing.T, s *localstack.Stack) time.Time {
	t.Helper()
	var first time.Time
	for _, api := range s.URLs().API {
		eventually(t, time.Minute, "the breaker to open", func() bool {
			state, since := breaker(t, api)
			if state == "OPEN" && (first.IsZero() || since.Before(first)) {
				first = since
			}
			return state == "OPEN"
		})
	}
	return first
}

// lastClosing waits until both breakers are closed and returns when the last one closed.
func lastClosing(t *testing.T, s *localstack.Stack) time.Time {
	t.Helper()
	var last time.Time
	for _, api := range s.URLs().API {
		eventually(t, time.Minute, "the breaker to close", func() bool {
			state, since := breaker(t, api)
			if state == "CLOSED" && since.After(last) {
				last = since
			}
			return state == "CLOSED"
		})
	}
	return last
}

// awaitPage waits for the page of the breaker with a status, and measures it against the moment that caused it.
func awaitPage(t *testing.T, s *localstack.Stack, status string, since time.Time, limit time.Duration) receiver.Notification {
	t.Helper()
	var page receiver.Notification
	eventually(t, 2*limit, "the page to be "+status, func() bool {
		for _, n := range told(s) {
			if n.Channel == "page" && n.Status == status && strings.Join(n.Names(), " ") == breakerOpen {
				page = n
				return true
			}
		}
		return false
	})
	took := page.Received.Sub(since)
	t.Logf("the page was %s %.1f s after the breaker", status, took.Seconds())
	if took > limit {
		t.Errorf("the page was %s %v after the breaker, want at most %v", status, took, limit)
	}
	return page
}

// awaitMuted waits until Alertmanager knows every symptom and mutes it.
func awaitMuted(t *testing.T, s *localstack.Stack, deadline time.Time) {
	t.Helper()
	for {
		var alerts []struct {
			Labels map[string]string
			Status struct{ InhibitedBy []string }
		}
		fetch(t, http.MethodGet, s.URLs().Alertmanager+"/api/v2/alerts", nil, &alerts)
		muted := map[string]bool{}
		for _, a := range alerts {
			if len(a.Status.InhibitedBy) > 0 {
				muted[a.Labels["alertname"]] = true
			}
		}
		var missing []string
		for _, name := range symptoms {
			if !muted[name] {
				missing = append(missing, name)
			}
		}
		if len(missing) == 0 {
			t.Logf("muted: %s", strings.Join(symptoms, ", "))
			return
		}
		if time.Now().After(deadline) {
			t.Errorf("not muted, or not firing at all: %v", missing)
			return
		}
		time.Sleep(time.Second)
	}
}

// pagesIn counts what a person hears: groups of pages that went from nothing firing to firing.
func pagesIn(list []receiver.Notification) int {
	pages, firing := 0, map[string]bool{}
	for _, n := range list {
		if n.Channel == "page" && n.Status == "firing" && !firing[n.GroupKey] {
			pages++
		}
		firing[n.GroupKey] = n.Status == "firing"
	}
	return pages
}

// checkTimeline looks at what the resilience dashboard draws.
func checkTimeline(t *testing.T, s *localstack.Stack, opened, closed time.Time) {
	t.Helper()
	expr := timeline(t)
	series, err := s.QueryRange(t.Context(), expr, v1.Range{Start: opened.Add(-40 * time.Second), End: closed.Add(40 * time.Second), Step: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	if len(series) != 2 {
		t.Errorf("the timeline has %d rows, want one for each instance", len(series))
	}
	const slack = 25 * time.Second // a scrape, $__interval, and the other instance's opening
	for _, row := range series {
		for _, sample := range row.Values {
			at := sample.Timestamp.Time()
			inside := at.After(opened.Add(slack)) && at.Before(closed.Add(-slack))
			outside := at.Before(opened) || at.After(closed.Add(slack))
			if inside && sample.Value != 2 || outside && sample.Value != 0 {
				t.Errorf("%v at %s: got %v; open from %s to %s", row.Metric, at.Format("15:04:05"), sample.Value,
					opened.Format("15:04:05"), closed.Format("15:04:05"))
				break
			}
		}
	}
}

// draw draws every dashboard with the package render, if that is asked for.
func draw(t *testing.T, s *localstack.Stack, begin time.Time) {
	t.Helper()
	if *screenshots == "" {
		return
	}
	root, err := localstack.RepoRoot()
	if err != nil {
		t.Fatal(err)
	}
	boards, err := filepath.Glob(filepath.Join(root, "dashboards", "*.json"))
	if err != nil {
		t.Fatal(err)
	}
	args := []string{
		"internal/monitoring/render/render.mjs", "--prometheus", s.URLs().Prometheus, "--out", *screenshots,
		"--from", begin.Format(time.RFC3339), "--to", time.Now().Format(time.RFC3339),
	}
	for _, board := range boards {
		args = append(args, "--dashboard", board)
	}
	cmd := exec.CommandContext(t.Context(), "node", args...)
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("render: %v\n%s", err, out)
	}
}
