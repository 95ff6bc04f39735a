package ordering_test

import (
	"testing"

	"speedybites/internal/dbtest"
	"speedybites/internal/ordering"
)

func TestQueries(t *testing.T) {
	t.Parallel()
	dbtest.Queries(t, ordering.Queries())
}
