package demo_test

import (
	"os"
	"testing"

	"speedybites/internal/dbtest"
)

func TestMain(m *testing.M) { os.Exit(dbtest.Main(m)) }
