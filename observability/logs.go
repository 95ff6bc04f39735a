package observability

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/term"
)

const (
	// flushInterval is the longest a line waits in memory.
	flushInterval = 100 * time.Millisecond
	// diskInterval is the time between two looks at the space left.
	diskInterval = 5 * time.Second
)

// LogConfig says what is logged, and where to.
type LogConfig struct {
	// Dir is the directory of the log files. It is created when absent.
	Dir string
	// Level is the least severe level that is logged.
	Level slog.Level
	// MaxSizeMB is the size in MiB at which a file is rotated, at least 1.
	MaxSizeMB int
	// MaxBackups is the number of rotated files kept of app.log, and as many
	// of error.log; 0 keeps all. Nothing of audit.log is ever deleted.
	MaxBackups int
	// MaxAgeDays is the age at which these are deleted; 0 means never.
	MaxAgeDays int
	// Compress gzips rotated files, but for those of audit.log: a crash while
	// one is being compressed could cost a part of it.
	Compress bool
	// Terminal makes the copy on stderr text for people instead of JSON. See
	// IsTerminal.
	Terminal bool
	// AttrsFromContext returns what each line logged with a context carries,
	// such as requestId; nil adds nothing. The span's ids need no help.
	AttrsFromContext func(context.Context) []slog.Attr
	// Thin says what is left out of a storm of equal lines. Nothing of
	// audit.log ever is.
	Thin Thinning
}

// IsTerminal reports whether w is a terminal.
func IsTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// Logs are the open log files of a process. No other process may write to the
// same directory.
type Logs struct {
	logger  *slog.Logger
	records recordCounts
	thin    *thinner // may be nil

	dir                string
	free               atomic.Int64 // bytes left on the disk of dir; -1 if not known
	app, errors, audit *logFile
	appLines, stderr   *lineBuffer

	wake, stop chan struct{}
	flusher    sync.WaitGroup

	closing  sync.Once
	closed   chan struct{} // closed when closeErr is set
	closeErr error
}

// OpenLogs opens the log files and starts the goroutine that flushes them. The
// caller ends it with [Logs.Close]. The error says which directory or file
// cannot be used.
func OpenLogs(cfg LogConfig, stderr io.Writer) (*Logs, error) {
	if err := prepareDir(cfg.Dir); err != nil {
		return nil, fmt.Errorf("open log directory %s: %w", cfg.Dir, err)
	}
	stderr = &lockedWriter{w: stderr}
	l := &Logs{dir: cfg.Dir, wake: make(chan struct{}, 1), stop: make(chan struct{}), closed: make(chan struct{})}
	l.lookAtDisk()

	// What goes wrong with a file is told on stderr directly.
	direct := []slog.Handler{newOutput(cfg, stderr)}
	plain := slog.New(&handler{level: cfg.Level, records: &l.records, all: direct, serious: direct})
	for _, file := range []struct {
		name  string
		place **logFile
		audit bool
	}{{"app.log", &l.app, false}, {"error.log", &l.errors, false}, {"audit.log", &l.audit, true}} {
		opened, err := openLogFile(filepath.Join(cfg.Dir, file.name), cfg, file.audit, plain)
		if err != nil {
			return nil, errors.Join(err, l.closeFiles())
		}
		*file.place = opened
	}

	l.appLines = &lineBuffer{out: l.app, wake: l.wake}
	l.stderr = &lineBuffer{out: stderr, wake: l.wake}
	handler := newHandler(cfg, l)
	l.thin = handler.thin
	l.logger = slog.New(handler)
	l.flusher.Go(l.flushLoop)
	return l, nil
}

func prepareDir(dir string) error {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return err
	}
	// Rotation creates files: that the present ones can be written to does not
	// tell enough.
	probe, err := os.CreateTemp(dir, ".writable-*")
	if err != nil {
		return err
	}
	return errors.Join(probe.Close(), os.Remove(probe.Name()))
}

// Logger returns the logger that writes to app.log, error.log and stderr.
func (l *Logs) Logger() *slog.Logger { return l.logger }

// Audit returns the writer of audit.log.
func (l *Logs) Audit() *AuditFile { return &AuditFile{l.audit} }

// FileStats counts what happened to one log file.
type FileStats struct {
	// Name is the file's base name, such as "app.log".
	Name string
	// WriteErrors is the number of writes that failed.
	WriteErrors int64
	// LostLines is the number of lines in those writes. They are on stderr;
	// those of audit.log were refused, and are written again by their owner.
	LostLines int64
	// Size is the size in bytes after the last write, without rotated files.
	Size int64
}

// Stats returns the counts of each file since the start.
func (l *Logs) Stats() []FileStats {
	return []FileStats{l.app.stats(), l.errors.stats(), l.audit.stats()}
}

func (f *logFile) stats() FileStats {
	return FileStats{
		Name: filepath.Base(f.path), WriteErrors: f.writeErrors.Load(), LostLines: f.lostLines.Load(), Size: f.size.Load(),
	}
}

// flushLoop writes out what is buffered, ten times a second and whenever a
// buffer asks for it.
func (l *Logs) flushLoop() {
	ticker := time.NewTicker(flushInterval)
	defer ticker.Stop()
	looked := time.Now()
	for {
		select {
		case now := <-ticker.C:
			l.tellThinned(now, now.Unix())
			if now.Sub(looked) >= diskInterval {
				looked = now
				l.lookAtDisk()
			}
		case <-l.wake:
		case <-l.stop:
			return
		}
		l.appLines.Flush()
		l.stderr.Flush()
	}
}

// lookAtDisk is not left to the scrapes: the disk may hang, and they must not.
func (l *Logs) lookAtDisk() {
	free, err := diskFree(l.dir)
	if err != nil {
		free = -1
	}
	l.free.Store(free)
}

// tellThinned writes how many lines were left out before a second.
func (l *Logs) tellThinned(now time.Time, second int64) {
	if l.thin != nil {
		l.thin.sweep(now, second)
	}
}

// Close writes out what is buffered and closes the files. Lines logged after
// it go to stderr alone. It returns early, with ctx's error, when ctx ends
// first, and may be called again to go on waiting.
func (l *Logs) Close(ctx context.Context) error {
	l.closing.Do(func() {
		close(l.stop)
		go func() {
			defer close(l.closed)
			l.flusher.Wait()
			l.tellThinned(time.Now(), math.MaxInt64) // also of storms that go on
			l.appLines.Close()
			l.stderr.Close()
			l.closeErr = l.closeFiles()
		}()
	})
	select {
	case <-l.closed:
		return l.closeErr
	case <-ctx.Done():
		return fmt.Errorf("flush logs: %w", ctx.Err())
	}
}

func (l *Logs) closeFiles() error {
	var errs []error
	for _, file := range []*logFile{l.app, l.errors, l.audit} {
		if file != nil {
			errs = append(errs, file.Close())
		}
	}
	return errors.Join(errs...)
}

// lockedWriter keeps the lines of several writers apart.
type lockedWriter struct {
	mu sync.Mutex
	w  io.Writer
}

func (w *lockedWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.w.Write(p)
}
