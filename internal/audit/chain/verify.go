package chain

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"
)

// Options is how Verify looks at the files. The zero value wants a whole chain, and compares it with nothing.
type Options struct {
	// AllowMissingStart accepts that the oldest files were deleted, or hold lines from before there was a chain. What is
	// there must be whole all the same.
	AllowMissingStart bool
	// Known are the heads that the database knows of; nil compares nothing. They must have been read before Verify is
	// called, as a running service adds lines.
	Known *Known
}

// Report is what Verify found.
type Report struct {
	// Files and Lines count what was read. Unchained of the lines are from before there was a chain.
	Files, Lines, Unchained int
	// FirstSeq is the first line's number in its chain, and First and Last are the times of the first and last line.
	FirstSeq    int64
	First, Last time.Time
	// Head is the last line before the break, or of all.
	Head Head
	// Unfinished is the number of bytes behind the last line break of the current file: a line that was being written
	// when the service was killed, or is at this moment. The next start removes it.
	Unfinished int
	// Notes are sentences about what is unusual, but no proof of a change.
	Notes []string
	// Break is the first broken link; nil when there is none.
	Break *Break
}

// Verify reads the rotated log whose current file is path, the oldest file first, and checks every link. The memory it
// takes does not depend on the number of lines. The service may be running. The error is of reading; a broken chain is
// no error, but in the Report.
func Verify(ctx context.Context, path string, opts Options) (Report, error) {
	// The current file is opened first: when it becomes a backup meanwhile, it is still read as what it was.
	current, err := os.Open(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return Report{}, fmt.Errorf("verify %s: %w", path, err)
	}
	if current != nil {
		defer func() { _ = current.Close() }()
	}
	backups, err := Backups(path)
	if err != nil {
		return Report{}, fmt.Errorf("list the backups of %s: %w", path, err)
	}
	v := verifier{opts: opts}
	for _, backup := range backups {
		same, err := v.backup(ctx, backup, current)
		if err != nil {
			return v.report, fmt.Errorf("verify %s: %w", backup, err)
		}
		if same {
			break // further ones were begun since
		}
	}
	if current != nil {
		if err := v.file(ctx, path, current, true); err != nil {
			return v.report, fmt.Errorf("verify %s: %w", path, err)
		}
	}
	v.finish(cmp.Or(v.name, path))
	return v.report, nil
}

// verifier goes through lines and keeps what the next one must fit to.
type verifier struct {
	opts   Options
	report Report
	began  bool // a line of a chain was seen: report.Head is the last
	// name and line are where it is.
	name string
	line int
	// missing is, behind a gap, the line that belongs there, while it may yet turn up elsewhere.
	missing *Head
}

// backup checks a backup, unless it is the current file, rotated since that was opened.
func (v *verifier) backup(ctx context.Context, path string, current *os.File) (same bool, err error) {
	in, f, err := openBackup(path)
	if err == nil {
		defer func() { _ = f.Close() }()
		if same, err = sameFile(f, current); same || err != nil {
			return same, err
		}
		err = v.file(ctx, path, in, false)
	}
	if _, damaged := errors.AsType[damagedError](err); damaged {
		v.name, v.line = path, v.line+1
		v.broken(Unparsable, "the file cannot be decompressed: %v", err)
		return false, nil
	}
	return false, err
}

func sameFile(a, b *os.File) (bool, error) {
	if b == nil {
		return false, nil
	}
	infoA, errA := a.Stat()
	infoB, errB := b.Stat()
	return errA == nil && errB == nil && os.SameFile(infoA, infoB), errors.Join(errA, errB)
}

func (v *verifier) file(ctx context.Context, name string, in io.Reader, current bool) error {
	v.report.Files++
	v.name, v.line = name, 0
	lines := lineReader{in: bufio.NewReaderSize(in, 64<<10)}
	for {
		text, whole, err := lines.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			if _, failed := errors.AsType[*fs.PathError](err); !failed {
				err = damagedError{err} // gzip's
			}
			return err
		}
		v.line++
		switch {
		case whole:
			v.report.Lines++
			v.check(text)
		case current:
			v.report.Unfinished = len(text)
		default:
			v.broken(Torn, "the last line of a file that was rotated has no line break")
		}
		if v.line%1024 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// check takes the next line.
func (v *verifier) check(text []byte) {
	l, err := Parse(text)
	switch {
	case v.report.Break != nil:
		v.lookForMissing(l, err)
	case err != nil && v.opts.AllowMissingStart && !v.began:
		v.report.Unchained++
	case err != nil:
		v.broken(Unparsable, "%v", err)
	case !l.Intact:
		v.broken(Changed, "the hash is not that of the line")
	default:
		if v.fits(l) {
			v.accept(l)
		}
	}
}

func (v *verifier) accept(l Link) {
	if !v.began {
		v.began, v.report.First, v.report.FirstSeq = true, l.Time, l.Seq
	}
	v.report.Last, v.report.Head = l.Time, l.Head
	v.compare(l.Head)
}

// fits checks the link of an intact line to the one before.
func (v *verifier) fits(l Link) bool {
	last := v.report.Head
	switch {
	case !v.began:
		return v.fitsStart(l)
	case l.ChainID != last.ChainID && l.Genesis():
		v.broken(Removed, "a new chain %s begins behind line %d of the chain %s: the file that came before it was missing or had no whole line",
			l.ChainID, last.Seq, last.ChainID)
	case l.ChainID != last.ChainID:
		v.broken(Moved, "the line is of the chain %s instead of %s", l.ChainID, last.ChainID)
	case l.Seq <= last.Seq:
		v.broken(Moved, "number %d stands behind number %d: inserted, repeated or moved", l.Seq, last.Seq)
	case l.Seq > last.Seq+1:
		v.missing = &Head{ChainID: last.ChainID, Seq: last.Seq + 1}
		v.broken(Removed, "%s missing before it", numbers(last.Seq+1, l.Seq-1))
	case l.Prev != last.Hash:
		v.broken(Changed, "the line before it is not the one that this line was written behind")
	default:
		return true
	}
	return false
}

func (v *verifier) fitsStart(l Link) bool {
	switch {
	case l.Genesis() && (l.Prev != Hash{} || l.AuditID != l.ChainID):
		v.broken(Changed, "the first line of the chain is not one that begins a chain")
	case v.opts.AllowMissingStart:
		return true
	case !l.Genesis():
		v.broken(Removed, "%s missing before it: an oldest file was deleted, or the beginning of this one", numbers(1, l.Seq-1))
	case l.Previous != nil:
		v.broken(Removed, "the files of the chain %s, which had %d lines, are missing before it", l.Previous.ChainID, l.Previous.Seq)
	default:
		return true
	}
	return false
}

// lookForMissing turns "removed" into "moved" when the missing line stands elsewhere.
func (v *verifier) lookForMissing(l Link, err error) {
	if v.missing == nil || err != nil || l.ChainID != v.missing.ChainID || l.Seq != v.missing.Seq {
		return
	}
	v.missing = nil
	v.report.Break.Kind = Moved
	v.report.Break.Problem += fmt.Sprintf("; number %d stands in %s, line %d: swapped or moved", l.Seq, v.name, v.line)
}

func numbers(from, to int64) string {
	if from == to {
		return fmt.Sprintf("number %d is", from)
	}
	return fmt.Sprintf("numbers %d to %d are", from, to)
}

// broken keeps the first break.
func (v *verifier) broken(kind Kind, format string, args ...any) {
	if v.report.Break == nil {
		v.report.Break = &Break{File: v.name, Line: v.line, Kind: kind, Problem: fmt.Sprintf(format, args...)}
	}
}
