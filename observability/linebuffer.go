package observability

import (
	"io"
	"sync"
)

const (
	// softLimit is the fill, in bytes, at which the flusher is woken.
	softLimit = 64 << 10
	// hardLimit is the fill at which writers flush themselves, and so wait for
	// the disk: lines are never dropped to keep up.
	hardLimit = 256 << 10
)

// lineBuffer collects lines in memory and hands them on in large pieces. While
// a piece is being written, the next one is collected: writers wait for each
// other only as long as a copy takes.
type lineBuffer struct {
	out  io.Writer
	wake chan<- struct{} // of capacity 1

	// flushing is held while out is written, so that pieces stay in order. It
	// is taken before mu. It guards spare.
	flushing sync.Mutex
	spare    []byte

	// mu guards lines and closed. It is never held during input or output.
	mu     sync.Mutex
	lines  []byte
	closed bool
}

// Write takes whole lines. Its error is always nil: what becomes of the lines
// is the business of out.
func (b *lineBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	for len(b.lines) > 0 && len(b.lines)+len(p) > hardLimit {
		b.mu.Unlock()
		b.Flush()
		b.mu.Lock()
	}
	room := len(b.lines) < softLimit
	b.lines = append(b.lines, p...)
	full, closed := room && len(b.lines) >= softLimit, b.closed
	b.mu.Unlock()
	switch {
	case closed:
		b.Flush()
	case full:
		select {
		case b.wake <- struct{}{}:
		default:
		}
	}
	return len(p), nil
}

// Flush returns when every line that was taken before the call is written.
func (b *lineBuffer) Flush() {
	b.flushing.Lock()
	defer b.flushing.Unlock()
	b.mu.Lock()
	lines := b.lines
	b.lines = b.spare[:0]
	b.mu.Unlock()
	if len(lines) > 0 {
		// A logFile counts and tells its errors itself. For stderr's there is
		// nobody left to tell.
		_, _ = b.out.Write(lines)
	}
	// One enormous line must not hold its memory for ever.
	if cap(lines) > 2*hardLimit {
		lines = nil
	}
	b.spare = lines
}

// Close flushes, and makes every later Write flush by itself.
func (b *lineBuffer) Close() {
	b.mu.Lock()
	b.closed = true
	b.mu.Unlock()
	b.Flush()
}

// urgent writes through a lineBuffer at once, with what was there before.
type urgent struct{ *lineBuffer }

func (u urgent) Write(p []byte) (int, error) {
	n, err := u.lineBuffer.Write(p)
	u.Flush()
	return n, err
}
