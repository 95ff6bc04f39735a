package app_test

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// counts are the counters of the service that the matrix looks at, by name and labels as /metrics has them.
type counts map[string]float64

// movement is what the service has counted in a case.
type movement struct {
	calls, attempts map[string]int // of the operation's query, by result and by error type
	retries         map[string]int
	bridged         map[string]int
	doubts          int
	opened          int // times that the breaker opened
	logins          int // of the prober
	others          int // attempts of other queries that failed
}

// looked are the beginnings of the names that are looked at.
var looked = []string{"speedybites_db_", "speedybites_circuit_breaker_transitions_total"}

func (s *stage) counts(t *testing.T) counts {
	t.Helper()
	a := s.call("GET", "/metrics", nil, "Accept-Encoding", "identity")
	if a.status != http.StatusOK {
		t.Fatalf("metrics: %d %s", a.status, a.body)
	}
	c := counts{}
	for line := range strings.Lines(a.body) {
		if !slices.ContainsFunc(looked, func(prefix string) bool { return strings.HasPrefix(line, prefix) }) {
			continue
		}
		end := strings.LastIndexByte(line, ' ')
		value, err := strconv.ParseFloat(strings.TrimSpace(line[end+1:]), 64)
		if err != nil {
			t.Fatalf("%v in %s", err, line)
		}
		c[line[:end]] = value
	}
	if len(c) < 100 {
		t.Fatalf("only %d series in %s", len(c), a.body)
	}
	return c
}

// counted waits for n calls of the operation to be accounted for, and returns what has moved since.
func (s *stage) counted(t *testing.T, before counts, op operation, n int) movement {
	t.Helper()
	eventually(t, "the calls to be counted", func() bool {
		m := s.counts(t).since(before, op)
		return sum(m.calls) >= n
	})
	return s.counts(t).since(before, op) // a scrape is not of one moment
}

func (now counts) since(before counts, op operation) movement {
	m := movement{calls: map[string]int{}, attempts: map[string]int{}, retries: map[string]int{}, bridged: map[string]int{}}
	for series, value := range now {
		if d := int(value - before[series]); d != 0 {
			name, labels, _ := strings.Cut(series, "{")
			m.add(name, pairs(labels), op.summary(), d)
		}
	}
	return m
}

func (m *movement) add(name string, labels map[string]string, query string, d int) {
	mine := labels["db_query_summary"] == query
	switch name {
	case "speedybites_db_calls_total":
		if mine {
			m.calls[labels["result"]] += d
		}
	case "speedybites_db_attempts_total":
		if mine {
			m.attempts[labels["error_type"]] += d
		} else if labels["error_type"] != "" {
			m.others += d
		}
	case "speedybites_db_retries_total":
		m.retries[labels["reason"]] += d
	case "speedybites_db_bridged_total":
		m.bridged[labels["outcome"]] += d
	case "speedybites_db_commits_in_doubt_total":
		m.doubts += d
	case "speedybites_db_dials_total":
		if labels["purpose"] == "prober" && labels["outcome"] == "ok" {
			m.logins += d
		}
	case "speedybites_circuit_breaker_transitions_total":
		if labels["to"] == "open" {
			m.opened += d
		}
	}
}

func sum(m map[string]int) (total int) {
	for _, n := range m {
		total += n
	}
	return total
}

// check holds what has happened against the row.
func (c *matrixCase) check(t *testing.T, requests []*request, m movement, h health) {
	t.Helper()
	w, slack := c.row.want, machineSlack
	if c.load {
		slack = loadSlack
	}
	for _, r := range requests {
		if limit := w.wait.limit + slack; r.took > limit {
			t.Errorf("%s took %v, want %v at most", r.mark, r.took, limit)
		}
	}
	if !c.load {
		c.checkOne(t, requests[0], m, h)
		return
	}
	if opens := w.failures > 0; m.opened > 0 != opens {
		t.Errorf("the breaker opened %d times, want it to: %v", m.opened, opens)
	}
	if c.passing() {
		c.checkSome(t, requests, m)
		return
	}
	c.checkAll(t, requests, m)
}

// checkOne is for a request alone.
func (c *matrixCase) checkOne(t *testing.T, r *request, m movement, h health) {
	t.Helper()
	w := c.row.want
	if got := r.verdict(); got != w.answer {
		t.Errorf("answer: got %s (%v), want %s", got, r.err, w.answer)
	}
	c.stage.check(t, r, w.stored)
	if m.calls[w.call] != 1 || sum(m.calls) != 1 {
		t.Errorf("calls: got %v, want 1 %s", m.calls, w.call)
	}
	attempts, failing := sum(m.attempts), m.attempts[w.errors]
	if w.errors == "" {
		failing = 0
	}
	if w.attempts > 0 && attempts != w.attempts || w.bridged == "resumed" && attempts < 2 || w.call == "refused_breaker" && attempts > 0 {
		t.Errorf("attempts: got %v, want %d", m.attempts, w.attempts)
	}
	if succeeded := m.attempts[""]; failing+succeeded != attempts || w.answer == getsSuccess && succeeded != 1 || w.errors != "" && failing == 0 {
		t.Errorf("attempts: got %v, want the failing ones to be of %q", m.attempts, w.errors)
	}
	switch {
	case w.retries != "" && (m.retries[w.retries] != w.attempts-1 || sum(m.retries) != w.attempts-1):
		t.Errorf("retries: got %v, want %d %s", m.retries, w.attempts-1, w.retries)
	case w.retries == "" && w.bridged == "" && sum(m.retries) > 0:
		t.Errorf("retries: got %v, want none", m.retries)
	}
	least, most := w.doubts, w.doubts
	if w.doubts == ifSent {
		least, most = 0, 1
		if c.op == opWrite {
			least = 1
		}
	}
	if m.doubts < least || m.doubts > most+1 { // a background loop of the service may have been hit as well
		t.Errorf("commits in doubt: got %d, want %d to %d", m.doubts, least, most)
	}
	c.checkBridged(t, m)
	if got := h.CircuitBreaker; m.opened > 0 || got.FailureCount != w.failures && w.call != "refused_breaker" {
		t.Errorf("breaker: opened %d times, %+v, want %d failures", m.opened, got, w.failures)
	}
}

// checkSome is for load of which a fault hits some: each of those is what one alone would be, the others do not notice.
func (c *matrixCase) checkSome(t *testing.T, requests []*request, m movement) {
	t.Helper()
	w := c.row.want
	hits := c.struck() // of which a background loop may have got some
	if w.errors != "" {
		hits = max(min(hits, m.attempts[w.errors]), hits-m.others)
	}
	if hits < 2 {
		t.Errorf("only %d requests were hit", hits)
	}
	got := map[verdict]int{}
	for _, r := range requests {
		v := r.verdict()
		got[v]++
		want := once
		if v != getsSuccess {
			want = w.stored
		}
		c.stage.check(t, r, want)
	}
	failing := 0
	if w.answer != getsSuccess {
		failing = hits
	}
	if failing > 0 && got[w.answer] != failing || got[getsSuccess] != len(requests)-failing {
		t.Errorf("answers: got %v, %d were hit, want %s for them", got, hits, w.answer)
	}
	if sum(m.calls) != len(requests) {
		t.Errorf("calls: got %v, want %d", m.calls, len(requests))
	}
	// At least: on a busy machine a request may lose its connection once more, and be bridged for it.
	again := hits * (w.attempts - 1)
	if w.errors != "" && m.attempts[w.errors] < hits || sum(m.attempts) < len(requests)+again {
		t.Errorf("attempts: got %v, want %d with %s and %d in all", m.attempts, hits, w.errors, len(requests)+again)
	}
	if m.retries[w.retries]+m.bridged["resumed"] < again {
		t.Errorf("retries: got %v, bridged %v, want %d %s", m.retries, m.bridged, again, w.retries)
	}
	if m.doubts < hits*w.doubts {
		t.Errorf("commits in doubt: got %d, want %d", m.doubts, hits*w.doubts)
	}
}

// checkBridged looks at who waited. Before a request fails for good, it also waits for the prober's word that the server is
// there, or not.
func (c *matrixCase) checkBridged(t *testing.T, m movement) {
	t.Helper()
	w := c.row.want
	allowed := w.bridged
	if w.failures > 0 {
		allowed = "gave_up"
	}
	if w.bridged != "" && m.bridged[w.bridged] == 0 || sum(m.bridged) != m.bridged[allowed] {
		t.Errorf("bridged: got %v, want %s", m.bridged, w.bridged)
	}
}

// checkAll is for load that is all under the same fault.
func (c *matrixCase) checkAll(t *testing.T, requests []*request, m movement) {
	t.Helper()
	w := c.row.want
	for _, r := range requests {
		if got := r.verdict(); got != w.answer {
			t.Errorf("answer of %s: got %s (%v) after %v, want %s", r.mark, got, r.err, r.took, w.answer)
		}
		want := w.stored
		if want == once && w.answer != getsSuccess {
			want = c.storedIfBegun(t, r)
		}
		c.stage.check(t, r, want)
	}
	results := map[string]bool{w.call: true}
	switch {
	case w.answer == getsNothing:
		results["abandoned"] = true
	case w.answer == getsSuccess:
		results["success_first"] = true
	case w.failures > 0: // and in HALF_OPEN, one query decides with one attempt
		results["refused_breaker"], results["failed_no_retry"] = true, true
	}
	for result := range m.calls {
		if !results[result] || m.calls[w.call] == 0 || sum(m.calls) != len(requests) {
			t.Errorf("calls: got %v, want %d %s", m.calls, len(requests), w.call)
		}
	}
	for kind, n := range m.attempts {
		if kind != w.errors && kind != "" && w.answer != getsNothing {
			t.Errorf("attempts: got %d with %q, want %q", n, kind, w.errors)
		}
	}
	c.checkBridged(t, m)
}

// storedIfBegun is what is stored of a request whose COMMIT takes effect although the client is not told: it is there, unless
// the breaker refused it or the client left before that.
func (c *matrixCase) storedIfBegun(t *testing.T, r *request) stored {
	t.Helper()
	if r.op == opRead || len(c.stage.ids(t, bareRowsOf[r.op], r.mark)) == 0 {
		return none
	}
	return once
}
