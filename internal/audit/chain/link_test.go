package chain_test

import (
	"bytes"
	"os"
	"os/exec"
	"strings"
	"testing"

	"speedybites/internal/audit/chain"
)

func TestSealWantsAnObject(t *testing.T) {
	t.Parallel()
	for _, object := range []string{"", "{}", "[]", "{", "{\"a\":\n1}"} {
		if line, _, err := (chain.Head{}).Seal([]byte(object)); err == nil {
			t.Errorf("%q: got %s, want an error", object, line)
		}
	}
}

// TestScript runs the program of the package comment.
func TestScript(t *testing.T) {
	t.Parallel()
	source, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	var script strings.Builder
	for line := range strings.Lines(string(source)) {
		if code, ok := strings.CutPrefix(line, "//\t"); ok && !strings.HasPrefix(code, `"`) {
			script.WriteString(code)
		}
	}
	l := newLog(t, 6)
	for _, swap := range []bool{false, true} {
		if swap {
			l.files[0][2], l.files[0][3] = l.files[0][3], l.files[0][2]
		}
		cmd := exec.CommandContext(t.Context(), "bash", "-c", script.String())
		cmd.Stdin = strings.NewReader(strings.Join(l.files[0], ""))
		out, err := cmd.CombinedOutput()
		if err != nil || (bytes.Count(out, []byte("broken")) > 0) != swap {
			t.Errorf("swapped: %v, got %v\n%s", swap, err, out)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, line := range newLog(f, 3).files[0] {
		f.Add([]byte(strings.TrimSuffix(line, "\n")))
	}
	f.Add([]byte(`{"a":1,"chainId":"","seq":0,"prevHash":"","hash":""}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		link, err := chain.Parse(text)
		if err != nil || !link.Intact || bytes.ContainsRune(text, '\n') {
			return
		}
		// What is intact is what Seal makes of its content.
		object := append(bytes.Clone(text[:bytes.LastIndex(text, []byte(`,"chainId":"`))]), '}')
		line, next, err := chain.Head{ChainID: link.ChainID, Seq: link.Seq - 1, Hash: link.Prev}.Seal(object)
		if err != nil || next != link.Head || string(line) != string(text)+"\n" {
			t.Errorf("sealed again: got %s, %v, want %s", line, err, text)
		}
	})
}
