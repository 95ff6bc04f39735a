package live_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime/quotedprintable"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"speedybites/internal/localpg"
	"speedybites/internal/monitoring/localstack"
)

// outbox is where PagerDuty, Slack and the mail server would be: it keeps what it is sent, by who would have got it.
type outbox chan [2]string

func (o outbox) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	o <- [2]string{strings.Trim(r.URL.Path, "/"), string(body)}
	w.WriteHeader(http.StatusAccepted)
	_, _ = io.WriteString(w, `{"status":"success","message":"ok","dedup_key":"x"}`)
}

// serveMail is as much of a mail server as one delivery needs.
func (o outbox) serveMail(conn net.Conn) {
	defer func() { _ = conn.Close() }()
	say := func(line string) { _, _ = io.WriteString(conn, line+"\r\n") }
	say("220 localhost")
	for in := bufio.NewReader(conn); ; {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		switch verb, _, _ := strings.Cut(strings.ToUpper(strings.TrimSpace(line)), " "); verb {
		case "DATA":
			say("354 go on")
			var mail strings.Builder
			for line != ".\r\n" {
				if line, err = in.ReadString('\n'); err != nil {
					return
				}
				mail.WriteString(line)
			}
			o <- [2]string{"mail", mail.String()}
			say("250 taken")
		case "QUIT":
			say("221 bye")
			return
		default:
			say("250 ok")
		}
	}
}

// TestReceivers routes to the integrations that are shipped but not routed to, and reads what arrives. Of the shipped file,
// only the names in the routes and the addresses are changed.
func TestReceivers(t *testing.T) {
	t.Parallel()
	box := make(outbox, 100)
	web := httptest.NewServer(box)
	t.Cleanup(web.Close)
	mail, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = mail.Close() })
	go func() {
		for {
			conn, err := mail.Accept()
			if err != nil {
				return
			}
			go box.serveMail(conn)
		}
	}()
	got := map[string]string{}
	for _, round := range []struct{ page, ticket string }{{"page-pagerduty", "ticket-email"}, {"page-slack", "ticket-slack"}} {
		api := startAlertmanager(t, web.URL, mail.Addr().String(),
			"      receiver: page\n", "      receiver: "+round.page+"\n",
			"  receiver: ticket\n", "  receiver: "+round.ticket+"\n",
			"group_wait: 1m", "group_wait: 1s", "group_wait: 8s", "group_wait: 1s")
		postAlerts(t, api)
		for range 2 {
			select {
			case message := <-box:
				got[round.page+" "+message[0]] = message[1]
			case <-time.After(time.Minute):
				t.Fatalf("waited a minute for two messages, got %v", got)
			}
		}
	}
	checkPagerDuty(t, got["page-pagerduty pagerduty/v2/enqueue"])
	checkMail(t, got["page-pagerduty mail"])
	checkSlack(t, got["page-slack slack"])
}

// startAlertmanager starts the real one on the shipped file, with replacements in pairs, and returns its address.
func startAlertmanager(t *testing.T, web, mail string, replacements ...string) string {
	t.Helper()
	root, err := localstack.RepoRoot()
	if err != nil {
		t.Fatal(err)
	}
	programs, err := localstack.Find(t.Context(), localstack.Options{})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	text, err := os.ReadFile(filepath.Join(root, "alerts", "alertmanager.yml"))
	if err != nil {
		t.Fatal(err)
	}
	replacements = append(replacements, "resolve_timeout: 5m", "resolve_timeout: 5m\n  smtp_require_tls: false\n  pagerduty_url: "+web+"/pagerduty/v2/enqueue",
		"smtp.example.com:587", mail)
	for i := 0; i < len(replacements); i += 2 {
		if !bytes.Contains(text, []byte(replacements[i])) {
			t.Fatalf("alertmanager.yml has no %q", replacements[i])
		}
	}
	files := map[string]string{
		"alertmanager.yml":              strings.NewReplacer(replacements...).Replace(string(text)),
		"secrets/pagerduty_routing_key": "a-routing-key", "secrets/slack_api_url": web + "/slack", "secrets/smtp_password": "secret",
	}
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(content), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.CopyFS(filepath.Join(dir, "templates"), os.DirFS(filepath.Join(root, "alerts", "templates"))); err != nil {
		t.Fatal(err)
	}
	port, err := localpg.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	addr := fmt.Sprint("127.0.0.1:", port)
	var output bytes.Buffer
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), programs.Alertmanager, "--config.file=alertmanager.yml", "--storage.path=data",
		"--cluster.listen-address=", "--web.listen-address="+addr, "--web.external-url=http://localhost:9093")
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &output, &output
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		if err := cmd.Wait(); err != nil || t.Failed() {
			t.Logf("alertmanager: %v\n%s", err, output.String())
		}
	})
	eventually(t, time.Minute, "Alertmanager to be ready", func() bool {
		resp, err := http.Get("http://" + addr + "/-/ready")
		if err != nil {
			return false
		}
		_ = resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
	return "http://" + addr
}

// postAlerts sends a page with two instances, and a ticket.
func postAlerts(t *testing.T, api string) {
	t.Helper()
	alert := func(name, severity, component, instance, summary, description string) map[string]any {
		return map[string]any{
			"labels": map[string]string{
				"alertname": name, "severity": severity, "component": component, "job": "speedy-bites", "instance": instance,
			},
			"annotations": map[string]string{
				"summary": summary, "description": description, "runbook_url": "http://localhost:9096/runbooks/" + name,
				"dashboard_url": "http://localhost:3000/d/speedy-bites-resilience?var-instance=" + instance,
			},
		}
	}
	const opened = "Circuit breaker open, requests are refused"
	body, err := json.Marshal([]any{
		alert("SpeedyBitesCircuitBreakerOpen", "page", "database", "api-1:9464", opened, "The primary breaker of api-1:9464 has been open for 6s."),
		alert("SpeedyBitesCircuitBreakerOpen", "page", "database", "api-2:9464", opened, "The primary breaker of api-2:9464 has been open for 9s."),
		alert("SpeedyBitesErrorLogs", "ticket", "logs", "api-3:9464", "ERROR in the log", "api-3:9464 logged <3> records."),
	})
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.Post(api+"/api/v2/alerts", "application/json", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if answer, _ := io.ReadAll(resp.Body); resp.StatusCode != http.StatusOK {
		t.Fatalf("%d %s", resp.StatusCode, answer)
	}
}

// wants reports each text that a message lacks, and each sign of a template that did not work out.
func wants(t *testing.T, what, message string, texts ...string) {
	t.Helper()
	t.Logf("%s:\n%s", what, message)
	for _, text := range texts {
		if !strings.Contains(message, text) {
			t.Errorf("%s has no %q", what, text)
		}
	}
	for _, hole := range []string{"{{", "<no value>", "%!"} {
		if strings.Contains(message, hole) {
			t.Errorf("%s has a hole: %q", what, hole)
		}
	}
}

const pageSubject = "Circuit breaker open, requests are refused (2 alerts)"

func checkPagerDuty(t *testing.T, body string) {
	t.Helper()
	var event struct {
		RoutingKey  string `json:"routing_key"`
		EventAction string `json:"event_action"`
		Payload     struct {
			Summary, Severity, Component, Group, Class string
			CustomDetails                              map[string]any `json:"custom_details"`
		}
		Links []struct{ Href, Text string }
	}
	if err := json.Unmarshal([]byte(body), &event); err != nil {
		t.Fatalf("%v in %q", err, body)
	}
	p := event.Payload
	if event.RoutingKey != "a-routing-key" || event.EventAction != "trigger" || p.Summary != pageSubject || p.Severity != "critical" ||
		p.Component != "database" || p.Group != "speedy-bites" || p.Class != "SpeedyBitesCircuitBreakerOpen" || len(event.Links) != 2 {
		t.Errorf("PagerDuty: got %+v", event)
	}
	wants(t, "PagerDuty's text", fmt.Sprint(p.CustomDetails["text"]), "of api-1:9464 has been open for 6s", "of api-2:9464", "Since ",
		"Runbook: http://localhost:9096/runbooks/SpeedyBitesCircuitBreakerOpen", "Silence: http://localhost:9093/#/alerts")
}

func checkSlack(t *testing.T, body string) {
	t.Helper()
	var message struct {
		Channel     string
		Attachments []struct{ Title, Text, Color, Fallback string }
	}
	if err := json.Unmarshal([]byte(body), &message); err != nil || len(message.Attachments) != 1 {
		t.Fatalf("%v in %q", err, body)
	}
	a := message.Attachments[0]
	if message.Channel != "#speedy-bites" || a.Color != "danger" || (a.Title != pageSubject && !strings.HasPrefix(a.Title, "ERROR in the log")) {
		t.Errorf("Slack: got %+v", message)
	}
	wants(t, "Slack's text", a.Text, "Runbook: ", "Dashboard: ", "Since ")
}

func checkMail(t *testing.T, text string) {
	t.Helper()
	plain, err := io.ReadAll(quotedprintable.NewReader(strings.NewReader(text)))
	if err != nil {
		t.Logf("not all of the mail is quoted-printable: %v", err) // its boundaries are not
	}
	wants(t, "the mail", string(plain), "Subject: ERROR in the log (api-3:9464)", "To: on-call@example.com",
		"api-3:9464 logged <3> records.", "api-3:9464 logged &lt;3&gt; records.", ">Runbook</a>")
}
