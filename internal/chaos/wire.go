package chaos

import (
	"context"
	"maps"
	"slices"
	"time"

	"speedybites/internal/pgtest"
)

// The faults of single messages between instances and servers, and of the speed of all.

// strikeEvery is the time between two messages that are hit on one path. All attempts of a query are over by then, so
// that none is hit until it has no more of them: a query that loses three connections to a server that is there fails,
// as documented.
const strikeEvery = 600 * time.Millisecond

// strike hits, on each path, the next message at a point and then one after each interval.
func (w *world) strike(ctx context.Context, h *happening, f pgtest.Fault) error {
	f.App, f.Times = "speedy-bites", 1
	for end := time.Now().Add(h.For); time.Now().Before(end); {
		var hit []*pgtest.Injection
		for _, p := range w.paths.of(both) {
			hit = append(hit, p.Inject(f))
		}
		err := pause(ctx, strikeEvery)
		for _, i := range hit {
			i.Remove()
			h.struck += i.Fired()
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// The points of a COMMIT's way, in words.
const (
	beforeCommit = "COMMIT does not arrive"
	commitSent   = "COMMIT arrives, later"
	committed    = "the answer does not arrive"
)

func commitPoints() []string { return []string{beforeCommit, commitSent, committed} }

// cutAroundCommit cuts connections at a point of the COMMIT of an order. Where it arrives later, the instance asks again
// before that.
func cutAroundCommit(ctx context.Context, w *world, h *happening) error {
	f := map[string]pgtest.Fault{
		beforeCommit: {At: pgtest.BeforeCommit},
		commitSent:   {At: pgtest.CommitSent, Hold: 300 * time.Millisecond},
		committed:    {At: pgtest.Committed},
	}[h.variant(commitPoints())]
	f.SQL = "insert into orders"
	return w.strike(ctx, h, f)
}

// errorCodes are SQLSTATEs that are answered in the server's place: sessions ended, a server that starts, connections
// lost, too many of them, a server that is no primary, conflicts.
func errorCodes() []string {
	return []string{"57P01", "57P02", "57P03", "08006", "53300", "25006", "40001", "40P01"}
}

// answerErrors has statements fail, or logins where only those can fail that way.
func answerErrors(ctx context.Context, w *world, h *happening) error {
	f := pgtest.Fault{At: pgtest.AtStatement, Code: h.variant(errorCodes())}
	switch f.Code {
	case "57P03", "53300":
		f.At = pgtest.AtLogin
	case "40001", "40P01":
		f.At = pgtest.BeforeCommit
	}
	return w.strike(ctx, h, f)
}

// slowness is what becomes of a network.
type slowness struct {
	delay          time.Duration // of everything, each way
	bytesPerSecond int
}

func slow() map[string]slowness {
	return map[string]slowness{
		"20 ms each way":  {delay: 20 * time.Millisecond},
		"100 ms each way": {delay: 100 * time.Millisecond},
		"100 kB a second": {bytesPerSecond: 100e3},
		"20 kB and 10 ms": {bytesPerSecond: 20e3, delay: 10 * time.Millisecond},
	}
}

func slownesses() []string { return slices.Sorted(maps.Keys(slow())) }

// slowDown makes the network slow for everybody.
func slowDown(ctx context.Context, w *world, h *happening) error {
	set := func(s slowness) {
		for _, p := range w.paths.of(both) {
			p.Delay(s.delay)
			p.Throttle(s.bytesPerSecond)
		}
	}
	set(slow()[h.variant(slownesses())])
	defer set(slowness{})
	return pause(ctx, h.For)
}

// holdAnswers lets the servers hear an instance, and not the instance the servers.
func holdAnswers(ctx context.Context, w *world, h *happening) error {
	for _, p := range w.paths.of(h.hit()) {
		p.Stall(pgtest.ToClient)
	}
	err := pause(ctx, h.For)
	for _, p := range w.paths.of(h.hit()) {
		p.Resume()
	}
	return err
}

// vanish lets an instance's open connections lead nowhere, while new ones work. It takes as long to notice as a server
// that hangs.
func vanish(ctx context.Context, w *world, h *happening) error {
	for _, p := range w.paths.of(h.hit()) {
		p.Vanish()
	}
	h.heal(h.begin.Add(hung))
	return pause(ctx, time.Until(h.healed))
}
