package app_test

import (
	"testing"
	"time"

	"speedybites/internal/pgtest"
)

// strike breaks something for the requests that follow. lift mends it, after those have ended; it may wait.
type strike func(t *testing.T, c *matrixCase) (lift func())

// byMessage is the strike of a row that has no other: a fault at a message.
func byMessage(_ *testing.T, c *matrixCase) (lift func()) {
	return c.inject()
}

// cutBefore has the pool lose its connections, so that the fault meets the next logins.
func cutBefore(t *testing.T, c *matrixCase) (lift func()) {
	t.Helper()
	before := c.stage.counts(t)
	f := c.row.where.of(c.op, pgtest.Fault{Code: c.codes[0]})
	if !c.row.always {
		f.Times = c.times() + 1
	}
	i := c.stage.proxy.Inject(f)
	c.faults = []*pgtest.Injection{i}
	c.stage.proxy.Cut()
	if c.row.where == inServer { // the prober's logins fail as well
		c.stage.until(t, "the loss to be seen", func(h health) bool { return !h.Database.Connected && h.Database.Status != "Reconnecting" })
		return i.Remove
	}
	eventually(t, "the prober to log in again", func() bool { return c.stage.counts(t).since(before, c.op).logins > 0 })
	c.stage.until(t, "the loss to be over", func(h health) bool { return h.Database.Connected })
	// The audit relay is the first to log in. It waits a second then.
	eventually(t, "the relay to be refused", func() bool { return i.Fired() > 0 })
	c.missed = i.Fired()
	return i.Remove
}

// spell breaks something when the first of the requests has reached the point of the row, and ends that after a while.
func spell(d time.Duration, begin func(*pgtest.WireProxy) (end func())) strike {
	return func(_ *testing.T, c *matrixCase) func() {
		ended := make(chan struct{})
		f := c.row.where.of(c.op, pgtest.Fault{Loss: pgtest.Pass, Times: 1})
		f.Then = func() {
			end := begin(c.stage.proxy)
			time.AfterFunc(d, func() {
				end()
				close(ended)
			})
		}
		i := c.stage.proxy.Inject(f)
		return func() {
			<-ended
			i.Remove()
		}
	}
}

// startingUp has the server end all sessions, and answer every login with an SQLSTATE for a while.
func startingUp(d time.Duration) strike {
	return spell(d, func(p *pgtest.WireProxy) (end func()) {
		logins := p.Inject(pgtest.Fault{At: pgtest.AtLogin, Code: "57P03"})
		p.Cut()
		return logins.Remove
	})
}

// refuse makes the server unreachable for a while.
func refuse(d time.Duration) strike {
	return spell(d, func(p *pgtest.WireProxy) (end func()) {
		p.Refuse()
		p.Cut()
		return p.Accept
	})
}

// stall makes a black hole of the network for a while, in one direction or in both.
func stall(d time.Duration, directions ...pgtest.Direction) strike {
	return spell(d, func(p *pgtest.WireProxy) (end func()) {
		p.Stall(directions...)
		return p.Resume
	})
}

// vanish kills all connections without a word.
func vanish() strike {
	return spell(0, func(p *pgtest.WireProxy) (end func()) {
		p.Vanish()
		return func() {}
	})
}

// refuseBefore makes the server unreachable until nobody waits for it any more.
func refuseBefore(t *testing.T, c *matrixCase) (lift func()) {
	t.Helper()
	c.stage.proxy.Refuse()
	c.stage.proxy.Cut()
	c.stage.until(t, "the grace to end", func(h health) bool { return h.Database.Status == "Disconnected" })
	return c.stage.proxy.Accept
}

// openBefore opens the breaker.
func openBefore(t *testing.T, c *matrixCase) (lift func()) {
	t.Helper()
	lift = refuseBefore(t, c)
	c.stage.until(t, "the breaker to open", func(h health) bool {
		if h.CircuitBreaker.State != "OPEN" {
			_ = c.stage.send(t.Context(), opRead, time.Minute)
		}
		return h.CircuitBreaker.State == "OPEN"
	})
	return lift
}

// leave has the clients go while the database does not answer.
func leave(_ *testing.T, c *matrixCase) (lift func()) {
	c.patience = 3 * time.Second
	return c.inject()
}

// leaveCommitting has the clients go while the transaction that they have sent with its COMMIT waits for a lock.
func leaveCommitting(t *testing.T, c *matrixCase) (lift func()) {
	t.Helper()
	c.patience = time.Second
	table := map[operation]string{opWrite: "restaurants", opOrder: "order_items"}[c.op]
	c.stage.execute(t, "begin")
	c.stage.execute(t, "lock table "+table+" in share mode")
	return func() { c.stage.execute(t, "rollback") }
}

// delay makes everything arrive late.
func delay(d time.Duration) strike {
	return func(_ *testing.T, c *matrixCase) func() {
		c.stage.proxy.Delay(d)
		return func() { c.stage.proxy.Delay(0) }
	}
}

// throttle makes the network narrow.
func throttle(bytesPerSecond int) strike {
	return func(_ *testing.T, c *matrixCase) func() {
		c.stage.proxy.Throttle(bytesPerSecond)
		return func() { c.stage.proxy.Throttle(0) }
	}
}
