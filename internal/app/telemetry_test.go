package app_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	tracev1 "go.opentelemetry.io/proto/otlp/trace/v1"

	"speedybites/internal/audit/chain"
	"speedybites/internal/pgtest"
	"speedybites/observability/otlptest"
)

// TestOutageIsVisible kills the database under load, with requests in flight, and brings it back three seconds later.
func TestOutageIsVisible(t *testing.T) {
	pgtest.Slow(t)
	t.Parallel()
	for name, sampler := range map[string][]string{
		"Sampled":    nil,
		"NotSampled": {"OTEL_TRACES_SAMPLER=parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG=0"},
	} {
		if testing.Short() && sampler == nil {
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			receiver := otlptest.Start(t)
			server := pgtest.Server(t)
			s := observe(t, server.URL(), append(grpcTo(receiver), sampler...)...)
			s.withDemo()
			healthy := s.call("GET", "/api/restaurants", nil)
			var bridged answer
			ledger := underLoad(t, s.service, 50, func() {
				// These are in flight when the server dies, so they fail before anybody knows of the outage.
				conn := connect(t, server.AdminURL(""))
				if _, err := conn.Exec(t.Context(), "begin; lock table restaurants in access exclusive mode"); err != nil {
					t.Error(err)
				}
				time.Sleep(300 * time.Millisecond)
				killed := time.Now()
				if err := server.Kill(t.Context()); err != nil {
					t.Error(err)
				}
				waited := make(chan answer, 1)
				time.AfterFunc(time.Second, func() { waited <- s.call("GET", "/api/restaurants", nil) })
				time.Sleep(time.Until(killed.Add(3 * time.Second)))
				if err := server.StartAgain(t.Context()); err != nil {
					t.Error(err)
				}
				bridged = <-waited
			})
			settle(t, server, ledger)
			metrics := s.scrape()
			if err := s.stop(); err != nil {
				t.Error(err)
			}
			traces := families(receiver.Spans())
			checkBridged(t, traces, metrics)
			if bridged.status != http.StatusOK || len(traces[bridged.header.Get("X-Trace-Id")]) == 0 {
				t.Errorf("a bridged request: %d, its trace %q was not exported", bridged.status, bridged.header.Get("X-Trace-Id"))
			}
			id := healthy.header.Get("X-Trace-Id")
			if exported := len(traces[id]) > 0; id == "" || exported != (sampler == nil) {
				t.Errorf("the trace %q of a healthy request was exported: %v", id, exported)
			}
			if sampler != nil {
				checkOnlyOutage(t, traces)
			}
		})
	}
}

// checkBridged checks every trace of a request that was parked, and counts what happened to all of them.
func checkBridged(t *testing.T, traces map[string]family, metrics scraped) {
	t.Helper()
	var parked, unparked, backoffs, backoffAndParked, roots int
	for id, trace := range traces {
		for _, s := range trace {
			for _, d := range eventsNamed(s, "backoff") {
				backoffs++
				if d <= 0 {
					t.Errorf("trace %s: backoff without a duration", id)
				}
			}
			if len(eventsNamed(s, "parked")) == 0 {
				continue
			}
			parked += len(eventsNamed(s, "parked"))
			for _, d := range eventsNamed(s, "unparked") {
				unparked++
				if d < 0 {
					t.Errorf("trace %s: unparked without a duration", id)
				}
			}
			if len(eventsNamed(s, "backoff")) > 0 {
				backoffAndParked++
			}
			if checkBridgedCall(t, id, trace, s) {
				roots++
			}
		}
	}
	t.Logf("%d traces, %d times parked in %d requests, %d backoffs, %d calls with both", len(traces), parked, roots, backoffs, backoffAndParked)
	if roots < 50 || backoffAndParked == 0 {
		t.Errorf("%d requests were bridged, %d after a backoff, want at least 50 and some", roots, backoffAndParked)
	}
	if want := metrics.sum(t, "speedybites_db_bridged_total"); float64(unparked) != want || parked != unparked {
		t.Errorf("parked %d, unparked %d times in the traces, %v in the metrics", parked, unparked, want)
	}
	if want := metrics.sum(t, "speedybites_db_retry_backoff_seconds_count"); float64(backoffs) != want {
		t.Errorf("%d backoffs in the traces, %v in the metrics", backoffs, want)
	}
	if dropped := metrics.sum(t, "speedybites_telemetry_spans_dropped_total"); dropped != 0 {
		t.Errorf("%v spans were dropped", dropped)
	}
}

// checkBridgedCall checks the span of a call that was parked, and what is above and below it.
func checkBridgedCall(t *testing.T, id string, trace family, call otlptest.Span) (ofRequest bool) {
	t.Helper()
	root, ok := trace.server()
	if !ok {
		return false // a background loop's
	}
	if !bytes.Equal(call.ParentSpanId, root.SpanId) || call.Attr("db.query.summary") != call.Name || !strings.Contains(call.Name, ".") {
		t.Errorf("trace %s: the call %q is not below %q, or not named like its query %q", id, call.Name, root.Name, call.Attr("db.query.summary"))
	}
	if !isTrue(call, "speedybites.outage") {
		t.Errorf("trace %s: %s has no speedybites.outage", id, call.Name)
	}
	attempts := trace.below(call).named("attempt")
	if want := fmt.Sprintf("int_value:%d", len(attempts)); len(attempts) < 2 || call.Attr("speedybites.attempts") != want {
		t.Errorf("trace %s: %d attempts, want at least 2 and %s", id, len(attempts), call.Attr("speedybites.attempts"))
		return true
	}
	slices.SortFunc(attempts, func(a, b otlptest.Span) int { return int(a.StartTimeUnixNano) - int(b.StartTimeUnixNano) })
	first, last := attempts[0], attempts[len(attempts)-1]
	if first.Status.GetCode() != tracev1.Status_STATUS_CODE_ERROR || last.Status.GetCode() == tracev1.Status_STATUS_CODE_ERROR {
		t.Errorf("trace %s: the first attempt ended with %v, the last with %v, want an error and none", id, first.Status, last.Status)
	}
	if len(trace.below(last)) == 0 {
		t.Errorf("trace %s: no statement below the last attempt of %s", id, call.Name)
	}
	if root.Status.GetCode() == tracev1.Status_STATUS_CODE_ERROR {
		t.Errorf("trace %s: the bridged request %s is an error", id, root.Name)
	}
	return true
}

// checkOnlyOutage checks that nothing was exported that has nothing to do with an outage or an error.
func checkOnlyOutage(t *testing.T, traces map[string]family) {
	t.Helper()
	for id, trace := range traces {
		if !slices.ContainsFunc(trace, func(s otlptest.Span) bool {
			return isTrue(s, "speedybites.outage") || s.Status.GetCode() == tracev1.Status_STATUS_CODE_ERROR
		}) {
			t.Errorf("the healthy trace %s was exported: %d spans, one is %s", id, len(trace), trace[0].Name)
		}
	}
}

// TestTransitionsHaveOneID has the breaker open and close, and looks for each transition's id in all that is told of it.
func TestTransitionsHaveOneID(t *testing.T) {
	pgtest.Slow(t)
	t.Parallel()
	receiver := otlptest.Start(t)
	server := pgtest.Server(t)
	s := observe(t, server.URL(), append(httpTo(receiver), "DB_OUTAGE_GRACE_MS=0")...)
	s.withDemo()
	if err := server.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the breaker to open", func() bool {
		s.call("GET", "/api/restaurants", nil)
		h, _ := s.health()
		return h.CircuitBreaker.State == "OPEN"
	})
	if err := server.StartAgain(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the breaker to close", func() bool {
		h, _ := s.health()
		return h.CircuitBreaker.State == "CLOSED"
	})
	eventually(t, "a success", func() bool { return s.call("GET", "/api/restaurants", nil).status == http.StatusOK })
	metrics := s.scrape()
	if err := s.stop(); err != nil {
		t.Error(err)
	}
	spans := family(receiver.Spans())
	transitions := spans.named("circuit_breaker.transition")
	if len(transitions) != 3 {
		t.Errorf("got %d spans of transitions, want 3", len(transitions))
	}
	for _, want := range []struct{ from, to, before, after string }{
		{"closed", "open", "CLOSED", "OPEN"}, {"open", "half_open", "OPEN", "HALF_OPEN"}, {"half_open", "closed", "HALF_OPEN", "CLOSED"},
	} {
		found := metrics.with("speedybites_circuit_breaker_transitions_total", "from", want.from, "to", want.to)
		if len(found) != 1 || found[0].value != 1 || found[0].exemplar["transition_id"] == "" {
			t.Errorf("%s→%s: got %+v, want 1 with an exemplar", want.before, want.after, found)
			continue
		}
		id := found[0].exemplar["transition_id"]
		i := slices.IndexFunc(transitions, func(s otlptest.Span) bool { return s.Attr("speedybites.transition_id") == id })
		if i < 0 {
			t.Errorf("%s→%s: no span has the id %s", want.before, want.after, id)
			continue
		}
		span := transitions[i]
		if span.Attr("speedybites.breaker.to") != want.to || hex.EncodeToString(span.TraceId) != found[0].exemplar["trace_id"] {
			t.Errorf("%s→%s: the span is to %s, of trace %x, the exemplar of %s", want.before, want.after,
				span.Attr("speedybites.breaker.to"), span.TraceId, found[0].exemplar["trace_id"])
		}
		if want.to == "open" {
			checkCause(t, spans, span)
		}
		line := lineWith(t, s.log(t, "app.log"), "transition_id", id)
		if line["msg"] != "circuit breaker "+want.after || line["from"] != want.before || line["to"] != want.after ||
			line["traceId"] != hex.EncodeToString(span.TraceId) {
			t.Errorf("%s→%s: log line %v", want.before, want.after, line)
		}
		entry := lineWith(t, s.log(t, "audit.log"), "auditId", id)
		if got := fmt.Sprint(entry["action"], entry["before"], entry["after"]); !strings.Contains(got, want.before) || !strings.Contains(got, want.after) {
			t.Errorf("%s→%s: audit entry %v", want.before, want.after, entry)
		}
	}
	verifyAudit(t, s)
}

// checkCause checks that the span of an opening is linked to the query that caused it.
func checkCause(t *testing.T, spans family, transition otlptest.Span) {
	t.Helper()
	if len(transition.Links) != 1 {
		t.Errorf("the opening has %d links, want 1", len(transition.Links))
		return
	}
	link := transition.Links[0]
	i := slices.IndexFunc(spans, func(s otlptest.Span) bool {
		return bytes.Equal(s.SpanId, link.SpanId) && bytes.Equal(s.TraceId, link.TraceId)
	})
	if i < 0 || spans[i].Name != "catalog.restaurants" || spans[i].Status.GetCode() != tracev1.Status_STATUS_CODE_ERROR {
		t.Errorf("the opening is linked to %x of %x, which is not the failed query", link.SpanId, link.TraceId)
	}
}

// lineWith returns the one line whose key has the value.
func lineWith(t *testing.T, text, key, value string) map[string]any {
	t.Helper()
	var found []map[string]any
	for line := range strings.Lines(text) {
		var m map[string]any
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			t.Errorf("%v in %s", err, line)
		}
		if m[key] == value {
			found = append(found, m)
		}
	}
	if len(found) != 1 {
		t.Errorf("%d lines have %s %s, want 1", len(found), key, value)
		return nil
	}
	return found[0]
}

func verifyAudit(t *testing.T, s *observed) {
	t.Helper()
	report, err := chain.Verify(t.Context(), s.logs+"/audit.log", chain.Options{})
	if err != nil || report.Break != nil || report.Lines == 0 {
		t.Errorf("audit.log: %d lines, broken %v, error %v", report.Lines, report.Break, err)
	}
}

// TestClientsMistakesAreNoErrors sends wrong requests, and one that its client abandons. None may be an error in a span
// or a metric.
func TestClientsMistakesAreNoErrors(t *testing.T) {
	t.Parallel()
	receiver := otlptest.Start(t)
	server := pgtest.Server(t)
	s := observe(t, server.URL(), grpcTo(receiver)...)
	s.withDemo()
	wrong := map[string]int{} // statuses by trace
	for path, status := range map[string]int{
		"/api/restaurants/nonsense": 0, "/api/restaurants?limit=-1": 0, "/api/orders": 401, "/nowhere": 404,
		"/api/restaurants/00000000-0000-7000-8000-000000000000": 404,
	} {
		a := s.call("GET", path, nil)
		if a.status < 400 || a.status > 499 || status != 0 && a.status != status {
			t.Errorf("%s: %d", path, a.status)
		}
		wrong[a.header.Get("X-Trace-Id")] = a.status
	}
	register := map[string]any{"email": "taken@example.com", "password": "correct horse", "name": "Customer"}
	s.call("POST", "/api/auth/register", register)
	taken := s.call("POST", "/api/auth/register", register)
	if taken.status != http.StatusConflict {
		t.Errorf("a taken address: %d %s", taken.status, taken.body)
	}
	wrong[taken.header.Get("X-Trace-Id")] = taken.status

	const abandoned = "0af7651916cd43dd8448eb211c80319c"
	conn := connect(t, server.AdminURL(""))
	if _, err := conn.Exec(t.Context(), "begin; lock table restaurants in access exclusive mode"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := call(ctx, "GET", s.base+"/api/restaurants", nil, "Traceparent", "00-"+abandoned+"-b7ad6b7169203331-01")
		done <- err
	}()
	eventually(t, "the query to wait for its lock", func() bool { h, _ := s.health(); return h.Database.ActiveConnections == 1 })
	cancel()
	if err := <-done; err == nil {
		t.Error("the abandoned request was answered")
	}
	gone := func() scraped {
		return s.scrape().with("http_server_request_duration_seconds_count", "http_response_status_code", "499", "error_type", "")
	}
	eventually(t, "the abandoned request to end", func() bool { m := gone(); return len(m) == 1 && m[0].value == 1 })
	if _, err := conn.Exec(t.Context(), "rollback"); err != nil {
		t.Fatal(err)
	}
	metrics := s.scrape()
	for _, v := range metrics.with("http_server_request_duration_seconds_count") {
		if v.value > 0 && (v.labels["error_type"] != "" || v.labels["http_response_status_code"] >= "5") {
			t.Errorf("counted as an error: %v", v)
		}
	}
	if n := metrics.sum(t, "speedybites_db_calls_total", "db_query_summary", "catalog.restaurants", "result", "abandoned"); n != 1 {
		t.Errorf("%v abandoned calls, want 1", n)
	}
	if err := s.stop(); err != nil {
		t.Error(err)
	}
	wrong[abandoned] = 499
	traces := families(receiver.Spans())
	for id, status := range wrong {
		if _, ok := traces[id].server(); !ok {
			t.Errorf("the trace %q of a %d was not exported", id, status)
		}
		for _, span := range traces[id] {
			if span.Status.GetCode() == tracev1.Status_STATUS_CODE_ERROR || span.Attr("error.type") != "" {
				t.Errorf("%d: the span %q is an error: %v %s", status, span.Name, span.Status, span.Attr("error.type"))
			}
		}
	}
}
