package boards

import (
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/statetimeline"
	"github.com/grafana/grafana-foundation-sdk/go/timeseries"
)

func resilience() layout {
	return layout{
		name:        "resilience",
		title:       "Resilience",
		description: "What happens when the primary is away: breaker, retries, bridging, outages and recovery.",
		rows: []row{
			heading("State", breakerTimeline().Span(24), databaseTimeline().Span(24), troubleTimeline(), readyTimeline()),
			heading("Breaker", breakerTile().Span(5).Height(8), failuresInARow().Span(6), transitions().Span(7), timeInState().Span(6),
				breakerCalls().Span(12), lastTransitions()),
			heading("Calls and retries", callResults(), retriesByReason(), retryShare(), backoff(), attemptsPerCall(), commitsInDoubt()),
			heading("Bridging", queueLength(), longestWait(), bridged(), parkedTime(), admission(), refusedCalls()),
			heading("Outages", append(outageTiles(),
				outages(), outageTime(), lastHeard(), proberChecks(), dials(), sessionsCut())...),
		},
	}
}

func breakerTimeline() *statetimeline.PanelBuilder {
	return timeline("Circuit breaker over time", says(
		"CLOSED all along, on every instance. A gap is an instance that was not scraped.",
		"OPEN: every query is refused at once. HALF OPEN: one is being tried. Many short openings: it flaps.",
		"compare with the database below: open while that is connected means that queries fail for another reason. Openings too short "+
			"to be scraped are only among the marks on the time axis and in the transitions.",
	), breakerWords(), line("{{instance}}", worstState("instance", "$breaker"))).
		DataLinks([]link{logsOf("app.log"), traces("breaker transitions", `{resource.service.name="speedy-bites" && name="circuit_breaker.transition"}`)}).
		Links(append(
			runbooks("SpeedyBitesCircuitBreakerOpen", "SpeedyBitesCircuitBreakerOpened", "SpeedyBitesCircuitBreakerFlapping"),
			see("resilience")...))
}

func databaseTimeline() *statetimeline.PanelBuilder {
	return timeline("Database, as each instance sees it", says(
		"Connected all along.",
		"AWAY on all instances: PostgreSQL is down. AWAY on one: the network between the two. Short and many: something restarts it.",
		"follow the runbook. The spans database.outage have the length and the cause of each.",
	), databaseWords(), line("{{instance}}", `
		min by (instance) (min_over_time(speedybites_database_connected{$primary}[$__interval]) or speedybites_database_connected{$primary})`)).
		DataLinks([]link{logsOf("app.log"), traces("outages", `{resource.service.name="speedy-bites" && name="database.outage"}`)}).
		Links(append(
			runbooks("SpeedyBitesDatabaseDisconnected", "SpeedyBitesDatabaseFlapping"), see("resilience", "replicas")...))
}

func troubleTimeline() panel {
	return timeline("Incidents that mute their echo", says(
		"none.",
		"muting: somebody was paged for the database or for its connections within the last 10 minutes. Alerts that look back over "+
			"minutes are muted.",
		"an alert that you miss may be muted: see Alertmanager's page, where inhibited alerts are listed.",
	), []mapping{word(0, "none", good), word(1, "muting", neutral)}, line("{{instance}}", `
		max by (instance) (ALERTS{alertname="SpeedyBitesDatabaseTroubleRecently", alertstate="firing", $here})
		or 0 * max by (instance) (speedybites_database_connected{$primary})`)).
		Links(append(runbooks("SpeedyBitesDatabaseTroubleRecently"), see("overview")...))
}

func failuresInARow() *timeseries.PanelBuilder {
	return graph("Failed calls in a row", says(
		"0: any answer of the database sets it back.",
		"it climbs to the dashed line, at which the breaker opens.",
		"at 1 to 4 and not back to 0: the last calls failed, and no more came. See the retries by reason.",
	), count,
		line("{{instance}}", `max by (instance) (speedybites_circuit_breaker_failures{$breaker})`),
		line("opens at", `max(speedybites_circuit_breaker_threshold{$breaker})`),
	).
		OverrideByName("opens at", limitLine(bad)).
		Links(runbooks("SpeedyBitesCircuitBreakerOpen"))
}

func transitions() *timeseries.PanelBuilder {
	return bars("Transitions", says(
		"nothing.",
		"closed → open and back is one outage. open → half_open → open again and again: the database lets itself be reached and then fails.",
		"each has an id, which is in app.log, in audit.log and in its trace: click a bar.",
	), count, lineWithTraces("{{from}} → {{to}}", `
		sum by (from, to) (increase(speedybites_circuit_breaker_transitions_total{$breaker}[$__rate_interval]))`)).
		OverrideByRegexp(".*→ open", []property{coloured(bad)}).
		OverrideByRegexp(".*→ half_open", []property{coloured(warning)}).
		OverrideByRegexp(".*→ closed", []property{coloured(good)}).
		DataLinks([]link{traces("breaker transitions", `{resource.service.name="speedy-bites" && name="circuit_breaker.transition"}`)}).
		Links(runbooks("SpeedyBitesCircuitBreakerOpened", "SpeedyBitesCircuitBreakerFlapping"))
}

func timeInState() *timeseries.PanelBuilder {
	return areas("Share of time in each state", says(
		"closed alone, at 100 %.",
		"the share that is open is the share of time in which queries were refused. It also has openings between two scrapes.",
		"compare with the share of requests failing.",
	), percent, line("{{state}}", `
		avg by (state) (rate(speedybites_circuit_breaker_seconds_in_state_total{$breaker}[$__rate_interval]))`)).
		Max(1).
		OverrideByName("closed", []property{coloured(good)}).
		OverrideByName("half_open", []property{coloured(warning)}).
		OverrideByName("open", []property{coloured(bad)}).
		Links(append(runbooks("SpeedyBitesCircuitBreakerOpen"), see("slo")...))
}

func breakerCalls() *timeseries.PanelBuilder {
	return areas("What the breaker was asked and told", says(
		"success alone.",
		"failure: calls that count towards opening. rejected: refused while open. trial: the one that decides whether it closes. "+
			"neutral: calls that say nothing about the database, such as those whose caller left.",
		"failures without retries by reason connection: see the failed attempts by error on the database dashboard.",
	), perSecond, line("{{kind}}", `sum by (kind) (rate(speedybites_circuit_breaker_calls_total{$breaker}[$__rate_interval]))`)).
		OverrideByName("success", []property{coloured(good)}).
		OverrideByName("failure", []property{coloured(bad)}).
		OverrideByName("rejected", []property{coloured(serious)}).
		OverrideByName("trial", []property{coloured(warning)}).
		OverrideByName("neutral", []property{coloured(neutral)}).
		Links(append(runbooks("SpeedyBitesCircuitBreakerOpen"), see("database")...))
}

func lastTransitions() panel {
	return cellTable("State and last change", says(
		"CLOSED everywhere.",
		"OPEN on one instance alone: that instance cannot reach the database.",
		"GET /api/health of the instance lists the latest transitions with their ids.",
	), []column{
		{"instance", "Instance"}, {"Value #A", "State"}, {"Value #B", "Last change"}, {"Value #C", "Openings"},
	},
		cells(breakerNow),
		cells(`max by (job, instance) (speedybites_circuit_breaker_last_transition_timestamp_seconds{$breaker}) * 1000`),
		cells(`sum by (job, instance) (increase(speedybites_circuit_breaker_transitions_total{$breaker, to="open"}[$__range]))`),
	).
		OverrideByName("State", paintedWords(breakerWords()...)).
		OverrideByName("Instance", []property{columnWidth(160)}).
		OverrideByName("Last change", []property{inUnit(moment), withWords(word(0, "never", neutral)), columnWidth(180)}).
		OverrideByName("Openings", paintedNumber(count, 0, from(0.5, serious))).
		Links(runbooks("SpeedyBitesCircuitBreakerFlapping"))
}

func retriesByReason() *timeseries.PanelBuilder {
	return bars("Retries by reason", says(
		"nothing, or single conflicts.",
		"refused, reset, shutting_down, starting_up: PostgreSQL restarts. timeout, dns: the network. read_only: a former primary. "+
			"too_many_connections: max_connections is reached. conflict: transactions collide.",
		"a retry costs somebody 100 to 300 ms. Many of them over minutes multiply the load.",
	), perSecond, line("{{reason}}", `sum by (reason) (rate(speedybites_db_retries_total{$here}[$__rate_interval]))`)).
		OverrideByName("conflict", []property{coloured(neutral)}).
		OverrideByName("refused", []property{coloured(bad)}).
		OverrideByName("shutting_down", []property{coloured(warning)}).
		OverrideByName("starting_up", []property{coloured(serious)}).
		DataLinks([]link{traces("with a retry", `{resource.service.name="speedy-bites" && event:name="backoff"}`)}).
		Links(append(runbooks("SpeedyBitesRetryStorm"), see("resilience")...))
}

func retryShare() panel {
	return graph("Retries for each call", says(
		"0 %.",
		"above the dashed line, 20 %, for minutes: a retry storm.",
		"the reasons beside this say what fails.",
	), percent, line("{{job}}", `job:db_retries:ratio_rate5m{job=~"$job"} >= 0 or 0 * job:http_requests:rate5m{job=~"$job"}`)).
		AxisSoftMax(0.25).Thresholds(limits(good, from(0.2, bad))).ThresholdsStyle(limitShown()).
		Links(runbooks("SpeedyBitesRetryStorm"))
}

func backoff() panel {
	return graph("Time slept between attempts", says(
		"0.",
		"how many calls are asleep between two attempts, on average.",
		"that is the price of the retries in waiting time. If it buys nothing, the calls by result have failed_after_retry.",
	), count, line("calls asleep", `sum(rate(speedybites_db_retry_backoff_seconds_sum{$here}[$__rate_interval]))`)).
		Links(runbooks("SpeedyBitesRetryStorm"))
}

func attemptsPerCall() panel {
	return graph("Attempts for each call", says(
		"1. Calls that are refused have none, so that it falls below 1 while the breaker is open.",
		"towards 3: every call needs all its attempts.",
		"see the failed attempts by error on the database dashboard.",
	), "none", line("attempts", share(
		`sum(rate(speedybites_db_attempts_total{$here}[$__rate_interval]))`, `sum(rate(speedybites_db_calls_total{$here}[$__rate_interval]))`))).
		Decimals(2).AxisSoftMax(2).
		Links(append(runbooks("SpeedyBitesRetryStorm"), see("database")...))
}

func commitsInDoubt() panel {
	return bars("Commits in doubt", says(
		"nothing.",
		"the answer to a COMMIT was lost. The write ran again and found out what had happened: nothing is lost or made twice.",
		"nothing to mend here; the cause is the outage at that moment.",
	), count, line("{{instance}}", `sum by (instance) (increase(speedybites_db_commits_in_doubt_total{$here}[$__rate_interval]))`)).
		OverrideByRegexp(".*", inShades(warning)).
		DataLinks([]link{logsOf("app.log")}).
		Links(runbooks("SpeedyBitesDatabaseDisconnected"))
}

func longestWait() panel {
	return graph("Longest wait", says(
		"0.",
		"a ramp with the slope of the clock: somebody waits. Above the dashed line, the grace of 10 s, callers get a 503.",
		"ramps to 10 s again and again: an outage longer than the grace.",
	), seconds, line("{{instance}}", `max by (instance) (speedybites_db_oldest_wait_seconds{$here})`)).
		AxisSoftMax(1).Thresholds(limits(good, from(10, bad))).ThresholdsStyle(limitShown()).
		DataLinks([]link{logsOf("app.log")}).
		Links(runbooks("SpeedyBitesDatabaseDisconnected", "SpeedyBitesPoolWaitingQueue"))
}

func bridged() panel {
	return bars("Calls that waited for the end of an outage", says(
		"nothing, or resumed alone: they were answered after a wait, and no customer saw the outage.",
		"gave_up: the outage was longer than the grace, and these got a 503.",
		"see why PostgreSQL was away for so long.",
	), count, line("{{outcome}}", `sum by (outcome) (increase(speedybites_db_bridged_total{$here}[$__rate_interval]))`)).
		OverrideByName("resumed", []property{coloured(good)}).
		OverrideByName("gave_up", []property{coloured(bad)}).
		Links(runbooks("SpeedyBitesDatabaseDisconnected", "SpeedyBitesDatabaseFlapping"))
}

func parkedTime() panel {
	return durations("How long calls were parked", says(
		"empty: nobody was parked. After a short outage a cloud far below 10 s.",
		"cells at 10 s and above: callers waited in vain.",
		"compare with the calls that gave up.",
	), buckets(`sum by (le) (increase(speedybites_db_parked_seconds_bucket{$here}[$__rate_interval]))`)).
		Links(runbooks("SpeedyBitesDatabaseDisconnected")).
		Span(8)
}

func admission() panel {
	return graph("Admission after an outage", says(
		"limit at the pool's maximum.",
		"lower for longer than a second: the recovery does not come through. It starts at 4 calls at once and doubles every 50 ms, so that "+
			"a database that has just started is not overrun.",
		"see whether the database is lost again and again.",
	), count,
		line("limit {{instance}}", `max by (instance) (speedybites_db_admission_limit{$primary})`),
		line("pool's maximum", `max(db_client_connection_max{$here, db_client_connection_pool_name="primary"})`),
	).
		OverrideByName("pool's maximum", limitLine(neutral)).
		DataLinks([]link{logsOf("app.log")}).
		Links(runbooks("SpeedyBitesDatabaseFlapping"))
}

func refusedCalls() panel {
	return bars("Calls refused", says(
		"nothing.",
		"refused_breaker: the breaker is open, each is a 503 within milliseconds. refused_capacity: the queue is full.",
		"see the breaker, or the pool on the database dashboard.",
	), perSecond, line("{{result}}", `
		sum by (result) (rate(speedybites_db_calls_total{$here, result=~"refused.*"}[$__rate_interval]))`)).
		OverrideByName("refused_breaker", []property{coloured(serious)}).
		OverrideByName("refused_capacity", []property{coloured(bad)}).
		Links(append(runbooks("SpeedyBitesCircuitBreakerOpen", "SpeedyBitesPoolExhausted"), see("database")...))
}

func outageTiles() []panel {
	over := func(title, description, unit, expr string, steps *dashboard.ThresholdsConfigBuilder) panel {
		return tile(title, description, unit, now("", expr)).Decimals(0).Thresholds(steps).
			Links(runbooks("SpeedyBitesDatabaseDisconnected", "SpeedyBitesDatabaseFlapping")).
			Span(6).Height(4)
	}
	return []panel{
		over("Outages in the shown time", says(
			"0.",
			"how often the instance that lost the database most often lost it.",
			"three in 15 minutes are a ticket: it comes and goes.",
		), count, `max(sum by (instance) (increase(speedybites_database_outages_total{$primary}[$__range])))`,
			limits(good, from(0.5, warning), from(2.5, bad))),
		over("Time away in the shown time", says(
			"0.",
			"how long that instance was without the database for which it was longest, the outage that goes on included.",
			"0.1 % of 30 days are 43 minutes.",
		), clock, `
			max(
				sum by (instance) (increase(speedybites_database_outage_duration_seconds_sum{$primary}[$__range]))
				+ sum by (instance) (speedybites_database_current_outage_seconds{$primary}))`,
			limits(good, from(1e-3, warning), from(60, bad))),
		over("Longest outage, at most", says(
			"0, or less than the grace of 10 s, which costs nobody an error.",
			"the upper bound of the slowest bucket that an outage of the shown time fell into, the time of all outages together where that "+
				"is less, or how long the one that goes on is so far.",
			"the spans database.outage have the exact length.",
		), clock, `
			clamp_min(
				clamp_max(
					histogram_quantile(1, sum by (le) (increase(speedybites_database_outage_duration_seconds_bucket{$primary}[$__range]))) >= 0
					or vector(0),
					scalar(max(sum by (instance) (increase(speedybites_database_outage_duration_seconds_sum{$primary}[$__range]))))),
				scalar(max(speedybites_database_current_outage_seconds{$primary})))`,
			limits(good, from(1e-3, warning), from(10, bad))),
		over("Away now for", says(
			"0.",
			"the length of the outage so far.",
			"follow the runbook.",
		), clock, `max(speedybites_database_current_outage_seconds{$primary})`,
			limits(good, from(1e-3, bad))),
	}
}

func outages() panel {
	return bars("Outages", says(
		"nothing.",
		"each bar is a loss of the database, by the instance that saw it.",
		"all instances at once: PostgreSQL. One alone: the network between the two.",
	), count, line("{{instance}}", `sum by (instance) (increase(speedybites_database_outages_total{$primary}[$__rate_interval]))`)).
		OverrideByRegexp(".*", inShades(bad)).
		DataLinks([]link{logsOf("app.log")}).
		Links(runbooks("SpeedyBitesDatabaseFlapping"))
}

func outageTime() panel {
	return durations("How long outages were", says(
		"empty: there was none.",
		"cells at 10 s and above: longer than the grace, so that customers saw errors.",
		"the spans database.outage have the exact length.",
	), buckets(`sum by (le) (increase(speedybites_database_outage_duration_seconds_bucket{$primary}[$__rate_interval]))`)).
		Links(runbooks("SpeedyBitesDatabaseDisconnected")).
		Span(8)
}

func lastHeard() panel {
	return graph("Last heard from the database", says(
		"below 2 s: the prober looks every second.",
		"it grows with the clock: the database is away, or hangs. If it is \"connected\" all the while, the prober itself is stuck.",
		"for the latter see the runbook on stale state.",
	), clock, line("{{instance}}", `time() - max by (instance) (speedybites_database_last_success_timestamp_seconds{$primary} > 0)`)).
		AxisSoftMax(10).Thresholds(limits(good, from(60, bad))).ThresholdsStyle(limitShown()).
		DataLinks([]link{logsOf("app.log")}).
		Links(runbooks("SpeedyBitesDatabaseStateStale"))
}

func proberChecks() panel {
	return graph("Looks of the prober", says(
		"about one a second for each instance, all ok.",
		"failed: 1 to 3 a second while the database is away. None at all: the prober is stuck.",
		"see the runbook on stale state.",
	), perSecond, line("{{outcome}}", `sum by (outcome) (rate(speedybites_database_checks_total{$primary}[$__rate_interval]))`)).
		OverrideByName("ok", []property{coloured(good)}).
		OverrideByName("failed", []property{coloured(bad)}).
		Links(runbooks("SpeedyBitesDatabaseStateStale"))
}

func sessionsCut() panel {
	return bars("Sessions cut or found dead", says(
		"nothing.",
		"lost: cut when the database was lost. silent: cut because the server hung. found dead: the server was there, but it or "+
			"something between had ended sessions.",
		"found dead alone, again and again: a firewall that forgets idle connections, or somebody terminates backends.",
	), count,
		line("{{reason}}", `sum by (reason) (increase(speedybites_db_sessions_severed_total{$primary}[$__rate_interval]))`),
		line("found dead", `sum(increase(speedybites_db_sessions_lost_total{$primary}[$__rate_interval]))`),
	).
		OverrideByName("lost", []property{coloured(bad)}).
		OverrideByName("silent", []property{coloured(serious)}).
		OverrideByName("found dead", []property{coloured(warning)}).
		Links(runbooks("SpeedyBitesDatabaseDisconnected"))
}

func readyTimeline() *statetimeline.PanelBuilder {
	return timeline("Instances over time", says(
		"ready all along, but for \"shutting down\" in a deployment.",
		"NOT READY: it does not want traffic, because the database is away for longer than the grace. DOWN: it cannot be scraped.",
		"DOWN: look at the process and its last lines on stderr.",
	), readyWords(), line("{{instance}}", `
		max by (instance) (speedybites_ready{$here} + 2 * speedybites_shutting_down{$here})
		or max by (instance) (up{$service} - 1)`)).
		DataLinks([]link{logsOf("app.log")}).
		Links(append(runbooks("SpeedyBitesNotReady", "SpeedyBitesInstanceDown", "SpeedyBitesCrashLooping"), see("runtime")...))
}
