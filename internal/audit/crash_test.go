package audit_test

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/uuid"

	"speedybites/internal/audit"
)

// TestRelayCrash lets the relay die at every step, and go on: in the same process, or as a new one that knows nothing.
func TestRelayCrash(t *testing.T) {
	t.Parallel()
	const entries = 4
	type crash struct {
		name string
		file file
		// commit lets the mark fail in the database.
		commit bool
		// fresh lets it happen while the chain begins; its first line is one more.
		fresh bool
	}
	var crashes []crash
	for _, fresh := range []bool{false, true} {
		crashes = append(crashes,
			crash{name: fmt.Sprintf("Sync/Fresh=%v", fresh), file: file{writes: -1, syncs: 0}, fresh: fresh},
			crash{name: fmt.Sprintf("Mark/Fresh=%v", fresh), file: file{writes: -1, syncs: -1}, commit: true, fresh: fresh})
	}
	for _, torn := range []int{0, 1, 100, 1 << 20} {
		for i := range 2 {
			crashes = append(crashes, crash{
				name: fmt.Sprintf("Begin%dAfter%dBytes", i, torn), file: file{writes: i, syncs: -1, torn: torn}, fresh: true,
			})
		}
	}
	for i := range entries {
		for _, torn := range []int{0, 1, 100, 1 << 20} {
			crashes = append(crashes, crash{
				name: fmt.Sprintf("Write%dAfter%dBytes", i, torn), file: file{writes: i, syncs: -1, torn: torn},
			})
		}
	}
	for _, restart := range []bool{false, true} {
		for _, c := range crashes {
			t.Run(fmt.Sprintf("%s/Restart=%v", c.name, restart), func(t *testing.T) {
				t.Parallel()
				b := newBench(t)
				if !c.fresh {
					b.add(t, 2)
					if err := b.relay(b.healthy()).Drain(t.Context()); err != nil {
						t.Fatal(err)
					}
				}
				b.add(t, entries)
				sink := c.file
				sink.path = b.path
				if c.commit {
					refuseMarks(t, b)
				}
				r := b.relay(&sink)
				if err := r.Drain(t.Context()); err == nil {
					t.Fatal("got no error from the crash")
				}
				// A change that began before those in the file, and committed only now.
				b.addEarlier(t)
				if c.commit {
					// Dies again before it can mark what is in the file.
					if err := b.relay(b.healthy()).Drain(t.Context()); err == nil {
						t.Fatal("got no error from the second crash")
					}
					allowMarks(t, b)
				}
				sink.writes, sink.syncs = -1, -1
				if restart {
					r = b.relay(b.healthy())
				}
				if err := r.Drain(t.Context()); err != nil {
					t.Fatal(err)
				}
				b.check(t)
			})
		}
	}
}

// refuseMarks makes every transaction that marks an entry fail in COMMIT.
func refuseMarks(t *testing.T, b *bench) {
	t.Helper()
	_, err := b.raw.Exec(t.Context(), `
		CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'not now'; END $$;
		CREATE CONSTRAINT TRIGGER refuse AFTER UPDATE OF exported_at ON audit_log DEFERRABLE INITIALLY DEFERRED
			FOR EACH ROW EXECUTE FUNCTION refuse()`)
	if err != nil {
		t.Fatal(err)
	}
}

func allowMarks(t *testing.T, b *bench) {
	t.Helper()
	if _, err := b.raw.Exec(t.Context(), `DROP TRIGGER refuse ON audit_log`); err != nil {
		t.Fatal(err)
	}
}

func (b *bench) addEarlier(t *testing.T) {
	t.Helper()
	b.add(t, 1)
	_, err := b.raw.Exec(t.Context(), `UPDATE audit_log SET at = at - interval '1 hour' WHERE operation_id = $1`,
		b.want[len(b.want)-1])
	if err != nil {
		t.Fatal(err)
	}
}

// TestRelayTornAnywhere cuts the file at every byte of its last line, as a crash in the middle of a write does.
func TestRelayTornAnywhere(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.add(t, 3)
	if err := b.relay(b.healthy()).Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(b.path)
	if err != nil {
		t.Fatal(err)
	}
	last := bytes.LastIndexByte(whole[:len(whole)-1], '\n') + 1
	for end := last; end <= len(whole); end++ {
		if err := os.WriteFile(b.path, whole[:end], 0o600); err != nil {
			t.Fatal(err)
		}
		b.forget(t)
		if err := b.relay(b.healthy()).Drain(t.Context()); err != nil {
			t.Fatal(err)
		}
		b.check(t)
	}
}

// forget takes back what the last COMMIT of the relay has said.
func (b *bench) forget(t *testing.T) {
	t.Helper()
	if _, err := b.raw.Exec(t.Context(), `UPDATE audit_log SET exported_at = NULL`); err != nil {
		t.Fatal(err)
	}
	if _, err := b.raw.Exec(t.Context(), `DELETE FROM audit_chain`); err != nil {
		t.Fatal(err)
	}
}

func TestRelayRotated(t *testing.T) {
	t.Parallel()
	for _, compressed := range []bool{false, true} {
		t.Run(fmt.Sprintf("Compressed=%v", compressed), func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			b.add(t, 5)
			if err := b.relay(b.healthy()).Drain(t.Context()); err != nil {
				t.Fatal(err)
			}
			// All lines are in the file, three of them in two backups, and no entry is marked.
			text, err := os.ReadFile(b.path)
			if err != nil {
				t.Fatal(err)
			}
			lines := bytes.SplitAfter(text, []byte("\n"))
			plain := []string{
				filepath.Join(filepath.Dir(b.path), "audit-2026-01-02T03-04-05.678.log"),
				filepath.Join(filepath.Dir(b.path), "audit-2026-01-02T03-04-06.000.log"),
			}
			parts := [][]byte{lines[0], bytes.Join(lines[1:4], nil)}
			for i, path := range plain {
				if compressed {
					compress(t, path+".gz", parts[i])
				} else if err := os.WriteFile(path, parts[i], 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.WriteFile(b.path, bytes.Join(lines[4:], nil), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := b.raw.Exec(t.Context(), `UPDATE audit_log SET exported_at = NULL`); err != nil {
				t.Fatal(err)
			}
			if err := b.relay(b.healthy()).Drain(t.Context()); err != nil {
				t.Fatal(err)
			}
			if compressed {
				for i, path := range plain {
					if err := os.WriteFile(path, parts[i], 0o600); err != nil {
						t.Fatal(err)
					}
				}
			}
			b.check(t, plain...)
		})
	}
}

func compress(t *testing.T, path string, b []byte) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	z := gzip.NewWriter(f)
	_, err = z.Write(b)
	if err := errors.Join(err, z.Close(), f.Close()); err != nil {
		t.Fatal(err)
	}
}

func TestFileTail(t *testing.T) {
	t.Parallel()
	ids := make([]uuid.UUID, 5)
	lines := make([]string, 5)
	for i := range ids {
		ids[i] = uuid.New()
		lines[i] = fmt.Sprintf("{\"auditId\":%q}\n", ids[i])
	}
	write := func(t *testing.T, path, text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	recovered := func(t *testing.T, path string, n int) []uuid.UUID {
		t.Helper()
		got, err := audit.FileTail{Path: path}.Recover(n)
		if err != nil {
			t.Fatal(err)
		}
		return got.IDs
	}

	t.Run("NoFile", func(t *testing.T) {
		t.Parallel()
		if got := recovered(t, filepath.Join(t.TempDir(), "none", "audit.log"), 3); len(got) != 0 {
			t.Errorf("got %v, want none", got)
		}
	})

	t.Run("NoMoreThanAsked", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		path := filepath.Join(dir, "audit.log")
		write(t, filepath.Join(dir, "audit-1.log"), lines[0]+lines[1])
		write(t, filepath.Join(dir, "auditors.log"), lines[2])
		write(t, path, lines[3]+lines[4])
		for n, want := range map[int][]uuid.UUID{1: ids[4:], 2: ids[3:], 3: {ids[3], ids[4], ids[1]}} {
			if got := recovered(t, path, n); fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("last %d: got %v, want %v", n, got, want)
			}
		}
	})

	t.Run("LinesLongerThanABlock", func(t *testing.T) {
		t.Parallel()
		path := filepath.Join(t.TempDir(), "audit.log")
		long := fmt.Sprintf("{\"auditId\":%q,\"after\":%q}\n", ids[1], strings.Repeat("x", 200_000))
		write(t, path, lines[0]+long+lines[2]+`{"auditId":"torn`)
		if got, want := recovered(t, path, 2), ids[1:3]; fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("got %v, want %v", got, want)
		}
	})

	t.Run("BackupBeingCompressed", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		write(t, filepath.Join(dir, "audit-1.log"), lines[0])
		write(t, filepath.Join(dir, "audit-1.log.gz"), "\x1f\x8b")
		if got := recovered(t, filepath.Join(dir, "audit.log"), 2); len(got) != 1 || got[0] != ids[0] {
			t.Errorf("got %v, want %v", got, ids[:1])
		}
	})

	t.Run("DamagedBackup", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		write(t, filepath.Join(dir, "audit-1.log.gz"), "nothing of gzip")
		if got := recovered(t, filepath.Join(dir, "audit.log"), 2); len(got) != 0 {
			t.Errorf("got %v, want none", got)
		}
	})
}
