package app_test

import (
	"time"

	"speedybites/internal/pgtest"
)

// operation is what a request makes the database do.
type operation uint8

// The operations: one statement; a transaction in one round trip, COMMIT included (a restaurant is created); and one in
// two round trips, COMMIT in the second (an order is placed).
const (
	opRead operation = iota
	opWrite
	opOrder
)

// point is where a fault strikes.
type point string

const (
	atLogin       point = "login of the pool"
	atStatement   point = "statement"
	atBegin       point = "`BEGIN`"
	inTransaction point = "in the transaction"
	withCommit    point = "in the round trip of `COMMIT`"
	notArrived    point = "`COMMIT` does not arrive"
	lateRollback  point = "… and the server learns late"
	arrived       point = "`COMMIT` arrives, its answer does not"
	lateCommit    point = "… and `COMMIT` arrives late"
	committed     point = "committed, and answered"
	anywhere      point = "the network"
	inServer      point = "all sessions"
)

// late is how long the server does not know what became of its client.
const late = 300 * time.Millisecond

// texts are what only the operation's first and last statements have in them. The first is also in a transaction that finds
// out what became of an earlier one.
var texts = map[operation]struct{ first, last string }{
	opRead:  {"FROM restaurants WHERE id", "FROM restaurants WHERE id"},
	opWrite: {"INSERT INTO restaurants", "INSERT INTO restaurants"},
	opOrder: {"INSERT INTO idempotency_keys", "INSERT INTO order_items"},
}

// of returns f, made to strike there in an operation.
func (p point) of(op operation, f pgtest.Fault) pgtest.Fault {
	f.SQL = texts[op].first
	switch p {
	case atLogin:
		f.At, f.SQL, f.App = pgtest.AtLogin, "", "speedy-bites"
	case inServer:
		f.At, f.SQL = pgtest.AtLogin, ""
	case atBegin:
		f.At, f.SQL = pgtest.AtStatement, "begin"
	case notArrived, lateRollback:
		f.At = pgtest.BeforeCommit
	case arrived, lateCommit:
		f.At = pgtest.CommitSent
	case committed:
		f.At = pgtest.Committed
	case withCommit:
		f.At, f.SQL = pgtest.AtStatement, texts[op].last
	case atStatement, inTransaction, anywhere:
		f.At = pgtest.AtStatement
	}
	if p == lateRollback || p == lateCommit {
		f.Hold = late
	}
	return f
}

// matrixRow is one line of the matrix: what goes wrong, where, and what comes of it.
type matrixRow struct {
	fault string
	where point
	ops   []operation
	// codes are SQLSTATEs that all come out the same; each has its turn. loss is for a fault without one.
	codes []string
	loss  pgtest.Loss
	// always says that the fault strikes every time, and not once in each request.
	always bool
	// strike is any fault that is none of a message.
	strike strike
	want   matrixWant
}

// ifSent is for commits that are in doubt if they were sent by then.
const ifSent = -1

// verdict is what a client gets.
type verdict string

const (
	getsSuccess     verdict = "success"
	getsUnavailable verdict = "503"
	getsConflict    verdict = "503, retry after 1 s"
	getsOverdue     verdict = "504"
	getsInternal    verdict = "500"
	getsNothing     verdict = "–" // the client has left
)

// stored is what is in the database afterwards.
type stored string

const (
	once   stored = "once"
	none   stored = "none"
	either stored = "none or once" // the client was told that it is not known
)

// matrixWant is what comes of a fault, for one request.
type matrixWant struct {
	answer   verdict
	attempts int    // 0: it depends
	call     string // the result by which speedybites_db_calls_total counts the request
	errors   string // the error_type of attempts that failed, "" where none does
	retries  string // the reason of the retries, "" where there are none or it depends
	doubts   int    // commits in doubt; ifSent: it depends
	bridged  string // how waiting for the end of an outage ended, "" where nobody waited
	failures int    // that the breaker counts
	stored   stored
	wait     matrixWait
}

// matrixWait is how long a request takes at most, beyond what it takes without the fault.
type matrixWait struct {
	text  string
	limit time.Duration
}

// Settings of the matrix's service that are not the defaults, and of the one for rows about the statement limit.
const (
	matrixGrace = 5 * time.Second
	matrixLimit = 6 * time.Second // above 5 s, so that a hung server is found before
	shortLimit  = time.Second
)

var (
	noWait        = matrixWait{"–", 0}
	oneBackoff    = matrixWait{"0.1 s", 100 * time.Millisecond}
	bothBackoffs  = matrixWait{"0.3 s", 300 * time.Millisecond}
	untilNoticed  = matrixWait{"until the server learns", late + 100*time.Millisecond}
	untilGrace    = matrixWait{"grace + 0.3 s", matrixGrace + 300*time.Millisecond}
	untilFound    = matrixWait{"5 s", 5 * time.Second}
	untilHungOver = matrixWait{"5 s + grace + 1 s", 6*time.Second + matrixGrace}
	untilLimit    = matrixWait{"statement limit + 1.25 s", shortLimit + 1250*time.Millisecond}
)

// outageWait is that of requests which wait for the end of an outage of the given length.
func outageWait(d time.Duration) matrixWait { return matrixWait{"the outage + 1 s", d + time.Second} }

// retried is a request that succeeds with its second attempt.
func retried(errors, reason string) matrixWant {
	return matrixWant{
		answer: getsSuccess, attempts: 2, call: "success_after_retry", errors: errors, retries: reason, stored: once, wait: oneBackoff,
	}
}

// inDoubt is w where COMMIT was sent with the attempt that failed.
func (w matrixWant) inDoubt() matrixWant { w.doubts = 1; return w }

// within is w with another wait.
func (w matrixWant) within(d matrixWait) matrixWant { w.wait = d; return w }

// failed is a request all of whose attempts lose their connection in the same way.
func failed(reason string) matrixWant {
	return matrixWant{
		answer: getsUnavailable, attempts: 3, call: "failed_after_retry", errors: "connection", retries: reason, failures: 1, stored: none,
		wait: bothBackoffs,
	}
}

var (
	resetOnce    = retried("connection", "reset")
	shutdownOnce = retried("connection", "shutting_down")
	otherOnce    = retried("connection", "other")
	conflictOnce = retried("conflict", "conflict")
	nothingMoved = matrixWant{answer: getsSuccess, attempts: 1, call: "success_first", stored: once, wait: noWait}
	// An SQL error is an answer. The call knows no more of it than that it came.
	sqlError   = matrixWant{answer: getsInternal, attempts: 1, call: "success_first", stored: none, wait: noWait}
	ranTooLong = matrixWant{
		answer: getsOverdue, attempts: 1, call: "failed_no_retry", errors: "timeout", stored: none, wait: untilLimit,
	}
	notLetIn = matrixWant{
		answer: getsUnavailable, attempts: 1, call: "failed_no_retry", errors: "credentials", stored: none, wait: noWait,
	}
	bridged = matrixWant{
		answer: getsSuccess, call: "success_after_retry", errors: "connection", doubts: ifSent, bridged: "resumed", stored: once,
	}
	gaveUp = matrixWant{
		answer: getsUnavailable, call: "failed_after_retry", errors: "connection", doubts: ifSent, bridged: "gave_up", failures: 1,
		stored: none,
		wait:   untilGrace,
	}
)

var (
	readOp  = []operation{opRead}
	writeOp = []operation{opWrite}
	orderOp = []operation{opOrder}
	writing = []operation{opWrite, opOrder}
	allOps  = []operation{opRead, opWrite, opOrder}
)
