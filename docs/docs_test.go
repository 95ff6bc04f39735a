// Package docs_test holds the documents against the code they describe.
package docs_test

import (
	"flag"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"speedybites/internal/config"
	"speedybites/internal/demo"
)

var update = flag.Bool("update", false, "write the table of variables into configuration.md")

const root = ".."

// documents returns the paths, from the root, of all files with text for people.
func documents(t *testing.T) []string {
	t.Helper()
	list := []string{"README.md", "CHANGELOG.md"}
	for _, pattern := range []string{"docs/*.md", "docs/decisions/*.md", "dashboards/*.md", "internal/monitoring/render/*.md", "alerts/*.md", "alerts/runbooks/*.md"} {
		found, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range found {
			list = append(list, filepath.ToSlash(strings.TrimPrefix(file, root+string(filepath.Separator))))
		}
	}
	if len(list) < 10 {
		t.Fatalf("only %v found", list)
	}
	return list
}

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, file))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// prose returns text without its blocks of code.
func prose(text string) string {
	return regexp.MustCompile("(?ms)^```.*?^```$").ReplaceAllLiteralString(text, "")
}

// spans returns what stands between single backquotes outside blocks of code.
func spans(text string) []string {
	var list []string
	for _, m := range regexp.MustCompile("`([^`\n]+)`").FindAllStringSubmatch(prose(text), -1) {
		list = append(list, m[1])
	}
	return list
}

func exists(file string) bool {
	_, err := os.Stat(filepath.Join(root, file))
	return err == nil
}

func TestVariables(t *testing.T) {
	t.Parallel()
	const file, begin, end = "docs/configuration.md", "<!-- variables: begin -->\n", "<!-- variables: end -->"
	text := read(t, file)
	before, rest, found := strings.Cut(text, begin)
	got, after, closed := strings.Cut(rest, end)
	if !found || !closed {
		t.Fatalf("%s has no place for the table", file)
	}
	want := table()
	if *update {
		if err := os.WriteFile(filepath.Join(root, file), []byte(before+begin+want+end+after), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s is not what the program reads; go test ./docs -update writes it (-want +got):\n%s", file, diff)
	}
}

// table is the table of all variables.
func table() string {
	var b strings.Builder
	b.WriteString("| variable | default | meaning | allowed |\n|---|---|---|---|\n")
	for _, v := range config.Reference() {
		name, fallback, meaning := "`"+v.Name+"`", "none", strings.ToUpper(v.Meaning[:1])+v.Meaning[1:]
		if v.Default != "" {
			fallback = "`" + v.Default + "`"
		}
		if v.Alias != "" {
			name += " (`" + v.Alias + "` accepted)"
		}
		if v.Secret {
			meaning += "; never printed"
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", name, fallback, meaning, v.Allowed)
	}
	return b.String()
}

// TestLinks follows every link inside the repository, also to headings.
func TestLinks(t *testing.T) {
	t.Parallel()
	link := regexp.MustCompile(`\]\(([^)\s]+)\)`)
	for _, file := range documents(t) {
		for _, m := range link.FindAllStringSubmatch(prose(read(t, file)), -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			target, anchor, _ := strings.Cut(m[1], "#")
			to := file
			if target != "" {
				to = path.Join(path.Dir(file), target)
			}
			if !exists(to) {
				t.Errorf("%s links to %s, which does not exist", file, m[1])
				continue
			}
			if anchor != "" && !slices.Contains(anchors(read(t, to)), anchor) {
				t.Errorf("%s links to %s, which has no such heading", file, m[1])
			}
		}
	}
}

// anchors returns the anchors of a document's headings, as GitHub makes them.
func anchors(text string) []string {
	var list []string
	dropped := regexp.MustCompile(`[^\p{L}\p{N}_ -]`)
	for _, m := range regexp.MustCompile(`(?m)^#+ (.+)$`).FindAllStringSubmatch(prose(text), -1) {
		slug := dropped.ReplaceAllLiteralString(strings.ToLower(m[1]), "")
		list = append(list, strings.ReplaceAll(slug, " ", "-"))
	}
	return list
}

// TestPaths looks for every file and directory that a document names.
func TestPaths(t *testing.T) {
	t.Parallel()
	inside := regexp.MustCompile(`^(cmd|internal|observability|dashboards|alerts|migrations|docs)(/[\w.*-]+)*/?$`)
	top := regexp.MustCompile(`^([A-Z]\w+\.md|[\w.-]+\.(go|yml|mod)|Makefile|Dockerfile|LICENSE|\.env\.example)$`)
	for _, file := range documents(t) {
		for _, span := range spans(read(t, file)) {
			if !inside.MatchString(span) && !top.MatchString(span) {
				continue
			}
			// A file without a directory is one at the top, or one of a package, or a neighbour.
			found, err := filepath.Glob(filepath.Join(root, span))
			if err != nil {
				t.Fatal(err)
			}
			if len(found) == 0 && !exists(path.Join(path.Dir(file), span)) {
				t.Errorf("%s names %s, which does not exist", file, span)
			}
		}
	}
}

// TestMakeTargets looks for every target that a document tells the reader to make.
func TestMakeTargets(t *testing.T) {
	t.Parallel()
	targets := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^([a-z][a-z-]*):`).FindAllStringSubmatch(read(t, "Makefile"), -1) {
		targets[m[1]] = true
	}
	command := regexp.MustCompile("(?m)(?:^|`|&& |=\\S+ )make ([a-z][a-z-]*)")
	for _, file := range documents(t) {
		for _, m := range command.FindAllStringSubmatch(read(t, file), -1) {
			if !targets[m[1]] {
				t.Errorf("%s says make %s, which is not in the Makefile", file, m[1])
			}
		}
	}
	for _, name := range []string{"run", "test"} {
		if !strings.Contains(read(t, "README.md"), "make "+name) {
			t.Errorf("README.md does not say make %s", name)
		}
	}
}

// TestTestNames looks for every test that a document names as its proof.
func TestTestNames(t *testing.T) {
	t.Parallel()
	var code strings.Builder
	err := filepath.WalkDir(root, func(file string, entry os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && strings.HasPrefix(entry.Name(), ".") && file != root {
			return filepath.SkipDir
		}
		if strings.HasSuffix(file, "_test.go") {
			text, err := os.ReadFile(file)
			code.Write(text)
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	name := regexp.MustCompile(`^(Test|Fuzz|Benchmark)[A-Z]\w*(/\w+)?$`)
	for _, file := range documents(t) {
		for _, span := range spans(read(t, file)) {
			if !name.MatchString(span) {
				continue
			}
			function, part, _ := strings.Cut(span, "/")
			if !strings.Contains(code.String(), "\nfunc "+function+"(") {
				t.Errorf("%s names %s, which does not exist", file, span)
			}
			if part != "" && !strings.Contains(code.String(), `"`+part+`"`) {
				t.Errorf("%s names %s, which has no such subtest", file, span)
			}
		}
	}
}

// TestReadme compares what the README repeats with the code it repeats.
func TestReadme(t *testing.T) {
	t.Parallel()
	text := read(t, "README.md")
	for _, id := range []string{demo.RestaurantID().String(), demo.MenuItemID().String()} {
		if !strings.Contains(text, id) {
			t.Errorf("the order to paste does not have the demo id %s", id)
		}
	}
	for _, pattern := range []string{"cmd/*", "internal/*", "internal/postgres/*", "internal/monitoring/*", "observability", "observability/stack/*", "migrations"} {
		dirs, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, dir := range dirs {
			sources, err := filepath.Glob(filepath.Join(dir, "*.go"))
			if err != nil {
				t.Fatal(err)
			}
			name := filepath.ToSlash(strings.TrimPrefix(dir, root+string(filepath.Separator)))
			if len(sources) > 0 && !strings.Contains(text, "`"+name+"`") {
				t.Errorf("the map of the packages does not have %s", name)
			}
		}
	}
}
