package app_test

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/uuid"

	"speedybites/internal/pgtest"
	"speedybites/observability/otlptest"
)

// secrets are texts that must be nowhere, by what they are.
type secrets map[string]string

// check reports every secret in the text, also encoded.
func (s secrets) check(t *testing.T, where, text string) {
	t.Helper()
	for what, secret := range s {
		for _, form := range []string{secret, url.QueryEscape(secret), base64.StdEncoding.EncodeToString([]byte(secret))} {
			if i := strings.Index(text, form); i >= 0 {
				t.Errorf("%s has the %s: …%s…", where, what, text[max(0, i-80):min(len(text), i+len(form)+20)])
			}
		}
	}
}

// TestNoSecretsAnywhere uses secrets rightly and wrongly, in peace and in an outage, and looks for them in everything
// that is told.
func TestNoSecretsAnywhere(t *testing.T) {
	pgtest.Slow(t)
	t.Parallel()
	mark := func(what string) string { return what + "-" + uuid.NewString() }
	hidden := secrets{
		"token secret": mark("signing"), "user's password": mark("password"), "wrong password": mark("wrong"),
		"short password": "Xq7#kz", "false token": mark("bearer"), "basic credentials": mark("basic"), "collector's key": mark("collector"),
		"wrong database password": mark("database"), "password in a query": mark("query"),
	}
	receiver := otlptest.Start(t)
	server := pgtest.Server(t)
	right, err := url.Parse(server.URL())
	if err != nil {
		t.Fatal(err)
	}
	if password, ok := right.User.Password(); ok {
		hidden["database password"] = password
	} else {
		t.Error("the database has no password")
	}
	env := append(httpTo(receiver), "TOKEN_SECRET="+hidden["token secret"], "LOG_LEVEL=debug", "DB_OUTAGE_GRACE_MS=500",
		"OTEL_EXPORTER_OTLP_HEADERS=authorization="+hidden["collector's key"],
		"OTEL_RESOURCE_ATTRIBUTES=api.token="+hidden["collector's key"])
	s := observe(t, server.URL(), env...)
	s.withDemo()
	told := func(a answer) { hidden.check(t, "an answer", a.body+fmt.Sprint(a.header)) }

	const email = "secretive@example.com"
	post := func(path string, body any, header ...string) answer { return s.call("POST", path, body, header...) }
	account := map[string]any{"email": email, "password": hidden["user's password"], "name": "Customer"}
	registered := post("/api/auth/register", account)
	var session struct{ Token string }
	registered.decode(t, &session)
	told(registered)
	hidden["bearer token"] = session.Token
	if registered.status != http.StatusCreated || session.Token == "" {
		t.Fatalf("register: %d", registered.status)
	}
	auth := []string{"Authorization", "Bearer " + session.Token}
	everything := func() {
		t.Helper()
		told(post("/api/auth/register", account)) // taken
		told(post("/api/auth/register", map[string]any{"email": "no address", "password": hidden["short password"], "name": ""}))
		told(post("/api/auth/login", map[string]any{"email": email, "password": hidden["wrong password"]}))
		told(post("/api/auth/login", map[string]any{"email": email, "password": []string{hidden["wrong password"]}}))
		told(post("/api/auth/login", hidden["wrong password"]))
		told(post("/api/auth/login?password="+hidden["password in a query"], map[string]any{hidden["wrong password"] + "\x00": 1}))
		told(post("/api/orders", demoOrder("secretive"), auth...))
		told(post("/api/orders", map[string]any{"restaurantId": 1}, auth...))
		told(post("/api/orders", demoOrder("x"), "Authorization", "Bearer "+hidden["false token"]))
		told(post("/api/orders", demoOrder("x"), "Authorization", auth[1]+"x"))
		told(post("/api/orders", demoOrder("x"), "Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte("u:"+hidden["basic credentials"]))))
		told(post("/api/orders", demoOrder("x"), "Authorization", hidden["basic credentials"]))
		told(s.call("GET", "/api/orders?token="+hidden["password in a query"], nil, auth...))
		told(s.call("GET", "/nowhere?token="+hidden["password in a query"], nil, auth...))
		for _, path := range []string{"/api/health", "/readyz", "/livez", "/metrics"} {
			told(s.call("GET", path, nil, auth...))
		}
	}
	everything()
	receiver.Set(otlptest.Refuse) // its failure is told as well
	everything()
	if err := server.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	everything()
	everything()
	receiver.Set(otlptest.Accept)
	if err := server.StartAgain(t.Context()); err != nil {
		t.Error(err)
	}
	eventually(t, "the database to be back", func() bool {
		return post("/api/auth/login", map[string]any{"email": email, "password": hidden["wrong password"]}).status == http.StatusUnauthorized
	})
	everything()

	wrong := *right
	wrong.User = url.UserPassword(right.User.Username(), hidden["wrong database password"])
	locked := observe(t, wrong.String(), env...)
	eventually(t, "the wrong password to be noticed", func() bool {
		h, _ := locked.health()
		return h.Database.Status == "Authentication failed"
	})
	for _, path := range []string{"/api/health", "/api/restaurants", "/readyz", "/metrics"} {
		told(locked.call("GET", path, nil))
	}
	for name, o := range map[string]*observed{"service": s, "locked-out service": locked} {
		if err := o.stop(); err != nil {
			t.Error(err)
		}
		hidden.check(t, name+": stderr", o.stderr.String())
		files, err := filepath.Glob(o.logs + "/*")
		if err != nil || len(files) < 3 {
			t.Errorf("log files: %v, %v", files, err)
		}
		for _, file := range files {
			hidden.check(t, name+": "+filepath.Base(file), o.log(t, filepath.Base(file)))
		}
	}
	spans := receiver.Spans()
	for _, span := range spans {
		hidden.check(t, "span "+span.Name, fmt.Sprint(span.Span, span.Resource))
	}
	if len(spans) < 50 || len(s.log(t, "app.log")) < 1000 {
		t.Errorf("%d spans and %d bytes of app.log: too little to have been looked at", len(spans), len(s.log(t, "app.log")))
	}
}
