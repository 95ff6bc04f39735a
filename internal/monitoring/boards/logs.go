package boards

import (
	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/timeseries"
)

// logStream selects lines of the log files, as they are labelled on their way to Loki. The text box trace_id is empty, or has
// the id of a trace.
const logStream = `job=~"$job", instance=~"$instance"`

func logsAndAudit() layout {
	return layout{
		name:        "logs",
		title:       "Logs and audit",
		description: "What do the logs say, are they kept, and is the audit log whole?",
		readsLogs:   true,
		variables: []cog.Builder[dashboard.VariableModel]{
			dashboard.NewTextBoxVariableBuilder("trace_id").Label("Trace id").DefaultValue(text("")),
		},
		rows: []row{
			heading("Now", errorsTile(), logWritesTile(), diskTile(), auditTile(), chainTile(), pendingTile()),
			heading("Lines", errorLines(), warningLines(), traceLines(), linesByFile().Span(24)),
			heading("Files", logLevels(), thinned(), logWriteErrors(), fileSizes().Span(12), diskFree().Span(12)),
			heading("Audit", auditLag(), auditPending(), auditFsync(), auditFailures(), auditSequence(), auditLinesRate(), auditLines()),
		},
	}
}

func errorsTile() panel {
	return tile("ERROR in 5 minutes", says(
		"none.",
		"something that should not happen did. Some while the database is away are to be expected.",
		"read the lines below; the first is most likely the cause.",
	), count, now("", `sum(increase(speedybites_log_records_total{$here, level="error"}[5m]))`)).
		Decimals(0).Mappings([]mapping{word(0, "none", good)}).Thresholds(limits(good, from(1e-9, warning), from(100, bad))).
		Links(runbooks("SpeedyBitesErrorLogs"))
}

func logWritesTile() panel {
	return tile("Log files", says(
		"written.",
		"NOT WRITTEN: a write failed in the last 5 minutes. The lines are on stderr; those of audit.log stay in the database until they "+
			"can be written.",
		"is the disk full, or the directory not writable any more?",
	), count, now("", `sum(increase(speedybites_log_write_errors_total{$here}[5m])) > bool 0`)).
		Mappings([]mapping{word(0, "written", good), word(1, "NOT WRITTEN", bad)}).Thresholds(zeroIsGood()).
		Links(runbooks("SpeedyBitesLogWriteErrors"))
}

func diskTile() panel {
	return tile("Disk left", says(
		"gigabytes.",
		"less than 1 GiB on the fullest: when nothing is left, the audit log stops.",
		"remove rotated files that are kept elsewhere, or give the directory more space.",
	), inBytes, now("", `min(speedybites_log_disk_free_bytes{$here})`)).
		Decimals(1).Thresholds(limits(bad, from(1<<30, warning), from(5<<30, good))).
		Links(runbooks("SpeedyBitesLogDiskLow"))
}

func auditTile() panel {
	return tile("Audit relay", says(
		"working.",
		"FAILING: changes do not get into audit.log. They are safe in the database and are written when it works again.",
		"the failures below say at which step.",
	), count, now("", `sum(increase(speedybites_audit_failures_total{$here, step!="chain"}[5m])) > bool 0`)).
		Mappings([]mapping{word(0, "working", good), word(1, "FAILING", bad)}).Thresholds(zeroIsGood()).
		Links(runbooks("SpeedyBitesAuditFailing"))
}

func chainTile() panel {
	return tile("Audit chain", says(
		"whole.",
		"BROKEN: within the last day lines were found to be missing from the files.",
		"keep the files as they are, and run speedy-bites audit verify --database: it names the first line that is wrong.",
	), count, now("", `sum(increase(speedybites_audit_failures_total{$here, step="chain"}[1d])) > bool 0`)).
		Mappings([]mapping{word(0, "whole", good), word(1, "BROKEN", bad)}).Thresholds(zeroIsGood()).
		Links(runbooks("SpeedyBitesAuditChainBroken"))
}

func pendingTile() panel {
	return tile("Audit lag", says(
		"below a second: how long the oldest change has waited for its line in audit.log.",
		"a minute or more, while the database is connected: the relay does not keep up, or does not run.",
		"see failures and fsync below.",
	), seconds, now("", `max(speedybites_audit_lag_seconds{$here})`)).
		Decimals(1).Mappings([]mapping{word(0, "none", good)}).Thresholds(limits(good, from(10, warning), from(60, bad))).
		Links(runbooks("SpeedyBitesAuditLagging"))
}

func errorLines() panel {
	return logTable("error.log", says(
		"no lines.",
		"lines: each has the request's id and the trace's id. With a trace id in the box above, only that trace's.",
		"open a line for its fields; its trace id leads to the trace.",
	), logLines(`{`+logStream+`, file="error.log"} |= "$trace_id" | json`)).
		Links(runbooks("SpeedyBitesErrorLogs"))
}

func warningLines() panel {
	return logTable("Warnings in app.log", says(
		"few lines.",
		"\"database lost\", \"query retried\" and changes of the breaker tell the story of an outage in order.",
		"open a line for its fields; its trace id leads to the trace.",
	), logLines(`{`+logStream+`, file="app.log"} |= "$trace_id" | json | level="WARN"`)).
		Links(append(runbooks("SpeedyBitesErrorLogs"), see("resilience")...))
}

func traceLines() panel {
	return logTable("All lines of the trace in the box above", says(
		"the lines of one request in order, its access line last.",
		"no lines although there is a trace id in the box: it is older than what is kept, or not in the shown time.",
		"copy the trace id of a customer's answer, from its header X-Trace-Id, into the box.",
	), logLines(`{`+logStream+`} |= "$trace_id" | json | traceId="$trace_id" | traceId!=""`)).
		NoValue("Put the id of a trace into the box above.").
		Links(see("http"))
}

func linesByFile() *timeseries.PanelBuilder {
	return logGraph("Lines that reached Loki, by file", says(
		"as many as the service logs, less the thinned ones.",
		"none, while the service logs: the way to Loki is broken. The files themselves are whole.",
		"compare with the records by level below, and see the collector on the telemetry dashboard.",
	), count, logCount("{{file}}", `sum by (file) (count_over_time({`+logStream+`} [$__auto]))`)).
		Links(see("telemetry"))
}

func logLevels() *timeseries.PanelBuilder {
	return graph("Log records by level", says(
		"info in step with the requests, no error, hardly a warning.",
		"error: read error.log. Warnings by the dozen: an outage, or retries.",
		"it counts all records, also those that were thinned and not written.",
	), perSecond, line("{{level}}", `sum by (level) (rate(speedybites_log_records_total{$here}[$__rate_interval]))`)).
		OverrideByName("error", []property{coloured(bad)}).
		OverrideByName("warn", []property{coloured(serious)}).
		OverrideByName("info", []property{coloured(neutral)}).
		Links(append(runbooks("SpeedyBitesErrorLogs"), see("logs")...))
}

func thinned() panel {
	return bars("Records thinned", says(
		"nothing.",
		"more than 100 equal records in a second: only every hundredth of them is written.",
		"the lines that tell of it say which message it was. No change of the breaker and no access line is ever thinned.",
	), perSecond, line("{{instance}}", `sum by (instance) (rate(speedybites_log_thinned_total{$here}[$__rate_interval]))`)).
		DataLinks([]link{logsOf("app.log")}).
		Links(runbooks("SpeedyBitesErrorLogs"))
}

func logWriteErrors() panel {
	return bars("Writes that failed", says(
		"nothing.",
		"failed writes, and the lines that were in them. Those of app.log and error.log are on stderr.",
		"is the disk full? Is the directory writable?",
	), count,
		line("writes to {{file}}", `sum by (file) (increase(speedybites_log_write_errors_total{$here}[$__rate_interval]))`),
		line("lines of {{file}}", `sum by (file) (increase(speedybites_log_lost_lines_total{$here}[$__rate_interval]))`),
	).
		Links(runbooks("SpeedyBitesLogWriteErrors", "SpeedyBitesAuditFailing"))
}

func fileSizes() *timeseries.PanelBuilder {
	return graph("Size of the log files", says(
		"saw teeth: each file grows to 100 MB and is rotated.",
		"it grows beyond that: rotation fails. It does not grow although records are counted: it is not written.",
		"look into LOG_DIR.",
	), inBytes, line("{{file}} {{instance}}", `max by (file, instance) (speedybites_log_file_size_bytes{$here})`)).
		DataLinks([]link{logsOf("app.log")}).
		Links(runbooks("SpeedyBitesLogWriteErrors"))
}

func diskFree() *timeseries.PanelBuilder {
	return graph("Disk free for logs", says(
		"a flat line, far above the dashed one, 1 GiB.",
		"a slope that reaches 0 within hours.",
		"what else is on that file system? Old rotated files are removed by age and count (LOG_MAX_AGE_DAYS, LOG_MAX_BACKUPS).",
	), inBytes, line("{{instance}}", `min by (instance) (speedybites_log_disk_free_bytes{$here})`)).
		Thresholds(limits(bad, from(1<<30, good))).ThresholdsStyle(limitShown()).
		DataLinks([]link{logsOf("app.log")}).
		Links(runbooks("SpeedyBitesLogDiskLow"))
}

func auditLinesRate() panel {
	return graph("Lines written to audit.log", says(
		"in step with orders and other changes.",
		"none, while changes are made: see lag and failures.",
		"each change is exactly one line.",
	), perSecond, line("{{instance}}", `sum by (instance) (rate(speedybites_audit_records_total{$here}[$__rate_interval]))`)).
		DataLinks([]link{logsOf("audit.log")}).
		Links(runbooks("SpeedyBitesAuditLagging"))
}

func auditLag() panel {
	return graph("Oldest change without its line", says(
		"below a second. While the database is away nothing can be relayed, and nothing is changed.",
		"above the dashed line, a minute, with the database connected.",
		"see failures and fsync.",
	), seconds, line("{{instance}}", `max by (instance) (speedybites_audit_lag_seconds{$here})`)).
		AxisSoftMax(1).Thresholds(limits(good, from(60, bad))).ThresholdsStyle(limitShown()).
		DataLinks([]link{logsOf("error.log")}).
		Links(runbooks("SpeedyBitesAuditLagging"))
}

func auditPending() panel {
	return graph("Changes without a line", says(
		"0, or a few for a moment.",
		"it grows: the relay does not keep up, or does not run.",
		"see failures and fsync.",
	), count, line("{{instance}}", `max by (instance) (speedybites_audit_pending_entries{$here})`)).
		DataLinks([]link{logsOf("error.log")}).
		Links(runbooks("SpeedyBitesAuditLagging"))
}

func auditFsync() panel {
	return graph("Time to flush audit lines to disk", says(
		"milliseconds; gaps while there are no changes.",
		"p99 of a second and more: the disk is overloaded or dying.",
		"the disk of LOG_DIR.",
	), seconds,
		line("p50", `
			histogram_quantile(0.5, sum by (le) (rate(speedybites_audit_fsync_duration_seconds_bucket{$here}[$__rate_interval])))`),
		line("p99", `
			histogram_quantile(0.99, sum by (le) (rate(speedybites_audit_fsync_duration_seconds_bucket{$here}[$__rate_interval])))`),
	).
		Thresholds(limits(good, from(1, bad))).ThresholdsStyle(limitShown()).
		Links(runbooks("SpeedyBitesAuditLagging"))
}

func auditFailures() panel {
	return bars("Failures of the audit relay", says(
		"nothing.",
		"write, sync: the file or its disk. insert, read, mark: the database. chain: lines are missing from the files. record: an entry "+
			"was dropped.",
		"chain first of all: keep the files and verify them.",
	), count, line("{{step}}", `sum by (step) (increase(speedybites_audit_failures_total{$here}[$__rate_interval]))`)).
		OverrideByName("chain", []property{coloured(bad)}).
		Links(runbooks("SpeedyBitesAuditFailing", "SpeedyBitesAuditChainBroken"))
}

func auditSequence() panel {
	return graph("Number of the last audit line", says(
		"it only rises.",
		"it falls: files were cut or taken back. Instances that share a database each have their own file and chain.",
		"run speedy-bites audit verify --database.",
	), count, line("{{instance}}", `max by (instance) (speedybites_audit_chain_sequence{$here})`)).
		Decimals(0).
		DataLinks([]link{logsOf("audit.log")}).
		Links(runbooks("SpeedyBitesAuditChainBroken"))
}

func auditLines() panel {
	return logTable("audit.log", says(
		"a line for each change: who, what, before and after.",
		"none, while changes are made.",
		"open a line for its fields; a change of the breaker has its transition's id in auditId.",
	), logLines(`{`+logStream+`, file="audit.log"} |= "$trace_id" | json`)).
		Links(runbooks("SpeedyBitesAuditLagging"))
}
