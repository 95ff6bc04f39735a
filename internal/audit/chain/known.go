package chain

import (
	"fmt"
	"time"

	"github.com/google/uuid"
)

// Kind is what is wrong with a line.
type Kind string

// The kinds of a Break.
const (
	// Changed means that the line, or the one before it, is not what was written.
	Changed Kind = "changed"
	// Removed means that lines are missing before it.
	Removed Kind = "removed"
	// Moved means that a line was inserted, repeated or swapped with others.
	Moved Kind = "moved"
	// Torn means that the line is cut off.
	Torn Kind = "torn"
	// Unparsable means that the line is none of a chain at all.
	Unparsable Kind = "unparsable"
)

// Break is the first place where a chain does not hold.
type Break struct {
	// File and Line say where it is. Lines count from 1; behind the last line, where lines are missing at the end.
	File string
	Line int
	Kind Kind
	// Problem is a sentence about it.
	Problem string
}

// String returns the break in the form file:line: kind: problem.
func (b Break) String() string {
	return fmt.Sprintf("%s:%d: %s: %s", b.File, b.Line, b.Kind, b.Problem)
}

// Stored is a chain as the database knows it.
type Stored struct {
	Head
	// Stream is whose chain it is: the files of one instance of the service.
	Stream string
	// Begun is when the chain was first heard of, and Updated when its head was written last.
	Begun, Updated time.Time
}

// Known is what the database knows.
type Known struct {
	// Chains are all chains, the oldest first.
	Chains []Stored
	// Stream is the stream that the files belong to; it matters only when they have no line that tells.
	Stream string
}

func (k *Known) chain(id uuid.UUID) (Stored, bool) {
	for _, s := range k.Chains {
		if s.ChainID == id {
			return s, true
		}
	}
	return Stored{}, false
}

// compare checks that a line is the one that the database has seen as the head. Lines behind it may not have been marked
// yet.
func (v *verifier) compare(h Head) {
	if v.opts.Known == nil {
		return
	}
	if s, ok := v.opts.Known.chain(h.ChainID); ok && s.Seq == h.Seq && s.Hash != h.Hash {
		v.broken(Changed, "the database has another hash for number %d: the chain was written anew", h.Seq)
	}
}

// finish compares the end of the files with what the database knows.
func (v *verifier) finish(path string) {
	v.missing = nil
	if v.report.Break != nil || v.opts.Known == nil {
		return
	}
	v.name, v.line = path, v.line+1
	head, stream := v.report.Head, v.opts.Known.Stream
	var begun time.Time
	if v.began {
		s, ok := v.opts.Known.chain(head.ChainID)
		switch {
		case !ok && len(v.opts.Known.Chains) == 0:
			v.note("the database knows no chain yet; the service tells it when it is running")
			return
		case !ok:
			v.broken(Changed, "the database does not know the chain %s", head.ChainID)
			return
		case s.Seq > head.Seq:
			v.broken(Removed, "%s missing at the end: the database knows %d lines of the chain, the last written at %s",
				numbers(head.Seq+1, s.Seq), s.Seq, s.Updated.UTC().Format(time.RFC3339))
			return
		case s.Seq < head.Seq:
			v.note("the database knows %d of the %d lines; the rest is marked when the service is running", s.Seq, head.Seq)
		}
		stream, begun = s.Stream, s.Begun
	}
	v.others(stream, begun)
}

// others looks for chains of the same stream that have no files. Those from before this one may be accepted.
func (v *verifier) others(stream string, begun time.Time) {
	elsewhere := 0
	for _, s := range v.opts.Known.Chains {
		switch {
		case s.ChainID == v.report.Head.ChainID:
		case s.Stream != stream:
			elsewhere++
		case v.began && v.opts.AllowMissingStart && s.Begun.Before(begun):
			v.note("the files of the chain %s, which had %d lines, are missing", s.ChainID, s.Seq)
		default:
			v.broken(Removed, "the files of the chain %s are missing: the database knows %d lines of it, the last written at %s",
				s.ChainID, s.Seq, s.Updated.UTC().Format(time.RFC3339))
		}
	}
	if elsewhere > 0 {
		v.note("the database knows %d chains of other instances, which are not compared", elsewhere)
	}
}

func (v *verifier) note(format string, args ...any) {
	v.report.Notes = append(v.report.Notes, fmt.Sprintf(format, args...))
}
