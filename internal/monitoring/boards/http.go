package boards

import (
	"github.com/grafana/grafana-foundation-sdk/go/table"
	"github.com/grafana/grafana-foundation-sdk/go/timeseries"
)

func requests() layout {
	return layout{
		name:        "http",
		title:       "HTTP",
		description: "Whom does it hurt, and how much? Rate, errors and duration of requests.",
		rows: []row{
			heading("Now", requestRateTile(), failingTile(), slowTile(), inFlightTile(), rejectedTile(), panicsTile()),
			heading("All requests of the API", requestRate(), failingShare(), responseTimes(),
				durations("How long answers took", says(
					"one bright band low down. The dots are requests with a trace.",
					"a second band higher up: part of the requests waits for something, such as a connection. The whole band moves up: "+
						"everything became slower.",
					"click a dot in the upper band to see where that request spent its time.",
				), buckets(`sum by (le) (increase(http_server_request_duration_seconds_bucket{$here, $api}[$__rate_interval]))`)).
					Links(runbooks("SpeedyBitesLatencyBudgetBurnFast")).Span(24)),
			heading("By route", routeTable(), rateByRoute(), failingByRoute(), slowByRoute()),
			heading("Turned away and broken", rejectedByReason(), panicsByRoute(), clientConnections(), requestsInFlight(), answerSizes()),
			heading("Orders", ordersPlaced(), repeatedOrders(), conflictingKeys(), orderWatchers()),
			heading("Load balancer", balancedServers(), balancedAnswers(), balancerTrouble()),
		},
	}
}

func requestRateTile() panel {
	return tile("Requests", says(
		"about as many as at this time yesterday.",
		"none at all, while customers are awake: they do not get here.",
		"with the instances ready, look at the load balancer and at what is before it.",
	), requestsPerSecond, now("", `sum(rate(http_server_request_duration_seconds_count{$here, $api}[5m]))`)).
		Decimals(1).Thresholds(noLimits()).Links(see("overview"))
}

func inFlightTile() panel {
	return tile("Being answered", says(
		"a handful.",
		"it grows without an end: requests come faster than they are answered.",
		"look at the longest wait. With the database away up to 1,000 queries wait, and that many requests are in here.",
	), count, now("", `sum(http_server_active_requests{$here})`)).
		Thresholds(limits(good, from(100, warning), from(1000, bad))).Links(see("database"))
}

func rejectedTile() panel {
	return tile("Turned away", says(
		"none in the last 5 minutes.",
		"requests that were refused before or instead of being answered.",
		"the graph below says why: unavailable is the database, saturated is the pool, the others are what clients send.",
	), count, now("", `sum(increase(speedybites_http_requests_rejected_total{$here}[5m]))`)).
		Decimals(0).Mappings([]mapping{word(0, "none", good)}).Thresholds(limits(good, from(1e-9, warning), from(100, bad))).
		Links(see("resilience"))
}

func panicsTile() panel {
	return tile("Panics", says(
		"none in the last hour.",
		"a mistake in the code took the answer of each of these requests.",
		"the stack is in error.log. If it began with a deployment, take that back.",
	), count, now("", `sum(increase(speedybites_http_panics_total{$here}[1h]))`)).
		Decimals(0).Mappings([]mapping{word(0, "none", good)}).Thresholds(limits(good, from(1e-9, bad))).
		Links(append(runbooks("SpeedyBitesPanics"), see("logs")...))
}

func requestRate() *timeseries.PanelBuilder {
	return areas("Requests by status", says(
		"mostly 2xx, and a shape like yesterday's.",
		"5xx is what hurts customers. A sudden rise of 4xx is a client gone wrong. Nothing at all: nobody gets here.",
		"for 503 look at the database and the breaker, for 500 at error.log, for 504 at slow queries.",
	), requestsPerSecond, line("{{http_response_status_code}}", `
		sum by (http_response_status_code) (rate(http_server_request_duration_seconds_count{$here, $api}[$__rate_interval]))`)).
		OverrideByRegexp("2..", []property{coloured(good)}).
		OverrideByRegexp("4..", []property{coloured(neutral)}).
		OverrideByRegexp("5..", []property{coloured(bad)}).
		Links(runbooks("SpeedyBitesErrorBudgetBurnFast", "SpeedyBitesErrorBudgetBurnMedium")).
		DataLinks([]link{
			traces("status ${__field.labels.http_response_status_code}",
				`{resource.service.name="speedy-bites" && span.http.response.status_code=${__field.labels.http_response_status_code}}`),
		})
}

func failingShare() *timeseries.PanelBuilder {
	return graph("Share of requests failing", says(
		"0, with short spikes at most.",
		"above the dashed line, 0.1 %, for long: more fails than the objective of the month allows.",
		"one instance alone: take it out of the balancer. All of them: the database, or a deployment.",
	), percent, line("{{instance}}", share(
		`sum by (instance) (rate(http_server_request_duration_seconds_count{$here, $api, http_response_status_code=~"5.."}[$__rate_interval]))`,
		`sum by (instance) (rate(http_server_request_duration_seconds_count{$here, $api}[$__rate_interval]))`))).
		AxisSoftMax(0.002).Thresholds(limits(good, from(0.001, bad))).ThresholdsStyle(limitShown()).
		Links(runbooks("SpeedyBitesErrorBudgetBurnFast", "SpeedyBitesErrorBudgetBurnMedium", "SpeedyBitesErrorBudgetBurnSlow")).
		DataLinks([]link{logsOf("error.log"), traces("with errors", `{resource.service.name="speedy-bites" && status=error}`)})
}

func responseTimes() *timeseries.PanelBuilder {
	quantile := func(q string) string {
		return `histogram_quantile(` + q + `, sum by (le) (rate(http_server_request_duration_seconds_bucket{$here, $api}[$__rate_interval])))`
	}
	return graph("Response times", says(
		"p99 below the dashed line, 500 ms. The dots are requests with a trace. A gap is a time without requests.",
		"p99 alone rises: some requests wait. p50 rises too: everything is slow.",
		"click a dot above the line: its trace shows whether the time went into waiting for a connection, into retries, or into the query.",
	), seconds,
		line("p50", quantile("0.5")), line("p95", quantile("0.95")), lineWithTraces("p99", quantile("0.99")),
	).
		Thresholds(limits(good, from(0.5, bad))).ThresholdsStyle(limitShown()).
		Links(runbooks("SpeedyBitesResponseTimeHigh", "SpeedyBitesLatencyBudgetBurnFast", "SpeedyBitesLatencyBudgetBurnMedium")).
		DataLinks([]link{traces("slower than 500 ms", `{resource.service.name="speedy-bites" && kind=server && duration>500ms}`)})
}

func routeTable() *table.PanelBuilder {
	byRoute := func(more, window string) string {
		return `sum by (http_route) (rate(http_server_request_duration_seconds_count{$here` + more + `}[` + window + `]))`
	}
	quantile := func(q string) string {
		return `histogram_quantile(` + q + `, sum by (http_route, le) (rate(http_server_request_duration_seconds_bucket{$here}[$__range]))) >= 0`
	}
	return cellTable("Routes over the shown time", says(
		"no route fails, and p99 is below 500 ms.",
		"the route at the top has the largest share of failures.",
		"click a route for its failed or slow traces.",
	), []column{
		{"http_route", "Route"}, {"Value #A", "Requests"}, {"Value #B", "Failing"}, {"Value #C", "p50"}, {"Value #D", "p99"},
	},
		cells(byRoute("", "$__range")+" > 0"),
		cells(share(byRoute(`, http_response_status_code=~"5.."`, "$__range"), byRoute("", "$__range")+" > 0")),
		cells(quantile("0.5")), cells(quantile("0.99")),
	).
		SortBy(sortedBy("Failing", true)).NoValue("No requests.").
		OverrideByName("Route", []property{linked("Traces that failed or took over 500 ms", explore("tempo", map[string]any{
			"queryType": "traceql", "limit": 20, "tableType": "traces",
			"query": `{resource.service.name="speedy-bites" && span.http.route="${__value.raw}" && (status=error || duration>500ms)}`,
		}))}).
		OverrideByName("Requests", []property{inUnit(requestsPerSecond)}).
		OverrideByName("Failing", paintedNumber(percent, 2, from(0.001, warning), from(0.0144, bad))).
		OverrideByName("p50", []property{inUnit(seconds)}).
		OverrideByName("p99", paintedNumber(seconds, 1, from(0.5, warning), from(1, bad))).
		Links(runbooks("SpeedyBitesErrorBudgetBurnSlow", "SpeedyBitesLatencyBudgetBurnSlow")).
		Span(24).Height(9)
}

func rateByRoute() panel {
	return graph("Requests by route", says(
		"the usual mix.",
		"one route takes over: a client in a loop, or a page that asks too often.",
		"the access lines in app.log say which client it is.",
	), requestsPerSecond, line("{{http_route}}", `
		sum by (http_route) (rate(http_server_request_duration_seconds_count{$here, $api}[$__rate_interval]))`)).
		DataLinks([]link{traces("${__field.labels.http_route}",
			`{resource.service.name="speedy-bites" && span.http.route="${__field.labels.http_route}"}`)}).
		Links(see("logs"))
}

func failingByRoute() panel {
	byRoute := func(more string) string {
		return `sum by (http_route) (rate(http_server_request_duration_seconds_count{$here, $api` + more + `}[$__rate_interval]))`
	}
	return graph("Share of requests failing, by route", says(
		"all at 0.",
		"one route fails: its query or its code. All routes fail: what they share, the database first of all.",
		"from the line to its traces with errors.",
	), percent, line("{{http_route}}", share(byRoute(`, http_response_status_code=~"5.."`), byRoute("")))).
		Thresholds(limits(good, from(0.001, bad))).ThresholdsStyle(limitShown()).
		DataLinks([]link{traces("${__field.labels.http_route} with errors",
			`{resource.service.name="speedy-bites" && span.http.route="${__field.labels.http_route}" && status=error}`)}).
		Links(runbooks("SpeedyBitesErrorBudgetBurnFast"))
}

func slowByRoute() panel {
	return graph("p99 response time by route", says(
		"every route below the dashed line, 500 ms. Signing in and up take long on purpose: passwords are hashed slowly.",
		"one route is slow: its query. All are: the database or the pool.",
		"click a dot for the trace of a slow request, or compare with the queries' p99 on the database dashboard.",
	), seconds, lineWithTraces("{{http_route}}", `
		histogram_quantile(0.99, sum by (http_route, le) (rate(http_server_request_duration_seconds_bucket{$here, $api}[$__rate_interval])))`)).
		Thresholds(limits(good, from(0.5, bad))).ThresholdsStyle(limitShown()).
		DataLinks([]link{traces("${__field.labels.http_route} slower than 500 ms",
			`{resource.service.name="speedy-bites" && span.http.route="${__field.labels.http_route}" && duration>500ms}`)}).
		Links(append(runbooks("SpeedyBitesResponseTimeHigh"), see("database")...))
}

func rejectedByReason() panel {
	return bars("Requests turned away, by reason", says(
		"nothing.",
		"unavailable: the database is away or the breaker open. saturated: no free connection in time. statement_timeout: a query "+
			"took over 30 s. conflict: transactions collided three times. body_too_large and slow_body: what a client sends. too_many and "+
			"large_bodies: more than this instance has the memory for.",
		"for the first two see the resilience and the database dashboard, for statement_timeout the queries' p99.",
	), requestsPerSecond, line("{{reason}}", `
		sum by (reason) (rate(speedybites_http_requests_rejected_total{$here}[$__rate_interval]))`)).
		Links(append(runbooks("SpeedyBitesPoolExhausted", "SpeedyBitesCircuitBreakerOpen"), see("resilience", "database")...)).
		Span(8)
}

func clientConnections() panel {
	return graph("Connections of clients", says(
		"as many as there are clients: each keeps its own for 75 s. Behind a load balancer far fewer. None is closed.",
		"closed: there were too many, and an idle one had to go, or a new one where none was idle. With few requests: somebody opens "+
			"connections for nothing.",
		"the access log has the addresses, as far as they made requests. Without any: look at the load balancer and the network.",
	), count,
		line("open", `sum(speedybites_http_connections{$here})`),
		line("closed: {{which}}", `sum by (which) (increase(speedybites_http_connections_closed_total{$here}[$__rate_interval]))`),
	).
		Links(see("database")).
		Span(8)
}

func panicsByRoute() panel {
	return bars("Panics by route", says(
		"nothing.",
		"each is a request without its answer, and a mistake in the code.",
		"the stack is in error.log, with the request's id.",
	), count, line("{{http_route}}", orNone("http_route", `increase(speedybites_http_panics_total{$here}[$__rate_interval])`))).
		Links(append(runbooks("SpeedyBitesPanics"), see("logs")...)).
		Span(8)
}

func requestsInFlight() panel {
	return areas("Requests being answered", says(
		"a few, like the rate of requests times their duration.",
		"a ramp: requests come faster than they are answered. After an outage it falls within a second.",
		"see who waits for what on the database dashboard.",
	), count, line("{{http_request_method}}", `sum by (http_request_method) (http_server_active_requests{$here})`)).
		Links(see("database")).
		Span(12)
}

func answerSizes() panel {
	return areas("Bytes of answers", says(
		"in step with the requests.",
		"more bytes for the same requests: a list has grown, or somebody fetches everything.",
		"compare with the requests by route.",
	), bytesPerSecond, line("{{http_route}}", `
		topk(5, sum by (http_route) (rate(http_server_response_body_size_bytes_sum{$here}[$__rate_interval])) > 0)`)).
		NoValue("No answers.").
		Links(see("runtime")).
		Span(12)
}

func ordersPlaced() *timeseries.PanelBuilder {
	return graph("Orders by status", says(
		"orders are placed, and go on to the next status.",
		"no orders are placed at a time when there should be some: this is the loss in money. Many are cancelled or rejected: "+
			"restaurants cannot keep up.",
		"if requests fail too, that is why. If they do not, ask the restaurants.",
	), perSecond, line("{{status}}", `sum by (status) (rate(speedybites_orders_total{$here}[$__rate_interval]))`)).
		OverrideByName("placed", []property{coloured(neutral)}).
		OverrideByName("delivered", []property{coloured(good)}).
		OverrideByName("cancelled", []property{coloured(serious)}).
		OverrideByName("rejected", []property{coloured(bad)}).
		Links(see("http")).
		Span(6)
}

func repeatedOrders() panel {
	return bars("Orders answered again", says(
		"few: clients that did not get their answer the first time, and got it now, without a second order.",
		"many: answers get lost between here and the clients, or clients give up too early.",
		"compare with the response times and with the load balancer.",
	), count, line("replays", `sum(increase(speedybites_idempotent_replays_total{$here}[$__rate_interval]))`)).
		Links(see("http")).
		Span(6)
}

func conflictingKeys() panel {
	return bars("Idempotency keys refused", says(
		"none.",
		"reused: a client sends one key for different orders, which is its mistake. in_flight: it repeats faster than the first is "+
			"answered.",
		"tell the client's makers; the access lines in app.log have the user agent.",
	), count, line("{{reason}}", `sum by (reason) (increase(speedybites_idempotency_conflicts_total{$here}[$__rate_interval]))`)).
		Links(see("logs")).
		Span(6)
}

func orderWatchers() panel {
	return areas("Open streams of an order's events", says(
		"in step with the orders that are under way.",
		"near 5000 on one instance: one more is refused. A drop to nothing is a restart; the streams come back by themselves.",
		"compare with the orders by status, and with the connections on the runtime dashboard.",
	), count, line("{{instance}}", `sum by (instance) (speedybites_order_watchers{$here})`)).
		Links(see("runtime")).
		Span(6)
}

const noBalancer = "No load balancer is scraped."

func balancedServers() panel {
	return graph("Instances that the balancer uses", says(
		"all of them, ready (by /readyz) and alive (by /livez).",
		"ready falls: those instances want no traffic. When none is ready, those that are alive get the requests and tell clients what is "+
			"wrong. None alive: clients get the balancer's own 503.",
		"see which instance is not ready on the runtime dashboard.",
	), count,
		line("UP {{proxy}}", `sum by (proxy) (haproxy_server_status{state="UP"})`),
		line("DOWN {{proxy}}", `sum by (proxy) (haproxy_server_status{state="DOWN"})`),
	).
		NoValue(noBalancer).
		OverrideByRegexp("UP.*", []property{coloured(good)}).
		OverrideByRegexp("DOWN.*", []property{coloured(bad)}).
		Links(append(runbooks("SpeedyBitesDown", "MonitoringTargetDown"), see("runtime")...))
}

func balancedAnswers() panel {
	return areas("Answers that the balancer sent", says(
		"as the service itself says.",
		"more 5xx than the service knows of: they are the balancer's own, for requests that reached no instance.",
		"compare with the requests by status above.",
	), requestsPerSecond, line("{{code}}", `
		sum by (code) (rate(haproxy_frontend_http_responses_total{proxy="api"}[$__rate_interval]))`)).
		NoValue(noBalancer).
		OverrideByName("2xx", []property{coloured(good)}).
		OverrideByName("4xx", []property{coloured(neutral)}).
		OverrideByName("5xx", []property{coloured(bad)}).
		Links(append(runbooks("SpeedyBitesErrorBudgetBurnFast"), see("overview")...))
}

func balancerTrouble() panel {
	return graph("Between balancer and instances", says(
		"all at 0.",
		"connection errors: an instance is gone and the balancer has not noticed yet. queue: all instances are busy or away. retries: "+
			"requests that it sent to another instance.",
		"see the instances on the overview.",
	), count,
		line("connection errors", `sum(increase(haproxy_backend_connection_errors_total[$__rate_interval]))`),
		line("retries", `sum(increase(haproxy_backend_retry_warnings_total[$__rate_interval]))`),
		line("queue", `sum(haproxy_backend_current_queue)`),
	).
		NoValue(noBalancer).
		Links(append(runbooks("SpeedyBitesInstanceDown"), see("overview")...))
}
