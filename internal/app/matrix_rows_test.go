package app_test

import (
	"time"

	"speedybites/internal/pgtest"
)

// matrix is what happens to a request, for every fault, place and kind of request, without traffic and under load. It is
// the table of docs/resilience.md as well.
var matrix = []matrixRow{
	// A session is lost while the server is there.
	{fault: "connection reset", where: atStatement, ops: readOp, want: resetOnce},
	{fault: "connection reset", where: atBegin, ops: orderOp, want: resetOnce},
	{fault: "connection reset", where: atBegin, ops: writeOp, want: resetOnce.inDoubt()},
	{fault: "connection reset", where: inTransaction, ops: orderOp, want: resetOnce},
	{fault: "connection reset", where: withCommit, ops: writing, want: resetOnce.inDoubt()},
	{fault: "connection reset", where: notArrived, ops: writing, want: resetOnce.inDoubt()},
	{fault: "connection reset", where: lateRollback, ops: writing, want: resetOnce.inDoubt().within(untilNoticed)},
	{fault: "connection reset", where: arrived, ops: writing, want: resetOnce.inDoubt()},
	{fault: "connection reset", where: lateCommit, ops: writing, want: resetOnce.inDoubt().within(untilNoticed)},
	{fault: "connection reset", where: committed, ops: writing, want: resetOnce.inDoubt()},
	{fault: "connection reset, every time", where: atStatement, ops: readOp, always: true, want: failed("reset")},
	{fault: "connection reset, every time", where: inTransaction, ops: orderOp, always: true, want: failed("reset")},
	{fault: "connection reset, every time", where: committed, ops: writing, always: true, want: func() matrixWant {
		w := failed("reset")
		w.doubts, w.stored = 3, once
		return w
	}()},
	{fault: "connection closed", where: atStatement, ops: readOp, loss: pgtest.Close, want: resetOnce},
	{fault: "connection closed", where: inTransaction, ops: orderOp, loss: pgtest.Close, want: resetOnce},
	{fault: "connection closed", where: notArrived, ops: writing, loss: pgtest.Close, want: resetOnce.inDoubt()},
	{fault: "connection closed", where: committed, ops: writing, loss: pgtest.Close, want: resetOnce.inDoubt()},
	{fault: "one connection goes dead", where: atStatement, ops: readOp, loss: pgtest.Hang, want: ranTooLong},
	{fault: "one connection goes dead", where: inTransaction, ops: orderOp, loss: pgtest.Hang, want: ranTooLong},
	{fault: "one connection goes dead", where: notArrived, ops: writing, loss: pgtest.Hang, want: ranTooLong.inDoubt()},
	{fault: "one connection goes dead", where: committed, ops: writing, loss: pgtest.Hang, want: func() matrixWant {
		w := ranTooLong.inDoubt()
		w.stored = once
		return w
	}()},
	{fault: "all connections go dead, the server is there", where: anywhere, ops: allOps, strike: vanish(), want: func() matrixWant {
		w := resetOnce.within(untilFound)
		w.doubts = ifSent
		return w
	}()},

	// The server ends a session, or says that it has no use for it.
	{fault: "57P01, 57P02, 57P05, 25P03", where: atStatement, ops: readOp, codes: sessionEnds, want: shutdownOnce},
	{fault: "57P01, 57P02, 57P05, 25P03", where: inTransaction, ops: orderOp, codes: sessionEnds, want: shutdownOnce},
	{fault: "57P01, 57P02, 57P05, 25P03", where: withCommit, ops: writing, codes: sessionEnds, want: shutdownOnce.inDoubt()},
	{fault: "57P01, 57P02", where: notArrived, ops: writing, codes: shutdowns, want: shutdownOnce.inDoubt()},
	{fault: "57P01, 57P02", where: committed, ops: writing, codes: shutdowns, want: shutdownOnce.inDoubt()},
	{fault: "08003, 08006", where: atStatement, ops: readOp, codes: linksLost, want: otherOnce},
	{fault: "08003, 08006", where: inTransaction, ops: orderOp, codes: linksLost, want: otherOnce},
	{fault: "08003, 08006, 08007, 40003", where: notArrived, ops: writing, codes: unknownFate, want: otherOnce.inDoubt()},
	{fault: "08003, 08006, 08007, 40003", where: committed, ops: writing, codes: unknownFate, want: otherOnce.inDoubt()},
	{fault: "25006", where: atStatement, ops: readOp, codes: []string{"25006"}, want: retried("connection", "read_only")},
	{fault: "25006", where: inTransaction, ops: orderOp, codes: []string{"25006"}, want: retried("connection", "read_only")},
	{fault: "25006", where: withCommit, ops: writing, codes: []string{"25006"}, want: retried("connection", "read_only")},
	{fault: "25006, every time", where: withCommit, ops: writing, codes: []string{"25006"}, always: true, want: failed("read_only")},

	// The transaction collides with others.
	{fault: "40001, 40P01", where: atStatement, ops: readOp, codes: conflicts, want: conflictOnce},
	{fault: "40001, 40P01", where: inTransaction, ops: orderOp, codes: conflicts, want: conflictOnce},
	{fault: "40001, 40P01", where: withCommit, ops: writing, codes: conflicts, want: conflictOnce},
	{fault: "40001, 40P01", where: notArrived, ops: writing, codes: conflicts, want: conflictOnce},
	{fault: "40001, 40P01, every time", where: withCommit, ops: writing, codes: conflicts, always: true, want: collides},
	{fault: "40001, 40P01, every time", where: notArrived, ops: writing, codes: conflicts, always: true, want: collides},
	{fault: "0A000, 26000", where: atStatement, ops: readOp, codes: stale, want: retried("conflict", "other")},
	{fault: "0A000, 26000", where: withCommit, ops: writing, codes: stale, want: retried("conflict", "other")},

	// The statement itself is to blame, or nobody is.
	{fault: "57014", where: atStatement, ops: readOp, codes: []string{"57014"}, want: ranTooLong.within(noWait)},
	{fault: "57014", where: inTransaction, ops: orderOp, codes: []string{"57014"}, want: ranTooLong.within(noWait)},
	{fault: "57014", where: notArrived, ops: writing, codes: []string{"57014"}, want: ranTooLong.within(noWait).inDoubt()},
	{fault: "any other SQLSTATE", where: atStatement, ops: readOp, codes: sqlErrors, want: sqlError},
	{fault: "any other SQLSTATE", where: inTransaction, ops: orderOp, codes: sqlErrors, want: sqlError},
	{fault: "any other SQLSTATE", where: withCommit, ops: writing, codes: sqlErrors, want: sqlError},
	{fault: "any other SQLSTATE", where: notArrived, ops: writing, codes: sqlErrors, want: sqlError},
	{fault: "the client leaves", where: atStatement, ops: readOp, loss: pgtest.Hang, strike: leave, want: left},
	{fault: "the client leaves", where: inTransaction, ops: orderOp, loss: pgtest.Hang, strike: leave, want: left},
	{fault: "the client leaves", where: withCommit, ops: writing, strike: leaveCommitting, want: leftCommitting},

	// Sessions work, logins do not.
	{fault: "53300", where: atLogin, ops: allOps, codes: []string{"53300"}, strike: cutBefore, want: retried("connection", "too_many_connections")},
	{fault: "53300, every time", where: atLogin, ops: allOps, codes: []string{"53300"}, strike: cutBefore, always: true, want: failed("too_many_connections")},
	{fault: "28000, 28P01", where: inServer, ops: allOps, codes: []string{"28000", "28P01"}, strike: cutBefore, always: true, want: notLetIn},
	{fault: "3D000, 42501", where: inServer, ops: allOps, codes: []string{"3D000", "42501"}, strike: cutBefore, always: true, want: notLetIn},

	// The server is out of reach.
	{fault: "all sessions end, 57P03 for 1 s", where: anywhere, ops: allOps, strike: startingUp(time.Second), want: bridged.within(outageWait(time.Second))},
	{fault: "refused for 1 s", where: anywhere, ops: allOps, strike: refuse(time.Second), want: bridged.within(outageWait(time.Second))},
	{fault: "refused for longer than the grace", where: anywhere, ops: allOps, strike: refuse(matrixGrace + time.Second), want: gaveUp},
	{fault: "refused since longer than the grace", where: anywhere, ops: allOps, strike: refuseBefore, want: failed("refused")},
	{fault: "refused, the breaker is open", where: anywhere, ops: allOps, strike: openBefore, want: matrixWant{answer: getsUnavailable, call: "refused_breaker", stored: none, wait: noWait}},
	{fault: "black hole for 1 s", where: anywhere, ops: allOps, strike: stall(time.Second), want: nothingMoved.within(matrixWait{"the outage", time.Second})},
	{fault: "black hole for 5 s", where: anywhere, ops: allOps, strike: stall(5 * time.Second), want: bridged.within(outageWait(5 * time.Second))},
	{fault: "black hole for longer than 5 s + grace", where: anywhere, ops: []operation{opRead, opOrder}, strike: stall(untilHungOver.limit + time.Second), want: gaveUp.within(untilHungOver)},
	{fault: "black hole for longer than 5 s + grace", where: anywhere, ops: writeOp, strike: stall(untilHungOver.limit + time.Second), want: lateArrival},
	{fault: "half open: the server is not heard, for 5 s", where: anywhere, ops: allOps, strike: stall(5*time.Second, pgtest.ToClient), want: bridged.within(outageWait(5 * time.Second))},
	{fault: "half open: the server does not hear, for 5 s", where: anywhere, ops: allOps, strike: stall(5*time.Second, pgtest.ToServer), want: bridged.within(outageWait(5 * time.Second))},
	{fault: "black hole for 5 s, answer to `COMMIT` in it", where: committed, ops: writing, strike: stall(5 * time.Second), want: bridged.within(outageWait(5 * time.Second))},

	// The network is slow.
	{fault: "delay of 50 ms each way", where: anywhere, ops: allOps, strike: delay(50 * time.Millisecond), want: nothingMoved.within(matrixWait{"0.1 s for each round trip", time.Second})},
	{fault: "20 kB/s", where: anywhere, ops: allOps, strike: throttle(20_000), want: nothingMoved.within(matrixWait{"what the bytes take", time.Second})},
}

var (
	sessionEnds = []string{"57P01", "57P02", "57P05", "25P03"}
	shutdowns   = []string{"57P01", "57P02"}
	linksLost   = []string{"08003", "08006"}
	unknownFate = []string{"08003", "08006", "08007", "40003"}
	conflicts   = []string{"40001", "40P01"}
	stale       = []string{"0A000", "26000"}
	sqlErrors   = []string{"22012", "23514", "42P01", "53100", "53200", "53400", "54001", "55P03", "58030", "XX000"}

	collides = matrixWant{
		answer: getsConflict, attempts: 3, call: "failed_after_retry", errors: "conflict", retries: "conflict", stored: none,
		wait: bothBackoffs,
	}
	// What was sent into the black hole with its COMMIT may come out of it.
	lateArrival = func() matrixWant {
		w := gaveUp.within(untilHungOver)
		w.stored = either
		return w
	}()
	left = matrixWant{answer: getsNothing, attempts: 1, call: "abandoned", errors: "canceled", stored: none, wait: noWait}
	// COMMIT is not cancelled: what was begun is finished.
	leftCommitting = matrixWant{answer: getsNothing, attempts: 1, call: "success_first", stored: once, wait: noWait}
)

// elsewhere is what is not in the matrix, and why.
var elsewhere = []struct{ what, why string }{
	{"a name that does not resolve", "there is no name here; it is retried as a refused connection: `TestClassify`"},
	{"no free connection, a full queue", "nothing fails but the service's own capacity: `TestSaturation`, `TestGate`"},
	{"53300, 57P03, 28xxx and 3D000 later than at login", "the server says them before it begins anything"},
	{"25006 at `COMMIT`", "the server says it at the statement"},
	{"25006 for good", "the prober finds another host, or a loss: `TestSeveralHosts`"},
	{"a server that is killed, stopped or promoted", "no fault of the way to it: `TestOutages`, `TestHungServer`, `TestHungPrimary`"},
}
