package boards

import "github.com/grafana/grafana-foundation-sdk/go/statetimeline"

func syntheticQueries() layout {
	return layout{
		name:        "synthetic",
		title:       "Synthetic queries",
		description: "A read and a write through the whole path every 15 s, traffic or not: would a customer be served now?",
		rows: []row{
			heading("Now", probesTile(), probeAgeTile(), probeShareTile(), probeTimeTile()),
			heading("Over time", probeTimeline().Span(24), probeRuns(), probeTime(), probeAge()),
		},
	}
}

func probesTile() panel {
	return tile("Test queries", says(
		"all answered: reads and writes on every instance.",
		"SOME FAIL: look which instance, and whether it is the reads or the writes. ALL FAIL: no customer is served.",
		"writes alone: the database is read-only, or its disk full. Both: the database is away.",
	), count, now("", `
		sum(speedybites_synthetic_probe_success{$here}) / count(speedybites_synthetic_probe_success{$here}) or vector(-1)`)).
		Mappings(allSomeNone("all answered", "SOME FAIL", "ALL FAIL")).Thresholds(limits(bad, from(1, good))).
		Links(append(runbooks("SpeedyBitesSyntheticProbeFailing"), see("resilience")...)).
		Span(6)
}

func probeAgeTile() panel {
	return tile("Last answer", says(
		"at most 15 s ago, the interval of the test queries.",
		"minutes: the query for which it is longest fails, or is not made any more.",
		"see the runs by result: none at all means that nobody asks.",
	), seconds, now("", `max(time() - speedybites_synthetic_probe_last_success_timestamp_seconds{$here})`)).
		Decimals(0).Thresholds(limits(good, from(60, warning), from(120, bad))).
		Links(runbooks("SpeedyBitesSyntheticProbeMissing")).
		Span(6)
}

func probeShareTile() panel {
	return tile("Answered in the shown time", says(
		"100 %.",
		"the share of test queries that were answered, of all instances.",
		"the time line below shows when they were not.",
	), percent, now("", share(
		`sum(increase(speedybites_synthetic_probe_runs_total{$here, result="success"}[$__range]))`,
		`sum(increase(speedybites_synthetic_probe_runs_total{$here}[$__range]))`))).
		Decimals(2).Thresholds(limits(bad, from(0.99, warning), from(0.999, good))).
		Links(append(runbooks("SpeedyBitesSyntheticProbeFailing"), see("slo")...)).
		Span(6)
}

func probeTimeTile() panel {
	return tile("p99 in the last hour", says(
		"milliseconds.",
		"above 500 ms: customers wait for as long.",
		"the queries' p99 on the database dashboard says whether it is the database.",
	), seconds, now("", `
		histogram_quantile(0.99, sum by (le) (rate(speedybites_synthetic_probe_duration_seconds_bucket{$here}[1h]))) >= 0 or vector(0)`)).
		Decimals(0).Thresholds(limits(good, from(0.1, warning), from(0.5, bad))).
		Links(append(runbooks("SpeedyBitesSyntheticProbeFailing"), see("database")...)).
		Span(6)
}

func probeTimeline() *statetimeline.PanelBuilder {
	return timeline("Test queries over time", says(
		"answered all along.",
		"FAILS on all instances: the database. db_write alone: the database is read-only or its disk full.",
		"compare with the breaker and the database; if both are well, look for the query in error.log.",
	), yesNoWords("answered", "FAILS"), line("{{instance}} {{probe}}", `
		min by (instance, probe) (min_over_time(speedybites_synthetic_probe_success{$here}[$__interval]) or speedybites_synthetic_probe_success{$here})`)).
		DataLinks([]link{logsOf("error.log")}).
		Links(append(runbooks("SpeedyBitesSyntheticProbeFailing", "SpeedyBitesSyntheticProbeMissing"), see("synthetic")...))
}

func probeRuns() panel {
	return bars("Runs by result", says(
		"success alone.",
		"disconnected: the database was away. rejected: the breaker or the full queue refused it. timeout: too slow. failure: an error. "+
			"Nothing at all: nobody asks.",
		"for disconnected and rejected see the resilience dashboard.",
	), count, line("{{result}}", `sum by (result) (increase(speedybites_synthetic_probe_runs_total{$here}[$__rate_interval]))`)).
		OverrideByName("success", []property{coloured(good)}).
		OverrideByName("disconnected", []property{coloured(unknown)}).
		OverrideByName("failure", []property{coloured(bad)}).
		OverrideByName("rejected", []property{coloured(serious)}).
		OverrideByName("timeout", []property{coloured(warning)}).
		Links(append(runbooks("SpeedyBitesSyntheticProbeFailing", "SpeedyBitesSyntheticProbeMissing"), see("resilience")...))
}

func probeTime() panel {
	return graph("Duration of test queries", says(
		"milliseconds, below the dashed line, 500 ms.",
		"it rises without traffic: the database or the network, not the load.",
		"click a dot for the trace of a run.",
	), seconds,
		line("p50 {{probe}}", `
			histogram_quantile(0.5, sum by (probe, le) (rate(speedybites_synthetic_probe_duration_seconds_bucket{$here}[$__rate_interval])))`),
		lineWithTraces("p99 {{probe}}", `
			histogram_quantile(0.99, sum by (probe, le) (rate(speedybites_synthetic_probe_duration_seconds_bucket{$here}[$__rate_interval])))`),
	).
		Thresholds(limits(good, from(0.5, bad))).ThresholdsStyle(limitShown()).
		DataLinks([]link{traces("runs of ${__field.labels.probe}", `{resource.service.name="speedy-bites" && name="synthetic ${__field.labels.probe}"}`)}).
		Links(append(runbooks("SpeedyBitesSyntheticProbeFailing"), see("database")...))
}

func probeAge() panel {
	return graph("Time since the last answer", says(
		"saw teeth up to 15 s.",
		"a ramp beyond the dashed line, 2 minutes.",
		"runs with other results: they fail. No runs: they are not made.",
	), clock, line("{{instance}} {{probe}}", `
		time() - max by (instance, probe) (speedybites_synthetic_probe_last_success_timestamp_seconds{$here} > 0)`)).
		Thresholds(limits(good, from(120, bad))).ThresholdsStyle(limitShown()).
		DataLinks([]link{logsOf("error.log")}).
		Links(runbooks("SpeedyBitesSyntheticProbeFailing", "SpeedyBitesSyntheticProbeMissing"))
}
