package incident

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/alertmanager/template"
	"github.com/prometheus/common/model"
)

// Notification is what a receiver is given.
type Notification struct {
	At       time.Duration // since the start of the script; negative in its history
	Receiver string        // with the integration, where the receiver has more than one
	GroupKey string        // what PagerDuty knows an incident by
	// Data is what templates see: the status, the labels of the group, the alerts.
	Data *template.Data

	templates *template.Template
}

// Firing tells whether one of the alerts fires.
func (n Notification) Firing() bool { return n.Data.Status == string(model.AlertFiring) }

// Render expands a text with the templates of the configuration, such as {{ template "NAME" . }}.
func (n Notification) Render(text string) (string, error) {
	out, err := n.templates.ExecuteTextString(text, n.Data)
	if err != nil {
		return "", fmt.Errorf("render %q: %w", text, err)
	}
	return out, nil
}

// String is the notification as a line of a script.
func (n Notification) String() string {
	parts := []string{formatTime(n.At), n.Receiver}
	if firing := n.Data.Alerts.Firing(); len(firing) > 0 {
		parts = append(parts, "firing", formatAlerts(firing))
	}
	if resolved := n.Data.Alerts.Resolved(); len(resolved) > 0 {
		parts = append(parts, "resolved", formatAlerts(resolved))
	}
	return strings.Join(parts, " ")
}

func formatTime(d time.Duration) string {
	if d < 0 {
		return "-" + formatTime(-d)
	}
	return model.Duration(d).String()
}

// formatAlerts lists alerts by name.
func formatAlerts(alerts []template.Alert) string {
	byName := map[string][]string{}
	for _, a := range alerts {
		name := a.Labels[model.AlertNameLabel]
		byName[name] = append(byName[name], identity(a))
	}
	var names []string
	for name, ids := range byName {
		slices.Sort(ids)
		names = append(names, strings.TrimSpace(name+" "+strings.Join(ids, ", ")))
	}
	slices.Sort(names)
	return strings.Join(names, "; ")
}

// identity is the instance of an alert, and what other labels tell it from its like.
func identity(a template.Alert) string {
	var parts []string
	if instance := a.Labels[model.InstanceLabel]; instance != "" {
		parts = append(parts, instance)
	}
	for _, l := range a.Labels.SortedPairs() {
		switch {
		case l.Name == model.AlertNameLabel, l.Name == model.InstanceLabel, l.Name == "severity", l.Name == "component":
		case l.Name == model.JobLabel && l.Value == defaultJob:
		default:
			parts = append(parts, l.Name+"="+l.Value)
		}
	}
	return strings.Join(parts, "/")
}

// Result is everything that receivers were given, in order.
type Result struct {
	Notifications []Notification
}

// sort brings what was sent at the same time into a fixed order.
func (r *Result) sort() {
	slices.SortStableFunc(r.Notifications, func(a, b Notification) int {
		return cmp.Or(
			cmp.Compare(a.At, b.At),
			cmp.Compare(a.Receiver, b.Receiver),
			cmp.Compare(a.GroupKey, b.GroupKey),
		)
	})
}

// Pages is how often somebody is paged: how often a group of a receiver whose name begins with "page" went from nothing
// that fires to something. PagerDuty makes an incident of each, and adds to it whatever else the group has.
func (r *Result) Pages() int {
	pages := 0
	open := map[string]bool{}
	for _, n := range r.Notifications {
		if !strings.HasPrefix(n.Receiver, "page") {
			continue
		}
		key := n.Receiver + " " + n.GroupKey
		if n.Firing() && !open[key] {
			pages++
		}
		open[key] = n.Firing()
	}
	return pages
}

// Counts are the numbers of notifications by receiver.
func (r *Result) Counts() map[string]int {
	counts := map[string]int{}
	for _, n := range r.Notifications {
		counts[n.Receiver]++
	}
	return counts
}
