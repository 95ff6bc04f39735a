package boards

import "github.com/grafana/grafana-foundation-sdk/go/stat"

// What the verdict can be, worst first where several hold. The numbers are only between the query and its words.
const verdict = `
	9 * absent(up{$service})
	or 8 + 0 * (sum(up{$service}) == 0)
	or 7.5 + 0 * (
		max(speedybites_database_connected{$primary}) == 0
		and sum(increase(speedybites_db_reads_total{$here, route="replica_stand_in"}[1m])) > 0)
	or 7 + 0 * (max(speedybites_database_connected{$primary}) == 0)
	or 6 + 0 * (min(speedybites_database_connected{$primary}) == 0)
	or 5 + 0 * (min(min_over_time(speedybites_database_connected{$primary}[1m])) == 0)
	or 4 + 0 * (max(speedybites_circuit_breaker_state{$breaker, state=~"open|half_open"}) == 1)
	or 3 + 0 * (
		sum(increase(db_client_connection_timeouts_total{$here, db_client_connection_pool_name="primary"}[1m]))
		+ sum(increase(speedybites_db_calls_total{$here, result="refused_capacity"}[1m])) > 0)
	or 2 + 0 * (
		sum(rate(http_server_request_duration_seconds_count{$here, $api, http_response_status_code=~"5.."}[1m]))
		/ sum(rate(http_server_request_duration_seconds_count{$here, $api}[1m])) > 0.01)
	or 1 + 0 * (min(speedybites_ready{$here} or up{$service}) == 0)
	or 0.5 + 0 * count(ALERTS{alertstate="firing", severity="page"})
	or vector(0)`

// breakerNow is the state of the primary's breaker as a number for breakerWords.
const breakerNow = `max by (job, instance) (
	speedybites_circuit_breaker_state{$breaker, state="half_open"} or 2 * speedybites_circuit_breaker_state{$breaker, state="open"})`

func overview(heard string) layout {
	return layout{
		name:        "overview",
		title:       "Overview",
		description: "Is it us, is it the database, since when? Look here first.",
		rows: []row{
			heading("Is it us, is it the database, since when?", verdictTile(), databaseTile(), breakerTile(),
				instancesTile(), failingTile().Title("Errors"), pagesTile(heard), waitingTile(), slowTile(), budgetTile()),
			heading("What fires, and where", firingAlerts(), instanceTable()),
			heading("Since when", breakerTimeline(), databaseTimeline(), readyTimeline().Span(12), probeTimeline().Span(12)),
			heading("What customers get", requestRate().Span(8), failingShare().Span(8), responseTimes().Span(8)),
			heading("What it may come from", poolUse().Span(8), queueLength().Span(8), callResults().Span(8),
				retriesByReason().Span(8), logLevels().Span(8), ordersPlaced().Span(8)),
		},
	}
}

func verdictTile() panel {
	return tile("Verdict", says(
		"ALL WELL.",
		"the first of these that holds: no data, all instances down, the primary away with replicas that answer reads, the database "+
			"away, away for some instances, back for less than a minute, the breaker open although the database answers, the pool exhausted, requests failing for another reason, an "+
			"instance missing, any page firing.",
		"DATABASE AWAY is not us: see to PostgreSQL; FOR SOME: to the network to it. IT IS US: the database answers, so look at the "+
			"newest deployment and at error.log.",
	), count, now("", verdict)).
		Thresholds(limits(good, from(1, warning), from(2, bad))).
		Mappings(append(append(databaseVerdicts(), serviceVerdicts()...), word(0, "ALL WELL", good))).
		Links(append(see("resilience", "http", "runtime"), runbooks("SpeedyBitesDown", "SpeedyBitesNotReady")...)).
		Span(8).Height(6)
}

func databaseTile() *stat.PanelBuilder {
	return tile("Database", says(
		"Connected.",
		"AWAY since when, as the instance tells that lost it first. Inside the grace of 10 s requests wait; after that they get a 503. "+
			"The second line is how long it was away within the last hour, this outage and those that are over: after an incident it "+
			"says how long that was.",
		"follow the runbook: is PostgreSQL running, does it accept connections, can the instances reach it?",
	), "time:[AWAY since] HH:mm:ss",
		now("now", `
			1000 * min(
				timestamp(speedybites_database_current_outage_seconds{$primary}) - (speedybites_database_current_outage_seconds{$primary} > 0))
			or 0 * max(speedybites_database_current_outage_seconds{$primary}) or vector(-1)`),
		now("away in the last hour", `
			max(
				sum by (instance) (increase(speedybites_database_outage_duration_seconds_sum{$primary}[1h]))
				+ sum by (instance) (speedybites_database_current_outage_seconds{$primary}))
			or vector(-1)`),
	).
		Mappings([]mapping{word(0, "Connected", good), unknownWord()}).
		Thresholds(limits(unknown, from(0, good), from(1e-3, bad))).
		OverrideByName("away in the last hour", []property{
			inUnit(clock), withWords(word(0, "never", good), unknownWord()),
			colouredByLimits(unknown, from(0, good), from(1e-3, warning), from(10, serious)),
		}).
		Links(append(runbooks("SpeedyBitesDatabaseDisconnected", "SpeedyBitesDatabaseStateStale"), see("resilience", "database")...)).
		Span(8).Height(6)
}

func breakerTile() *stat.PanelBuilder {
	return tile("Circuit breaker", says(
		"CLOSED: queries go through.",
		"OPEN: the worst instance refuses every query at once, and its requests get a 503. HALF OPEN: one query is being tried, all "+
			"others are still refused.",
		"the breaker is a symptom: five queries in a row failed after all their attempts. It closes by itself within 2 s of the "+
			"database's return. If the database is connected all the while, look at the attempts by error.",
	), count,
		now("now", `max(`+breakerNow+`) or vector(-1)`),
		now("since", `max(speedybites_circuit_breaker_last_transition_timestamp_seconds{$breaker}) * 1000 or vector(-1)`),
	).
		Thresholds(limits(unknown, from(0, good), from(1, warning), from(2, bad))).
		Mappings(append(breakerWords(), unknownWord())).
		OverrideByName("since", []property{
			inUnit(moment), withWords(word(0, "its start", neutral), unknownWord()), colouredByLimits(unknown, from(0, neutral)),
		}).
		Links(append(runbooks("SpeedyBitesCircuitBreakerOpen", "SpeedyBitesCircuitBreakerOpened"), see("resilience")...)).
		Span(8).Height(6)
}

func instancesTile() panel {
	return tile("Instances", says(
		"all ready.",
		"some NOT READY, and how many: the balancer sends their traffic to the others. NONE READY: nobody is served.",
		"an instance that is up and not ready has lost its database for longer than the grace, or is shutting down. One that is not "+
			"up is gone, hangs, or cannot be scraped.",
	), "suffix: NOT READY", now("", `
		-2 + 0 * ((sum(speedybites_ready{$here}) or 0 * count(up{$service})) == 0)
		or count(up{$service}) - sum(speedybites_ready{$here})
		or vector(-1)`)).
		Decimals(0).Thresholds(limits(bad, from(-1, unknown), from(0, good), from(1, serious))).
		Mappings([]mapping{word(0, "all ready", good), word(-2, "NONE READY", bad), unknownWord()}).
		Links(append(runbooks("SpeedyBitesInstanceDown", "SpeedyBitesNotReady", "SpeedyBitesDown"), see("runtime")...))
}

func failingTile() *stat.PanelBuilder {
	return tile("Requests failing", says(
		"none, or a share far below 0.1 %.",
		"the share of the API's requests of the last minute that got a 5xx. From 0.1 % on, the objective of the month is at risk; at "+
			"1.44 % the month's budget is gone within two days.",
		"if the verdict does not say the database, look at the share by route.",
	), percent, now("", share(
		`sum(rate(http_server_request_duration_seconds_count{$here, $api, http_response_status_code=~"5.."}[1m]))`,
		`sum(rate(http_server_request_duration_seconds_count{$here, $api}[1m]))`,
	))).
		Decimals(2).Mappings([]mapping{word(0, "none", good)}).
		Thresholds(limits(good, from(0.001, warning), from(0.0144, bad))).
		Links(append(runbooks("SpeedyBitesErrorBudgetBurnFast"), see("http", "slo")...))
}

// pagesTile counts the pages of the expression heard.
func pagesTile(heard string) panel {
	return tile("Pages firing", says(
		"none.",
		"pages that somebody hears of, of all instances whatever is chosen above; what their cause mutes does not count. ALERTING IS "+
			"DEAD: even the alert that always fires does not, so that nobody will be paged for anything.",
		"open the runbook of each from the table below. The one that fired first is most likely the cause.",
	), count, now("", `
		count(`+heard+`)
		or 0 * max(ALERTS{alertname="Watchdog", alertstate="firing"})
		or vector(-1)`)).
		Mappings([]mapping{word(0, "none", good), word(-1, "ALERTING IS DEAD", unknown)}).
		Thresholds(limits(unknown, from(0, good), from(1, bad))).
		Links(append(runbooks("Watchdog"), see("telemetry")...))
}

func waitingTile() *stat.PanelBuilder {
	return tile("Longest wait", says(
		"nobody waits, or for milliseconds.",
		"how long the call that waits longest has waited, for a connection or for the end of an outage. Beyond 10 s it gets a 503.",
		"with the database away this is what is to be expected. With the database connected, the pool is too small for the load or "+
			"something holds its connections.",
	), seconds, now("", `max(speedybites_db_oldest_wait_seconds{$here}) or vector(-1)`)).
		Decimals(1).
		Mappings([]mapping{word(0, "nobody waits", good), unknownWord()}).
		Thresholds(limits(unknown, from(0, good), from(1, warning), from(5, bad))).
		Links(append(runbooks("SpeedyBitesPoolWaitingQueue", "SpeedyBitesPoolExhausted"), see("database", "resilience")...))
}

func slowTile() *stat.PanelBuilder {
	return tile("Response time", says(
		"99 of 100 answers within 500 ms.",
		"the time within which 99 % of the API's requests of the last minute were answered. 0 is without traffic.",
		"look at the response times by route, and from a slow one into its traces.",
	), seconds, now("", `
		histogram_quantile(0.99, sum by (le) (rate(http_server_request_duration_seconds_bucket{$here, $api}[1m]))) >= 0
		or vector(0)`)).
		Decimals(0).Thresholds(limits(good, from(0.5, warning), from(1, bad))).
		Links(append(runbooks("SpeedyBitesResponseTimeHigh", "SpeedyBitesLatencyBudgetBurnFast"), see("http")...))
}

func budgetTile() panel {
	return tile("Budget left", says(
		"most of the error budget: what is left of the 0.1 % of requests that may fail in 30 days. Days from before there were metrics count as good "+
			"ones.",
		"nothing left, or a negative share: the objective is missed.",
		"stop what is risky, such as deployments, until it has recovered; the SLO dashboard says how fast it is used up.",
	), percent, now("", `
		min`+promises[0].budgetLeft()+` or vector(1)`)).
		Decimals(0).Thresholds(limits(bad, from(1e-9, serious), from(0.25, warning), from(0.5, good))).
		Links(append(runbooks("SpeedyBitesErrorBudgetBurnMedium", "SpeedyBitesErrorBudgetBurnSlow"), see("slo")...))
}

func firingAlerts() panel {
	return cellTable("Firing alerts", says(
		"nothing fires.",
		"every page and ticket that fires, of all instances, pages first, and of these the oldest: the cause is rarely the youngest.",
		"click an alert for its runbook. What Alertmanager mutes because of a known cause is listed too.",
	), []column{
		{"Value", "Since"}, {"severity", "Severity"}, {"alertname", "Alert"}, {"instance", "Instance"},
	}, cells(`
		max by (alertname, severity, instance) (
			ALERTS_FOR_STATE{severity=~"page|ticket"} * 1000
			and ignoring (alertstate) ALERTS{alertstate="firing", severity=~"page|ticket"})`)).
		SortBy(append(sortedBy("Severity", false), sortedBy("Since", false)...)).
		OverrideByName("Since", []property{inUnit(moment), columnWidth(110), aligned("left")}).
		OverrideByName("Severity", []property{
			withWords(wordFor("page", "PAGE", bad), wordFor("ticket", "ticket", warning)), painted(), columnWidth(80), aligned("center"),
		}).
		OverrideByName("Instance", []property{columnWidth(125), {Id: "noValue", Value: "all"}}).
		OverrideByName("Alert", []property{linked("Runbook", "${runbooks}/${__value.raw}")}).
		NoValue("Nothing fires.").
		Links(runbooks("SpeedyBitesDatabaseTroubleRecently")).
		Span(12).Height(8)
}

func instanceTable() panel {
	return cellTable("Instance by instance", says(
		"all ready and connected to the primary, every breaker CLOSED, no errors, the replicas in use where there are any. The numbers are of "+
			"the last minute.",
		"one row differs from the others: that instance, or its way to the database, is ill. All rows are the same and bad: it is "+
			"something that they share, the database first of all.",
		"click the instance for its errors in the log.",
	), []column{
		{"instance", "Instance"},
		{"Value #A", "State"},
		{"Value #B", "Database"},
		{"Value #C", "Breaker"},
		{"Value #D", "Failing"},
		{"Value #E", "p99"},
		{"Value #F", "Waiting"},
		{"Value #G", "Replicas"},
	},
		cells(`
			max by (job, instance) (speedybites_ready{$here} + 2 * speedybites_shutting_down{$here})
			or max by (job, instance) (up{$service} - 1)`),
		cells(`min by (job, instance) (speedybites_database_connected{$primary})`),
		cells(breakerNow),
		cells(share(
			`sum by (job, instance) (rate(http_server_request_duration_seconds_count{$here, $api, http_response_status_code=~"5.."}[1m]))`,
			`sum by (job, instance) (rate(http_server_request_duration_seconds_count{$here, $api}[1m]))`)),
		cells(`
			histogram_quantile(0.99, sum by (job, instance, le) (rate(http_server_request_duration_seconds_bucket{$here, $api}[1m])))`),
		cells(`sum by (job, instance) (db_client_connection_pending_requests{$here})`),
		cells(`avg by (job, instance) (`+standbys(`speedybites_replica_usable{$here}`)+`)`),
	).
		OverrideByName("Instance", []property{
			linked("Errors in the log", exploreLogs(`{file="error.log", instance="${__value.raw}"}`)),
			columnWidth(125),
		}).
		OverrideByName("State", append(paintedWords(readyWords()...), columnWidth(105))).
		OverrideByName("Database", paintedWords(databaseWords()...)).
		OverrideByName("Breaker", paintedWords(breakerWords()...)).
		OverrideByName("Failing", paintedNumber(percent, 2, from(0.001, warning), from(0.0144, bad))).
		OverrideByName("p99", paintedNumber(seconds, 0, from(0.5, warning), from(1, bad))).
		OverrideByName("Waiting", paintedNumber(count, 0, from(1, warning))).
		OverrideByName("Replicas", paintedWords(allSomeNone("in use", "some", "none")...)).
		Links(runbooks("SpeedyBitesInstanceDown", "SpeedyBitesMetricsMissing")).
		Span(12).Height(8)
}

func databaseVerdicts() []mapping {
	return []mapping{
		word(7.5, "NO PRIMARY, replicas answer reads", bad),
		word(7, "DATABASE AWAY", bad),
		word(6, "DATABASE AWAY FOR SOME", bad),
		word(5, "DATABASE IS BACK, settling", warning),
		word(4, "BREAKER OPEN, database answers", bad),
		word(3, "POOL EXHAUSTED, database answers", bad),
	}
}

func serviceVerdicts() []mapping {
	return []mapping{
		word(9, "NO DATA: nothing is scraped", unknown), word(8, "ALL INSTANCES DOWN", bad),
		word(2, "IT IS US: requests fail, database answers", bad), word(1, "An instance is down or not ready", warning),
		word(0.5, "A page fires, see below", warning),
	}
}
