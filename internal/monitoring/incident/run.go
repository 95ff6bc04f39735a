package incident

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Run plays a script. A rule, a template or a notification that fails, fails the test.
func Run(t *testing.T, setup *Setup, script *Script) *Result {
	t.Helper()
	batches, err := evaluate(t.Context(), setup, script, newMemory())
	if err != nil {
		t.Fatalf("%s: %v", script.File, err)
	}
	result, err := dispatchAll(t, setup, script, batches)
	if err != nil {
		t.Fatalf("%s: %v", script.File, err)
	}
	return result
}

// RunFile plays the script of a file, and compares what comes of it with what the file expects. With update, the file is
// made to expect what comes of it.
func RunFile(t *testing.T, setup *Setup, file string, update bool) *Result {
	t.Helper()
	script, err := ParseFile(file)
	if err != nil {
		t.Fatal(err)
	}
	result := Run(t, setup, script)
	if update {
		if err := script.rewrite(result); err != nil {
			t.Fatal(err)
		}
		return result
	}
	if err := script.Check(result); err != nil {
		t.Error(err)
	}
	return result
}

// Check compares a result with what the script expects. The error has the whole of it, to be pasted into the script.
func (s *Script) Check(r *Result) error {
	actual := s.lines(r)
	var problems []string
	if diff := cmp.Diff(s.expected, actual); diff != "" {
		problems = append(problems, "notifications (-want +got):\n"+diff)
	}
	if s.pages != nil && *s.pages != r.Pages() {
		problems = append(problems, fmt.Sprintf("pages: got %d, want %d", r.Pages(), *s.pages))
	}
	if len(problems) == 0 {
		return nil
	}
	return fmt.Errorf("%s: %s\nall that came:\n%s", s.File, strings.Join(problems, "\n"), s.section(r, nil))
}

// lines are the notifications that are compared.
func (s *Script) lines(r *Result) []string {
	var lines []string
	for _, n := range r.Notifications {
		if !s.ignored[n.Receiver] {
			lines = append(lines, n.String())
		}
	}
	return lines
}

// section is a section expect. comments are those to keep, by the line that they stand above.
func (s *Script) section(r *Result, comments map[string][]string) string {
	var b strings.Builder
	b.WriteString("expect\n")
	for _, line := range s.lines(r) {
		for _, c := range comments[line] {
			b.WriteString(c + "\n")
		}
		delete(comments, line)
		f := strings.SplitN(line, " ", 4)
		fmt.Fprintf(&b, "  %-8s %-6s %-8s %s\n", f[0], f[1], f[2], f[3])
	}
	fmt.Fprintf(&b, "pages %d\n", r.Pages())
	return b.String()
}

// rewrite replaces what the file expects by a result. It stands at the end of the file then. Comments above a line that is
// still true are kept.
func (s *Script) rewrite(r *Result) error {
	text, err := os.ReadFile(s.File)
	if err != nil {
		return fmt.Errorf("read incident script: %w", err)
	}
	var kept, above []string
	comments := map[string][]string{}
	expecting := false
	for line := range strings.Lines(string(text)) {
		line = strings.TrimRight(line, "\r\n ")
		fields := strings.Fields(withoutComment(line))
		margin := line != "" && line[0] != ' ' && line[0] != '\t'
		if margin && len(fields) > 0 {
			expecting = fields[0] == "expect"
		}
		switch {
		case margin && expecting, len(fields) > 0 && fields[0] == "pages":
		case !expecting:
			kept = append(kept, line)
		case len(fields) == 0 && line != "":
			above = append(above, line)
		case len(fields) > 0:
			comments[strings.Join(fields, " ")] = above
			above = nil
		}
	}
	for n := len(kept); n > 0 && kept[n-1] == ""; n-- {
		kept = slices.Delete(kept, n-1, n)
	}
	out := strings.Join(kept, "\n") + "\n" + s.section(r, comments)
	if err := os.WriteFile(s.File, []byte(out), 0o600); err != nil {
		return fmt.Errorf("write incident script: %w", err)
	}
	return nil
}
