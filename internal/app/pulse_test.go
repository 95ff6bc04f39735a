package app_test

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"speedybites/internal/pgtest"
)

// pulse measures requests to the service that need no database.
func (s *service) pulse() *pgtest.Yardstick {
	s.t.Helper()
	return pgtest.Measure(s.t, func(ctx context.Context) error {
		_, err := call(ctx, http.MethodGet, s.base+"/livez", nil)
		return err
	})
}

// said returns what the service logged between two moments, for the message of a failure.
func (s *service) said(from, to time.Time) string {
	var b strings.Builder
	for line := range strings.Lines(s.log(s.t, "app.log")) {
		var entry struct{ Time time.Time }
		if json.Unmarshal([]byte(line), &entry) == nil && !entry.Time.Before(from) && !entry.Time.After(to) {
			b.WriteString(line)
		}
	}
	return b.String()
}
