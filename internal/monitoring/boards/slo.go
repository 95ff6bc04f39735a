package boards

import (
	"fmt"

	"github.com/grafana/grafana-foundation-sdk/go/timeseries"
)

// objective is a promise about requests over 30 days.
type objective struct {
	title string
	// record is the name of the recording rules, up to the window.
	record string
	// allowed is the share of requests that may break the promise.
	allowed float64
	// alerts is the name of the alerts, up to their speed.
	alerts string
	bad    string
	next   string
}

var promises = []objective{
	{
		title: "Errors", record: "job:http_errors:ratio_rate", allowed: 0.001, alerts: "SpeedyBitesErrorBudgetBurn",
		bad: "fail", next: "the HTTP dashboard says which route fails.",
	},
	{
		title: "Latency", record: "job:http_slow:ratio_rate", allowed: 0.01, alerts: "SpeedyBitesLatencyBudgetBurn",
		bad: "take over 500 ms", next: "the HTTP dashboard says which route is slow.",
	},
}

func objectives() layout {
	l := layout{
		name:  "slo",
		title: "SLO",
		since: "now-24h",
		description: "Over 30 days, 99.9 % of the API's requests are answered without a 5xx, and 99 % within 500 ms. " +
			"How much of what may go wrong is used up, and how fast?",
	}
	for _, o := range promises {
		l.rows = append(l.rows, heading(o.title+": what is left", o.left(), o.exhausted(), o.shareNow(), o.overTime()),
			heading(o.title+": how fast it is used up", o.burn("Fast", 14.4, "1h", "5m"), o.burn("Medium", 6, "6h", "30m"),
				o.burn("Slow", 3, "1d", "2h"), o.burn("Slow", 1, "3d", "6h")))
	}
	l.rows = append(l.rows, heading("Database", databaseAvailability(), databaseAvailabilityOverTime(), requestsCounted()))
	return l
}

// used is the share of the budget that requests over a window would use up in 30 days: 1 is all of it. Without traffic there
// is nothing to divide, and the promise is kept.
func (o objective) used(window string) string {
	return fmt.Sprintf(`(%s%s{job=~"$job"} >= 0 or 0 * job:http_requests:rate5m{job=~"$job"}) / %v`, o.record, window, o.allowed)
}

// known is the share of the 30 days of which there are metrics. The days before count as good ones, or else an outage of a
// minute, an hour after the monitoring was set up, would use up the budget many times over.
const known = `scalar(clamp((time() - min(prometheus_tsdb_lowest_timestamp_seconds)) / (30 * 86400), 0, 1) or vector(1))`

// spent is the share of the budget that is used up.
func (o objective) spent() string { return `(` + o.used("30d") + ` * ` + known + `)` }

// budgetLeft is the rest of it.
func (o objective) budgetLeft() string { return `(1 - ` + o.spent() + `)` }

func (o objective) left() panel {
	return tile(o.title+": budget left", says(
		"most of it. The budget is the share of requests that may "+o.bad+" in 30 days. Days from before there were metrics count as "+
			"good ones.",
		"nothing left, or less than nothing: the promise is broken.",
		"do nothing risky until it has recovered. "+o.next,
	), percent, now("", `min`+o.budgetLeft())).
		Decimals(1).Thresholds(limits(bad, from(1e-9, serious), from(0.25, warning), from(0.5, good))).
		Links(append(runbooks(o.alerts+"Medium", o.alerts+"Slow"), see("http")...)).
		Height(8)
}

func (o objective) exhausted() panel {
	const year = 365 * 24 * 3600
	return tile(o.title+": budget lasts", says(
		"never at this pace, or months.",
		"days or hours until the budget is gone, if all goes on as in the last hour.",
		o.next,
	), seconds, now("", fmt.Sprintf(`min(clamp_max(clamp_min(%s, 0) * 30 * 86400 / clamp_min(%s, 1e-9), %d))`,
		o.budgetLeft(), o.used("1h"), year))).
		Decimals(1).
		Mappings([]mapping{word(year, "never at this pace", good), word(0, "EXHAUSTED", bad)}).
		Thresholds(limits(bad, from(2*86400, serious), from(5*86400, warning), from(30*86400, good))).NoValue("never at this pace").
		Links(append(runbooks(o.alerts+"Fast", o.alerts+"Medium"), see("http")...)).
		Height(8)
}

func (o objective) shareNow() panel {
	return tile(o.title+": bad requests", says(
		fmt.Sprintf("both below what may: %v %% of all requests.", o.allowed*100),
		"the share of requests that "+o.bad+". The last 5 minutes above it: it happens now. The last 30 days above it: the promise is "+
			"broken.",
		o.next,
	), percent,
		now("last 5 minutes", fmt.Sprintf(`max(%s) * %v`, o.used("5m"), o.allowed)),
		now("last 30 days", fmt.Sprintf(`max(%s) * %v`, o.spent(), o.allowed)),
	).
		Decimals(3).Thresholds(limits(good, from(o.allowed, bad))).
		Links(append(runbooks(o.alerts+"Fast"), see("http")...)).
		Height(8)
}

func (o objective) overTime() *timeseries.PanelBuilder {
	return graph(o.title+": budget left over time", says(
		"a nearly flat line, high up.",
		"each step down is an incident; its height is what the incident cost. At 0 the promise is broken.",
		"find the incident of each step in the marks on the time axis.",
	), percent, line("{{job}}", o.budgetLeft())).
		AxisSoftMin(0).Max(1).Min(-1).Thresholds(limits(bad, from(0, good))).ThresholdsStyle(limitShown()).
		Links(append(runbooks(o.alerts+"Slow"), see("overview")...)).
		Span(12)
}

// burn is one pair of windows of the alerts on the budget.
func (o objective) burn(speed string, factor float64, long, short string) panel {
	return graph(fmt.Sprintf("%s: burn rate over %s and %s", o.title, long, short), says(
		"both lines below 1: at 1 the budget lasts for exactly 30 days.",
		fmt.Sprintf("both above the dashed line, %v: the alert fires. The long window says that it matters, the short one that it goes on.", factor),
		"one above and the other below: it begins, or it is over. "+o.next,
	), "none",
		line("over "+long, o.used(long)),
		line("over "+short, o.used(short)),
	).
		Decimals(1).AxisSoftMax(factor * 1.2).
		Thresholds(limits(good, from(factor, bad))).ThresholdsStyle(limitShown()).
		Links(append(runbooks(o.alerts+speed), see("http")...)).
		Span(6)
}

func databaseAvailability() panel {
	return tile("Database available", says(
		"100 %, or very near.",
		"the share of the shown time in which the instance that saw it least reached the database.",
		"it counts outages that bridging hid from customers too. What customers saw is in the budget of errors.",
	), percent, now("", `min(avg_over_time(speedybites_database_connected{$primary}[$__range]))`)).
		Decimals(3).Thresholds(limits(bad, from(0.99, serious), from(0.999, warning), from(0.9999, good))).
		Links(append(runbooks("SpeedyBitesDatabaseDisconnected"), see("resilience")...)).
		Height(8)
}

func databaseAvailabilityOverTime() panel {
	return graph("Database available, over the last hour of each moment", says(
		"100 %.",
		"a dip is an outage; an hour after it the line is back.",
		"see the outages on the resilience dashboard.",
	), percent, line("{{instance}}", `avg by (instance) (avg_over_time(speedybites_database_connected{$primary}[1h]))`)).
		Min(0).Max(1).Thresholds(limits(bad, from(0.999, good))).ThresholdsStyle(limitShown()).
		DataLinks([]link{logsOf("app.log")}).
		Links(append(runbooks("SpeedyBitesDatabaseDisconnected", "SpeedyBitesDatabaseFlapping"), see("resilience")...)).
		Span(10)
}

func requestsCounted() panel {
	return graph("Requests that count", says(
		"more than one in ten seconds, the dashed line: below that, shares say little and no alert on the budget fires.",
		"none, while customers are awake.",
		"see the load balancer on the HTTP dashboard.",
	), requestsPerSecond, line("{{job}}", `job:http_requests:rate5m{job=~"$job"}`)).
		Thresholds(limits(bad, from(0.1, good))).ThresholdsStyle(limitShown()).
		Links(append(runbooks("SpeedyBitesErrorBudgetBurnSlow"), see("http")...)).
		Span(10)
}
