package audit

import (
	"bufio"
	"bytes"
	"cmp"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/uuid"
)

// FileTail looks at the end of a rotated log file: Path, and its backups beside it, which are named as lumberjack does:
// audit-2006-01-02T15-04-05.000.log for audit.log, with .gz behind it once compressed.
type FileTail struct {
	// Path is the current file. It need not exist.
	Path string
}

var _ TailReader = FileTail{}

// Recover implements TailReader. A torn line, without its line break, is cut off: its entry cannot have been marked, as
// marks come after the sync, so it will be written again. Completing it with a line break would leave a line that is no
// JSON. Whoever writes the file must have opened it for appending, which makes its next write start where the file then
// ends.
func (t FileTail) Recover(n int) ([]uuid.UUID, error) {
	if err := cutTornLine(t.Path); err != nil {
		return nil, err
	}
	ids, err := lastIDs(t.Path, n)
	if err != nil {
		return nil, err
	}
	backups, err := t.backups()
	if err != nil {
		return nil, err
	}
	for _, backup := range backups {
		if len(ids) >= n {
			break
		}
		older, err := lastIDsOfBackup(backup, n-len(ids))
		if err != nil {
			return nil, err
		}
		ids = append(ids, older...)
	}
	return ids, nil
}

// backups returns the paths of the backups without .gz, the newest first.
func (t FileTail) backups() ([]string, error) {
	ext := filepath.Ext(t.Path)
	dir, name := filepath.Split(strings.TrimSuffix(t.Path, ext))
	entries, err := os.ReadDir(cmp.Or(dir, "."))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var paths []string
	for _, e := range entries {
		base := strings.TrimSuffix(e.Name(), ".gz")
		if !e.IsDir() && strings.HasPrefix(base, name+"-") && strings.HasSuffix(base, ext) {
			paths = append(paths, filepath.Join(dir, base))
		}
	}
	slices.Sort(paths)
	slices.Reverse(paths)
	return slices.Compact(paths), nil
}

// cutTornLine shortens the file to end with its last line break.
func cutTornLine(path string) (err error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	end, err := lineStart(f, size, 1)
	if err != nil || end == size {
		return err
	}
	return f.Truncate(end)
}

// lineStart returns the offset after the nth line break from the end of the first size bytes of f, or 0 when there are
// fewer.
func lineStart(f io.ReaderAt, size int64, n int) (int64, error) {
	block := make([]byte, 64<<10)
	for end := size; end > 0; {
		start := max(0, end-int64(len(block)))
		b := block[:end-start]
		if _, err := f.ReadAt(b, start); err != nil && !errors.Is(err, io.EOF) {
			return 0, err
		}
		for i := bytes.LastIndexByte(b, '\n'); i >= 0; i = bytes.LastIndexByte(b[:i], '\n') {
			if n--; n == 0 {
				return start + int64(i) + 1, nil
			}
		}
		end = start
	}
	return 0, nil
}

// lastIDs returns the audit ids of the last n lines of a file; none when there is no such file. It syncs the file: whoever
// wrote the lines may have died before it could, and their entries are about to be marked.
func lastIDs(path string, n int) ([]uuid.UUID, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	if err := f.Sync(); err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	// The last line break ends the last line, so n lines begin after the one before n more.
	start, err := lineStart(f, info.Size(), n+1)
	if err != nil {
		return nil, err
	}
	return readIDs(io.NewSectionReader(f, start, info.Size()-start))
}

// lastIDsOfBackup is lastIDs for a backup that may have been compressed, or is being compressed right now: then the
// compressed file is incomplete as long as the plain one is there.
func lastIDsOfBackup(path string, n int) ([]uuid.UUID, error) {
	ids, err := lastIDs(path, n)
	if err != nil || len(ids) > 0 {
		return ids, err
	}
	f, err := os.Open(path + ".gz")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	z, err := gzip.NewReader(f)
	if err == nil {
		ids, err = readIDs(z)
	}
	// A damaged end, after a loss of power, does not hold lines any more; those entries may be written again.
	if _, broken := errors.AsType[*fs.PathError](err); broken {
		return nil, err
	}
	return ids[max(0, len(ids)-n):], nil
}

// readIDs returns the audit ids of all complete lines, also those before an error. A line that has none was not written
// by the relay.
func readIDs(r io.Reader) ([]uuid.UUID, error) {
	var ids []uuid.UUID
	lines := bufio.NewReaderSize(r, 64<<10)
	for {
		text, err := lines.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return ids, nil
		}
		if err != nil {
			return ids, err
		}
		var l struct {
			AuditID uuid.UUID `json:"auditId"`
		}
		if json.Unmarshal(text, &l) == nil && l.AuditID != uuid.Nil {
			ids = append(ids, l.AuditID)
		}
	}
}
