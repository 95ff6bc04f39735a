package boards

func processes() layout {
	return layout{
		name:        "runtime",
		title:       "Runtime",
		description: "What is running, since when, and what does it use?",
		rows: []row{
			heading("What is running", readyTimeline().Span(14).Height(8), builds(), restarts(), uptime(), network()),
			heading("CPU and memory", cpu(), memory(), allocation(), collections(), collectionPauses(), heapObjects()),
			heading("Concurrency and files", goroutines(), threads(), files()),
			heading("Metrics of the service", scrapeSize(), scrapeTime(), scrapeErrors()),
		},
	}
}

func builds() panel {
	return cellTable("Builds", says(
		"one version everywhere, but for a deployment that goes on.",
		"different versions for long: a deployment got stuck half way.",
		"compare \"since\" with when the trouble began: the newest deployment is the first suspect.",
	), []column{
		{"instance", "Instance"}, {"version", "Version"}, {"revision", "Revision"}, {"goversion", "Go"}, {"Value #B", "Since"},
	},
		cells(`max by (instance, version, revision, goversion) (speedybites_build_info{$here})`),
		cells(`max by (instance) (process_start_time_seconds{$service}) * 1000`),
	).
		OverrideByName("Since", []property{inUnit(moment)}).
		Links(runbooks("SpeedyBitesCrashLooping")).
		Span(10).Height(8)
}

func restarts() panel {
	return bars("Restarts", says(
		"nothing but deployments.",
		"starts that nobody ordered: the process crashes, or is killed for its memory.",
		"the last lines on stderr and the kernel's log say why it ended.",
	), count, line("{{instance}}", `max by (instance) (changes(process_start_time_seconds{$service}[$__rate_interval]))`)).
		DataLinks([]link{logsOf("app.log")}).
		Links(runbooks("SpeedyBitesCrashLooping", "SpeedyBitesInstanceDown"))
}

func uptime() panel {
	return graph("Uptime", says(
		"straight lines upwards.",
		"a saw: it starts again and again.",
		"see the restarts.",
	), clock, line("{{instance}}", `time() - max by (instance) (process_start_time_seconds{$service})`)).
		DataLinks([]link{logsOf("app.log")}).
		Links(runbooks("SpeedyBitesCrashLooping"))
}

func network() panel {
	return graph("Network", says(
		"in step with the requests. It is the traffic of the whole host or container, not of the process alone.",
		"sent without requests, or a plateau: the network is full.",
		"compare with the bytes of answers on the HTTP dashboard.",
	), bytesPerSecond,
		line("received {{instance}}", `sum by (instance) (rate(process_network_receive_bytes_total{$service}[$__rate_interval]))`),
		line("sent {{instance}}", `sum by (instance) (rate(process_network_transmit_bytes_total{$service}[$__rate_interval]))`),
	).
		Links(see("http"))
}

func cpu() panel {
	return graph("CPU", says(
		"well below the dashed line, the number of processors that Go uses.",
		"at the line: everything becomes slow. Without traffic: a loop.",
		"take a profile: /debug/pprof/profile on METRICS_ADDR.",
	), "none",
		line("{{instance}}", `sum by (instance) (rate(process_cpu_seconds_total{$service}[$__rate_interval]))`),
		line("most", `max(go_sched_gomaxprocs_threads{$service})`),
	).
		Decimals(2).OverrideByName("most", limitLine(bad)).
		Links(append(runbooks("SpeedyBitesResponseTimeHigh"), see("http")...))
}

func memory() panel {
	return graph("Memory", says(
		"a plateau, below GOMEMLIMIT where that is set.",
		"it only grows: a leak. Near GOMEMLIMIT the collector takes the time that requests need.",
		"take a profile: /debug/pprof/heap on METRICS_ADDR. With goroutines growing too, those are what leaks.",
	), inBytes,
		line("resident {{instance}}", `max by (instance) (process_resident_memory_bytes{$service})`),
		line("heap {{instance}}", `max by (instance) (go_memstats_heap_inuse_bytes{$service})`),
		// Without GOMEMLIMIT it is a number beyond all memory.
		line("GOMEMLIMIT", `min(go_gc_gomemlimit_bytes{$service} < 1e15)`),
	).
		OverrideByName("GOMEMLIMIT", limitLine(bad)).
		Links(runbooks("SpeedyBitesMemoryHigh"))
}

func allocation() panel {
	return graph("Memory allocated", says(
		"in step with the requests.",
		"far more for the same requests: something copies what it need not.",
		"compare before and after the newest deployment.",
	), bytesPerSecond, line("{{instance}}", `sum by (instance) (rate(go_memstats_alloc_bytes_total{$service}[$__rate_interval]))`)).
		Links(runbooks("SpeedyBitesMemoryHigh"))
}

func collections() panel {
	return graph("Garbage collections", says(
		"at most a few a second.",
		"dozens: memory is near its limit, or very much is allocated.",
		"see memory and memory allocated.",
	), perSecond, line("{{instance}}", `sum by (instance) (rate(go_gc_duration_seconds_count{$service}[$__rate_interval]))`)).
		Links(runbooks("SpeedyBitesMemoryHigh"))
}

func collectionPauses() panel {
	return graph("Longest pause of the collector", says(
		"below a millisecond.",
		"tens of milliseconds: the processors are overloaded; every request pays for it.",
		"see CPU.",
	), seconds, line("{{instance}}", `max by (instance) (go_gc_duration_seconds{$service, quantile=~"1|1.0"})`)).
		Links(runbooks("SpeedyBitesResponseTimeHigh"))
}

func heapObjects() panel {
	return graph("Objects on the heap", says(
		"saw teeth between two levels.",
		"the lower level rises all the time: a leak of small things.",
		"compare two heap profiles, some minutes apart.",
	), count, line("{{instance}}", `max by (instance) (go_memstats_heap_objects{$service})`)).
		Links(runbooks("SpeedyBitesMemoryHigh"))
}

func goroutines() panel {
	return graph("Goroutines", says(
		"some dozens and a few for each request. With the database away, up to a few thousand wait.",
		"above the dashed line, 5,000, for half an hour: something waits for what never comes.",
		"/debug/pprof/goroutine?debug=1 on METRICS_ADDR lists where they stand.",
	), count, line("{{instance}}", `max by (instance) (go_goroutines{$service})`)).
		Thresholds(limits(good, from(5000, bad))).ThresholdsStyle(limitShown()).
		Links(runbooks("SpeedyBitesGoroutinesHigh"))
}

func threads() panel {
	return graph("Threads of the operating system", says(
		"a dozen or two.",
		"hundreds: many wait in calls of the kernel, most likely for a disk.",
		"see the time to flush audit lines on the logs dashboard.",
	), count, line("{{instance}}", `max by (instance) (go_threads{$service})`)).
		Links(append(runbooks("SpeedyBitesGoroutinesHigh"), see("logs")...))
}

func files() panel {
	return graph("File descriptors in use", says(
		"a few percent of what the process may have.",
		"above the dashed line, 80 %: soon no connection can be accepted or dialed.",
		"ls -l /proc/PID/fd says what they are: most likely connections that nobody closes.",
	), percent, line("{{instance}}", `
		max by (instance) (process_open_fds{$service}) / max by (instance) (process_max_fds{$service})`)).
		AxisSoftMax(1).Thresholds(limits(good, from(0.8, bad))).ThresholdsStyle(limitShown()).
		Links(runbooks("SpeedyBitesFileDescriptorsLow"))
}
