package boards_test

import (
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/promqltest"

	"speedybites/internal/monitoring/boards"
)

// TestPagesFiring counts the pages that somebody hears of, as the overview does, among alerts that fire.
func TestPagesFiring(t *testing.T) {
	t.Parallel()
	const (
		api1 = `,alertstate="firing",severity="page",job="speedy-bites",instance="api-1:9464"} 1`
		api2 = `,alertstate="firing",severity="page",job="speedy-bites",instance="api-2:9464"} 1`
		job  = `,alertstate="firing",severity="page",job="speedy-bites"} 1`
		mute = `,alertstate="firing",severity="none",job="speedy-bites",instance="api-1:9464"} 1`
		live = `ALERTS{alertname="Watchdog",alertstate="firing",severity="none"} 1`
	)
	alert := func(name, rest string) string { return `ALERTS{alertname="` + name + `"` + rest }
	for _, c := range []struct {
		name   string
		alerts []string
		want   float64
	}{
		{"Nothing", []string{live}, 0},
		{"AlertingIsDead", nil, -1},
		{"Outage", []string{
			live, alert("SpeedyBitesCircuitBreakerOpen", api1), alert("SpeedyBitesDatabaseDisconnected", api2), alert("SpeedyBitesDown", job),
			alert("SpeedyBitesErrorBudgetBurnFast", job), alert("SpeedyBitesPoolExhausted", api1),
		}, 1},
		{"TwoInstances", []string{live, alert("SpeedyBitesCircuitBreakerOpen", api1), alert("SpeedyBitesCircuitBreakerOpen", api2)}, 2},
		{"AnotherInstance", []string{live, alert("SpeedyBitesCircuitBreakerOpen", api1), alert("SpeedyBitesPoolExhausted", api2)}, 2},
		{"NeverMuted", []string{live, alert("SpeedyBitesCircuitBreakerOpen", api1), alert("SpeedyBitesAuditFailing", api1)}, 2},
		{"Echo", []string{live, alert("SpeedyBitesDatabaseTroubleRecently", mute), alert("SpeedyBitesErrorBudgetBurnFast", job)}, 0},
		{"SlowerBurn", []string{live, alert("SpeedyBitesErrorBudgetBurnFast", job), alert("SpeedyBitesErrorBudgetBurnMedium", job)}, 1},
		{"AnotherJob", []string{
			live, alert("SpeedyBitesCircuitBreakerOpen", api1),
			alert("SpeedyBitesDown", `,alertstate="firing",severity="page",job="speedy-bites-canary"} 1`),
		}, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			storage := promqltest.LoadedStorage(t, "load 5s\n  "+strings.Join(append(c.alerts, `up{job="x"} 1`), "\n  "))
			defer storage.Close()
			engine := promql.NewEngine(promql.EngineOpts{MaxSamples: 1000, Timeout: time.Minute})
			query, err := engine.NewInstantQuery(t.Context(), storage, nil, pagesFiring(t), time.Unix(0, 0))
			if err != nil {
				t.Fatal(err)
			}
			defer query.Close()
			got, err := query.Exec(t.Context()).Vector()
			if err != nil {
				t.Fatal(err)
			}
			if len(got) != 1 || got[0].F != c.want {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}

// pagesFiring returns the query of the overview's tile.
func pagesFiring(t *testing.T) string {
	t.Helper()
	var overview boards.Board
	for _, b := range all(t) {
		if b.Name == "overview" {
			overview = b
		}
	}
	queries, err := overview.Queries()
	if err != nil {
		t.Fatal(err)
	}
	for _, q := range queries {
		if q.Place == "Pages firing" {
			return q.Expr
		}
	}
	t.Fatal("the overview has no tile of the pages")
	return ""
}
