package boards

import "github.com/grafana/grafana-foundation-sdk/go/timeseries"

func database() layout {
	return layout{
		name:        "database",
		title:       "Database and pool",
		description: "Which query is slow or fails, is the pool large enough, and how is PostgreSQL itself?",
		rows: []row{
			heading("Now", databaseTile().Span(6).Height(5), attemptTimeTile(), failedCallsTile(), poolTile(), waitingTile().Height(5),
				refusedTile()),
			heading("Queries", queryRate(), queryMedian(), querySlow(), callResults(), attemptsByError(), rowsByQuery(), queryTable()),
			heading("Pool", poolUse(), poolShare(), queueLength(), acquireTime(), useTime(), createTime(), shed(), churn(), dials()),
			heading("PostgreSQL", append(postgresState(), postgresWork()...)...),
		},
	}
}

func attemptTimeTile() panel {
	return tile("Query time", says(
		"99 of 100 attempts within 50 ms.",
		"above 500 ms: PostgreSQL or the network to it is slow.",
		"look for the query below whose p99 rose first.",
	), seconds, now("", `
		histogram_quantile(0.99, sum by (le) (rate(db_client_operation_duration_seconds_bucket{$here}[5m]))) >= 0 or vector(0)`)).
		Decimals(0).Thresholds(limits(good, from(0.05, warning), from(0.5, bad))).
		Links(runbooks("SpeedyBitesQueryTimeouts")).
		Span(3).Height(5)
}

func failedCallsTile() panel {
	return tile("Calls without an answer", says(
		"none in the last 5 minutes.",
		"a share of the database calls ended without an answer: failed, refused by the breaker or the full queue, or given up by the caller.",
		"the calls by result below say which.",
	), percent, now("", share(
		`sum(rate(speedybites_db_calls_total{$here, result=~"failed.*|refused.*|abandoned"}[5m]))`,
		`sum(rate(speedybites_db_calls_total{$here}[5m]))`))).
		Decimals(2).Mappings([]mapping{word(0, "none", good)}).
		Thresholds(limits(good, from(0.001, warning), from(0.01, bad))).
		Links(append(runbooks("SpeedyBitesCircuitBreakerOpen"), see("resilience")...)).
		Height(5)
}

func poolTile() panel {
	return tile("Pool in use", says(
		"below 70 % on every instance.",
		"the fullest pool of the fullest instance is near 100 %: a little more load and queries begin to wait.",
		"look at the use time: long means slow queries or transactions, short means that there is simply more load.",
	), percent, now("", `max(job_instance_pool:db_pool:utilisation{$here})`)).
		Decimals(0).Thresholds(limits(good, from(0.7, warning), from(0.9, bad))).
		Links(runbooks("SpeedyBitesPoolSaturated")).
		Span(3).Height(5)
}

func refusedTile() panel {
	return tile("No connection in time", says(
		"none in the last 5 minutes.",
		"calls for which there was no connection, nor would have been within 10 s: these customers got a 503 although the database works.",
		"the pool, its use and its queue below; then the runbook.",
	), count, now("", `sum(increase(speedybites_db_shed_total{$here}[5m]))`)).
		Decimals(0).Mappings([]mapping{word(0, "none", good)}).Thresholds(limits(good, from(1e-9, bad))).
		Links(runbooks("SpeedyBitesPoolExhausted")).
		Height(5)
}

func queryRate() panel {
	return graph("Attempts by query", says(
		"in step with the requests.",
		"one query far more often than its requests: retries, or a loop in the code.",
		"compare with the calls by result.",
	), perSecond, line("{{db_query_summary}}", `
		sum by (db_query_summary) (rate(db_client_operation_duration_seconds_count{$here}[$__rate_interval])) > 0`)).
		NoValue("No queries.").
		DataLinks([]link{queryTraces("")}).Links(see("http")).
		Height(10)
}

func queryMedian() panel {
	return graph("p50 by query", says(
		"each query as fast as it always is.",
		"one rises: its plan changed or its table grew. All rise: PostgreSQL or the network is slow.",
		"click a dot for a trace, and explain the query in psql.",
	), seconds, lineWithTraces("{{db_query_summary}}", `
		histogram_quantile(0.5, sum by (db_query_summary, le) (rate(db_client_operation_duration_seconds_bucket{$here}[$__rate_interval])))
		>= 0`)).
		NoValue("No queries.").
		DataLinks([]link{queryTraces("")}).Links(see("http")).
		Height(10)
}

func querySlow() panel {
	return graph("p99 by query", says(
		"below the dashed line, 500 ms. Gaps are times without such queries.",
		"one query rises: locks, a changed plan, a grown table. All rise: PostgreSQL or the network is slow.",
		"click a dot for a trace. In psql: select * from pg_stat_activity where state <> 'idle'.",
	), seconds, lineWithTraces("{{db_query_summary}}", `
		histogram_quantile(0.99, sum by (db_query_summary, le) (rate(db_client_operation_duration_seconds_bucket{$here}[$__rate_interval])))
		>= 0`)).
		NoValue("No queries.").
		Thresholds(limits(good, from(0.5, bad))).ThresholdsStyle(limitShown()).
		DataLinks([]link{queryTraces(" && duration>500ms")}).
		Links(runbooks("SpeedyBitesQueryTimeouts", "SpeedyBitesResponseTimeHigh")).
		Height(10)
}

// queryTraces leads from the line of a query to traces with it: its spans are named after it.
func queryTraces(more string) link {
	return traces("${__field.labels.db_query_summary}",
		`{resource.service.name="speedy-bites" && name="${__field.labels.db_query_summary}"`+more+`}`)
}

func callResults() *timeseries.PanelBuilder {
	return areas("Database calls by result", says(
		"success_first alone.",
		"success_after_retry: somebody waited, nobody failed. refused_breaker: the breaker is open. refused_capacity: the pool. "+
			"failed_after_retry: the database is away for longer than the grace. abandoned: callers left.",
		"retries and breaker are on the resilience dashboard.",
	), perSecond, line("{{result}}", `sum by (result) (rate(speedybites_db_calls_total{$here}[$__rate_interval]))`)).
		OverrideByName("success_first", []property{coloured(good)}).
		OverrideByName("success_after_retry", []property{coloured(neutral)}).
		OverrideByName("abandoned", []property{coloured(unknown)}).
		OverrideByRegexp("failed.*", []property{coloured(bad)}).
		OverrideByRegexp("refused.*", []property{coloured(serious)}).
		Links(append(runbooks("SpeedyBitesCircuitBreakerOpen", "SpeedyBitesPoolExhausted"), see("resilience")...))
}

func attemptsByError() panel {
	return bars("Failed attempts by error", says(
		"nothing, or single conflicts.",
		"connection: the database or the way to it. timeout: statements over 30 s, which the breaker does not count. credentials: a "+
			"changed password. conflict: transactions collide. capacity: PostgreSQL has too many connections. canceled: callers left.",
		"for connection see the resilience dashboard, for timeout the queries' p99, for credentials the configuration.",
	), perSecond, line("{{error_type}}", `
		sum by (error_type) (rate(speedybites_db_attempts_total{$here, error_type!=""}[$__rate_interval]))`)).
		Links(append(runbooks("SpeedyBitesQueryTimeouts", "SpeedyBitesRetryStorm"), see("resilience")...)).
		DataLinks([]link{traces("${__field.labels.error_type}",
			`{resource.service.name="speedy-bites" && span.error.type="${__field.labels.error_type}"}`)})
}

func rowsByQuery() panel {
	return graph("Rows per attempt", says(
		"as many as a page of a list has, or one.",
		"a query returns more and more: a limit is missing.",
		"the query has this name in the code.",
	), count, line("{{db_query_summary}}", `
		sum by (db_query_summary) (rate(db_client_response_returned_rows_sum{$here}[$__rate_interval]))
		/ (sum by (db_query_summary) (rate(db_client_response_returned_rows_count{$here}[$__rate_interval])) > 0)`)).
		NoValue("No queries.").
		DataLinks([]link{queryTraces("")}).Links(see("http"))
}

func queryTable() panel {
	quantile := func(q string) string {
		return `histogram_quantile(` + q + `, sum by (db_query_summary, le) (rate(db_client_operation_duration_seconds_bucket{$here}[$__range]))) >= 0`
	}
	return cellTable("Queries over the shown time", says(
		"no query fails; the time that all of them take together is small next to the number of connections.",
		"the query at the top takes most of the database's time. 1 s/s is one connection that does nothing else.",
		"that query is the first to make faster or rarer.",
	), []column{
		{"db_query_summary", "Query"},
		{"Value #A", "Attempts"},
		{"Value #B", "Time"},
		{"Value #C", "p50"},
		{"Value #D", "p99"},
		{"Value #E", "Failing"},
	},
		cells(`sum by (db_query_summary) (rate(db_client_operation_duration_seconds_count{$here}[$__range])) > 0`),
		cells(`sum by (db_query_summary) (rate(db_client_operation_duration_seconds_sum{$here}[$__range])) > 0`),
		cells(quantile("0.5")), cells(quantile("0.99")),
		cells(share(
			`sum by (db_query_summary) (rate(speedybites_db_attempts_total{$here, error_type!=""}[$__range]))`,
			`sum by (db_query_summary) (rate(speedybites_db_attempts_total{$here}[$__range]) > 0)`)),
	).
		SortBy(sortedBy("Time", true)).NoValue("No queries.").
		OverrideByName("Query", []property{linked("Traces", explore("tempo", map[string]any{
			"queryType": "traceql", "limit": 20, "tableType": "traces",
			"query": `{resource.service.name="speedy-bites" && name="${__value.raw}"}`,
		}))}).
		OverrideByName("Attempts", []property{inUnit(perSecond)}).
		OverrideByName("Time", []property{inUnit("none"), withDecimals(4)}).
		OverrideByName("p50", []property{inUnit(seconds)}).
		OverrideByName("p99", paintedNumber(seconds, 1, from(0.5, warning), from(1, bad))).
		OverrideByName("Failing", paintedNumber(percent, 2, from(0.001, warning), from(0.01, bad))).
		Links(runbooks("SpeedyBitesQueryTimeouts")).
		Span(24).Height(9)
}

func poolUse() *timeseries.PanelBuilder {
	return areas("Connections to the primary", says(
		"used far below the dashed line, which is the most that there may be.",
		"used reaches the line: the pool is the bottleneck. constructing for long: logins are slow or fail.",
		"look at the use time. Before making the pool larger, see that PostgreSQL has connections left.",
	), count,
		line("{{db_client_connection_state}}", `
			sum by (db_client_connection_state) (db_client_connection_count{$here, db_client_connection_pool_name="primary"})`),
		line("most", `sum(db_client_connection_max{$here, db_client_connection_pool_name="primary"})`),
		line("kept", `sum(db_client_connection_idle_min{$here, db_client_connection_pool_name="primary"})`),
	).
		OverrideByName("used", []property{coloured(serious)}).
		OverrideByName("idle", []property{coloured(good)}).
		OverrideByName("constructing", []property{coloured(unknown)}).
		OverrideByName("most", limitLine(bad)).
		OverrideByName("kept", limitLine(neutral)).
		Links(append(runbooks("SpeedyBitesPoolSaturated", "SpeedyBitesPoolExhausted"), see("database")...))
}

func poolShare() panel {
	return graph("Fullest pool and queue", says(
		"the pools below 70 %, and alike on all instances; the queues at 0. There is one of each for each server: this is the fullest.",
		"a pool above the dashed line, 90 %, for minutes. A full queue: further calls are refused. One instance alone: the balancer sends it more, or it holds connections.",
		"compare the use time of the instances.",
	), percent,
		line("pool of {{instance}}", `max by (instance) (job_instance_pool:db_pool:utilisation{$here})`),
		line("queue of {{instance}}", `
			max by (instance) (db_client_connection_pending_requests{$here}) / max by (instance) (speedybites_db_max_waiting{$here})`),
	).
		Max(1).Thresholds(limits(good, from(0.9, bad))).ThresholdsStyle(limitShown()).
		DataLinks([]link{logsOf("app.log")}).
		Links(append(runbooks("SpeedyBitesPoolSaturated"), see("replicas")...))
}

func queueLength() *timeseries.PanelBuilder {
	return graph("Calls that wait", says(
		"0, or a few for milliseconds.",
		"parked: they wait for the primary to come back. Waiting but not parked: they wait for a connection to that server. From 1,000 "+
			"for one server on each instance on, further calls are refused there.",
		"parked: see the resilience dashboard. Not parked: the pool is too small, or queries hold connections for long.",
	), count,
		line("waiting: {{db_client_connection_pool_name}}", `
			sum by (db_client_connection_pool_name) (db_client_connection_pending_requests{$here})`),
		line("of these parked", `sum(speedybites_db_parked_calls{$here})`),
	).
		OverrideByName("waiting: primary", []property{coloured(serious)}).
		OverrideByName("of these parked", []property{coloured(unknown)}).
		Links(append(runbooks("SpeedyBitesPoolWaitingQueue", "SpeedyBitesPoolExhausted"), see("resilience")...))
}

func acquireTime() panel {
	return graph("Time to obtain a connection to the primary", says(
		"p99 below the dashed line, 100 ms; mostly microseconds.",
		"p99 rises: the pool is used up at times. p50 rises too: it is used up all the time.",
		"click a dot for a trace that waited. Then see who uses the connections for how long.",
	), seconds,
		line("p50 {{instance}}", `
			histogram_quantile(0.5,
				sum by (instance, le) (rate(
					db_client_connection_wait_time_seconds_bucket{$here, db_client_connection_pool_name="primary"}[$__rate_interval])))`),
		lineWithTraces("p99 {{instance}}", `
			histogram_quantile(0.99,
				sum by (instance, le) (rate(
					db_client_connection_wait_time_seconds_bucket{$here, db_client_connection_pool_name="primary"}[$__rate_interval])))`),
	).
		Thresholds(limits(good, from(0.1, bad))).ThresholdsStyle(limitShown()).
		Links(runbooks("SpeedyBitesPoolAcquireSlow"))
}

func useTime() panel {
	return graph("Time that a connection to the primary is used", says(
		"a few milliseconds.",
		"p99 of seconds: a transaction does something slow while it holds its connection.",
		"the queries' p99 shows whether it is one query; a trace shows what happens between the queries.",
	), seconds,
		line("p50 {{instance}}", `
			histogram_quantile(0.5,
				sum by (instance, le) (rate(
					db_client_connection_use_time_seconds_bucket{$here, db_client_connection_pool_name="primary"}[$__rate_interval])))`),
		lineWithTraces("p99 {{instance}}", `
			histogram_quantile(0.99,
				sum by (instance, le) (rate(
					db_client_connection_use_time_seconds_bucket{$here, db_client_connection_pool_name="primary"}[$__rate_interval])))`),
	).
		Links(runbooks("SpeedyBitesPoolSaturated", "SpeedyBitesPoolWaitingQueue"))
}

func createTime() panel {
	return graph("Time to make a connection", says(
		"tens of milliseconds, login included; gaps while none is made.",
		"seconds: the network, the name service or PostgreSQL's login is slow.",
		"see the dials by outcome, and PostgreSQL's own log.",
	), seconds, lineWithTraces("p99 {{db_client_connection_pool_name}}", `
		histogram_quantile(0.99,
				sum by (db_client_connection_pool_name, le) (rate(db_client_connection_create_time_seconds_bucket{$here}[$__rate_interval])))`)).
		Links(append(runbooks("SpeedyBitesPoolAcquireSlow"), see("resilience")...))
}

func shed() panel {
	return bars("Calls shed, by kind and reason", says(
		"nothing.",
		"these customers got a 503 although the database works. queue_full: 1,000 wait already. too_slow: the queue is too long for its "+
			"pace. displaced: a read that had to give its place to a write. timeout: no connection within 10 s. Reads go first: with "+
			"writes among them it is serious. What finds no connection to a replica goes to the primary.",
		"the pool in use, the queue and the use time.",
	), count,
		line("{{kind}}: {{reason}}", `sum by (kind, reason) (increase(speedybites_db_shed_total{$here}[$__rate_interval]))`),
		line("not shed, but no longer at {{db_client_connection_pool_name}}", `
			sum by (db_client_connection_pool_name)
			(increase(db_client_connection_timeouts_total{$here, db_client_connection_pool_name!="primary"}[$__rate_interval]))`),
	).
		Links(runbooks("SpeedyBitesPoolExhausted"))
}

func churn() panel {
	return bars("Connections that the pool retired", says(
		"a few: idle ones after 30 s, old ones after 2 h.",
		"as many as there are requests: the pool shrinks and grows all the time.",
		"keep more connections (DB_POOL_MIN), or idle ones for longer (DB_IDLE_TIMEOUT_MS).",
	), count, line("{{reason}}", `sum by (reason) (increase(speedybites_db_pool_conns_closed_total{$here}[$__rate_interval]))`)).
		Links(see("resilience"))
}

func dials() *timeseries.PanelBuilder {
	return bars("Network connections attempted", says(
		"few, all of them ok, by the pool, the prober, or to cancel a statement.",
		"refused: nobody listens, PostgreSQL is down. timeout: the host or the network is gone. dns: the name does not resolve. reset: "+
			"something between cuts them.",
		"the outcome says where to look: PostgreSQL, its host, the network, the name service.",
	), perSecond,
		line("ok, by the {{purpose}}", `sum by (purpose) (rate(speedybites_db_dials_total{$here, outcome="ok"}[$__rate_interval]))`),
		line("{{outcome}}: {{role}}", `
			sum by (outcome, role) (rate(speedybites_db_dials_total{$here, outcome!="ok"}[$__rate_interval])) > 0`),
	).
		OverrideByRegexp("ok.*", []property{coloured(good)}).
		OverrideByName("refused: primary", []property{coloured(bad)}).
		OverrideByName("timeout: primary", []property{coloured(serious)}).
		OverrideByName("reset: primary", []property{coloured(warning)}).
		Links(append(runbooks("SpeedyBitesDatabaseDisconnected"), see("resilience")...))
}
