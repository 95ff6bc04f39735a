package chain

import (
	"bufio"
	"bytes"
	"cmp"
	"compress/gzip"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Backups returns the backups of the rotated log at path, the oldest first: audit-2006-01-02T15-04-05.000.log for
// audit.log. A compressed one is listed by its name without .gz. A directory that is not there has none.
func Backups(path string) ([]string, error) {
	ext := filepath.Ext(path)
	dir, name := filepath.Split(strings.TrimSuffix(path, ext))
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
	return slices.Compact(paths), nil
}

// openBackup opens a backup that may have been compressed since it was listed. While it is being compressed both files
// are there, and only the plain one is whole.
func openBackup(path string) (r io.Reader, f *os.File, err error) {
	f, err = os.Open(path)
	if err == nil || !errors.Is(err, fs.ErrNotExist) {
		return f, f, err
	}
	if f, err = os.Open(path + ".gz"); err != nil {
		return nil, nil, err
	}
	z, err := gzip.NewReader(f)
	if err != nil {
		return nil, nil, errors.Join(damagedError{err}, f.Close())
	}
	return z, f, nil
}

// damagedError is a file that is there and cannot be read as what it claims to be.
type damagedError struct{ error }

func (e damagedError) Unwrap() error { return e.error }

// maxLine bounds the memory for one line, in bytes. The relay's lines are a thousandth of it.
const maxLine = 32 << 20

// lineReader reads lines of bounded length, into memory that it uses again.
type lineReader struct {
	in   *bufio.Reader
	line []byte
}

// next returns a line without its line break, until the next call. whole is false for a last line without one; the
// error is io.EOF behind it. Of a line over maxLine only the beginning is returned.
func (r *lineReader) next() (line []byte, whole bool, err error) {
	r.line = r.line[:0]
	for {
		part, err := r.in.ReadSlice('\n')
		if room := maxLine - len(r.line); len(part) > room {
			r.line = append(r.line, part[:max(0, room)]...)
		} else {
			r.line = append(r.line, part...)
		}
		switch {
		case err == nil:
			return bytes.TrimSuffix(r.line, []byte("\n")), true, nil
		case errors.Is(err, io.EOF) && len(r.line) > 0:
			return r.line, false, nil
		case !errors.Is(err, bufio.ErrBufferFull):
			return nil, false, err
		}
	}
}
