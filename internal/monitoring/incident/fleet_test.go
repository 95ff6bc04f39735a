package incident_test

import (
	"testing"

	"speedybites/internal/monitoring/incident"
)

// TestHealthyFleet finds rules that ask for series which the healthy fleet does not have: in an incident they would be
// silent, and look right.
func TestHealthyFleet(t *testing.T) {
	setup, err := incident.Load("../../..")
	if err != nil {
		t.Fatal(err)
	}
	script, err := incident.ParseFile("testdata/quiet.txt")
	if err != nil {
		t.Fatal(err)
	}
	missing := map[string]string{
		"pg_replication_lag_seconds": "the name that newer exporters use",
	}
	selectors, err := setup.Selectors(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range selectors {
		reason := missing[s.Name]
		if has := script.Has(s.LabelMatchers); has == (reason != "") {
			t.Errorf("%s: the healthy fleet has it: %v; reason why it should not: %q", s, has, reason)
		}
	}
}
