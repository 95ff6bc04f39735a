package chain_test

import (
	"compress/gzip"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"speedybites/internal/audit/chain"
)

// log is a rotated log in memory: the lines of its files, the oldest first.
type log struct {
	files [][]string
	heads []chain.Head
	begun time.Time
}

// newLog returns a chain over files with so many lines.
func newLog(tb testing.TB, sizes ...int) *log {
	tb.Helper()
	return newLogBehind(tb, nil, sizes...)
}

func newLogBehind(tb testing.TB, previous *chain.Head, sizes ...int) *log {
	tb.Helper()
	l := &log{begun: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	head := chain.Head{ChainID: uuid.New()}
	for _, size := range sizes {
		var file []string
		for range size {
			id, after := uuid.New(), `{"name":"A \",\"hash\":\"","totalCents":1299}`
			if head.Seq == 0 {
				id, after = head.ChainID, `{"previous":null}`
				if previous != nil {
					after = fmt.Sprintf(`{"previous":{"chainId":%q,"seq":%d,"hash":%q}}`, previous.ChainID, previous.Seq, previous.Hash)
				}
			}
			object := fmt.Sprintf(`{"time":%q,"msg":"audit","auditId":%q,"actorId":null,"action":"create","before":null,"after":%s,"requestId":"r"}`,
				l.begun.Add(time.Duration(head.Seq)*time.Second).Format(time.RFC3339), id, after)
			line, next, err := head.Seal([]byte(object))
			if err != nil {
				tb.Fatal(err)
			}
			file, head = append(file, string(line)), next
			l.heads = append(l.heads, head)
		}
		l.files = append(l.files, file)
	}
	return l
}

func (l *log) head() chain.Head { return l.heads[len(l.heads)-1] }

func (l *log) stored() chain.Stored {
	return chain.Stored{Head: l.head(), Stream: "s", Begun: l.begun, Updated: l.begun}
}

// backupName is the name of the ith file of all but the last, which is audit.log.
func backupName(i int) string { return fmt.Sprintf("audit-2026-01-02T03-04-%02d.000.log", i) }

func (l *log) name(i int) string {
	if i == len(l.files)-1 {
		return "audit.log"
	}
	return backupName(i)
}

// write writes the files and returns the path of the current one.
func (l *log) write(tb testing.TB) string {
	tb.Helper()
	dir := tb.TempDir()
	for i, lines := range l.files {
		if lines == nil {
			continue
		}
		if err := os.WriteFile(filepath.Join(dir, l.name(i)), []byte(strings.Join(lines, "")), 0o600); err != nil {
			tb.Fatal(err)
		}
	}
	return filepath.Join(dir, "audit.log")
}

func verify(tb testing.TB, path string, opts chain.Options) chain.Report {
	tb.Helper()
	report, err := chain.Verify(tb.Context(), path, opts)
	if err != nil {
		tb.Fatal(err)
	}
	return report
}

func TestVerify(t *testing.T) {
	t.Parallel()
	known := func(chains ...chain.Stored) *chain.Known { return &chain.Known{Chains: chains, Stream: "s"} }
	for _, c := range []struct {
		name string
		// change does to the log what Verify is to find, and returns how to look.
		change func(l *log) chain.Options
		// want is the break; empty when there is none.
		want string
	}{
		{"Whole", func(*log) chain.Options { return chain.Options{} }, ""},
		{"WholeAndKnown", func(l *log) chain.Options { return chain.Options{Known: known(l.stored())} }, ""},
		{"NoFiles", func(l *log) chain.Options { l.files = nil; return chain.Options{} }, ""},
		{"NoFilesButKnown", func(l *log) chain.Options {
			opts := chain.Options{Known: known(l.stored())}
			l.files = nil
			return opts
		}, "audit.log:1: removed"},
		{"ByteChanged", func(l *log) chain.Options {
			l.files[1][1] = strings.Replace(l.files[1][1], "1299", "1298", 1)
			return chain.Options{}
		}, backupName(1) + ":2: changed"},
		{"LineChangedWithItsHash", func(l *log) chain.Options {
			link, err := chain.Parse([]byte(strings.TrimSuffix(l.files[1][1], "\n")))
			if err != nil {
				panic(err)
			}
			object, _, _ := strings.Cut(strings.Replace(l.files[1][1], "1299", "1298", 1), `,"chainId"`)
			line, _, err := chain.Head{ChainID: link.ChainID, Seq: link.Seq - 1, Hash: link.Prev}.Seal([]byte(object + "}"))
			if err != nil {
				panic(err)
			}
			l.files[1][1] = string(line)
			return chain.Options{}
		}, backupName(1) + ":3: changed"},
		{"ChainWrittenAnew", func(l *log) chain.Options {
			opts := chain.Options{Known: known(l.stored())}
			opts.Known.Chains[0].Hash = chain.Hash{1}
			return opts
		}, "audit.log:4: changed"},
		{"LineRemoved", func(l *log) chain.Options {
			l.files[1] = slices.Delete(l.files[1], 1, 2)
			return chain.Options{}
		}, backupName(1) + ":2: removed"},
		{"LinesRemoved", func(l *log) chain.Options {
			l.files[1] = slices.Delete(l.files[1], 1, 3)
			return chain.Options{}
		}, backupName(1) + ":2: removed: numbers 6 to 7 are missing"},
		{"LastLineOfBackupRemoved", func(l *log) chain.Options {
			l.files[0] = l.files[0][:3]
			return chain.Options{}
		}, backupName(1) + ":1: removed"},
		{"FirstLineOfBackupRemoved", func(l *log) chain.Options {
			l.files[1] = l.files[1][1:]
			return chain.Options{}
		}, backupName(1) + ":1: removed"},
		{"LinesSwapped", func(l *log) chain.Options {
			l.files[1][1], l.files[1][2] = l.files[1][2], l.files[1][1]
			return chain.Options{}
		}, backupName(1) + ":2: moved"},
		{"LinesSwappedAtBoundary", func(l *log) chain.Options {
			l.files[0][3], l.files[1][0] = l.files[1][0], l.files[0][3]
			return chain.Options{}
		}, backupName(0) + ":4: moved"},
		{"LineDuplicated", func(l *log) chain.Options {
			l.files[1] = slices.Insert(l.files[1], 2, l.files[1][1])
			return chain.Options{}
		}, backupName(1) + ":3: moved"},
		{"LineOfAnotherChain", func(l *log) chain.Options {
			l.files[1] = slices.Insert(l.files[1], 2, newLog(t, 3).files[0][2])
			return chain.Options{}
		}, backupName(1) + ":3: moved"},
		{"LineInserted", func(l *log) chain.Options {
			l.files[1] = slices.Insert(l.files[1], 2, "{\"msg\":\"audit\"}\n")
			return chain.Options{}
		}, backupName(1) + ":3: unparsable"},
		{"Garbage", func(l *log) chain.Options {
			l.files[1][1] = "\x00\x00\x00\n"
			return chain.Options{}
		}, backupName(1) + ":2: unparsable"},
		{"EmptyLine", func(l *log) chain.Options {
			l.files[2] = slices.Insert(l.files[2], 0, "\n")
			return chain.Options{}
		}, "audit.log:1: unparsable"},
		{"BackupRemoved", func(l *log) chain.Options { l.files[1] = nil; return chain.Options{} }, "audit.log:1: removed: numbers 5 to 8"},
		{"BackupEmptied", func(l *log) chain.Options { l.files[1] = []string{}; return chain.Options{} }, "audit.log:1: removed"},
		{"BackupsSwapped", func(l *log) chain.Options {
			l.files[0], l.files[1] = l.files[1], l.files[0]
			return chain.Options{}
		}, backupName(0) + ":1: removed: numbers 1 to 4 are missing"},
		{"BackupTorn", func(l *log) chain.Options {
			l.files[0][3] = l.files[0][3][:50]
			return chain.Options{}
		}, backupName(0) + ":4: torn"},
		{"OldestBackupRemoved", func(l *log) chain.Options { l.files[0] = nil; return chain.Options{} }, backupName(1) + ":1: removed"},
		{"OldestBackupRemovedAndAllowed", func(l *log) chain.Options {
			l.files[0] = nil
			return chain.Options{AllowMissingStart: true, Known: known(l.stored())}
		}, ""},
		{"OnlyTheOldestMayBeMissing", func(l *log) chain.Options {
			l.files[1] = nil
			return chain.Options{AllowMissingStart: true}
		}, "audit.log:1: removed"},
		{"EndCutOff", func(l *log) chain.Options { l.files[2] = l.files[2][:2]; return chain.Options{} }, ""},
		{"EndCutOffAndKnown", func(l *log) chain.Options {
			opts := chain.Options{Known: known(l.stored())}
			l.files[2] = l.files[2][:2]
			return opts
		}, "audit.log:3: removed: numbers 11 to 12 are missing at the end"},
		{"LastLineTornAndKnown", func(l *log) chain.Options {
			opts := chain.Options{Known: known(l.stored())}
			l.files[2][3] = l.files[2][3][:100]
			return opts
		}, "audit.log:5: removed: number 12 is missing at the end"},
		{"CurrentFileEmptied", func(l *log) chain.Options {
			opts := chain.Options{Known: known(l.stored())}
			l.files[2] = []string{}
			return opts
		}, "audit.log:1: removed: numbers 9 to 12 are missing at the end"},
		{"EndNotKnownYet", func(l *log) chain.Options {
			s := l.stored()
			s.Head = l.heads[9]
			return chain.Options{Known: known(s)}
		}, ""},
		{"Unknown", func(*log) chain.Options {
			return chain.Options{Known: known(chain.Stored{Head: chain.Head{ChainID: uuid.New(), Seq: 1}, Stream: "elsewhere"})}
		}, "audit.log:5: changed: the database does not know"},
		{"OtherInstances", func(l *log) chain.Options {
			return chain.Options{Known: known(l.stored(), chain.Stored{Head: chain.Head{ChainID: uuid.New(), Seq: 1}, Stream: "elsewhere"})}
		}, ""},
		{"ChainBefore", func(l *log) chain.Options {
			before := newLog(t, 3).stored()
			before.Begun = l.begun.Add(-time.Hour)
			return chain.Options{Known: known(before, l.stored())}
		}, "audit.log:5: removed: the files of the chain"},
		{"ChainBeforeAllowed", func(l *log) chain.Options {
			before := newLog(t, 3).stored()
			before.Begun = l.begun.Add(-time.Hour)
			return chain.Options{AllowMissingStart: true, Known: known(before, l.stored())}
		}, ""},
		{"OldFilesPutBack", func(l *log) chain.Options {
			after := newLog(t, 3).stored()
			after.Begun = l.begun.Add(time.Hour)
			return chain.Options{AllowMissingStart: true, Known: known(l.stored(), after)}
		}, "audit.log:5: removed: the files of the chain"},
		{"NewChain", func(l *log) chain.Options {
			l.files = append(l.files, newLog(t, 3).files[0])
			return chain.Options{AllowMissingStart: true}
		}, "audit.log:1: removed: a new chain"},
		{"ChainBehindAMissingOne", func(l *log) chain.Options {
			head := l.head()
			*l = *newLogBehind(t, &head, 4)
			return chain.Options{}
		}, "audit.log:1: removed: the files of the chain"},
		{"ChainBehindAMissingOneAllowed", func(l *log) chain.Options {
			head := l.head()
			*l = *newLogBehind(t, &head, 4)
			return chain.Options{AllowMissingStart: true}
		}, ""},
		{"LinesFromBeforeTheChain", func(l *log) chain.Options {
			l.files[0] = slices.Insert(l.files[0], 0, "{\"msg\":\"audit\"}\n")
			return chain.Options{}
		}, backupName(0) + ":1: unparsable"},
		{"LinesFromBeforeTheChainAllowed", func(l *log) chain.Options {
			l.files[0] = slices.Insert(l.files[0], 0, "{\"msg\":\"audit\"}\n")
			return chain.Options{AllowMissingStart: true}
		}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			l := newLog(t, 4, 4, 4)
			opts := c.change(l)
			path := l.write(t)
			report := verify(t, path, opts)
			got := ""
			if report.Break != nil {
				got = strings.TrimPrefix(report.Break.String(), filepath.Dir(path)+"/")
			}
			if !strings.HasPrefix(got, c.want) || (got == "") != (c.want == "") {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestVerifyReport(t *testing.T) {
	t.Parallel()
	l := newLog(t, 4, 4, 4)
	l.files[2] = append(l.files[2], `{"time":"2026`)
	got := verify(t, l.write(t), chain.Options{})
	want := chain.Report{
		Files: 3, Lines: 12, FirstSeq: 1, First: l.begun, Last: l.begun.Add(11 * time.Second), Head: l.head(), Unfinished: 13,
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

// TestVerifyEveryByte changes each byte of a line, in each way that a bit can.
func TestVerifyEveryByte(t *testing.T) {
	t.Parallel()
	for i := range newLog(t, 1, 2).files[1][0] {
		l := newLog(t, 1, 2)
		line := []byte(l.files[1][0])
		line[i] ^= 1 << (i % 7)
		l.files[1][0] = string(line)
		if verify(t, l.write(t), chain.Options{}).Break == nil {
			t.Errorf("byte %d: not found in %s", i, line)
		}
	}
}

func TestVerifyCompressed(t *testing.T) {
	t.Parallel()
	l := newLog(t, 4, 4, 4)
	path := l.write(t)
	for i := range 2 {
		name := filepath.Join(filepath.Dir(path), backupName(i))
		compress(t, name, strings.Join(l.files[i], ""))
		// While it is compressed, the second one is there in both forms.
		if i == 0 {
			if err := os.Remove(name); err != nil {
				t.Fatal(err)
			}
		} else if err := os.Truncate(name+".gz", 20); err != nil {
			t.Fatal(err)
		}
	}
	if got := verify(t, path, chain.Options{}); got.Break != nil || got.Lines != 12 || got.Files != 3 {
		t.Errorf("got %+v", got)
	}
	name := filepath.Join(filepath.Dir(path), backupName(0)) + ".gz"
	for _, size := range []int64{100, 5} {
		if err := os.Truncate(name, size); err != nil {
			t.Fatal(err)
		}
		got := verify(t, path, chain.Options{})
		if got.Break == nil || got.Break.Kind != chain.Unparsable {
			t.Errorf("cut to %d bytes: got %v, want unparsable", size, got.Break)
		}
	}
}

func compress(t *testing.T, path, text string) {
	t.Helper()
	f, err := os.Create(path + ".gz")
	if err != nil {
		t.Fatal(err)
	}
	z := gzip.NewWriter(f)
	_, err = z.Write([]byte(text))
	if err := errors.Join(err, z.Close(), f.Close()); err != nil {
		t.Fatal(err)
	}
}

func TestVerifyLongLines(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "audit.log")
	head := chain.Head{ChainID: uuid.New()}
	object := fmt.Sprintf(`{"time":"2026-01-02T03:04:05Z","auditId":%q,"x":%q}`, head.ChainID, strings.Repeat("x", 300_000))
	line, _, err := head.Seal([]byte(object))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		text string
		want chain.Report
	}{
		{string(line), chain.Report{Lines: 1}},
		{string(line[:200_000]), chain.Report{Unfinished: 200_000}},
		{strings.Repeat("x", 33<<20) + "\n", chain.Report{Lines: 1, Break: &chain.Break{Kind: chain.Unparsable}}},
	} {
		if err := os.WriteFile(path, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		got := verify(t, path, chain.Options{})
		if got.Lines != c.want.Lines || got.Unfinished != c.want.Unfinished || (got.Break == nil) != (c.want.Break == nil) {
			t.Errorf("%d bytes: got %+v", len(c.text), got)
		}
	}
}

func BenchmarkVerify(b *testing.B) {
	l := newLog(b, 10_000)
	path := l.write(b)
	for b.Loop() {
		if verify(b, path, chain.Options{}).Lines != 10_000 {
			b.Fatal("not all lines")
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/10_000, "ns/line")
}
