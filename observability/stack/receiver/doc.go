// Package receiver takes the notifications of Alertmanager and shows them: it is where the local stack sends what would
// otherwise reach somebody's phone. It keeps them in memory only, and needs nothing but the standard library.
//
//	POST /page, /ticket, /watchdog   Alertmanager's webhook, version "4"
//	GET  /                           a page with all of them, newest first, that refreshes itself
//	GET  /notifications              the same as JSON
//	GET  /runbooks/NAME              the runbook of an alert
//	GET  /healthz                    whether it is there
//
// The Watchdog is an alert that always fires. Its notifications are not listed on the page, which only says whether they
// still come: when they stop, alerting itself is dead.
package receiver
