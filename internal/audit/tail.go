package audit

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"slices"

	"github.com/google/uuid"

	"speedybites/internal/audit/chain"
)

// Tail is the end of what the sink has written.
type Tail struct {
	// IDs are the audit ids of the last lines, in any order.
	IDs []uuid.UUID
	// Head is the last line that is of a chain; zero when there is none.
	Head chain.Head
	// Genesis is the line that begins a chain, when it is among the last lines.
	Genesis *chain.Link
}

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
func (t FileTail) Recover(n int) (Tail, error) {
	if err := cutTornLine(t.Path); err != nil {
		return Tail{}, err
	}
	tail, err := lastLines(t.Path, n)
	if err != nil {
		return Tail{}, err
	}
	backups, err := chain.Backups(t.Path)
	if err != nil {
		return Tail{}, err
	}
	for _, backup := range slices.Backward(backups) {
		if len(tail.IDs) >= n {
			break
		}
		older, err := lastLinesOfBackup(backup, n-len(tail.IDs))
		if err != nil {
			return Tail{}, err
		}
		tail.prepend(older)
	}
	return tail, nil
}

// prepend adds what is in an older file.
func (t *Tail) prepend(older Tail) {
	t.IDs = append(t.IDs, older.IDs...)
	if t.Head.ChainID == uuid.Nil {
		t.Head = older.Head
	}
	if t.Genesis == nil {
		t.Genesis = older.Genesis
	}
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

// lastLines reads the last n lines of a file; none when there is no such file. It syncs the file: whoever wrote the lines
// may have died before it could, and their entries are about to be marked.
func lastLines(path string, n int) (Tail, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return Tail{}, nil
	}
	if err != nil {
		return Tail{}, err
	}
	defer func() { _ = f.Close() }()
	if err := f.Sync(); err != nil {
		return Tail{}, err
	}
	info, err := f.Stat()
	if err != nil {
		return Tail{}, err
	}
	// The last line break ends the last line, so n lines begin after the one before n more.
	start, err := lineStart(f, info.Size(), n+1)
	if err != nil {
		return Tail{}, err
	}
	return readTail(io.NewSectionReader(f, start, info.Size()-start), n)
}

// lastLinesOfBackup is lastLines for a backup that may have been compressed, or is being compressed right now: then the
// compressed file is incomplete as long as the plain one is there.
func lastLinesOfBackup(path string, n int) (Tail, error) {
	tail, err := lastLines(path, n)
	if err != nil || len(tail.IDs) > 0 {
		return tail, err
	}
	f, err := os.Open(path + ".gz")
	if errors.Is(err, fs.ErrNotExist) {
		return Tail{}, nil
	}
	if err != nil {
		return Tail{}, err
	}
	defer func() { _ = f.Close() }()
	z, err := gzip.NewReader(f)
	if err == nil {
		tail, err = readTail(z, n)
	}
	// A damaged end, after a loss of power, does not hold lines any more; those entries may be written again.
	if _, broken := errors.AsType[*fs.PathError](err); broken {
		return Tail{}, err
	}
	return tail, nil
}

// readTail reads all complete lines, also those before an error, and keeps the ids of the last n. A line that has none
// was not written by the relay.
func readTail(r io.Reader, n int) (Tail, error) {
	var t Tail
	lines := bufio.NewReaderSize(r, 64<<10)
	for {
		text, err := lines.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			err = nil
		} else if err == nil {
			t.add(bytes.TrimSuffix(text, []byte("\n")))
			if len(t.IDs) > 2*n {
				t.IDs = append(t.IDs[:0], t.IDs[len(t.IDs)-n:]...)
			}
			continue
		}
		t.IDs = t.IDs[max(0, len(t.IDs)-n):]
		return t, err
	}
}

// add takes the next line.
func (t *Tail) add(text []byte) {
	if link, err := chain.Parse(text); err == nil {
		t.Head = link.Head
		if link.Genesis() {
			t.Genesis = &link
		}
	}
	var l struct {
		AuditID uuid.UUID `json:"auditId"`
	}
	if json.Unmarshal(text, &l) == nil && l.AuditID != uuid.Nil {
		t.IDs = append(t.IDs, l.AuditID)
	}
}
