// Package breaker decides whether a query may go to the database.
//
//	         5th failure in a row
//	CLOSED ───────────────────────▶ OPEN ◀───────────────┐
//	  ▲                              │                   │ trial failed
//	  │                              │ database reached  │
//	  │        trial answered        ▼ (or 60 s)         │
//	  └───────────────────────── HALF_OPEN ──────────────┘
//
// Invariants, each held by the model test:
//
//   - The count is of failed queries in a row; an answer sets it to 0, a neutral outcome leaves it.
//   - A permit is stamped with the period of CLOSED, or the trial, that issued it. A result from an earlier period
//     changes nothing, so a straggler can neither close an open breaker nor open a closed one.
//   - HALF_OPEN has one place. Whoever holds it decides; a neutral outcome frees it. It cannot leak as long as every
//     permit is ended, which a deferred Done guarantees, panics included.
//   - A breaker that opens on failures which all began before the database was last reached goes straight on to
//     HALF_OPEN: it has nothing to wait for.
//
// # What hystrix-go does here
//
// The circuit of github.com/afex/hystrix-go holds the open flag, the sleep window (the 60 s), the single admission when
// it has passed, and the event stream for dashboards. It is given verdicts only: one failure when the breaker opens (its
// volume threshold and error percentage are 1, so one suffices), one success when a trial is answered. Queries do not
// pass through hystrix.Do, which counts a percentage instead of a row, counts rejections and cancelled calls as errors,
// decides asynchronously, lets late results close an open circuit, and runs the query on another goroutine. What it
// cannot do is done here, and nothing else imports it. See docs/decisions/0001-hystrix.md for the measurements.
package breaker
