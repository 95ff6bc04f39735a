package breaker

import (
	"fmt"
	"runtime"
	"strconv"
	"sync"
	"time"

	"github.com/afex/hystrix-go/hystrix"
)

// circuit is hystrix-go's circuit, driven by verdicts. Its methods are called under the Breaker's lock.
type circuit struct {
	hystrix *hystrix.CircuitBreaker
}

// registry guards the choice of a name: hystrix-go keeps settings and circuits by name in a registry of the process.
var registry sync.Mutex

// newCircuit registers a circuit under name, or name-2 and so on, as two breakers must not share one.
func newCircuit(name string, window time.Duration) (*circuit, error) {
	registry.Lock()
	defer registry.Unlock()
	taken := hystrix.GetCircuitSettings()
	unique := name
	for n := 2; taken[unique] != nil; n++ {
		unique = name + "-" + strconv.Itoa(n)
	}
	// The settings must be there before the circuit is, and a zero would mean hystrix-go's default.
	hystrix.ConfigureCommand(unique, hystrix.CommandConfig{
		Timeout:                int(time.Hour / time.Millisecond), // unused: nothing runs inside hystrix
		MaxConcurrentRequests:  1,                                 // unused, likewise
		RequestVolumeThreshold: 1,
		ErrorPercentThreshold:  1,
		SleepWindow:            int(window / time.Millisecond),
	})
	c, _, err := hystrix.GetCircuit(unique)
	if err != nil {
		return nil, fmt.Errorf("hystrix circuit %q: %w", unique, err)
	}
	return &circuit{hystrix: c}, nil
}

// spins bounds the wait for hystrix-go's collector goroutine, which applies an event within microseconds.
const spins = 10_000

// open opens the circuit and restarts its sleep window. A circuit that is open already (the trial of a HALF_OPEN that
// the reconnector began) is closed first: its window counts from its opening.
func (c *circuit) open() {
	if c.hystrix.IsOpen() {
		c.close()
	}
	// Events are applied by another goroutine and dropped when its queue is full. Should the circuit stay closed
	// against all odds, the breaker is open all the same; only its timeout would seem to have passed already.
	for range 100 {
		_ = c.hystrix.ReportEvent([]string{"failure"}, time.Now(), 0)
		for range spins {
			if c.hystrix.IsOpen() {
				return
			}
			runtime.Gosched()
		}
	}
}

// close closes the circuit; hystrix-go does that within the call.
func (c *circuit) close() {
	_ = c.hystrix.ReportEvent([]string{"success"}, time.Now(), 0)
}

// allow reports whether the sleep window has passed, once: the next window starts with this call.
func (c *circuit) allow() bool {
	return c.hystrix.AllowRequest()
}
