package boards

// What there is of each server: the primary is on the dashboards database and resilience alone, and beside its replicas here.

// worstState is the worst state of breakers in each step, as a number for breakerWords: with a step of minutes, the state at its
// end alone would hide an opening of seconds.
func worstState(by, which string) string {
	worst := func(state string) string {
		selector := `speedybites_circuit_breaker_state{` + which + `, state="` + state + `"}`
		return `max by (` + by + `) (max_over_time(` + selector + `[$__interval]) or ` + selector + `)`
	}
	return `clamp_max(` + worst("half_open") + ` + 2 * ` + worst("open") + `, 2)`
}

// asRole gives series of pools and breakers the label role, by which other series know the same server.
func asRole(label, expr string) string {
	return `label_replace(` + expr + `, "role", "$1", "` + label + `", "(.*)")`
}

// standbys leaves out what is the primary now: both URLs may name all servers, and a replica may have been promoted.
func standbys(series string) string {
	return series + ` unless on (job, instance, role) (
		speedybites_database_server_info{$here, role!="primary"} and on (job, instance, server) speedybites_database_server_info{$primary})`
}

func serverTable() panel {
	const pool, by = "db_client_connection_pool_name", `job, instance, role`
	return cellTable("Every server, for every instance", says(
		"all connected, every breaker CLOSED, every replica in use, pools far from full.",
		"one row for all instances: that server. All rows of one instance: that instance's network.",
		"Outages and openings are those of the shown time.",
	), []column{
		{"role", "Role"},
		{"server", "Server"},
		{"instance", "Instance"},
		{"Value #A", "Database"},
		{"Value #B", "Breaker"},
		{"Value #C", "Reads"},
		{"Value #D", "Behind"},
		{"Value #E", "Pool"},
		{"Value #F", "Outages"},
		{"Value #G", "Openings"},
	},
		cells(`min by (`+by+`) (speedybites_database_connected{$here})`),
		cells(`max by (`+by+`) (`+asRole("breaker", `
			speedybites_circuit_breaker_state{$here, state="half_open"} or 2 * speedybites_circuit_breaker_state{$here, state="open"}`)+`)`),
		cells(`min by (`+by+`) (`+standbys(`speedybites_replica_usable{$here}`)+`)`),
		cells(`max by (`+by+`) (`+standbys(`speedybites_replica_lag_seconds{$here}`)+`)`),
		cells(`max by (`+by+`) (`+asRole(pool, `job_instance_pool:db_pool:utilisation{$here}`)+`)`),
		cells(`sum by (`+by+`) (increase(speedybites_database_outages_total{$here}[$__range]))`),
		cells(`sum by (`+by+`) (`+asRole("breaker", `increase(speedybites_circuit_breaker_transitions_total{$here, to="open"}[$__range])`)+`)`),
		cells(`max by (`+by+`, server) (speedybites_database_server_info{$here})`),
	).
		SortBy(sortedBy("Role", false)).
		OverrideByName("Role", []property{columnWidth(110)}).
		OverrideByName("Server", []property{columnWidth(220)}).
		OverrideByName("Database", paintedWords(databaseWords()...)).
		OverrideByName("Breaker", paintedWords(breakerWords()...)).
		OverrideByName("Reads", paintedWords(yesNoWords("in use", "NOT USED")...)).
		OverrideByName("Behind", paintedNumber(seconds, 1, from(2, warning), from(5, bad))).
		OverrideByName("Pool", paintedNumber(percent, 0, from(0.7, warning), from(0.9, bad))).
		OverrideByName("Outages", paintedNumber(count, 0, from(0.5, warning))).
		OverrideByName("Openings", paintedNumber(count, 0, from(0.5, serious))).
		Links(append(runbooks("SpeedyBitesReplicaDisconnected", "SpeedyBitesReplicaBreakerOpen"), see("database", "resilience")...)).
		Span(24).Height(9)
}

func poolByServer() panel {
	return graph("Pools in use", says(
		"below 70 %; the replicas as busy as the primary, or more.",
		"the primary's rises while a replica's falls to 0: that replica gets no reads. One above the dashed line, 90 %: it is the bottleneck.",
		"see why on the timelines above.",
	), percent, line("{{db_client_connection_pool_name}}", `
		max by (db_client_connection_pool_name) (job_instance_pool:db_pool:utilisation{$here})`)).
		Max(1).Thresholds(limits(good, from(0.9, bad))).ThresholdsStyle(limitShown()).
		Links(append(runbooks("SpeedyBitesPoolSaturated"), see("database")...))
}

func queueByServer() panel {
	return graph("Calls that wait, by server", says(
		"0.",
		"for the primary during an outage: they are parked. For a replica: its pool is too small, or it is slow.",
		"see the time to obtain a connection beside this.",
	), count, line("{{db_client_connection_pool_name}}", `
		sum by (db_client_connection_pool_name) (db_client_connection_pending_requests{$here})`)).
		Links(append(runbooks("SpeedyBitesPoolWaitingQueue"), see("database")...))
}

func acquireByServer() panel {
	return graph("Time to obtain a connection, p99", says(
		"milliseconds, for every server.",
		"seconds for one of them: its pool is used up, or it does not answer logins.",
		"the primary's, instance by instance, is on the database dashboard.",
	), seconds, lineWithTraces("{{db_client_connection_pool_name}}", `
		histogram_quantile(0.99, sum by (db_client_connection_pool_name, le) (
			rate(db_client_connection_wait_time_seconds_bucket{$here}[$__rate_interval])))`)).
		Thresholds(limits(good, from(0.1, bad))).ThresholdsStyle(limitShown()).
		Links(append(runbooks("SpeedyBitesPoolAcquireSlow"), see("database")...))
}

func useByServer() panel {
	return graph("Time that a connection is used, p99", says(
		"a few milliseconds.",
		"one replica alone is slow: a query of its own, its disk, or what it replays. All are: the queries.",
		"the queries' p99 is on the database dashboard.",
	), seconds, lineWithTraces("{{db_client_connection_pool_name}}", `
		histogram_quantile(0.99, sum by (db_client_connection_pool_name, le) (
			rate(db_client_connection_use_time_seconds_bucket{$here}[$__rate_interval])))`)).
		Links(append(runbooks("SpeedyBitesPoolSaturated"), see("database")...))
}

func openingsByServer() panel {
	return bars("Openings of circuit breakers", says(
		"nothing.",
		"of the primary: requests were refused, somebody was paged. Of a replica: its reads went elsewhere.",
		"one a minute on one replica: it is tried, and fails again.",
	), count, line("{{breaker}}", `
		sum by (breaker) (increase(speedybites_circuit_breaker_transitions_total{$here, to="open"}[$__rate_interval]))`)).
		OverrideByName("primary", []property{coloured(bad)}).
		DataLinks([]link{traces("breaker transitions", `{resource.service.name="speedy-bites" && name="circuit_breaker.transition"}`)}).
		Links(append(runbooks("SpeedyBitesReplicaBreakerOpen", "SpeedyBitesCircuitBreakerOpen"), see("resilience")...))
}

func callsByServer() panel {
	return areas("Calls by server", says(
		"the replicas have the larger part where customers mostly read.",
		"a replica's part is gone: the others and the primary have it.",
		"see the reads by route.",
	), perSecond, line("{{breaker}}", `
		sum by (breaker) (rate(speedybites_circuit_breaker_calls_total{$here, kind=~"success|failure|neutral"}[$__rate_interval]))`)).
		Links(see("database"))
}

func outagesByServer() panel {
	return bars("Outages by server", says(
		"nothing.",
		"each bar is the loss of a server, as seen by the instance that saw it lose it most often.",
		"many short ones: something restarts it, or the network is ill.",
	), count, line("{{role}}", `
		max by (role) (sum by (instance, role) (increase(speedybites_database_outages_total{$here}[$__rate_interval])))`)).
		OverrideByName("primary", []property{coloured(bad)}).
		Links(append(runbooks("SpeedyBitesReplicaDisconnected", "SpeedyBitesDatabaseFlapping"), see("resilience")...))
}

func awayByServer() panel {
	return graph("Away now for, by server", says(
		"0.",
		"it grows with the clock while the server is away for the instance that lost it first.",
		"the runbook of a lost replica; for the primary there is a page.",
	), clock, line("{{role}}", `max by (role) (speedybites_database_current_outage_seconds{$here})`)).
		AxisSoftMax(10).
		Links(append(runbooks("SpeedyBitesReplicaDisconnected"), see("resilience")...))
}

func heardByServer() panel {
	return graph("Last heard from, by server", says(
		"below 2 s: each server is looked at every second.",
		"it grows: the server is away, or hangs, for one instance at the least.",
		"the looks beside this say whether anybody still looks.",
	), clock, line("{{role}}", `time() - min by (role) (speedybites_database_last_success_timestamp_seconds{$here} > 0)`)).
		AxisSoftMax(10).Thresholds(limits(good, from(60, bad))).ThresholdsStyle(limitShown()).
		Links(runbooks("SpeedyBitesReplicaDisconnected", "SpeedyBitesDatabaseStateStale"))
}

func checksByServer() panel {
	return graph("Looks of the probers that failed", says(
		"0.",
		"1 to 3 a second for each instance, while a server is away.",
		"some now and then: the network loses something.",
	), perSecond, line("{{role}}", `sum by (role) (rate(speedybites_database_checks_total{$here, outcome="failed"}[$__rate_interval]))`)).
		Links(runbooks("SpeedyBitesReplicaDisconnected"))
}

func failedDials() panel {
	return bars("Network connections that failed", says(
		"nothing.",
		"refused: nobody listens there. timeout: the host or the network is gone. dns: the name does not resolve. reset: something cuts them.",
		"by the prober alone: the server is known to be away. By the pool too: it has too many connections, or takes no logins.",
	), perSecond, line("{{role}}: {{outcome}}", `
		sum by (role, outcome) (rate(speedybites_db_dials_total{$here, outcome!="ok"}[$__rate_interval])) > 0`)).
		NoValue("None.").
		Links(append(runbooks("SpeedyBitesReplicaDisconnected"), see("database")...))
}

func sessionsByServer() panel {
	return bars("Sessions cut or found dead, by server", says(
		"nothing.",
		"cut: the server was lost, or hung. Found dead: it was there, and somebody or something had ended its sessions.",
		"found dead again and again: a firewall that forgets idle connections.",
	), count,
		line("{{role}}: cut", `sum by (role) (increase(speedybites_db_sessions_severed_total{$here}[$__rate_interval]))`),
		line("{{role}}: found dead", `sum by (role) (increase(speedybites_db_sessions_lost_total{$here}[$__rate_interval]))`),
	).
		Links(runbooks("SpeedyBitesReplicaBreakerOpen"))
}
