package localpg

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

var (
	// ErrForeign means that the directory has something else in it than a server made by this package.
	ErrForeign = errors.New("not a directory of ours")
	// ErrCorrupt means that the directory is ours, and something it needs is missing or unreadable.
	ErrCorrupt = errors.New("directory is damaged")
	// ErrVersion means that the data was made by another major version of PostgreSQL than those on this machine.
	ErrVersion = errors.New("data of another PostgreSQL version")
	// ErrInUse means that another process is working with the directory.
	ErrInUse = errors.New("directory is in use")
)

const (
	markerName = "speedy-bites-postgres.json"
	lockName   = "lock"
	unchanged  = "nothing was changed"
	// lockPatience is how long Start waits for a process that is about to leave the directory.
	lockPatience = 5 * time.Second
)

// home is the directory of one server.
type home string

func (h home) data() string     { return filepath.Join(string(h), "data") }
func (h home) conf() string     { return filepath.Join(string(h), "postgresql.conf") }
func (h home) log() string      { return filepath.Join(string(h), "postgres.log") }
func (h home) password() string { return filepath.Join(string(h), "password") }
func (h home) marker() string   { return filepath.Join(string(h), markerName) }
func (h home) lock() string     { return filepath.Join(string(h), lockName) }
func (h home) pidFile() string  { return filepath.Join(h.data(), "postmaster.pid") }

// marker is the content of the file that makes a directory ours.
type marker struct {
	// Major version of PostgreSQL the data is for; 0 until there is data.
	Major int `json:"postgresMajor"`
	// Port of the last start.
	Port int `json:"port"`
}

// claim makes the directory, or sees that the one there is empty or ours, without changing it.
func (h home) claim() error {
	entries, err := os.ReadDir(string(h))
	if errors.Is(err, fs.ErrNotExist) {
		return mkdirOpen(string(h))
	}
	if errors.Is(err, syscall.ENOTDIR) {
		return fmt.Errorf("%w: it is a file; %s", ErrForeign, unchanged)
	}
	if err != nil {
		return err
	}
	if len(entries) == 0 || isFile(h.marker()) {
		return nil
	}
	for _, entry := range entries {
		// These may be there before the marker is, while another process makes the same directory.
		if name := entry.Name(); name != lockName && !strings.HasPrefix(name, markerName) {
			return fmt.Errorf("%w: it is not empty (%s) and has no %s; choose another directory, or empty this one; %s",
				ErrForeign, name, markerName, unchanged)
		}
	}
	return nil
}

// acquire takes the directory for this process, until the returned file is closed or the process ends.
func (h home) acquire(ctx context.Context) (*os.File, error) {
	f, err := os.OpenFile(h.lock(), os.O_RDWR|os.O_CREATE, 0o644) //nolint:gosec // G302: it holds a pid, for anybody to read.
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, lockPatience)
	defer cancel()
	err = until(ctx, func() (bool, error) {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if errors.Is(err, syscall.EWOULDBLOCK) || errors.Is(err, syscall.EINTR) {
			return false, nil
		}
		return err == nil, err
	})
	if err != nil {
		holder := make([]byte, 20)
		n, _ := f.Read(holder) // The pid is only for the message.
		_ = f.Close()
		return nil, fmt.Errorf("%w by process %s; stop that one, or choose another directory: %w",
			ErrInUse, strings.TrimSpace(string(holder[:n])), err)
	}
	if err := errors.Join(f.Truncate(0), writeAt(f, strconv.Itoa(os.Getpid())+"\n")); err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

func writeAt(f *os.File, text string) error {
	_, err := f.WriteAt([]byte(text), 0)
	return err
}

// read returns the marker, after seeing that the parts it promises are there. A new directory gets its marker here.
func (h home) read() (marker, error) {
	var m marker
	text, err := os.ReadFile(h.marker())
	if errors.Is(err, fs.ErrNotExist) {
		return m, h.write(m)
	}
	if err == nil {
		err = json.Unmarshal(text, &m)
	}
	if err != nil {
		return m, h.damaged("%s is unreadable (%w)", markerName, err)
	}
	if _, err := os.Stat(h.data()); errors.Is(err, fs.ErrNotExist) && m.Major == 0 {
		return m, nil
	}
	version, err := os.ReadFile(filepath.Join(h.data(), "PG_VERSION"))
	if errors.Is(err, fs.ErrPermission) {
		return m, err
	}
	if err != nil {
		return m, h.damaged("its PG_VERSION is unreadable (%w)", err)
	}
	if m.Major, err = strconv.Atoi(strings.TrimSpace(string(version))); err != nil {
		return m, h.damaged("its PG_VERSION is no version (%w)", err)
	}
	for _, path := range []string{filepath.Join(h.data(), "global", "pg_control"), h.password()} {
		if _, err := os.Stat(path); err != nil {
			return m, h.damaged("a part is missing (%w)", err)
		}
	}
	return m, nil
}

func (h home) damaged(format string, args ...any) error {
	return fmt.Errorf("%w: %w; bring it back from a backup, or move %s away to begin with an empty database; %s",
		ErrCorrupt, fmt.Errorf(format, args...), h, unchanged)
}

func (h home) write(m marker) error {
	text, err := json.Marshal(m)
	if err != nil {
		return err
	}
	return replaceFile(h.marker(), append(text, '\n'), 0o644)
}

// secret returns the password of the server's roles, which is made on first use.
func (h home) secret() (string, error) {
	text, err := os.ReadFile(h.password())
	if errors.Is(err, fs.ErrNotExist) {
		text = []byte(rand.Text())
		err = replaceFile(h.password(), text, 0o600)
	}
	return strings.TrimSpace(string(text)), err
}

// replaceFile writes a file that is never seen half written.
func replaceFile(path string, content []byte, mode fs.FileMode) error {
	tmp := path + ".new"
	if err := os.WriteFile(tmp, content, mode); err != nil {
		return err
	}
	// Whatever the umask is, the server's user has to read its settings.
	if err := os.Chmod(tmp, mode); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}

// pidFile is what a running server tells about itself in postmaster.pid.
type pidFile struct {
	pid, port, shmID int
	status           string // "starting", "ready", "standby" (ready, read-only) or "stopping"
}

// readPidFile returns the zero value when there is no such file, or it is being written.
func (h home) readPidFile() pidFile {
	text, err := os.ReadFile(h.pidFile())
	if err != nil {
		return pidFile{}
	}
	lines := strings.Split(string(text), "\n")
	if len(lines) < 8 {
		lines = append(lines, make([]string, 8)...)
	}
	var f pidFile
	f.pid, _ = strconv.Atoi(strings.TrimSpace(lines[0]))
	f.port, _ = strconv.Atoi(strings.TrimSpace(lines[3]))
	if key := strings.Fields(lines[6]); len(key) == 2 {
		f.shmID, _ = strconv.Atoi(key[1])
	}
	f.status = strings.TrimSpace(lines[7])
	return f
}
