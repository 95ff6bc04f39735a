// Package postgres is the way to the database: for each server a pool of connections that heals itself. Its whole surface
// is [DB.Read], [DB.Write] and [DB.Background], which take a function to run, and [DB.Status]. Retries, the circuit breaker
// and SQLSTATEs exist nowhere else.
//
// # One query
//
//	Read/Write ─▶ breaker ── OPEN ──────────────────────────▶ ErrUnavailable
//	                │
//	                ▼              ┌──────── retry: 100 ms, 200 ms ────────┐
//	              prober: lost? ───┤                                       │
//	                │ no           │ yes, younger than the grace           │
//	                ▼              ▼                                       │
//	              gate ──▶ pool   park until the prober is back, ──────────┤
//	                │      │       then run again                          │
//	          full  │      ▼                                               │
//	                │   function ── connection lost ── attempts left ──────┘
//	                ▼      │
//	        ErrSaturated   └─ answered, SQL error
//
// The parts: package sqlstate classifies errors, retry holds the backoff, breaker the circuit, cluster the prober. Here
// are the gate (two bounded queues, for reads and writes, each in the order of arrival), the session (the network
// connection below a pooled one, which can be cut from outside), and the query, which goes through them.
//
// That is the primary's way, and a write has no other. A read may first be tried at a replica, where it has one attempt
// and no waiting: route.go says when. The topology knows which host is the primary.
//
// # Invariants
//
//   - While the database is lost nobody dials but the prober: not a query, not the pool's own upkeep, not pgx's cancel
//     requests. Between a first failure and the prober's verdict on it, new dials wait for the verdict.
//   - A query has one of: a permit of the gate, a place among the waiting, neither. A query woken from an outage keeps
//     its place until it is admitted, or gives it to a write.
//   - COMMIT is never cancelled. One whose answer is lost puts the write in doubt: it runs again, and finds what the
//     first run left behind (see Tx.InDoubt). No cancel request is ever sent for it, because that would end the
//     server's wait for its synchronous standbys and report success without them.
//   - Whatever was under way when the database is lost is cut, so that a hung server cannot hold a query or a slot.
//
// # Failures
//
//	failure                          noticed by                    then
//	server killed, restarted         failing query, or heartbeat   bridged, then counted
//	sessions terminated              failing query: its retry      older sessions are pinged before their next use
//	server hung, network silent      heartbeat: within 4.5 s       sessions cut, bridged, then counted
//	53300 too many connections       failing dial                  retried, then counted; not bridged
//	wrong password, no database      failing dial, prober          ErrUnavailable, neither retried nor counted
//	another server was promoted      heartbeat, 25006, watch       sessions with others cut, bridged
//	replica lost, behind             its prober                    reads go elsewhere
//	pool exhausted                   gate                          queued, or ErrSaturated, reads first
//	statement over its limit         server, or the session        ErrStatementTimeout
//	caller gone                      its context                   nothing is counted
package postgres
