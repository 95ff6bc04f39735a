package chaos

import (
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"time"

	"speedybites/internal/load"
)

// outcome is how a request ended, seen by its client.
type outcome string

// The outcomes that are right, each in its place.
const (
	answered        outcome = "answered"
	answeredByOther outcome = "answered by the other instance"
	answeredLater   outcome = "answered after a 503, with the same key"
	refusedInOutage outcome = "503 in a declared outage"
	refusedScarce   outcome = "503 while no connection was free"
	notKnown        outcome = "without a key, cut by a kill: not known"
	discrepancy     outcome = "DISCREPANCY"
)

func outcomes() []outcome {
	return []outcome{answered, answeredByOther, answeredLater, refusedInOutage, refusedScarce, notKnown, discrepancy}
}

// unavailableBody and capacityBody are the documented answers, apart from the request id.
var (
	unavailableBody = problem{
		Error: "Service Unavailable", Message: "Database connection temporarily unavailable",
		Status: "Database reconnecting...", RetryAfter: 10,
	}
	capacityBody = problem{
		Error: "Service Unavailable", Message: "Database connection temporarily unavailable",
		Status: "Database at capacity", RetryAfter: 1,
	}
)

// problem is the body of an error.
type problem struct {
	Error, Message, Status, RequestID string
	RetryAfter                        int
}

// secrets matches what must not be in an answer: SQL, addresses and words of the database, stacks.
var secrets = regexp.MustCompile(`(?i)\b(select|insert|update|delete)\b.*\b(from|into|set)\b|sqlstate|pgx|pgconn|postgres|127\.0\.0\.1|` +
	`password|goroutine|\.go:|relation "|constraint "`)

// judge returns the outcome of a request, and what is wrong with it.
func (ws *windows) judge(e load.Entry) (outcome, []string) {
	var wrong []string
	o := answered
	if e.Wrong != "" {
		wrong = append(wrong, "the answer "+e.Wrong)
	}
	if len(e.Tries) == 0 {
		wrong = append(wrong, fmt.Sprint("not sent: ", e.Err))
	}
	for i, t := range e.Tries {
		result, problem := ws.judgeTry(e, i)
		if problem != "" {
			wrong = append(wrong, fmt.Sprintf("attempt %d: %s", i+1, problem))
		}
		if took := t.Took(); took > longestWait+ws.noise {
			wrong = append(wrong, fmt.Sprintf("attempt %d took %v, more than %v", i+1, took, longestWait))
		}
		if i < len(e.Tries)-1 || e.Failed() {
			o = result
		}
	}
	if len(wrong) > 0 {
		return discrepancy, wrong
	}
	return final(e, o), nil
}

// final is the outcome of a request whose last failed attempt had the outcome o.
func final(e load.Entry, o outcome) outcome {
	switch {
	case e.Failed():
		return o
	case o == notKnown:
		return answeredByOther
	case o == refusedInOutage || o == refusedScarce:
		return answeredLater
	default:
		return answered
	}
}

// judgeTry judges the i-th attempt of a request.
func (ws *windows) judgeTry(e load.Entry, i int) (o outcome, wrong string) {
	t := e.Tries[i]
	if t.Status >= 200 && t.Status <= 299 {
		return answered, ""
	}
	if leak := secrets.FindString(t.Body); leak != "" {
		return discrepancy, fmt.Sprintf("tells a client %q", leak)
	}
	switch t.Status {
	case 0:
		return ws.judgeSilence(t)
	case http.StatusServiceUnavailable:
		return ws.judgeRefusal(e, t)
	case http.StatusConflict:
		// The first attempt's transaction may outlive the instance that was killed.
		if e.Key != "" && i > 0 && e.Tries[i-1].Status != http.StatusCreated {
			return notKnown, ""
		}
	}
	return discrepancy, fmt.Sprintf("status %d is never right here", t.Status)
}

func (ws *windows) judgeSilence(t load.Try) (outcome, string) {
	if ws.allow(gone, t.Instance, t.Start, t.End) || t.Refused && ws.allow(closing, t.Instance, t.Start, t.End) {
		return notKnown, ""
	}
	return discrepancy, fmt.Sprintf("no answer from instance %d, which was there: %v", t.Instance+1, t.Err)
}

func (ws *windows) judgeRefusal(e load.Entry, t load.Try) (outcome, string) {
	var p problem
	if err := json.Unmarshal([]byte(t.Body), &p); err != nil {
		return discrepancy, "a 503 without the documented body"
	}
	if p.RequestID == "" || t.RetryAfter != strconv.Itoa(p.RetryAfter) {
		return discrepancy, "a 503 without a request id, or with another Retry-After in its header"
	}
	p.RequestID = ""
	if p != unavailableBody && p != capacityBody {
		return discrepancy, "a 503 with another body than the documented one"
	}
	at := t.End
	switch {
	case ws.allow(unavailable, t.Instance, at, at), e.Order && ws.allow(unwritable, t.Instance, at, at):
		return refusedInOutage, ""
	case ws.allow(scarce, t.Instance, at, at):
		return refusedScarce, ""
	}
	return discrepancy, fmt.Sprintf("a 503 at %s, outside of declared outages longer than the grace", at.Format(time.TimeOnly))
}
