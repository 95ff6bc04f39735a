package live_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"speedybites/internal/monitoring/lint"
	"speedybites/internal/monitoring/localstack"
	"speedybites/internal/pgtest"
	"speedybites/observability/stack/receiver"
)

// TestFailoverIsOneTicket kills the primary under load and promotes its standby inside the grace, with the shipped files and
// intervals: nobody is paged, and a ticket says who the primary is now.
func TestFailoverIsOneTicket(t *testing.T) {
	pgtest.Slow(t)
	t.Parallel()
	s := start(t, localstack.Config{Replica: true, Environ: []string{"GOMEMLIMIT=400MiB"}})
	putUnderLoad(t, s, 10)
	browse(t, s)
	former, next := s.Database().Addr(), s.Replica().Addr()
	eventually(t, 2*time.Minute, "a replica in use on every instance, and Alertmanager found", func() bool {
		ready, err := s.Query(t.Context(), `sum(speedybites_replica_usable) == 2 and sum(rate(speedybites_db_reads_total{route="replica"}[20s])) > 0
			and sum(prometheus_notifications_alertmanagers_discovered) == 1`)
		return err == nil && len(ready) == 1
	})
	begin := time.Now()
	// A move is told from what was scraped a minute before.
	time.Sleep(70 * time.Second)

	if err := s.Database().Kill(t.Context()); err != nil {
		t.Fatal(err)
	}
	killed := time.Now()
	time.Sleep(3 * time.Second) // what whoever promotes takes to notice
	if err := s.Replica().Promote(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, api := range s.URLs().API {
		eventually(t, time.Minute, "the new primary", func() bool {
			var h struct{ Database struct{ Server string } }
			fetch(t, "GET", api+"/api/health", nil, &h)
			return h.Database.Server == next
		})
	}
	t.Logf("both instances found the new primary %.1f s after the kill", time.Since(killed).Seconds())

	var ticket receiver.Notification
	eventually(t, 2*time.Minute, "a notification", func() bool {
		list := told(s)
		if len(list) > 0 {
			ticket = list[len(list)-1]
		}
		return len(list) > 0
	})
	t.Logf("the ticket, %.1f s after the kill:\n%s", time.Since(killed).Seconds(), readable(t, ticket))
	if ticket.Channel != "ticket" || ticket.Status != "firing" || strings.Join(ticket.Names(), " ") != "SpeedyBitesPrimaryMoved" {
		t.Errorf("%s %s of %v, want a ticket of the move", ticket.Channel, ticket.Status, ticket.Names())
	}
	var moves []string
	for _, a := range ticket.Alerts {
		moves = append(moves, fmt.Sprint(a.Labels["from"], " to ", a.Labels["server"]))
	}
	if want := []string{former + " to " + next, former + " to " + next}; !slices.Equal(moves, want) {
		t.Errorf("moved from %v, want %v", moves, want)
	}
	if list := told(s); len(list) > 1 {
		t.Errorf("%d notifications, want the ticket alone", len(list))
	}
	expect(t, s, `count(count by (server) (speedybites_database_server_info{role="primary"}))`, 1)
	expect(t, s, `sum(speedybites_db_reads_total{route="replica_stand_in"}) > bool 0`, 1)
	expect(t, s, `sum(speedybites_db_calls_total{result=~"failed.*|refused.*", db_query_summary!~"audit[.].*"})`, 0)

	board := slices.DeleteFunc(queries(t), func(q lint.Query) bool { return q.Dashboard != "speedy-bites-replicas" })
	if asked := askPanels(t, s, begin, board, func(string) string { return "" }); asked < 25 {
		t.Errorf("only %d queries of panels found", asked)
	}
	draw(t, s, begin)
}

// browse has every instance asked for the restaurants by somebody without credentials, whose reads go to replicas, until the
// test ends. All must be answered.
func browse(t *testing.T, s *localstack.Stack) {
	t.Helper()
	stop := make(chan struct{})
	var browsing sync.WaitGroup
	for _, api := range s.URLs().API {
		browsing.Go(func() {
			for tick := time.NewTicker(100 * time.Millisecond); ; {
				select {
				case <-stop:
					tick.Stop()
					return
				case <-tick.C:
				}
				resp, err := http.Get(api + "/api/restaurants")
				if err != nil {
					t.Error(err)
					continue
				}
				if resp.StatusCode != http.StatusOK {
					t.Errorf("restaurants: %s", resp.Status)
				}
				_ = resp.Body.Close()
			}
		})
	}
	t.Cleanup(func() {
		close(stop)
		browsing.Wait()
	})
}

// expect wants a query to have one answer.
func expect(t *testing.T, s *localstack.Stack, expr string, want float64) {
	t.Helper()
	got, err := s.Query(t.Context(), expr)
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 1 || float64(got[0].Value) != want {
		t.Errorf("%s is %v, want %v", expr, got, want)
	}
}
