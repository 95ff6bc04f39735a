// Package incident plays an incident in virtual time and says who is notified of what, and when.
//
// A [Setup] is a monitoring configuration: prometheus.yml with its rules, alertmanager.yml with its templates. A [Script]
// says what the metrics of a fleet do. [Run] scrapes them into Prometheus's own storage, evaluates the rules with
// Prometheus's own engine, and hands the alerts to Alertmanager's own dispatcher, inhibitor and notification pipeline.
// Only the receivers are replaced: they write down what they are given. An hour takes about a second.
//
// # Scripts
//
// A script is a text file. A line that begins at the margin is an instruction, or it begins a section, whose lines are
// indented. What follows a "#" between spaces, or at the beginning of a line, is a comment. Times are counted from the start: 0, 90s, 2m15s.
//
//	for 30m                      how long it takes
//	history 1h                   how long everything has been as it is at 0; before 0, times are negative
//	use healthy.txt              the instructions of another file, next to this one
//	ignore receiver watchdog     its notifications are not compared
//	pause 10m 12m                Prometheus hangs: it neither scrapes nor evaluates
//	targets JOB INSTANCE ...     what is scraped, and makes up{job="JOB"} 1 for each instance
//	buckets NAME 0.1 1 10        the bounds of a histogram
//	pages 1                      how often somebody is paged: see [Result.Pages]
//	series                       a section of new series
//	change                       a section of changes to series that exist
//	expect                       a section of notifications, all of them, in order
//
// # Series
//
//	series
//	  speedybites_database_connected{role="primary"}  1@0
//	  speedybites_log_records_total{level="debug|error|info|warn"}  0@0
//	  histogram http_server_request_duration_seconds{http_route="/api/orders"}  19/s~30ms+1/s~2s@0
//	change
//	  speedybites_database_connected{instance="api-1:9464"}  0@2m 1@7m
//	  speedybites_log_records_total{level=~"error|warn"}  +2/s@2m hold@7m
//
// A line of a series section has the labels of a new series. A value a|b|c stands for three series. Without the label job
// it is "speedy-bites"; without the label instance there is one series for each target of the job. A line of a change
// section has a selector as PromQL knows it, likewise with job "speedy-bites" unless it has a matcher of job; it must
// select something.
//
// After the series come points in time, each a value, "@" and when it comes:
//
//	5          the value is 5
//	+2/s       it grows by 2 a second from then on; /m and /h likewise, -2/s to fall
//	+3         it is 3 more, and otherwise goes on as before
//	hold       it stays as it is
//	now, now-30s      it is the Unix time of each scrape, or 30 s before
//	stamp, stamp-2h   it is the Unix time of this point, or 2 h before
//	gone       the series ends
//
// A point of a histogram has a load instead: 20/s~30ms are twenty observations a second of 30 ms each. Loads are added
// with "+". The next point replaces all of them; "hold" means no more observations.
//
// What a series is at 0 it has been since the history began. A counter that begins later, with a rate, is there after its
// first event, as it would be in a process that does not show it before. A series that ends, or whose target is down, gets
// a staleness marker.
//
// While up is 0, or gone, nothing else of that target is scraped. When it is 1 again, the target's counters (_total,
// _count, _sum and _bucket) begin at 0: its process has been started again.
//
// # Expectations
//
//	expect
//	  2m25s  page  firing   SpeedyBitesCircuitBreakerOpen api-1:9464/breaker=primary, api-2:9464/breaker=primary
//	  3m     page  firing   SpeedyBitesDown resolved SpeedyBitesCircuitBreakerOpen api-1:9464/breaker=primary
//	  7m50s  page  resolved SpeedyBitesDown
//
// A notification has a time, a receiver, and the alerts in it that fire and those that are resolved. It is firing when one
// of them fires. An alert is known by its name and its labels, without severity, component, and job "speedy-bites";
// several of a name are separated by commas, names by semicolons. Times are exact.
//
// # What differs from the real programs
//
//   - Scrapes and evaluations come at multiples of their intervals, rules in the order of the files and right after the
//     scrape. Real ones have offsets of up to an interval: a notification may come a scrape and an evaluation interval
//     later.
//   - Delivery takes no time, and never fails. Alerts reach Alertmanager one by one.
//   - The Alertmanager is the one that go.mod names, alone, and it has run since the beginning of the history.
//   - Before 0, groups without recording rules are evaluated every three minutes. Nothing changes there.
//   - metric_relabel_configs and the limits of a scrape are not applied.
package incident
