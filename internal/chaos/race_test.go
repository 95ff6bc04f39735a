//go:build race

package chaos_test

// race: the tests run with the race detector, so the service does too.
const race = true
