package boards

// Prometheus and Alertmanager, under names that Prometheus 2.42 and later, and Alertmanager 0.25 and later, have in common.

func ruleFailures() panel {
	return bars("Evaluations of rules that failed or were missed", says(
		"nothing.",
		"failed: a query has an error or too many results. missed: evaluation takes longer than its interval.",
		"Prometheus's page of rules has the error and the duration.",
	), count,
		line("failed: {{rule_group}}", orNone("rule_group", `increase(prometheus_rule_evaluation_failures_total[$__rate_interval])`)),
		line("missed", `sum(increase(prometheus_rule_group_iterations_missed_total[$__rate_interval]))`),
	).
		Links(runbooks("PrometheusRuleFailures"))
}

func ruleTime() panel {
	return graph("Duration of rule groups, as a share of their interval", says(
		"a few percent.",
		"near the dashed line, 100 %: evaluations are missed and alerts come late.",
		"look for the group that grew; windows of days are the dearest.",
	), percent, line("{{rule_group}}", `
		max by (rule_group) (prometheus_rule_group_last_duration_seconds)
		/ max by (rule_group) (prometheus_rule_group_interval_seconds)`)).
		AxisSoftMax(0.1).Thresholds(limits(good, from(1, bad))).ThresholdsStyle(limitShown()).
		OverrideByRegexp(".*", []property{{Id: "custom.hideFrom", Value: map[string]bool{"legend": true, "tooltip": false, "viz": false}}}).
		Links(runbooks("PrometheusRuleFailures"))
}

func sentToAlertmanager() panel {
	return graph("Alerts from Prometheus to Alertmanager", says(
		"sent; none dropped, nothing queued.",
		"dropped: Alertmanager cannot be reached. Queued: it is slow.",
		"is Alertmanager running, and among Prometheus's targets?",
	), perSecond,
		line("sent", `sum(rate(prometheus_notifications_sent_total[$__rate_interval]))`),
		line("errors", `sum(rate(prometheus_notifications_errors_total[$__rate_interval]))`),
		line("dropped", `sum(rate(prometheus_notifications_dropped_total[$__rate_interval]))`),
		line("queued", `sum(prometheus_notifications_queue_length)`),
	).
		OverrideByRegexp("errors|dropped", []property{coloured(bad)}).
		OverrideByName("queued", []property{inUnit(count)}).
		Links(runbooks("Watchdog", "NotificationsFailing"))
}

func prometheusSeries() panel {
	return graph("Series in Prometheus", says(
		"flat.",
		"it grows: labels with ever new values. In the end memory runs out.",
		"see the series of each instance above.",
	), count, line("{{instance}}", `max by (instance) (prometheus_tsdb_head_series)`)).
		Links(runbooks("SpeedyBitesSeriesHigh"))
}

func exemplarsStored() panel {
	return graph("Exemplars in Prometheus", says(
		"some: they are the dots that lead from graphs to traces.",
		"0: it runs without --enable-feature=exemplar-storage, or the service keeps no traces.",
		"the graphs are right without them.",
	), count, line("{{instance}}", `
		max by (instance) (prometheus_tsdb_exemplar_exemplars_in_storage) or 0 * max by (instance) (prometheus_tsdb_head_series)`)).
		Links(runbooks("SpeedyBitesTelemetryDropping"))
}

func prometheusMemory() panel {
	return graph("Memory of the monitoring", says(
		"plateaus.",
		"one grows without an end: it will be killed, and with it what it tells.",
		"for Prometheus see its series, for the collector its queues.",
	), inBytes, line("{{job}} {{instance}}", `max by (job, instance) (process_resident_memory_bytes{job!~"speedy-bites.*"})`)).
		Links(runbooks("MonitoringTargetDown"))
}

func notifications() panel {
	return bars("Notifications by integration", says(
		"few: one for each incident, and one when it is over.",
		"dozens in an hour: alerts that flap, or are not grouped.",
		"the overview lists what fires.",
	), count, line("{{integration}}", `
		sum by (integration) (increase(alertmanager_notifications_total{integration=~"webhook|pagerduty|slack|email"}[$__rate_interval]))`)).
		Links(append(runbooks("NotificationsFailing"), see("overview")...))
}

func notificationFailures() panel {
	return bars("Notifications failed", says(
		"nothing.",
		"by integration: somebody was not told.",
		"Alertmanager's log says why: a wrong secret, an address that does not answer.",
	), count, line("{{integration}}", `
		sum by (integration) (
			increase(alertmanager_notifications_failed_total{integration=~"webhook|pagerduty|slack|email"}[$__rate_interval]))`)).
		Links(runbooks("NotificationsFailing"))
}

func alertsHeld() panel {
	return areas("Alerts in Alertmanager", says(
		"one active: the Watchdog.",
		"suppressed: muted by a cause or a silence. Many active: an incident.",
		"Alertmanager's page lists them, also those that are muted.",
	), count, line("{{state}}", `sum by (state) (alertmanager_alerts)`)).
		Links(append(runbooks("Watchdog"), see("overview")...))
}
