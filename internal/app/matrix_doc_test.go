package app_test

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const matrixPage = root + "/docs/resilience.md"

// TestMatrixPage holds the table in docs/resilience.md against the matrix.
func TestMatrixPage(t *testing.T) {
	t.Parallel()
	const begin, end = "<!-- matrix: begin -->\n", "<!-- matrix: end -->\n"
	text, err := os.ReadFile(matrixPage)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, found := strings.Cut(string(text), begin)
	got, after, closed := strings.Cut(rest, end)
	if !found || !closed {
		t.Fatalf("%s has no place for the matrix", matrixPage)
	}
	want := matrixTable()
	if *update {
		if err := os.WriteFile(matrixPage, []byte(before+begin+want+end+after), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if diff := cmp.Diff(strings.Split(want, "\n"), strings.Split(got, "\n")); diff != "" {
		t.Errorf("%s is not the matrix; go test ./internal/app -run TestMatrixPage -update writes it (-matrix +page):\n%s",
			matrixPage, diff)
	}
}

// TestMatrixIsComplete looks for every SQLSTATE that is treated in a way of its own.
func TestMatrixIsComplete(t *testing.T) {
	t.Parallel()
	struck := map[string]bool{"57P03": true} // by startingUp
	for _, row := range matrix {
		for _, code := range row.codes {
			struck[code] = true
			if !strings.Contains(row.fault, code) && row.want != sqlError {
				t.Errorf("%q does not name %s", row.fault, code)
			}
		}
	}
	for code := range strings.FieldsSeq("08003 08006 08007 0A000 25006 25P03 26000 28000 28P01 3D000 40001 40003 40P01 42501 " +
		"53100 53200 53300 53400 54001 55P03 57014 57P01 57P02 57P03 57P05 58030") {
		if !struck[code] {
			t.Errorf("%s is not in the matrix", code)
		}
	}
}

// matrixTable is the matrix for people.
func matrixTable() string {
	var b strings.Builder
	b.WriteString("| fault | where | requests | answer | attempts | stored | breaker | counted | longest wait |\n" +
		"|---|---|---|---|---|---|---|---|---|\n")
	fault := ""
	for _, row := range matrix {
		name := row.fault
		if name == fault {
			name = ""
		}
		fault = row.fault
		w := row.want
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s | %s | %s | %s |\n", name, row.where, opNames(row.ops), answerNames(row),
			attemptsName(w), storedName(row), breakerName(w), strings.Join(countedNames(w), ", "), w.wait.text)
	}
	b.WriteString("\nNot in the table:\n\n")
	for _, e := range elsewhere {
		fmt.Fprintf(&b, "- %s: %s\n", e.what, e.why)
	}
	return b.String()
}

func opNames(ops []operation) string {
	if len(ops) == len(allOps) {
		return "all"
	}
	names := make([]string, len(ops))
	for i, op := range ops {
		names[i] = op.String()
	}
	return strings.Join(names, ", ")
}

func answerNames(row matrixRow) string {
	if row.want.answer != getsSuccess {
		return string(row.want.answer)
	}
	switch {
	case row.ops[0] != opRead:
		return "201"
	case len(row.ops) == 1:
		return "200"
	}
	return "200, 201"
}

func attemptsName(w matrixWant) string {
	switch {
	case w.call == "refused_breaker":
		return "0"
	case w.attempts == 0 && w.answer == getsSuccess:
		return "2 or more"
	case w.attempts == 0:
		return "1 or more"
	}
	return strconv.Itoa(w.attempts)
}

func storedName(row matrixRow) string {
	if len(row.ops) == 1 && row.ops[0] == opRead {
		return "–"
	}
	return string(row.want.stored)
}

// breakerName says what becomes of the breaker's count.
func breakerName(w matrixWant) string {
	switch {
	case w.call == "refused_breaker":
		return "OPEN"
	case w.failures > 0:
		return "+1; opens under load"
	case w.errors == "credentials", w.call == "abandoned":
		return "as it was"
	}
	return "0"
}

// countedNames are the metrics that move, by the labels that tell them apart.
func countedNames(w matrixWant) (names []string) {
	names = append(names, "call `"+w.call+"`")
	if w.errors != "" {
		names = append(names, "attempt `"+w.errors+"`")
	}
	if w.retries != "" {
		names = append(names, "retry `"+w.retries+"`")
	}
	if w.bridged != "" {
		names = append(names, "bridged `"+w.bridged+"`")
	}
	switch {
	case w.doubts == ifSent:
		names = append(names, "in doubt if `COMMIT` was sent")
	case w.doubts > 1:
		names = append(names, fmt.Sprintf("%d × in doubt", w.doubts))
	case w.doubts > 0:
		names = append(names, "in doubt")
	}
	return names
}
