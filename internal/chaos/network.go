package chaos

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"sync"
	"testing"

	"speedybites/internal/localpg"
	"speedybites/internal/pgtest"
)

// paths are the proxies: paths[instance][server].
type paths [instances][2]*pgtest.WireProxy

// newPaths starts a proxy for each instance and server.
func newPaths(tb *bench, p *pair) (paths, error) {
	var ps paths
	err := tb.try(func() {
		for i := range ps {
			for s, server := range p.servers {
				ps[i][s] = pgtest.Wire(tb, server.Addr())
			}
		}
	})
	return ps, err
}

// url is the database's URL for an instance: both servers, each behind its proxy.
func (ps paths) url(instance int, server *localpg.Server) (string, error) {
	u, err := url.Parse(server.URL())
	if err != nil {
		return "", err
	}
	u.Host = ps[instance][0].Addr() + "," + ps[instance][1].Addr()
	return u.String(), nil
}

// of returns the proxies on the paths of some instances.
func (ps paths) of(which []int) (list []*pgtest.WireProxy) {
	for _, i := range which {
		list = append(list, ps[i][:]...)
	}
	return list
}

// bench stands in for the test that pgtest wants to belong to. What it would fail the test with is returned by try.
type bench struct {
	testing.TB // nil: pgtest's proxy needs no more of it than is here

	mu       sync.Mutex
	cleanups []func()
	errs     []error
}

// fatal is what Fatal panics with, for try to catch.
type fatal struct{ err error }

// try runs f and returns what it fails with.
func (b *bench) try(f func()) (err error) {
	defer func() {
		if r := recover(); r != nil {
			failed, ok := r.(fatal)
			if !ok {
				panic(r)
			}
			err = failed.err
		}
	}()
	f()
	return nil
}

// Helper implements testing.TB.
func (*bench) Helper() {}

// Logf implements testing.TB.
func (*bench) Logf(string, ...any) {}

// Fatal implements testing.TB.
func (*bench) Fatal(args ...any) { panic(fatal{errors.New(fmt.Sprint(args...))}) }

// Fatalf implements testing.TB.
func (*bench) Fatalf(format string, args ...any) { panic(fatal{fmt.Errorf(format, args...)}) }

// Error implements testing.TB.
func (b *bench) Error(args ...any) { b.Errorf("%s", fmt.Sprint(args...)) }

// Errorf implements testing.TB.
func (b *bench) Errorf(format string, args ...any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.errs = append(b.errs, fmt.Errorf(format, args...))
}

// Cleanup implements testing.TB.
func (b *bench) Cleanup(f func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.cleanups = append(b.cleanups, f)
}

// close does what a test does at its end.
func (b *bench) close() error {
	b.mu.Lock()
	cleanups := b.cleanups
	b.cleanups = nil
	b.mu.Unlock()
	for _, cleanup := range slices.Backward(cleanups) {
		if err := b.try(cleanup); err != nil {
			b.Error(err)
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return errors.Join(b.errs...)
}
