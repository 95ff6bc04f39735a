package receiver_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/fstest"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"speedybites/observability/stack/receiver"
)

// body is a notification as Alertmanager sends it, with a field that is not known here.
func body(status string, alerts ...string) string {
	var list []string
	for _, name := range alerts {
		list = append(list, fmt.Sprintf(`{"status": %q, "labels": {"alertname": %q, "instance": "api-1:9464", "severity": "page"},
			"annotations": {"summary": %q, "description": "a <b>long</b> text", "runbook_url": %q,
			"dashboard_url": "http://localhost/d/x"}, "startsAt": "2026-01-02T03:04:05Z", "endsAt": "0001-01-01T00:00:00Z",
			"generatorURL": "javascript:alert(1)", "fingerprint": "f1"}`, status, name, name+" happened", "http://localhost/runbooks/"+name))
	}
	return fmt.Sprintf(`{"version": "4", "groupKey": "{}", "truncatedAlerts": 2, "status": %q, "receiver": "page", "new": {},
		"groupLabels": {}, "commonLabels": {}, "commonAnnotations": {}, "externalURL": "http://localhost:9093", "alerts": [%s]}`,
		status, strings.Join(list, ","))
}

func post(h http.Handler, path, body string) *httptest.ResponseRecorder {
	req := httptest.NewRequest(http.MethodPost, path, strings.NewReader(body))
	req.Header.Set("Content-Type", "application/json")
	answer := httptest.NewRecorder()
	h.ServeHTTP(answer, req)
	return answer
}

func get(h http.Handler, path string) *httptest.ResponseRecorder {
	answer := httptest.NewRecorder()
	h.ServeHTTP(answer, httptest.NewRequest(http.MethodGet, path, http.NoBody))
	return answer
}

func send(t *testing.T, h http.Handler, path, body string) {
	t.Helper()
	if answer := post(h, path, body); answer.Code != http.StatusNoContent {
		t.Fatalf("POST %s: got %d %s, want 204", path, answer.Code, answer.Body)
	}
}

func TestTake(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	r := receiver.New(receiver.Config{Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))})
	for i, channel := range receiver.Channels() {
		send(t, r, "/"+channel, body("firing", "One", "Two\nlevel=ERROR", "One"))
		got := r.Notifications()
		if len(got) != i+1 || got[0].Number != i+1 || got[0].Channel != channel {
			t.Fatalf("after %d notifications got %+v", i+1, got)
		}
	}
	n := r.Notifications()[0]
	if n.Receiver != "page" || n.Status != "firing" || n.TruncatedAlerts != 2 || time.Since(n.Received) > time.Minute {
		t.Errorf("got %+v", n)
	}
	if diff := cmp.Diff([]string{"One", "Two\nlevel=ERROR"}, n.Names()); diff != "" {
		t.Errorf("names (-want +got):\n%s", diff)
	}
	if a := n.Alerts[0]; a.Fingerprint != "f1" || a.Annotations["summary"] != "One happened" || a.StartsAt.Year() != 2026 {
		t.Errorf("got alert %+v", a)
	}
	lines := strings.Split(strings.TrimSpace(log.String()), "\n")
	if len(lines) != len(receiver.Channels()) {
		t.Errorf("want a line for each notification, got:\n%s", log.String())
	}
	for _, want := range []string{"channel=page", "status=firing", `alerts="One,Two\nlevel=ERROR"`, "One happened"} {
		if !strings.Contains(lines[0], want) {
			t.Errorf("got line %s, want %s in it", lines[0], want)
		}
	}
}

func TestRefuses(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, body string
		status     int
		says       string
	}{
		{"Empty", "", 400, "not the JSON of a notification: EOF"},
		{"NoJSON", "<html>", 400, "not the JSON of a notification"},
		{"Torn", body("firing", "One")[:100], 400, "unexpected EOF"},
		{"WrongType", `{"version": "4", "alerts": "none"}`, 400, "alerts"},
		{"Array", `[]`, 400, "cannot unmarshal array"},
		{"Null", `null`, 400, "version"},
		{"Twice", body("firing", "One") + "{}", 400, "goes on after"},
		{"OtherVersion", strings.Replace(body("firing", "One"), `"4"`, `"5"`, 1), 400, `version is "5"`},
		{"OtherStatus", body("unsure", "One"), 400, `status is "unsure"`},
		{"NoAlerts", body("firing"), 400, "alerts is empty"},
		{"NoName", body("firing", "One", ""), 400, "alert 1 has no label alertname"},
		{"TooLarge", `{"version": "` + strings.Repeat("4", 2<<20), 413, "larger than 1 MiB"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			r := receiver.New(receiver.Config{})
			answer := post(r, "/page", test.body)
			if answer.Code != test.status {
				t.Errorf("got status %d, want %d", answer.Code, test.status)
			}
			var problem struct{ Error string }
			if err := json.Unmarshal(answer.Body.Bytes(), &problem); err != nil || !strings.Contains(problem.Error, test.says) {
				t.Errorf("got %s (%v), want JSON with an error that says %s", answer.Body, err, test.says)
			}
			if got := r.Notifications(); len(got) != 0 {
				t.Errorf("it was kept: %+v", got)
			}
		})
	}
	t.Run("NotSentAsJSON", func(t *testing.T) {
		t.Parallel()
		r := receiver.New(receiver.Config{})
		req := httptest.NewRequest(http.MethodPost, "/page", strings.NewReader(body("firing", "One")))
		req.Header.Set("Content-Type", "text/plain")
		answer := httptest.NewRecorder()
		r.ServeHTTP(answer, req)
		if answer.Code != http.StatusUnsupportedMediaType || len(r.Notifications()) != 0 {
			t.Errorf("got %d and %d notifications, want 415 and none", answer.Code, len(r.Notifications()))
		}
	})
	t.Run("OtherPathsAndMethods", func(t *testing.T) {
		t.Parallel()
		r := receiver.New(receiver.Config{})
		if got := post(r, "/pages", body("firing", "One")).Code; got != http.StatusNotFound {
			t.Errorf("POST /pages: got %d, want 404", got)
		}
		if got := get(r, "/page").Code; got != http.StatusMethodNotAllowed {
			t.Errorf("GET /page: got %d, want 405", got)
		}
	})
}

func TestKeepsTheLatest(t *testing.T) {
	t.Parallel()
	t.Run("ByNumber", func(t *testing.T) {
		t.Parallel()
		r := receiver.New(receiver.Config{})
		send(t, r, "/page", body("firing", "One"))
		for range 501 {
			send(t, r, "/watchdog", body("firing", "Watchdog"))
		}
		got := r.Notifications()
		if len(got) != 501 || got[0].Number != 502 || got[499].Number != 3 || got[500].Channel != "page" {
			t.Errorf("got %d, from %d to %d, the last on %s; want the page and the latest 500 of the Watchdog",
				len(got), got[0].Number, got[len(got)-1].Number, got[len(got)-1].Channel)
		}
	})
	t.Run("BySize", func(t *testing.T) {
		t.Parallel()
		r := receiver.New(receiver.Config{})
		large := body("firing", strings.Repeat("x", 300_000)) // three times in it
		for range 30 {
			send(t, r, "/page", large)
		}
		if got := len(r.Notifications()); got < 10 || got > 18 {
			t.Errorf("got %d, want those of the last 16 MiB", got)
		}
	})
}

func TestJSON(t *testing.T) {
	t.Parallel()
	r := receiver.New(receiver.Config{})
	if got, want := get(r, "/notifications").Body.String(), `"notifications": []`; !strings.Contains(got, want) {
		t.Errorf("got %s, want %s in it", got, want)
	}
	send(t, r, "/watchdog", body("firing", "Watchdog"))
	send(t, r, "/page", body("resolved", "One"))
	var got struct {
		Watchdog      receiver.Watchdog
		Notifications []receiver.Notification
	}
	if err := json.Unmarshal(get(r, "/notifications").Body.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(r.Notifications(), got.Notifications, cmp.Comparer(time.Time.Equal)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if !got.Watchdog.Alive || got.Watchdog.Last.IsZero() {
		t.Errorf("got %+v, want it alive", got.Watchdog)
	}
}

func TestWatchdog(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := receiver.New(receiver.Config{SilentAfter: time.Minute})
		started := time.Now()
		shows := func(alive bool, text string) {
			t.Helper()
			page := get(r, "/").Body.String()
			if got := r.Watchdog().Alive; got != alive || !strings.Contains(page, text) {
				t.Errorf("after %v: alive is %v, want %v, and a page with %q:\n%s", time.Since(started), got, alive, text, page)
			}
		}
		silentSince := func(since time.Time) string { return "SILENT since " + since.UTC().Format("2006-01-02 15:04:05 UTC") }
		shows(false, "not heard of yet")
		time.Sleep(time.Minute)
		shows(false, silentSince(started))
		send(t, r, "/page", body("firing", "One"))
		send(t, r, "/watchdog", body("resolved", "Watchdog"))
		shows(false, silentSince(started))
		send(t, r, "/watchdog", body("firing", "Watchdog"))
		heard := time.Now()
		time.Sleep(59 * time.Second)
		shows(true, "<b>alive</b>, heard 59s ago")
		time.Sleep(time.Second)
		shows(false, silentSince(heard))
		send(t, r, "/watchdog", body("firing", "Watchdog"))
		shows(true, "<b>alive</b>, heard 0s ago")
	})
}

func TestPage(t *testing.T) {
	t.Parallel()
	r := receiver.New(receiver.Config{Runbooks: fstest.MapFS{"One.md": {Data: []byte("# One")}}})
	if got := get(r, "/").Body.String(); !strings.Contains(got, "Nothing was sent yet") {
		t.Errorf("got\n%s", got)
	}
	send(t, r, "/page", body("firing", "One", "Two"))
	send(t, r, "/ticket", body("resolved", "Three<script>"))
	send(t, r, "/watchdog", body("firing", "Watchdog"))
	answer := get(r, "/")
	page := answer.Body.String()
	for _, want := range []string{
		`<meta http-equiv="refresh"`, `name="viewport"`, "prefers-color-scheme: dark",
		"<b>firing</b> page: One, Two", "receiver page, notification 1", "One happened", "(api-1:9464)", "a &lt;b&gt;long&lt;/b&gt; text",
		`href="/runbooks/One"`, `href="http://localhost/runbooks/Two"`, `href="http://localhost/d/x"`,
		"<b>resolved</b> ticket: Three&lt;script&gt;", "and 2 more alerts", "since 2026-01-02 03:04:05 UTC",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the page does not have %s", want)
		}
	}
	for _, unwanted := range []string{"javascript:", "<script", "Watchdog happened"} {
		if strings.Contains(page, unwanted) {
			t.Errorf("the page has %s", unwanted)
		}
	}
	if newest, older := strings.Index(page, "Three"), strings.Index(page, "One"); newest > older {
		t.Error("the newest is not the first")
	}
	if got := answer.Header().Get("Content-Security-Policy"); !strings.Contains(got, "default-src 'none'") {
		t.Errorf("got Content-Security-Policy %q", got)
	}
	for range 100 {
		send(t, r, "/page", body("firing", "One"))
	}
	if page := get(r, "/").Body.String(); strings.Count(page, "<article") != 100 || !strings.Contains(page, "and 2 older ones") {
		t.Errorf("got %d notifications on the page, want 100, and 2 older ones", strings.Count(page, "<article"))
	}
	if t.Failed() {
		t.Log(page)
	}
}

func TestRunbook(t *testing.T) {
	t.Parallel()
	r := receiver.New(receiver.Config{Runbooks: fstest.MapFS{
		"One.md": {Data: []byte("# One\n\n`curl` & <look>")}, "secret": {Data: []byte("hidden")}, "down/Two.md": {Data: []byte("hidden")},
	}})
	for path, want := range map[string]struct {
		status int
		text   string
	}{
		"/runbooks/One":                         {200, "<pre># One\n\n`curl` &amp; &lt;look&gt;</pre>"},
		"/runbooks/Two":                         {404, "There is none with the name Two."},
		"/runbooks/%3Cb%3E":                     {404, "There is none with the name &lt;b&gt;."},
		"/runbooks/..%2Fsecret":                 {404, "No runbook"},
		"/runbooks/down%2FTwo":                  {404, "No runbook"},
		"/runbooks/One.md":                      {404, "No runbook"},
		"/healthz":                              {200, `"status": "ok"`},
		"/runbooks/" + strings.Repeat("a", 200): {404, "No runbook"},
	} {
		answer := get(r, path)
		if answer.Code != want.status || !strings.Contains(answer.Body.String(), want.text) {
			t.Errorf("%s: got %d and\n%s\nwant %d and %s", path, answer.Code, answer.Body, want.status, want.text)
		}
	}
	if got := get(receiver.New(receiver.Config{}), "/runbooks/One").Code; got != http.StatusNotFound {
		t.Errorf("without runbooks: got %d, want 404", got)
	}
}

func TestServe(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	entered, leave := make(chan struct{}), make(chan struct{})
	ended := make(chan error)
	go func() {
		ended <- receiver.Serve(ctx, l, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			close(entered)
			<-leave
			fmt.Fprint(w, "whole")
		}))
	}()
	answered := make(chan string)
	go func() {
		resp, err := http.Get("http://" + l.Addr().String())
		if err != nil {
			answered <- err.Error()
			return
		}
		defer resp.Body.Close()
		var text bytes.Buffer
		_, _ = text.ReadFrom(resp.Body)
		answered <- text.String()
	}()
	<-entered
	stop()
	close(leave)
	if got := <-answered; got != "whole" {
		t.Errorf("the request under way got %q", got)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if conn, err := net.Dial("tcp", l.Addr().String()); err == nil {
		_ = conn.Close()
		t.Error("it still listens")
	}
}
