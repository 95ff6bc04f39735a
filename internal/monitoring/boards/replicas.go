package boards

import (
	"github.com/grafana/grafana-foundation-sdk/go/common"
	"github.com/grafana/grafana-foundation-sdk/go/statetimeline"
)

func replicas() layout {
	return layout{
		name:        "replicas",
		title:       "Replicas and failover",
		description: "Who is the primary and do the instances agree, who answers reads, and how is each server?",
		rows: []row{
			heading("Now", primaryTile(), agreementTile(), replicasTile(), lagTile(), readsElsewhereTile(), standInTile()),
			heading("Over time", primaryTimeline(), replicaTimeline(), serverTimeline(), replicaBreakerTimeline()),
			heading("Reads", readsByRoute(), replicaLag(), readsFailedOver()),
			heading("Server by server", serverTable(), poolByServer(), queueByServer(), acquireByServer(), useByServer(), callsByServer(),
				openingsByServer()),
			heading("Outages, server by server", outagesByServer(), awayByServer(), heardByServer(), checksByServer(), failedDials(),
				sessionsByServer()),
		},
	}
}

func primaryTile() panel {
	return tile("Primary", says(
		"one server.",
		"several: the instances disagree. Each is named.",
		"the time line below shows since when; then the runbook.",
	), count, now("{{server}}", `count by (server) (speedybites_database_server_info{$primary})`)).
		TextMode(common.BigValueTextModeName).Thresholds(noLimits()).NoValue("none yet").
		Links(runbooks("SpeedyBitesPrimaryMoved")).
		Span(5)
}

func agreementTile() panel {
	return tile("Do they agree?", says(
		"all instances have the same primary.",
		"THEY DISAGREE for longer than a failover takes: some cannot reach the new primary, or two servers accept writes.",
		"GET /api/health of each instance says under hosts what it takes each server for.",
	), count, now("", `count(count by (server) (speedybites_database_server_info{$primary})) or vector(-1)`)).
		Mappings([]mapping{word(1, "they agree", good), words(2, 1000, "THEY DISAGREE", bad), unknownWord()}).
		Thresholds(limits(unknown, from(0, good), from(2, bad))).
		Links(append(runbooks("SpeedyBitesPrimaryMoved"), see("resilience")...)).
		Span(4)
}

func replicasTile() panel {
	return tile("Replicas in use", says(
		"all, on every instance. \"No replicas\" without DATABASE_REPLICA_URL.",
		"SOME, NONE: the worst instance has replicas that get no reads: away, behind, or their breaker open. One that is the primary now does not count.",
		"the table below says which; GET /api/health of the instance says why.",
	), count, now("", `min(avg by (instance) (`+standbys(`speedybites_replica_usable{$here}`)+`))`)).
		Mappings(allSomeNone("all", "SOME", "NONE")).Thresholds(limits(bad, from(1e-9, serious), from(1, good))).NoValue("no replicas").
		Links(runbooks("SpeedyBitesNoUsableReplica", "SpeedyBitesReplicaDisconnected")).
		Span(4)
}

func lagTile() panel {
	return tile("Most behind", says(
		"below 2 s: the primary is asked once a second.",
		"above 5 s (DB_REPLICA_MAX_LAG_MS) the replica gets no reads. Without a primary it grows for all of them.",
		"the lag by replica below.",
	), seconds, now("", `max(`+standbys(`speedybites_replica_lag_seconds{$here}`)+`)`)).
		Decimals(1).Thresholds(limits(good, from(2, warning), from(5, bad))).NoValue("no replicas").
		Links(runbooks("SpeedyBitesReplicaLagging")).
		Span(3)
}

func readsElsewhereTile() panel {
	return tile("Reads by replicas", says(
		"most of them, where customers mostly look at menus. 0 % without replicas.",
		"a share that falls: the replicas are behind, or away, and the primary has the load.",
		"the reads by route below say why.",
	), percent, now("", share(
		`sum(rate(speedybites_db_reads_total{$here, route=~"replica.*"}[5m]))`, `sum(rate(speedybites_db_reads_total{$here}[5m]))`))).
		Decimals(0).Thresholds(noLimits()).
		Links(see("database")).
		Span(4)
}

func standInTile() panel {
	return tile("Stand-ins, last hour", says(
		"none.",
		"reads that replicas answered because there was no primary, however old their data was. Writes waited or failed meanwhile.",
		"the outages on the resilience dashboard.",
	), count, now("", `sum(increase(speedybites_db_reads_total{$here, route="replica_stand_in"}[1h]))`)).
		Decimals(0).Mappings([]mapping{word(0, "none", good)}).Thresholds(limits(good, from(1e-9, warning))).
		Links(append(runbooks("SpeedyBitesReadsWithoutPrimary"), see("resilience")...)).
		Span(4)
}

// primaryTimeline has a line for each pair of instance and server, so that a failover is a step from one to the other, for every
// instance at its own time.
func primaryTimeline() *statetimeline.PanelBuilder {
	return timeline("Who is the primary, for whom", says(
		"one server with a line for each instance, all along.",
		"a line ends and one with another server begins: a failover. Instances that change much later than the others, or not at all, "+
			"cannot reach the new primary.",
		"the log lines \"database lost\" and \"another server was promoted\" have the reason.",
	), []mapping{word(1, "primary", good)}, line("{{server}} for {{instance}}", `
		max by (server, instance) (speedybites_database_server_info{$primary})`)).
		DataLinks([]link{logsOf("app.log")}).
		Links(append(runbooks("SpeedyBitesPrimaryMoved"), see("resilience")...)).
		Span(24)
}

func replicaTimeline() *statetimeline.PanelBuilder {
	return timeline("Replicas that get reads", says(
		"in use all along.",
		"NOT USED: away, behind, or its breaker open. Without a primary none is in use, and all answer reads as stand-ins.",
		"compare with the connections beside this: connected and not used is behind, or follows another primary. One without a line is the primary itself.",
	), yesNoWords("in use", "NOT USED"), line("{{role}} for {{instance}}", `
		min by (instance, role) (`+standbys(`
			(min_over_time(speedybites_replica_usable{$here}[$__interval]) or speedybites_replica_usable{$here})`)+`)`)).
		NoValue("no replicas").
		DataLinks([]link{logsOf("app.log")}).
		Links(runbooks("SpeedyBitesNoUsableReplica", "SpeedyBitesReplicaLagging")).
		Height(8)
}

func serverTimeline() *statetimeline.PanelBuilder {
	return timeline("Servers, as each instance sees them", says(
		"Connected all along.",
		"AWAY for all instances: the server is down. AWAY for one: the network between the two.",
		"for the primary there is a page; a replica is a ticket after some minutes.",
	), databaseWords(), line("{{role}} for {{instance}}", `
		min by (instance, role) (min_over_time(speedybites_database_connected{$here}[$__interval]) or speedybites_database_connected{$here})`)).
		DataLinks([]link{logsOf("app.log"), traces("outages", `{resource.service.name="speedy-bites" && name="database.outage"}`)}).
		Links(runbooks("SpeedyBitesReplicaDisconnected", "SpeedyBitesDatabaseDisconnected", "PostgresDown")).
		Height(8)
}

func replicaBreakerTimeline() *statetimeline.PanelBuilder {
	return timeline("Circuit breakers of the replicas", says(
		"CLOSED all along. The primary's is on the resilience dashboard.",
		"OPEN: the replica gets no reads, because five in a row lost their connection there, although the prober reaches it.",
		"has the replica run out of connections? See PostgreSQL on the database dashboard.",
	), breakerWords(), line("{{breaker}} for {{instance}}", worstState(`instance, breaker`, `$here, breaker!="primary"`))).
		DataLinks([]link{logsOf("app.log")}).
		Links(append(runbooks("SpeedyBitesReplicaBreakerOpen"), see("resilience", "database")...)).
		Span(24)
}

func readsByRoute() panel {
	return areas("Reads, by who answered and why", says(
		"replica, and primary_current for requests that must see the latest data. Nothing without replicas: they are not counted then.",
		"replica_stand_in: there was no primary. primary_lagging: no replica was fresh enough, or there. primary_fallback: a replica was "+
			"tried and failed.",
		"primary_lagging for minutes: see the lag. primary_fallback: see the breakers and sessions below.",
	), perSecond, line("{{route}}", `sum by (route) (rate(speedybites_db_reads_total{$here}[$__rate_interval]))`)).
		OverrideByName("replica", []property{coloured(good)}).
		OverrideByName("primary_current", []property{coloured(neutral)}).
		OverrideByName("primary_lagging", []property{coloured(warning)}).
		OverrideByName("primary_fallback", []property{coloured(serious)}).
		OverrideByName("replica_stand_in", []property{coloured(bad)}).
		Links(append(runbooks("SpeedyBitesReadsWithoutPrimary", "SpeedyBitesNoUsableReplica"), see("database")...))
}

func replicaLag() panel {
	return graph("How old the replicas' data may be", says(
		"below 2 s, for every instance alike.",
		"above the dashed line, 5 s: it gets no reads. Without a primary it grows with the clock.",
		"the replica's own log; and PostgreSQL on the database dashboard, which measures in bytes.",
	), seconds, line("{{role}} for {{instance}}", `max by (instance, role) (`+standbys(`speedybites_replica_lag_seconds{$here}`)+`)`)).
		AxisSoftMax(10).Thresholds(limits(good, from(5, bad))).ThresholdsStyle(limitShown()).NoValue("No replicas.").
		DataLinks([]link{logsOf("app.log")}).
		Links(append(runbooks("SpeedyBitesReplicaLagging", "PostgresReplicaLagging"), see("database")...))
}

func readsFailedOver() panel {
	return bars("Reads that had to go elsewhere", says(
		"nothing, or a few when a server was lost.",
		"primary_fallback: a replica failed and the primary answered. replica_stand_in: the primary was away and a replica answered.",
		"nobody got an error for these. Many over minutes: see the breakers.",
	), count, line("{{route}}", `
		sum by (route) (increase(speedybites_db_reads_total{$here, route=~"primary_fallback|replica_stand_in"}[$__rate_interval]))`)).
		OverrideByName("primary_fallback", []property{coloured(serious)}).
		OverrideByName("replica_stand_in", []property{coloured(bad)}).
		Links(runbooks("SpeedyBitesReplicaBreakerOpen", "SpeedyBitesReadsWithoutPrimary"))
}
