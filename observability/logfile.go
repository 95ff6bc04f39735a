package observability

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"gopkg.in/natefinch/lumberjack.v2"
)

// logFile is a rotated file of lines. It leaves the rotation to lumberjack, and
// adds what that lacks:
//
//   - A line longer than the limit gets a file to itself; lumberjack refuses it.
//   - Two rotations never fall into the same millisecond, in which lumberjack
//     gives both files the same name and so loses one.
//   - A file that somebody deletes or replaces is opened anew, and the line is
//     written again; lumberjack goes on writing to what nobody can read.
//   - It appends, so that a file somebody empties does not fill up with zeros.
//   - A line that a full disk or a crash has cut off is ended before the next.
//   - fsync, for audit.log: also of what was written just before a rotation.
type logFile struct {
	path     string
	maxBytes int64
	durable  bool         // sync what is about to be rotated away
	tell     *slog.Logger // where failures and recoveries are told

	writeErrors, lostLines, size atomic.Int64

	// mu guards all below, and is held while the file is written.
	mu      sync.Mutex
	rotator *lumberjack.Logger
	info    os.FileInfo // of the file the rotator writes to, after the last write
	rotated time.Time   // when a file was last rotated away
	torn    bool        // the file ends inside a line
	failing bool        // the last write failed, and that was told
	renamed bool        // the directory has changed since the last sync
	syncErr error       // of a file that was rotated away since the last Sync
	closed  bool
}

// openLogFile opens or creates the file at path. keep is for audit.log, of
// which nothing may be lost.
func openLogFile(path string, cfg LogConfig, keep bool, tell *slog.Logger) (*logFile, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open log file: %w", err)
	}
	info, err := file.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a regular file", path)
	}
	torn := err == nil && endsInsideLine(file, info.Size())
	if err := errors.Join(err, file.Close()); err != nil {
		return nil, fmt.Errorf("open log file: %w", err)
	}
	f := &logFile{
		path: path, maxBytes: int64(cfg.MaxSizeMB) << 20, durable: keep, tell: tell.With("file", filepath.Base(path)),
		rotator: &lumberjack.Logger{Filename: path}, info: info, torn: torn, renamed: true,
	}
	f.size.Store(info.Size())
	if !keep {
		f.rotator.MaxBackups, f.rotator.MaxAge, f.rotator.Compress = cfg.MaxBackups, cfg.MaxAgeDays, cfg.Compress
	}
	return f, nil
}

func endsInsideLine(f *os.File, size int64) bool {
	var last [1]byte
	if _, err := f.ReadAt(last[:], size-1); err != nil {
		return false // empty, most likely
	}
	return last[0] != '\n'
}

// Write appends whole lines. On an error those that are not wholly among the
// first n bytes are not in the file; at most a part of the first of them is,
// on a line of its own. They may be written again.
func (f *logFile) Write(p []byte) (n int, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.closed:
		err = os.ErrClosed
	case len(p) > 0:
		if err = f.endTornLine(); err == nil {
			n, err = f.write(p)
		}
	}
	f.account(p[n:], err)
	f.size.Store(f.info.Size())
	return n, err
}

// write writes p, and once more if it turns out that it went to a file that is
// no longer at path.
func (f *logFile) write(p []byte) (n int, err error) {
	for range 2 {
		if n, err = f.writeOnce(p); err != nil {
			// Whatever is at path now is what the rotator opens next.
			f.torn = n > 0 && p[n-1] != '\n'
			f.reopen(os.Stat(f.path))
			return n, err
		}
		info, err := os.Stat(f.path)
		switch {
		case err == nil && os.SameFile(info, f.info):
			if info.Size() < f.info.Size() { // Somebody emptied it.
				f.reopen(info, nil)
			}
			f.info = info
			return n, nil
		case err == nil && info.Size() == int64(n):
			// A new file with nothing but p: that was the rotation. What
			// lumberjack creates it does not append to, what it opens it does.
			f.reopen(info, nil)
			f.rotated, f.renamed = time.Now(), true
			return n, nil
		}
		f.tell.Warn("log file was deleted or replaced by another program, opening it anew")
		f.reopen(info, err)
		f.renamed = true
	}
	return n, nil
}

// reopen makes the next write open the file at path, given what is there.
func (f *logFile) reopen(info os.FileInfo, err error) {
	if err == nil {
		f.info = info
	}
	// A regular file opened for writing has nothing left to fail at close but
	// what a sync has reported.
	_ = f.rotator.Close()
}

func (f *logFile) writeOnce(p []byte) (int, error) {
	if f.info.Size()+int64(len(p)) >= f.maxBytes { // It may rotate.
		if f.durable {
			f.syncErr = errors.Join(f.syncErr, f.sync())
		}
		const apart = 2 * time.Millisecond
		if wait := apart - time.Since(f.rotated); wait > 0 {
			<-time.After(wait)
		}
	}
	const mib = 1 << 20
	f.rotator.MaxSize = int((max(f.maxBytes, int64(len(p))) + mib - 1) / mib)
	return f.rotator.Write(p)
}

// endTornLine ends the fragment that a crash or a failed write has left, unless its owner has cut it off since.
func (f *logFile) endTornLine() error {
	if !f.torn {
		return nil
	}
	file, err := os.OpenFile(f.path, os.O_RDWR|os.O_APPEND, 0)
	if errors.Is(err, os.ErrNotExist) {
		f.torn = false
		return nil
	}
	if err != nil {
		return err
	}
	info, err := file.Stat()
	if err == nil && endsInsideLine(file, info.Size()) {
		_, err = file.WriteString("\n")
	}
	f.torn = err != nil
	return errors.Join(err, file.Close())
}

// account counts a failed write, and tells when failing begins and ends: a
// full disk must not fill stderr as well.
func (f *logFile) account(missing []byte, err error) {
	if err != nil {
		f.writeErrors.Add(1)
		f.lostLines.Add(int64(bytes.Count(missing, []byte("\n"))))
	}
	if failing := err != nil; failing != f.failing && !f.closed {
		f.failing = failing
		if failing {
			f.tell.Error("log file cannot be written", "error", err)
		} else {
			f.tell.Warn("log file is written again", "write_errors", f.writeErrors.Load(), "lost_lines", f.lostLines.Load())
		}
	}
}

// Sync returns when all that was written is on the disk. After an error some
// of what was written since the last success may not be, and a second Sync
// does not help: it must be written again.
func (f *logFile) Sync() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return os.ErrClosed
	}
	err := errors.Join(f.syncErr, f.sync())
	f.syncErr = nil
	return err
}

// sync flushes through a descriptor of its own, as lumberjack hides the one it
// has: fsync is about the file, not about the descriptor.
func (f *logFile) sync() error {
	file, err := os.Open(f.path)
	if err != nil {
		return fmt.Errorf("sync log file: %w", err)
	}
	info, err := file.Stat()
	if err == nil && !os.SameFile(info, f.info) {
		err = fmt.Errorf("%s was replaced by another program", f.path)
	}
	if err := errors.Join(err, file.Sync(), file.Close()); err != nil {
		return fmt.Errorf("sync log file: %w", err)
	}
	if !f.renamed {
		return nil
	}
	// A new file's name is only on the disk once its directory is.
	dir, err := os.Open(filepath.Dir(f.path))
	if err != nil {
		return fmt.Errorf("sync log directory: %w", err)
	}
	if err := errors.Join(dir.Sync(), dir.Close()); err != nil {
		return fmt.Errorf("sync log directory: %w", err)
	}
	f.renamed = false
	return nil
}

// Close closes the file. Later writes fail with os.ErrClosed.
func (f *logFile) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	if err := f.rotator.Close(); err != nil {
		return fmt.Errorf("close log file: %w", err)
	}
	return nil
}
