package compose_test

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"syscall"
	"testing"
	"time"

	"speedybites/internal/monitoring/proctest"
)

// soon is for tests that do not want to wait half a minute for the next attempt at sending.
const soon = `exporters:
  otlp_http/loki: {retry_on_failure: {initial_interval: 200ms, max_interval: 1s}, sending_queue: {batch: {flush_timeout: 100ms}}}`

// smallQueue holds fewer than 1,000 of the lines below.
const smallQueue = "exporters: {otlp_http/loki: {sending_queue: {queue_size: 262144}}}"

// outage is more lines than a small queue holds, written while their store is away. They fit into the log files.
const outage = 12_000

var acceptedLines = regexp.MustCompile(`(?m)^otelcol_receiver_accepted_log_records(?:_total)?\{[^}]*receiver="file_log"[^}]*\} (\S+)$`)

// accepted is how many lines the collector has read and put into its queue since it began.
func (c *collecting) accepted() (float64, error) {
	text, _, err := proctest.Get(c.metrics)
	if err != nil {
		return 0, err
	}
	m := acceptedLines.FindStringSubmatch(text)
	if m == nil {
		return 0, nil // It exports the metric from the first line on.
	}
	return strconv.ParseFloat(m[1], 64)
}

// hasRead is an error unless the collector has read n lines.
func (c *collecting) hasRead(n int) error {
	got, err := c.accepted()
	if err == nil && int(got) != n {
		err = fmt.Errorf("%v lines are read, want %d", got, n)
	}
	return err
}

// standstill waits until the collector has tried to send, and reads no more.
func (c *collecting) standstill(t *testing.T, s *store) {
	t.Helper()
	last, since := -1.0, time.Now()
	c.Until(t, func() error {
		got, err := c.accepted()
		if err != nil {
			return err
		}
		if got != last {
			last, since = got, time.Now()
		}
		if s.refused.Load() == 0 || time.Since(since) < 2*time.Second {
			return errors.New("the collector has not come to a standstill")
		}
		return nil
	})
}

// TestLogsQueueFull: a store of logs that is away for longer than the queue lasts costs no line, and none comes twice.
func TestLogsQueueFull(t *testing.T) {
	t.Parallel()
	got := newLines(t)
	c := newCollector(t, got.store.URL, got.store.URL, soon, smallQueue)
	l := &numbered{logs: service(t, c, "api-1"), arrived: got}
	got.store.away.Store(true)
	l.write(t, outage)
	c.standstill(t, got.store)
	if n, err := c.accepted(); err != nil || n > 1000 {
		t.Errorf("%v lines are read (%v): the queue was not full", n, err)
	}
	got.store.away.Store(false)
	c.Until(t, l.once)
}

// TestLogsQueueKilled: nor does it if the collector is killed while it waits. It reads again what it is not sure of.
func TestLogsQueueKilled(t *testing.T) {
	t.Parallel()
	got := newLines(t)
	c := newCollector(t, got.store.URL, got.store.URL, soon, smallQueue)
	l := &numbered{logs: service(t, c, "api-1"), arrived: got}
	got.store.away.Store(true)
	// Little by little, so that what does not fit any more is read in a round of its own. It must not count as read.
	for full := false; !full; {
		l.write(t, 50)
		full = proctest.Eventually(time.After(2*time.Second), func() error { return c.hasRead(l.written) }) != nil
	}
	c.Stop(t, syscall.SIGKILL)
	l.write(t, outage)
	c.begin(t)
	c.standstill(t, got.store)
	got.store.away.Store(false)
	c.Until(t, func() error {
		lost, _, err := l.missing()
		if err == nil && lost > 0 {
			err = fmt.Errorf("%d lines of %d are lost", lost, l.written)
		}
		return err
	})
}

// TestLogsQueueRestart: the queue of the shipped size is on the disk, and outlives a restart.
func TestLogsQueueRestart(t *testing.T) {
	t.Parallel()
	got := newLines(t)
	c := newCollector(t, got.store.URL, got.store.URL, soon)
	l := &numbered{logs: service(t, c, "api-1"), arrived: got}
	got.store.away.Store(true)
	l.write(t, outage/2)
	c.Until(t, func() error { return c.hasRead(outage / 2) })
	c.end(t)
	l.write(t, outage/2)
	c.begin(t)
	c.Until(t, func() error { return c.hasRead(outage / 2) }) // of this run
	got.store.away.Store(false)
	c.Until(t, l.once)
}
