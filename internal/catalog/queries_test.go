package catalog_test

import (
	"testing"

	"speedybites/internal/catalog"
	"speedybites/internal/dbtest"
)

func TestQueries(t *testing.T) {
	t.Parallel()
	dbtest.Queries(t, catalog.Queries())
}
