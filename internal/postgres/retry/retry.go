// Package retry holds the exponential backoff between the attempts of one query. It knows nothing of SQL.
package retry

import (
	"context"
	"errors"
	"time"
)

// Policy says how often a query is attempted and how long it waits in between.
type Policy struct {
	// Attempts is the number of attempts in all, at least 1. Default 3.
	Attempts int
	// Base is the wait after the first attempt; it doubles after each further one. Default 100 ms.
	Base time.Duration
}

// Validate reports a policy that makes no sense.
func (p Policy) Validate() error {
	if p.Attempts < 1 {
		return errors.New("retry attempts below 1")
	}
	if p.Base < 0 {
		return errors.New("negative retry base")
	}
	return nil
}

// Backoff returns the wait after attempt n (counted from 1) has failed: Base × 2^(n-1). It saturates rather than
// overflows.
func (p Policy) Backoff(n int) time.Duration {
	d := p.Base
	for range n - 1 {
		if d > time.Hour {
			break
		}
		d *= 2
	}
	return d
}

// Wait waits for Backoff(n) and reports whether another attempt is worth making: false at once when n was the last one
// or when ctx would end before the wait does, false as soon as ctx is done.
func (p Policy) Wait(ctx context.Context, n int) bool {
	if n >= p.Attempts || ctx.Err() != nil {
		return false
	}
	d := p.Backoff(n)
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) <= d {
		return false
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
