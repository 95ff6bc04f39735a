package chaos

import (
	"errors"
	"strings"
	"testing"
	"time"

	"speedybites/internal/load"
)

// TestJudge shows what is right when, and that everything else is a discrepancy.
func TestJudge(t *testing.T) {
	t.Parallel()
	start := time.Now()
	at := func(s float64) time.Time { return start.Add(time.Duration(s * float64(time.Second))) }
	ws := windows{noise: time.Second}
	ws.open(gone, 0, at(10))(at(12))
	ws.open(closing, 1, at(20))(at(21))
	ws.open(unavailable, 1, at(40))(at(45))
	ws.open(scarce, 0, at(50)) // still on
	ws.open(unwritable, 1, at(60))(at(65))

	const body503 = `{"error":"Service Unavailable","message":"Database connection temporarily unavailable",` +
		`"status":"Database reconnecting...","retryAfter":10,"requestId":"r"}`
	const capacity = `{"error":"Service Unavailable","message":"Database connection temporarily unavailable",` +
		`"status":"Database at capacity","retryAfter":1,"requestId":"r"}`
	ok := func(instance int, from, to float64) load.Try {
		return load.Try{Instance: instance, Start: at(from), End: at(to), Status: 201}
	}
	cut := func(instance int, from, to float64) load.Try {
		return load.Try{Instance: instance, Start: at(from), End: at(to), Err: errors.New("connection reset")}
	}
	refused := func(instance int, from, to float64) load.Try {
		r := cut(instance, from, to)
		r.Refused = true
		return r
	}
	answer := func(instance int, when float64, status int, body, retryAfter string) load.Try {
		return load.Try{Instance: instance, Start: at(when - 0.1), End: at(when), Status: status, Body: body, RetryAfter: retryAfter}
	}
	tries := func(list ...load.Try) []load.Try { return list }

	for _, c := range []struct {
		name  string
		key   string
		read  bool
		wrong string
		tries []load.Try
		want  outcome
	}{
		{name: "Answered", tries: tries(ok(0, 1, 1.1)), want: answered},
		{name: "OtherContent", wrong: "is another order", tries: tries(ok(0, 1, 1.1)), want: discrepancy},
		{name: "TooSlow", tries: tries(ok(0, 1, 18.1)), want: discrepancy},
		{name: "NeverSent", want: discrepancy},

		{name: "CutByAKill", tries: tries(cut(0, 9.9, 10.1)), want: notKnown},
		{name: "CutByAKillThenAnswered", key: "k", tries: tries(cut(0, 9.9, 10.1), ok(1, 10.2, 10.3)), want: answeredByOther},
		{name: "CutThenStillInFlight", key: "k", tries: tries(cut(0, 9.9, 10.1), answer(1, 10.3, 409, "{}", ""), ok(1, 10.5, 10.6)), want: answeredByOther},
		{name: "InFlightOfNobody", key: "k", tries: tries(answer(1, 10.3, 409, "{}", ""), ok(1, 10.5, 10.6)), want: discrepancy},
		{name: "CutByNobody", tries: tries(cut(1, 9.9, 10.1)), want: discrepancy},
		{name: "CutAfterTheKill", tries: tries(cut(0, 12.1, 12.2)), want: discrepancy},
		{name: "RefusedByOneThatCloses", tries: tries(refused(1, 20.6, 20.6), ok(0, 20.7, 20.8)), want: answeredByOther},
		{name: "CutByOneThatCloses", tries: tries(cut(1, 20.6, 20.6)), want: discrepancy},

		{name: "DeclaredOutage", tries: tries(answer(1, 41, 503, body503, "10")), want: refusedInOutage},
		{name: "DeclaredOutageThenAnswered", key: "k", tries: tries(answer(1, 44, 503, body503, "10"), ok(1, 45, 46)), want: answeredLater},
		{name: "QueueFullInADeclaredOutage", tries: tries(answer(1, 41, 503, capacity, "1")), want: refusedInOutage},
		{name: "WriteWithoutAPrimary", tries: tries(answer(1, 61, 503, body503, "10")), want: refusedInOutage},
		{name: "ReadWithoutAPrimary", read: true, tries: tries(answer(1, 61, 503, body503, "10")), want: discrepancy},
		{name: "OutageOfTheOtherInstance", tries: tries(answer(0, 41, 503, body503, "10")), want: discrepancy},
		{name: "WithinTheGrace", tries: tries(answer(1, 39.9, 503, body503, "10")), want: discrepancy},
		{name: "AfterTheRecovery", tries: tries(answer(1, 45.1, 503, body503, "10")), want: discrepancy},
		{name: "QueueFullElsewhere", tries: tries(answer(1, 39, 503, capacity, "1")), want: discrepancy},
		{name: "NoConnectionFree", tries: tries(answer(0, 51, 503, body503, "10")), want: refusedScarce},
		{name: "OtherRetryAfter", tries: tries(answer(1, 41, 503, body503, "1")), want: discrepancy},
		{name: "NoRetryAfter", tries: tries(answer(1, 41, 503, body503, "")), want: discrepancy},
		{name: "OtherBody", tries: tries(answer(1, 41, 503, strings.Replace(body503, "temporarily ", "", 1), "10")), want: discrepancy},
		{name: "NoBody", tries: tries(answer(1, 41, 503, "", "10")), want: discrepancy},

		{name: "InternalError", tries: tries(answer(1, 41, 500, `{"error":"Internal Server Error"}`, "")), want: discrepancy},
		{name: "InternalErrorThenAnswered", key: "k", tries: tries(answer(1, 41, 500, "{}", ""), ok(1, 42, 42)), want: discrepancy},
		{name: "Timeout", tries: tries(answer(1, 41, 504, "{}", "")), want: discrepancy},
		{name: "LostOrderReadBack", tries: tries(answer(1, 41, 404, "{}", "")), want: discrepancy},
		{name: "SQLInTheAnswer", tries: tries(answer(1, 41, 503, `{"message":"SELECT id FROM orders"}`, "10")), want: discrepancy},
		{name: "AddressInTheAnswer", tries: tries(answer(1, 41, 503, `{"message":"dial 127.0.0.1:5432"}`, "10")), want: discrepancy},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			e := load.Entry{Order: !c.read, Key: c.key, Wrong: c.wrong, Tries: c.tries}
			if n := len(c.tries); n > 0 {
				e.Status = c.tries[n-1].Status
			}
			got, wrong := ws.judge(e)
			if got != c.want || (len(wrong) > 0) != (c.want == discrepancy) {
				t.Errorf("got %q and %q, want %q", got, wrong, c.want)
			}
		})
	}
}
