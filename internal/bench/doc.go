// Package bench measures what the resilience costs while nothing is wrong: the closed path of a query against plain
// pgxpool, and whole requests against a bare gin handler with the same SQL. It has only tests, behind the build tag
// bench, because it needs the machine to itself. Run it with make bench.
package bench
