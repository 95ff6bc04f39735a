package demo_test

import (
	"testing"

	"speedybites/internal/dbtest"
	"speedybites/internal/demo"
)

func TestQueries(t *testing.T) {
	t.Parallel()
	dbtest.Queries(t, demo.Queries())
}
