package boards

func monitoring() layout {
	return layout{
		name:        "telemetry",
		title:       "Telemetry",
		description: "Can what the rest says be trusted, and would somebody be paged?",
		rows: []row{
			heading("Would somebody be paged?", watchdogTile(), targetsTile(), rulesTile(), notificationsTile(), droppedTile(), reloadTile()),
			heading("What is scraped", targets(), scrapeTime(), scrapeSize(), scrapeErrors()),
			heading("Traces of the service", spansExported(), spansDropped()),
			heading("Collector", collectorSpans(), collectorQueue(), collectorDecisions()),
			heading("Prometheus", ruleFailures(), ruleTime(), sentToAlertmanager(), prometheusSeries(), exemplarsStored(), prometheusMemory()),
			heading("Alertmanager", notifications(), notificationFailures(), alertsHeld()),
		},
	}
}

func watchdogTile() panel {
	return tile("Alerting", says(
		"alive: the alert that always fires does, and Alertmanager receives it.",
		"DEAD: no rules are evaluated, so that nobody will be paged.",
		"is Prometheus running, does it load its rules?",
	), count, now("", `max(ALERTS{alertname="Watchdog", alertstate="firing"}) or vector(0)`)).
		Mappings(yesNoWords("alive", "DEAD")).Thresholds(limits(bad, from(1, good))).
		Links(runbooks("Watchdog"))
}

func targetsTile() panel {
	return tile("Targets down", says(
		"none.",
		"so many targets of all jobs cannot be scraped.",
		"the time line below says which.",
	), count, now("", `count(up == 0) or vector(0)`)).
		Mappings([]mapping{word(0, "none", good)}).Thresholds(limits(good, from(1, bad))).
		Links(runbooks("MonitoringTargetDown", "SpeedyBitesInstanceDown"))
}

func rulesTile() panel {
	return tile("Rules that fail", says(
		"none in the last 5 minutes.",
		"alerts of these groups are blind.",
		"Prometheus's page of rules has the error.",
	), count, now("", `sum(increase(prometheus_rule_evaluation_failures_total[5m]))`)).
		Decimals(0).Mappings([]mapping{word(0, "none", good)}).Thresholds(limits(good, from(1e-9, bad))).
		Links(runbooks("PrometheusRuleFailures"))
}

func notificationsTile() panel {
	return tile("Not delivered", says(
		"none in the last 5 minutes.",
		"Alertmanager could not deliver: somebody should have been told and was not.",
		"its log says why, the integration below to whom.",
	), count, now("", `sum(increase(alertmanager_notifications_failed_total[5m])) or vector(0)`)).
		Decimals(0).Mappings([]mapping{word(0, "none", good)}).Thresholds(limits(good, from(1e-9, bad))).
		Links(runbooks("NotificationsFailing"))
}

func droppedTile() panel {
	return tile("Spans lost", says(
		"none in the last 5 minutes.",
		"traces have holes. Requests do not wait for it.",
		"the reason below says whether the collector is away or too slow.",
	), count, now("", `sum(increase(speedybites_telemetry_spans_dropped_total{$here}[5m]))`)).
		Decimals(0).Mappings([]mapping{word(0, "none", good)}).Thresholds(limits(good, from(1e-9, warning))).
		Links(runbooks("SpeedyBitesTelemetryDropping"))
}

func reloadTile() panel {
	return tile("Configuration", says(
		"loaded, by Prometheus and Alertmanager.",
		"OLD ONE: the newest could not be loaded. They go on with the old one, and will not start with the new one.",
		"promtool check config, amtool check-config.",
	), count, now("", `min(prometheus_config_last_reload_successful or alertmanager_config_last_reload_successful)`)).
		Mappings(yesNoWords("loaded", "OLD ONE")).Thresholds(limits(bad, from(1, good))).
		Links(runbooks("ConfigReloadFailed"))
}

func targets() panel {
	return timeline("Targets of all jobs", says(
		"up.",
		"DOWN: what that target would tell is missing, and alerts on it are silent.",
		"is its process running, and its port reachable from Prometheus?",
	), yesNoWords("up", "DOWN"), line("{{job}} {{instance}}", `max by (job, instance) (up)`)).
		Links(append(runbooks("MonitoringTargetDown", "SpeedyBitesInstanceDown", "SpeedyBitesMetricsMissing"), see("runtime")...)).
		Span(24).Height(9)
}

func scrapeTime() panel {
	return graph("Duration of scrapes", says(
		"tens of milliseconds.",
		"above the dashed line, 4 s, scrapes are given up: the instance looks down although it is not.",
		"see the number of series beside this, and CPU on the runtime dashboard.",
	), seconds, line("{{instance}}", `max by (instance) (scrape_duration_seconds{$service})`)).
		AxisSoftMax(0.1).Thresholds(limits(good, from(4, bad))).ThresholdsStyle(limitShown()).
		Links(runbooks("SpeedyBitesScrapeIncomplete"))
}

func scrapeSize() panel {
	return graph("Series of each instance", says(
		"about 2,000, the same for weeks.",
		"above the dashed line, 4,000: a label with too many values. Beyond 5,000 the instance is not scraped any more.",
		"topk(10, count by (__name__) ({job=\"speedy-bites\"})) finds the metric.",
	), count, line("{{instance}}", `max by (instance) (scrape_samples_post_metric_relabeling{$service})`)).
		Thresholds(limits(good, from(4000, bad))).ThresholdsStyle(limitShown()).
		Links(runbooks("SpeedyBitesSeriesHigh", "SpeedyBitesMetricsMissing"))
}

func scrapeErrors() panel {
	return bars("Scrapes with something missing", says(
		"nothing.",
		"a collector failed: the rest of the metrics is there, its part is not.",
		"app.log has \"a collector is missing from /metrics\" with the error.",
	), count, line("{{cause}}", `sum by (cause) (increase(promhttp_metric_handler_errors_total{$service}[$__rate_interval]))`)).
		Links(append(runbooks("SpeedyBitesScrapeIncomplete"), see("logs")...))
}

func spansExported() panel {
	return graph("Spans exported", says(
		"in step with the requests; 0 where no collector is configured.",
		"0 although there is one: it does not accept them.",
		"see the spans dropped.",
	), perSecond, line("{{instance}}", `
		sum by (instance) (rate(speedybites_telemetry_spans_exported_total{$here}[$__rate_interval]))`)).
		DataLinks([]link{logsOf("app.log")}).
		Links(runbooks("SpeedyBitesTelemetryDropping")).
		Span(12)
}

func spansDropped() panel {
	return bars("Spans dropped", says(
		"nothing.",
		"export_failed: the collector is away or refuses them. queue_full: it is too slow. buffer_full, too_old: more traces at once than "+
			"are kept until their end is known.",
		"see the collector below.",
	), perSecond, line("{{reason}}", `sum by (reason) (rate(speedybites_telemetry_spans_dropped_total{$here}[$__rate_interval]))`)).
		Links(runbooks("SpeedyBitesTelemetryDropping")).
		Span(12)
}

// either is a rate of a counter of the collector, whose names have the suffix _total or not, as it is configured.
func either(by, name string) string {
	one := func(name string) string { return `sum by (` + by + `) (rate(` + name + `[$__rate_interval]))` }
	return one(name+"_total") + ` or ` + one(name)
}

const noCollector = "No collector is scraped."

func collectorSpans() panel {
	return graph("Spans through the collector", says(
		"sent below accepted by what tail sampling leaves out; nothing refused or failed.",
		"refused: it is out of memory. failed: Tempo does not take them.",
		"the collector's log says which.",
	), perSecond,
		line("accepted", either("job", "otelcol_receiver_accepted_spans")),
		line("refused", either("job", "otelcol_receiver_refused_spans")),
		line("sent by {{exporter}}", either("exporter", "otelcol_exporter_sent_spans")),
		line("failed by {{exporter}}", either("exporter", "otelcol_exporter_send_failed_spans")),
	).
		NoValue(noCollector).
		OverrideByRegexp("refused|failed.*", []property{coloured(bad)}).
		Links(runbooks("SpeedyBitesTelemetryDropping", "MonitoringTargetDown"))
}

func collectorQueue() panel {
	return graph("Queues of the collector", says(
		"near 0 %.",
		"it fills up: what comes next is dropped.",
		"is Tempo or Loki down or slow?",
	), percent, line("{{exporter}}", `
		max by (exporter) (otelcol_exporter_queue_size) / (max by (exporter) (otelcol_exporter_queue_capacity) > 0)`)).
		NoValue(noCollector).
		AxisSoftMax(1).Thresholds(limits(good, from(0.8, bad))).ThresholdsStyle(limitShown()).
		Links(runbooks("SpeedyBitesTelemetryDropping"))
}

func collectorDecisions() panel {
	return graph("Traces kept by tail sampling", says(
		"all with an error, an outage or a long duration, and a part of the others.",
		"none kept, or dropped too early: a trace that you look for is not there.",
		"see the policies in the collector's configuration.",
	), perSecond,
		line("kept: {{sampled}}", either("sampled", "otelcol_processor_tail_sampling_global_count_traces_sampled")),
		line("dropped too early", either("job", "otelcol_processor_tail_sampling_sampling_trace_dropped_too_early")),
	).
		NoValue(noCollector).
		OverrideByName("dropped too early", []property{coloured(bad)}).
		Links(runbooks("SpeedyBitesTelemetryDropping"))
}
