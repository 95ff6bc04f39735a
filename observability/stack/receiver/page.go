package receiver

import (
	"bytes"
	_ "embed"
	"errors"
	"html/template"
	"io"
	"io/fs"
	"net/http"
	"regexp"
	"strings"
	"time"
)

//go:embed page.html
var pageText string

// templates are the page (page.html) and a runbook.
var templates = template.Must(template.New("page").Funcs(template.FuncMap{
	"clock": func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") },
	"since": func(t time.Time) string { return time.Since(t).Round(time.Second).String() },
	"names": func(n Notification) string { return strings.Join(n.Names(), ", ") },
}).Parse(pageText))

// runbookName is what an alert may be called, so that no name leads to another file.
var runbookName = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_-]{0,99}$`)

// mostShown bounds the notifications on the page.
const mostShown = 100

// view is what the page shows.
type view struct {
	Now, Started  time.Time
	Watchdog      Watchdog
	SilentAfter   time.Duration
	Notifications []entry
	// Older is the number of notifications that are kept and not shown.
	Older int
}

type entry struct {
	Notification
	Alerts []shownAlert
}

// shownAlert is an alert with the address of its runbook.
type shownAlert struct {
	Alert
	// Runbook is the one served here if there is one: the page may have been reached by another address than the one
	// in the alert.
	Runbook string
}

// Waiting says that the Watchdog cannot have been heard of yet.
func (v view) Waiting() bool { return v.Watchdog.Last.IsZero() && v.Now.Sub(v.Started) < v.SilentAfter }

// SilentSince is when the Watchdog was last heard of, or when the receiver began to listen.
func (v view) SilentSince() time.Time {
	if v.Watchdog.Last.IsZero() {
		return v.Started
	}
	return v.Watchdog.Last
}

func (r *Receiver) servePage(w http.ResponseWriter, _ *http.Request) {
	v := view{Now: time.Now(), Started: r.started, Watchdog: r.Watchdog(), SilentAfter: r.cfg.SilentAfter}
	for _, n := range r.Notifications() {
		if n.Channel == channelWatchdog {
			continue
		}
		if len(v.Notifications) == mostShown {
			v.Older++
			continue
		}
		e := entry{Notification: n}
		for _, a := range n.Alerts {
			e.Alerts = append(e.Alerts, shownAlert{Alert: a, Runbook: r.runbookURL(a)})
		}
		v.Notifications = append(v.Notifications, e)
	}
	render(w, http.StatusOK, "page", v)
}

func (r *Receiver) runbookURL(a Alert) string {
	if r.cfg.Runbooks != nil && runbookName.MatchString(a.Name()) {
		if _, err := fs.Stat(r.cfg.Runbooks, a.Name()+".md"); err == nil {
			return "/runbooks/" + a.Name()
		}
	}
	return a.Annotations["runbook_url"]
}

func (r *Receiver) serveRunbook(w http.ResponseWriter, req *http.Request) {
	name := req.PathValue("name")
	shown := struct{ Name, Text string }{Name: name}
	if r.cfg.Runbooks == nil || !runbookName.MatchString(name) {
		render(w, http.StatusNotFound, "runbook", shown)
		return
	}
	text, err := fs.ReadFile(r.cfg.Runbooks, name+".md")
	switch {
	case errors.Is(err, fs.ErrNotExist):
		render(w, http.StatusNotFound, "runbook", shown)
	case err != nil:
		http.Error(w, "the runbook cannot be read", http.StatusInternalServerError)
	default:
		shown.Text = string(text)
		render(w, http.StatusOK, "runbook", shown)
	}
}

func render(w http.ResponseWriter, status int, name string, data any) {
	var text bytes.Buffer
	if err := templates.ExecuteTemplate(&text, name, data); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(text.Bytes()) // Whoever does not read the answer has gone.
}

// counting counts what is read through it.
type counting struct {
	io.Reader
	n int
}

func (c *counting) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.n += n
	return n, err
}
