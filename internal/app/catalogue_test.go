package app_test

import (
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	dto "github.com/prometheus/client_model/go"

	"speedybites/internal/pgtest"
)

var update = flag.Bool("update", false, "write the tables of metrics into docs/metrics.md")

const (
	root          = "../.."
	cataloguePage = root + "/docs/metrics.md"
)

// libraries are the metrics that are not ours: they have one row for all that begin alike.
var libraries = map[string]string{
	"go_":         "The Go runtime: goroutines, heap, garbage collection.",
	"process_":    "The process: CPU time, memory, file descriptors, network, start time.",
	"promhttp_":   "Scrapes that could not collect everything.",
	"target_info": "Always 1; its labels are what the service calls itself in traces.",
}

// TestCatalogue holds docs/metrics.md against a running service: every metric has its row, with type, unit, labels and
// meaning, and no row is left of one that is gone. The page decides into which section a metric goes, by the prefixes in
// the comment above each table; the longest counts.
func TestCatalogue(t *testing.T) {
	t.Parallel()
	url := pgtest.Server(t).URL()
	s := start(t, url, "DATABASE_REPLICA_URL="+url)
	_, families := s.scrape()
	text, err := os.ReadFile(cataloguePage)
	if err != nil {
		t.Fatal(err)
	}
	want := fill(t, string(text), families)
	if *update {
		if err := os.WriteFile(cataloguePage, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if diff := cmp.Diff(strings.Split(want, "\n"), strings.Split(string(text), "\n")); diff != "" {
		t.Errorf("docs/metrics.md is not what the service shows; go test ./internal/app -run TestCatalogue -update writes it "+
			"(-service +page):\n%s", diff)
	}

	// A metric that the service has not shown would not have been missed above.
	labels := map[string]bool{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				labels[l.GetName()] = true
			}
		}
	}
	for name, position := range namesInCode(t) {
		if families[name] == nil && !labels[name] {
			t.Errorf("%s: %s is not among the metrics of a running service", position, name)
		}
	}
}

// fill returns the page with its tables made anew.
func fill(t *testing.T, page string, families map[string]*dto.MetricFamily) string {
	t.Helper()
	table := regexp.MustCompile(`(?s)(<!-- metrics: ([^\n]*) -->\n).*?(<!-- end -->\n)`)
	section := map[string]string{} // of a prefix
	for _, m := range table.FindAllStringSubmatch(page, -1) {
		for prefix := range strings.FieldsSeq(m[2]) {
			section[prefix] = m[2]
		}
	}
	rows := map[string][]string{}
	used := map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(families)) {
		prefix := ""
		for p := range section {
			if strings.HasPrefix(name, strings.TrimSuffix(p, "*")) && len(p) > len(prefix) {
				prefix = p
			}
		}
		if prefix == "" {
			t.Errorf("%s fits into no section of docs/metrics.md: put its prefix into the comment above a table", name)
			continue
		}
		if !strings.HasSuffix(prefix, "*") {
			rows[section[prefix]] = append(rows[section[prefix]], row(families[name], explained(page)))
		} else if !used[prefix] {
			meaning := libraries[strings.TrimSuffix(prefix, "*")]
			rows[section[prefix]] = append(rows[section[prefix]], fmt.Sprintf("| `%s` | | | | %s |\n", prefix, meaning))
		}
		used[prefix] = true
	}
	return table.ReplaceAllStringFunc(page, func(old string) string {
		m := table.FindStringSubmatch(old)
		if len(rows[m[2]]) == 0 {
			t.Errorf("docs/metrics.md: no metric begins with %s", m[2])
		}
		return m[1] + "| name | type | unit | labels | meaning |\n|---|---|---|---|---|\n" + strings.Join(rows[m[2]], "") + m[3]
	})
}

// explained returns the labels that the page explains, whose values are not shown.
func explained(page string) map[string]bool {
	names := map[string]bool{}
	_, list, _ := strings.Cut(page, "\n## Labels\n")
	list, _, _ = strings.Cut(list, "\n## ")
	for _, item := range regexp.MustCompile(`(?m)^- (.*?) (?:is|are|say)\b`).FindAllStringSubmatch(list, -1) {
		for _, name := range regexp.MustCompile("`(\\w+)`").FindAllStringSubmatch(item[1], -1) {
			names[name[1]] = true
		}
	}
	return names
}

func row(f *dto.MetricFamily, explained map[string]bool) string {
	values := map[string][]string{}
	for _, m := range f.GetMetric() {
		for _, l := range m.GetLabel() {
			values[l.GetName()] = append(values[l.GetName()], l.GetValue())
		}
	}
	labels := make([]string, 0, len(values))
	for _, name := range slices.Sorted(maps.Keys(values)) {
		label := "`" + name + "`"
		if !explained[name] {
			slices.Sort(values[name])
			label += " (" + strings.Join(slices.Compact(values[name]), ", ") + ")"
		}
		labels = append(labels, label)
	}
	return fmt.Sprintf("| `%s` | %s | %s | %s | %s |\n", f.GetName(), typeOf(f), unitOf(f), strings.Join(labels, "; "),
		strings.ReplaceAll(f.GetHelp(), "|", `\|`))
}

func typeOf(f *dto.MetricFamily) string {
	name := strings.ToLower(f.GetType().String())
	if f.GetType() == dto.MetricType_HISTOGRAM {
		buckets := f.GetMetric()[0].GetHistogram().GetBucket()
		// The last one is +Inf.
		bound := func(i int) string { return strconv.FormatFloat(buckets[i].GetUpperBound(), 'f', -1, 64) }
		name += ", " + bound(0) + " to " + bound(len(buckets)-2)
	}
	return name
}

func unitOf(f *dto.MetricFamily) string {
	name := strings.TrimSuffix(f.GetName(), "_total")
	switch {
	case strings.HasSuffix(name, "_timestamp_seconds"):
		return "seconds since 1970"
	case strings.HasSuffix(name, "_seconds"), strings.HasSuffix(name, "_seconds_in_state"):
		return "seconds"
	case strings.HasSuffix(name, "_bytes"):
		return "bytes"
	}
	return ""
}

// namesInCode returns the texts in the program's code that have the form of a metric's name, and where they are.
func namesInCode(t *testing.T) map[string]token.Position {
	t.Helper()
	form := regexp.MustCompile(`^(speedybites|db_client|http_server)_[a-z_]*[a-z]$`)
	names, files := map[string]token.Position{}, token.NewFileSet()
	for _, dir := range []string{"cmd", "internal", "observability"} {
		err := filepath.WalkDir(filepath.Join(root, dir), func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			file, err := parser.ParseFile(files, path, nil, parser.SkipObjectResolution)
			if err != nil {
				return err
			}
			ast.Inspect(file, func(n ast.Node) bool {
				if literal, ok := n.(*ast.BasicLit); ok && literal.Kind == token.STRING {
					if text, err := strconv.Unquote(literal.Value); err == nil && form.MatchString(text) {
						names[text] = files.Position(literal.Pos())
					}
				}
				return true
			})
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(names) < 20 {
		t.Fatalf("only %d names found in the code", len(names))
	}
	return names
}
