package observability

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// maxLikenesses is the number of different lines told apart in a second.
	// Messages are constants of the program, so only a mistake gets there; the
	// lines beyond are then thinned together.
	maxLikenesses = 1024
	// maxMessage is the number of bytes by which messages are told apart.
	maxMessage = 256
)

// Thinning says what is written of a storm of equal lines: lines of the same
// level and message, whatever their attributes. Its zero value writes all.
type Thinning struct {
	// First is the number of equal lines a second that are written anyway; 0
	// turns thinning off.
	First int
	// Every is what is written of the rest: each line of this number; 0 means none.
	Every int
	// KeepAttrs are keys of attributes, KeepMessages messages: lines with one
	// of them are always written, and do not count towards a storm.
	KeepAttrs, KeepMessages []string
}

// likeness is what equal lines have in common.
type likeness struct {
	level slog.Level
	msg   string
}

// storm is what came of one likeness in one second.
type storm struct {
	second       int64
	seen, missed int
}

// thinner decides which lines are written. All loggers of a [Logs] share one.
type thinner struct {
	cfg     Thinning
	write   func(context.Context, slog.Record)
	thinned atomic.Int64

	// mu guards the rest. It is not held while a line is written.
	mu     sync.Mutex
	storms map[likeness]*storm
	swept  int64 // the second before which storms were told of
}

// newThinner returns nil when there is nothing to thin.
func newThinner(cfg Thinning, write func(context.Context, slog.Record)) *thinner {
	if cfg.First <= 0 {
		return nil
	}
	return &thinner{cfg: cfg, write: write, storms: make(map[likeness]*storm)}
}

// admits reports whether r is to be written. When it is the first of a new
// second, the ones missing from the last second are told of.
func (t *thinner) admits(r slog.Record) bool {
	key := likeness{level: r.Level, msg: r.Message}
	if len(key.msg) > maxMessage {
		key.msg = key.msg[:maxMessage]
	}
	now := r.Time
	if now.IsZero() {
		now = time.Now()
	}
	second := now.Unix()

	t.mu.Lock()
	s := t.storms[key]
	if s == nil {
		s, key = t.newStorm(key)
	}
	missed := 0
	// Lines of the last second may still arrive in this one. A clock that was
	// set back further begins anew.
	if second > s.second || second < s.second-1 {
		missed = s.missed
		*s = storm{second: second}
	}
	s.seen++
	over := s.seen - t.cfg.First
	write := over <= 0 || (t.cfg.Every > 0 && over%t.cfg.Every == 0)
	if !write {
		s.missed++
		t.thinned.Add(1)
	}
	t.mu.Unlock()
	t.summarize(key, missed, now)
	return write
}

// newStorm makes room for one more likeness, or returns the one that those
// share for whom there is no room.
func (t *thinner) newStorm(key likeness) (*storm, likeness) {
	if len(t.storms) >= maxLikenesses {
		key.msg = ""
		if s := t.storms[key]; s != nil {
			return s, key
		}
	}
	s := &storm{}
	key.msg = strings.Clone(key.msg) // or it might hold on to an enormous one
	t.storms[key] = s
	return s, key
}

// sweep tells of what was thinned before a second, and forgets it.
func (t *thinner) sweep(now time.Time, second int64) {
	type summary struct {
		likeness
		missed int
	}
	var summaries []summary
	t.mu.Lock()
	if second == t.swept {
		t.mu.Unlock()
		return
	}
	t.swept = second
	for key, s := range t.storms {
		if s.second >= second {
			continue
		}
		if s.missed > 0 {
			summaries = append(summaries, summary{key, s.missed})
		}
		delete(t.storms, key)
	}
	t.mu.Unlock()
	for _, s := range summaries {
		t.summarize(s.likeness, s.missed, now)
	}
}

// summarize writes how many lines are missing. It goes to the files that the
// lines would have gone to, and is not one of the program's records.
func (t *thinner) summarize(of likeness, missed int, now time.Time) {
	if missed == 0 {
		return
	}
	r := slog.NewRecord(now, of.level, "lines like this were not written", 0)
	r.AddAttrs(slog.String("like", of.msg), slog.Int("count", missed))
	t.write(context.Background(), r) // not with the ids of whose line came next
}

// keepsMessage and keepsAttr report whether a line is exempt.
func (t *thinner) keepsMessage(msg string) bool { return slices.Contains(t.cfg.KeepMessages, msg) }

func (t *thinner) keepsAttr(a slog.Attr) bool { return slices.Contains(t.cfg.KeepAttrs, a.Key) }

func (t *thinner) keeps(r slog.Record) bool {
	kept := t.keepsMessage(r.Message)
	if !kept && len(t.cfg.KeepAttrs) > 0 {
		r.Attrs(func(a slog.Attr) bool {
			kept = t.keepsAttr(a)
			return !kept
		})
	}
	return kept
}
