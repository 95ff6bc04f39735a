package boards

// PostgreSQL's own view comes from postgres_exporter, whose job and instances are others than those of the service: these
// queries do not look at the chosen ones. Names are those that the exporter's
// versions 0.11 and 0.20 have in common, where there are such.

func postgresState() []panel {
	return []panel{
		timeline("PostgreSQL, as its exporter sees it", says(
			"up.",
			"DOWN while the service is connected: the exporter's own login fails. DOWN in both: PostgreSQL is down. A gap: the exporter "+
				"is not scraped.",
			"look at PostgreSQL's log and process.",
		), yesNoWords("up", "DOWN"), line("{{instance}}", `min by (instance) (pg_up)`)).
			Links(append(runbooks("SpeedyBitesDatabaseDisconnected", "MonitoringTargetDown"), see("resilience")...)).
			Span(8).Height(8),
		graph("Connections of PostgreSQL", says(
			"far below the dashed line, max_connections.",
			"near the line: new logins fail, those of a second instance first. Many idle in transaction: somebody holds locks and does nothing.",
			"who: select usename, application_name, state, count(*) from pg_stat_activity group by 1, 2, 3.",
		), count,
			line("{{instance}}", `sum by (instance) (pg_stat_activity_count)`),
			line("idle in transaction {{instance}}", `sum by (instance) (pg_stat_activity_count{state=~"idle in transaction.*"})`),
			line("max_connections {{instance}}", `max by (instance) (pg_settings_max_connections)`),
		).
			OverrideByRegexp("max_connections.*", limitLine(bad)).
			Links(runbooks("PostgresConnectionsHigh")),
		graph("Longest transaction", says(
			"below a second.",
			"minutes: it holds locks, and dead rows pile up behind it. The dashed line is 5 minutes.",
			"select pid, now() - xact_start, query from pg_stat_activity order by xact_start; pg_terminate_backend(pid) ends one.",
		), seconds, line("{{instance}}", `max by (instance) (pg_stat_activity_max_tx_duration{datname!~"template.*"})`)).
			Thresholds(limits(good, from(300, bad))).ThresholdsStyle(limitShown()).AxisSoftMax(1).
			Links(runbooks("PostgresLongTransaction")),
	}
}

func postgresWork() []panel {
	return []panel{
		graph("Transactions", says(
			"commits in step with the load; few rollbacks.",
			"many rollbacks: transactions fail and are run again. Commits fall while requests do not: they wait for locks.",
			"compare with the failed attempts by error.",
		), perSecond,
			line("committed {{instance}}", `
				sum by (instance) (rate(pg_stat_database_xact_commit{datname!~"|template.*"}[$__rate_interval]))`),
			line("rolled back {{instance}}", `
				sum by (instance) (rate(pg_stat_database_xact_rollback{datname!~"|template.*"}[$__rate_interval]))`),
		).
			OverrideByRegexp("rolled back.*", []property{coloured(serious)}).
			Links(append(runbooks("SpeedyBitesRetryStorm"), see("resilience")...)),
		bars("Deadlocks", says(
			"nothing.",
			"transactions waited for each other; PostgreSQL ended one, and the service ran it again.",
			"PostgreSQL's log has both statements. They must take their locks in the same order.",
		), count, line("{{datname}}", `
			sum by (datname) (increase(pg_stat_database_deadlocks{datname!~"|template.*"}[$__rate_interval]))`)).
			Links(runbooks("PostgresDeadlocks")),
		graph("Blocks found in memory", says(
			"above 99 %.",
			"it falls: what is needed does not fit into shared_buffers any more, or a query reads whole tables.",
			"look for the query that became slow at the same time.",
		), percent, line("{{instance}}", `
			sum by (instance) (rate(pg_stat_database_blks_hit{datname!~"|template.*"}[$__rate_interval]))
			/ (sum by (instance) (rate(pg_stat_database_blks_hit{datname!~"|template.*"}[$__rate_interval])
				+ rate(pg_stat_database_blks_read{datname!~"|template.*"}[$__rate_interval])) > 0)`)).
			Max(1).Links(see("http")),
		graph("Replica behind primary, in time", says(
			"below a second; 0 on the primary and where there is no replica.",
			"above the dashed line, 30 s: a failover to it would lose or wait for that much. It also grows while nobody writes.",
			"look at the replica's log, its disk and the network between the two.",
		), seconds, line("{{instance}}", `
			max by (instance) (pg_replication_lag_seconds) or max by (instance) (pg_replication_lag) or 0 * max by (instance) (pg_up)`)).
			Thresholds(limits(good, from(30, bad))).ThresholdsStyle(limitShown()).AxisSoftMax(1).
			Links(runbooks("PostgresReplicaLagging")),
		graph("Replica behind primary, in bytes", says(
			"kilobytes; 0 where there is no replica.",
			"it grows without an end: the replica does not keep up, or is gone and its slot keeps WAL on the primary's disk.",
			"select * from pg_stat_replication on the primary.",
		), inBytes, line("{{application_name}}", `
			max by (application_name) (pg_stat_replication_pg_wal_lsn_diff) or label_replace(0 * max(pg_up), "application_name", "no replica", "", "")`)).
			Links(runbooks("PostgresReplicaLagging")),
		graph("Size of the database", says(
			"it grows with the orders.",
			"it grows faster: dead rows behind a long transaction, or something writes too much.",
			"compare with the longest transaction.",
		), inBytes, line("{{datname}}", `max by (datname) (pg_database_size_bytes{datname!~"template.*"})`)).
			Links(runbooks("PostgresLongTransaction")),
	}
}
