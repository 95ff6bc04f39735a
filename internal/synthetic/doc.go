// Package synthetic asks the database a test question on an interval, through the whole path of a request: breaker,
// retries, pool and transaction. So the numbers are there when nobody else asks, and so an open breaker is tried at night.
//
//	database       breaker            the probe
//	connected      any                runs; the breaker counts it like a user's query, or rejects it
//	away           OPEN, HALF_OPEN    runs: rejected, or the test query that decides
//	away           CLOSED             does not run, and ends one that is under way: result "disconnected"
//
// The last row is why failures that the breaker counts in an outage are users' alone. An operator who sends five requests
// sees the count go from 1 to 5.
package synthetic
