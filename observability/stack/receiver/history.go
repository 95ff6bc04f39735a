package receiver

import (
	"cmp"
	"slices"
	"sync"
	"time"
)

const (
	// most notifications kept of each channel, so that the Watchdog's, which come every minute, do not push out pages.
	most = 500
	// mostBytes bounds the size that the bodies of one channel's notifications had together.
	mostBytes = 16 << 20
)

// history is the latest notifications of each channel.
type history struct {
	mu       sync.Mutex // guards what follows
	count    int
	channels map[string]*channel
	// watchdog is when the Watchdog was last told to fire.
	watchdog time.Time
}

type channel struct {
	kept  []Notification
	sizes []int // of the bodies of kept
	total int   // of sizes
}

// add keeps a notification whose body had that many bytes, and gives it its number.
func (h *history) add(n Notification, size int) Notification {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.count++
	n.Number = h.count
	if n.Firing(watchdogAlert) {
		h.watchdog = n.Received
	}
	if h.channels == nil {
		h.channels = map[string]*channel{}
	}
	c := h.channels[n.Channel]
	if c == nil {
		c = &channel{}
		h.channels[n.Channel] = c
	}
	c.kept, c.sizes, c.total = append(c.kept, n), append(c.sizes, size), c.total+size
	for len(c.kept) > most || (c.total > mostBytes && len(c.kept) > 1) {
		c.total -= c.sizes[0]
		c.kept, c.sizes = slices.Delete(c.kept, 0, 1), slices.Delete(c.sizes, 0, 1)
	}
	return n
}

// all returns what is kept of all channels, newest first.
func (h *history) all() []Notification {
	h.mu.Lock()
	defer h.mu.Unlock()
	list := []Notification{}
	for _, c := range h.channels {
		list = append(list, c.kept...)
	}
	slices.SortFunc(list, func(a, b Notification) int { return cmp.Compare(b.Number, a.Number) })
	return list
}

func (h *history) lastWatchdog() time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.watchdog
}
