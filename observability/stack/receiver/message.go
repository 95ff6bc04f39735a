package receiver

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// status of an alert, and of a notification with at least one such alert.
const statusFiring = "firing"

// Notification is a message of Alertmanager and how it came here.
type Notification struct {
	// Number counts the notifications since the start, from 1.
	Number int `json:"number"`
	// Channel is the path it was sent to, without the slash: page, ticket or watchdog.
	Channel  string    `json:"channel"`
	Received time.Time `json:"received"`
	Message
}

// Message is the body of Alertmanager's webhook, version "4".
type Message struct {
	Version  string `json:"version"`
	GroupKey string `json:"groupKey"`
	// Receiver is the one of alertmanager.yml that sent it.
	Receiver string `json:"receiver"`
	// Status is firing while any of the alerts is, else resolved.
	Status string  `json:"status"`
	Alerts []Alert `json:"alerts"`
	// TruncatedAlerts is the number of alerts that were left out, see max_alerts.
	TruncatedAlerts   uint64            `json:"truncatedAlerts"`
	GroupLabels       map[string]string `json:"groupLabels"`
	CommonLabels      map[string]string `json:"commonLabels"`
	CommonAnnotations map[string]string `json:"commonAnnotations"`
	ExternalURL       string            `json:"externalURL"`
}

// Alert is one alert of a message.
type Alert struct {
	Status       string            `json:"status"`
	Labels       map[string]string `json:"labels"`
	Annotations  map[string]string `json:"annotations"`
	StartsAt     time.Time         `json:"startsAt"`
	EndsAt       time.Time         `json:"endsAt"` // in the future, or zero, while it fires
	GeneratorURL string            `json:"generatorURL"`
	Fingerprint  string            `json:"fingerprint"`
}

// Name is the alert's label alertname.
func (a Alert) Name() string { return a.Labels["alertname"] }

// Names are the names of the alerts, each once, sorted.
func (m Message) Names() []string {
	var names []string
	for _, a := range m.Alerts {
		names = append(names, a.Name())
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// Firing reports whether one of the alerts with that name fires.
func (m Message) Firing(name string) bool {
	return slices.ContainsFunc(m.Alerts, func(a Alert) bool { return a.Status == statusFiring && a.Name() == name })
}

// summaries are the summaries of the alerts, each once, in order, for one line.
func (m Message) summaries() string {
	var list []string
	for _, a := range m.Alerts {
		if s := a.Annotations["summary"]; s != "" && !slices.Contains(list, s) {
			list = append(list, s)
		}
	}
	return strings.Join(list, "; ")
}

// decode reads one message. Fields that are not known here are no mistake: newer versions of Alertmanager add some.
func decode(r io.Reader) (Message, error) {
	var m Message
	d := json.NewDecoder(r)
	if err := d.Decode(&m); err != nil {
		return m, fmt.Errorf("the body is not the JSON of a notification: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return m, errors.New("the body goes on after its JSON")
	}
	switch {
	case m.Version != "4":
		return m, fmt.Errorf(`the field version is %q, and only "4" is known here`, m.Version)
	case m.Status != statusFiring && m.Status != "resolved":
		return m, fmt.Errorf("the field status is %q, and must be firing or resolved", m.Status)
	case len(m.Alerts) == 0:
		return m, errors.New("the field alerts is empty")
	}
	for i, a := range m.Alerts {
		if a.Name() == "" {
			return m, fmt.Errorf("alert %d has no label alertname", i)
		}
	}
	return m, nil
}
