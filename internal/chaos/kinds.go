package chaos

import (
	"context"
	"time"
)

// part is what of the setting a fault takes hold of. Two faults of the same part cannot overlap.
type part int

const (
	servers part = iota
	network
	processes
)

// kind is a kind of fault.
type kind struct {
	name     string
	part     part
	min, max time.Duration // of Fault.For
	run      func(context.Context, *world, *happening) error
	// oneInstance: it hits the instance that is drawn, not both.
	oneInstance bool
	// long: it is an outage that outlasts the grace, and declared as such.
	long bool
	// readable: during it the standby can be read from.
	readable bool
	// variants are what Fault.Variant chooses among.
	variants []string
	// alone: it may not overlap with others.
	alone bool
	// scarce: the server refuses new connections while the prober has one. That is not bridged, so that a 503 is what the
	// documentation promises when the retries are used up.
	scarce bool
}

const second = time.Second

// kinds is all there are.
func kinds() []kind {
	const tenth = second / 10
	return []kind{
		{name: "primary killed, started again", part: servers, min: 2 * tenth, max: 3 * second, run: killPrimary},
		{name: "primary stopped at once, started again", part: servers, min: 2 * tenth, max: 3 * second, run: stopPrimary},
		{name: "primary restarted", part: servers, run: restartPrimary},
		{name: "primary frozen", part: servers, min: second, max: 6 * second, run: freezePrimary},
		{name: "backend crashed", part: servers, run: crashBackend},
		{name: "standby killed, started again", part: servers, min: 2 * tenth, max: 3 * second, run: killStandby},
		{name: "standby frozen", part: servers, min: second, max: 4 * second, run: freezeStandby},
		{name: "sessions terminated", part: servers, max: 2 * second, run: terminateSessions},
		{name: "no connection free", part: servers, min: 5 * tenth, max: 3 * second, run: exhaustConnections, alone: true, scarce: true},
		{name: "all connections taken", part: servers, min: 5 * tenth, max: 3 * second, run: exhaustAndTerminate, alone: true, scarce: true},
		{name: "table locked", part: servers, min: second, max: 3 * second, run: lockTable, variants: lockedTables()},
		{name: "COMMITs held, then cut", part: servers, min: 2 * tenth, max: second, run: cutCommits},
		{name: "COMMITs held, instance killed", part: servers, min: 2 * tenth, max: second, run: killCommitting, oneInstance: true, alone: true},

		{name: "failover", part: servers, min: 2 * tenth, max: 2 * second, run: failover},
		{name: "failover, former primary returns", part: servers, min: 2 * tenth, max: 2 * second, run: failoverWithReturn, alone: true},
		{name: "failover from a frozen primary, which wakes up", part: servers, min: 5 * tenth, max: 2 * second, run: failoverFromFrozen, alone: true},
		{name: "switchover", part: servers, run: switchover},
		{name: "primary made read-only, standby promoted", part: servers, min: 2 * tenth, max: 2 * second, run: demotion, alone: true},

		{name: "connections reset", part: network, max: 2 * second, run: resetConnections},
		{name: "connections vanished", part: network, run: vanish, oneInstance: true},
		{name: "connections cut around COMMIT", part: network, min: second, max: 3 * second, run: cutAroundCommit, variants: commitPoints()},
		{name: "errors answered", part: network, min: second, max: 3 * second, run: answerErrors, variants: errorCodes()},
		{name: "slow network", part: network, min: 2 * second, max: 5 * second, run: slowDown, variants: slownesses()},
		{name: "answers held back", part: network, min: second, max: 5 * second, run: holdAnswers, oneInstance: true},
		{name: "black hole", part: network, min: second, max: 6 * second, run: blackHole, oneInstance: true},
		{name: "connections refused", part: network, min: 5 * tenth, max: 4 * second, run: refuse, oneInstance: true},

		{name: "instance killed, started again", part: processes, max: 3 * second, run: killInstance, oneInstance: true},
		{name: "rolling restart", part: processes, run: rollingRestart},

		{name: "primary killed for long", part: servers, min: 13 * second, max: 16 * second, run: killPrimary, long: true, readable: true},
		{name: "primary frozen for long", part: servers, min: 15 * second, max: 20 * second, run: freezePrimary, long: true, readable: true},
		{name: "black hole for long", part: network, min: 15 * second, max: 18 * second, run: blackHole, oneInstance: true, long: true},
		{name: "all paths black holes for long", part: network, min: 15 * second, max: 18 * second, run: blackHole, long: true},
		{name: "connections refused for long", part: network, min: 13 * second, max: 16 * second, run: refuse, long: true},
	}
}
