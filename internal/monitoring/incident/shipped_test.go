package incident_test

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"speedybites/internal/monitoring/incident"
)

// TestShipped plays every incident of testdata through the shipped rules, routes and templates. Exactly the expected
// notifications must come, in that order, and no other.
func TestShipped(t *testing.T) {
	t.Parallel()
	setup, err := incident.Load("../../..")
	if err != nil {
		t.Fatal(err)
	}
	scripts, err := filepath.Glob("testdata/*.txt")
	if err != nil {
		t.Fatal(err)
	}
	if len(scripts) < 10 {
		t.Fatalf("only %d scripts found", len(scripts))
	}
	for _, script := range scripts {
		name := strings.TrimSuffix(filepath.Base(script), ".txt")
		if name == "healthy" || name == "replicas" { // the fleets that they begin with
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			began := time.Now()
			result := incident.RunFile(t, setup, script, *update)
			t.Logf("%d pages, notifications %v, in %v", result.Pages(), result.Counts(), time.Since(began).Round(time.Millisecond))
			for _, n := range result.Notifications {
				checkText(t, n)
			}
		})
	}
}

// checkText renders a notification as PagerDuty, Slack and e-mail do, and looks for holes.
func checkText(t *testing.T, n incident.Notification) {
	t.Helper()
	for _, name := range []string{"subject", "text", "html", "runbook", "dashboard"} {
		text, err := n.Render(`{{ template "speedybites.` + name + `" . }}`)
		if err != nil {
			t.Errorf("%s: %v", n, err)
		}
		if strings.TrimSpace(text) == "" || strings.Contains(text, "<no value>") || strings.Contains(text, "{{") || strings.Contains(text, "%!") {
			t.Errorf("%s: %s has a hole: %q", n, name, text)
		}
		if name == "subject" && (len(text) > 120 || strings.Contains(text, "\n")) {
			t.Errorf("%s: a subject of %d characters, want at most 120 in one line: %q", n, len(text), text)
		}
	}
}
