package chaos

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// watch looks at one instance from outside, as a balancer and an operator do.
type watch struct {
	instance *instance
	allowed  *windows
	report   func(what string) // of what is wrong

	mu          sync.Mutex
	ready       bool
	last        look
	looked      time.Time // when the last look began
	operational time.Time // since when it has been, without a break; zero while it is not
	unavailable time.Time // when it last was
	worst       time.Duration
	usage       usage
}

// look is one answer of /api/health.
type look struct {
	Status         string
	CircuitBreaker struct{ State string }
}

// usage is what an instance takes up, over all its processes.
type usage struct {
	goroutines, mostGoroutines int
	resident, mostResident     float64 // bytes
}

// The intervals: what /readyz says decides where requests go.
const (
	lookEvery  = 100 * time.Millisecond
	usageEvery = time.Second
)

// run looks until ctx ends.
func (w *watch) run(ctx context.Context) {
	var wg sync.WaitGroup
	wg.Go(func() { repeat(ctx, lookEvery, w.look) })
	wg.Go(func() { repeat(ctx, lookEvery, w.lookAtHealth) })
	wg.Go(func() { repeat(ctx, usageEvery, w.measure) })
	wg.Wait()
}

func repeat(ctx context.Context, every time.Duration, f func(context.Context)) {
	for pause(ctx, every) == nil {
		f(ctx)
	}
}

func (w *watch) look(ctx context.Context) {
	code, _, _ := get(ctx, w.instance.base+"/readyz", 2*time.Second)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ready = code == http.StatusOK
}

// isReady is whether a balancer would send requests.
func (w *watch) isReady() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.ready
}

func (w *watch) lookAtHealth(ctx context.Context) {
	begin := time.Now()
	code, body, err := get(ctx, w.instance.base+"/api/health", 10*time.Second)
	end := time.Now()
	if ctx.Err() != nil {
		return
	}
	absent := w.allowed.allow(gone, w.instance.index, begin, end) || w.allowed.allow(closing, w.instance.index, begin, end)
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case absent:
	case err != nil:
		w.report(fmt.Sprintf("instance %d does not tell its health: %v", w.instance.index+1, err))
	case end.Sub(begin) > healthLimit+w.allowed.noise:
		w.report(fmt.Sprintf("instance %d took %v to tell its health", w.instance.index+1, end.Sub(begin)))
	default:
		w.worst = max(w.worst, end.Sub(begin))
	}
	w.last, w.looked = look{}, begin
	if err == nil {
		if err := json.Unmarshal([]byte(body), &w.last); err != nil {
			w.report(fmt.Sprintf("instance %d tells its health as %q: %v", w.instance.index+1, body, err))
		}
	}
	switch {
	case code == http.StatusOK && w.last.Status == "operational":
		if w.operational.IsZero() {
			w.operational = end
		}
		return
	case code == http.StatusServiceUnavailable && w.last.Status == "unavailable":
		w.unavailable = end
	}
	w.operational = time.Time{}
}

// measure reads what the instance takes up from its metrics.
func (w *watch) measure(ctx context.Context) {
	goroutines, resident, ok := w.consumption(ctx)
	if !ok {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.usage.goroutines, w.usage.resident = goroutines, resident
	w.usage.mostGoroutines = max(w.usage.mostGoroutines, goroutines)
	w.usage.mostResident = max(w.usage.mostResident, resident)
}

func (w *watch) consumption(ctx context.Context) (goroutines int, resident float64, ok bool) {
	code, body, err := get(ctx, w.instance.base+"/metrics", 5*time.Second)
	if err != nil || code != http.StatusOK {
		return 0, 0, false
	}
	lines := bufio.NewScanner(strings.NewReader(body))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), " ")
		switch name {
		case "go_goroutines":
			goroutines, _ = strconv.Atoi(value)
		case "process_resident_memory_bytes":
			resident, _ = strconv.ParseFloat(value, 64)
		}
	}
	return goroutines, resident, goroutines > 0 && resident > 0
}

// state returns the last look and the usage so far.
func (w *watch) state() (look, usage, time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.last, w.usage, w.worst
}

// wasUnavailable reports whether the instance has said so since a moment.
func (w *watch) wasUnavailable(since time.Time) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.unavailable.After(since)
}

// wellAfter waits until the instance has said, after a moment, that it is ready and operational, and returns since when
// it has been.
func (w *watch) wellAfter(ctx context.Context, moment time.Time) (since time.Time, err error) {
	err = until(ctx, lookEvery/2, func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		since = w.operational
		return w.ready && !w.operational.IsZero() && w.looked.After(moment)
	})
	return since, err
}
