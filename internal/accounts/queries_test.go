package accounts_test

import (
	"testing"

	"speedybites/internal/accounts"
	"speedybites/internal/dbtest"
)

func TestQueries(t *testing.T) {
	t.Parallel()
	dbtest.Queries(t, accounts.Queries())
}
