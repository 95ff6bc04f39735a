package postgres_test

import (
	"context"
	"testing"

	"speedybites/internal/dbtest"
	"speedybites/internal/pgtest"
	"speedybites/internal/postgres"
	"speedybites/internal/postgres/breaker"
)

// TestOpenWhileConnected: the breaker opens on a flapping network that the prober's logins get through. Its next new session
// shows that the database is there, and the breaker need not wait for a minute.
func TestOpenWhileConnected(t *testing.T) {
	t.Parallel()
	server := pgtest.Server(t)
	proxy := pgtest.Proxy(t, server.Addr())
	db := dbtest.OpenDefault(t, proxy.URL(server.URL()))
	// Five failed queries in a row: each attempt loses its connection.
	for range 5 {
		_ = db.Read(t.Context(), "test", func(ctx context.Context, q postgres.Querier) error {
			_, err := q.Exec(ctx, "select pg_terminate_backend(pg_backend_pid())")
			return err
		})
	}
	if got := db.Status().Breaker; got != breaker.Open {
		t.Fatalf("the breaker is %s after five failed queries", got)
	}
	proxy.Cut() // the prober logs in again
	eventually(t, "the breaker to close", func() bool { return db.Status().Breaker == breaker.Closed })
}
