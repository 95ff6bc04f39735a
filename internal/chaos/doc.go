// Package chaos runs two instances of the service on a primary and its synchronous standby, puts load on them, lets
// things go wrong, and holds every answer and every stored order against what the service promises. `make chaos` runs
// it, and a minute of it is a test.
//
//	      load, with a ledger
//	      │                │
//	 instance 1       instance 2        processes of cmd/speedy-bites
//	  │       ╲        ╱       │
//	proxy    proxy  proxy    proxy      one for each instance and server
//	  │          ╲  ╱          │
//	  └─────────┐    ┌─────────┘
//	          server a ── b             PostgreSQL; COMMIT on the primary waits for the standby
//
// What goes wrong is drawn from a seed: [Schedule]. The draw knows nothing of how the run goes, so the same seed is the
// same sequence of faults; when each begins depends on how long the recovery from the one before took.
//
// A fault either ends within the grace, and then nobody may notice more than a wait, or it is declared to be an outage
// that is longer. Only in those, from the grace's end to the recovery, a 503 is right. Clients do what the
// documentation tells them to: who gets no answer asks the other instance, and sends an order again only with its
// Idempotency-Key. An order without one that was under way to a killed instance is there or not, and counted apart.
package chaos
