package compose_test

import (
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// stage is one of the Dockerfile's.
type stage struct {
	from  string
	lines []string
}

// dockerfile returns the stages by name, and the name of the last.
func dockerfile(t *testing.T) (stages map[string]*stage, last string) {
	t.Helper()
	stages = map[string]*stage{}
	text := strings.ReplaceAll(read(t, "Dockerfile"), "\\\n", " ")
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if m := regexp.MustCompile(`^FROM (\S+) AS (\S+)$`).FindStringSubmatch(line); m != nil {
			last = m[2]
			stages[last] = &stage{from: m[1]}
			continue
		}
		if line == "" || line[0] == '#' {
			continue
		}
		if last == "" {
			t.Fatalf("the Dockerfile begins with %q", line)
		}
		stages[last].lines = append(stages[last].lines, line)
	}
	return stages, last
}

// value is what follows an instruction, the last one of its kind.
func (s *stage) value(instruction string) string {
	for _, line := range slices.Backward(s.lines) {
		if rest, ok := strings.CutPrefix(line, instruction+" "); ok {
			return rest
		}
	}
	return ""
}

// TestDockerfile: pinned bases, and images that run as nobody and know how to ask themselves how they are, just as the
// compose file does.
func TestDockerfile(t *testing.T) {
	t.Parallel()
	stages, last := dockerfile(t)
	if last != "api" {
		t.Errorf("docker build . makes %s, want api", last)
	}
	exact := regexp.MustCompile(`^[\w./-]+:\d+\.\d+\.\d+(-\w+)?$`)
	for name, s := range stages {
		if s.from != "scratch" && !exact.MatchString(s.from) {
			t.Errorf("stage %s is from %s, want an exact tag", name, s.from)
		}
	}
	targets := map[string]bool{}
	for name, service := range shipped(t, "*").Services {
		if service.Build == nil {
			continue
		}
		s := stages[service.Build.Target]
		if s == nil {
			t.Errorf("service %s wants target %q, which there is not", name, service.Build.Target)
			continue
		}
		targets[service.Build.Target] = true
		if s.value("USER") != service.User {
			t.Errorf("target %s is for user %q, service %s runs as %q", service.Build.Target, s.value("USER"), name, service.User)
		}
		if service.HealthCheck.Disable {
			continue
		}
		_, check, _ := strings.Cut(s.value("HEALTHCHECK"), " CMD ")
		var args []string
		if err := json.Unmarshal([]byte(check), &args); err != nil {
			t.Errorf("target %s is checked with %q: %v", service.Build.Target, check, err)
		}
		if diff := cmp.Diff(append([]string{"CMD"}, args...), []string(service.HealthCheck.Test)); diff != "" {
			t.Errorf("health check of target %s and of service %s:\n%s", service.Build.Target, name, diff)
		}
	}
	if diff := cmp.Diff([]string{"api", "otel-collector", "receiver"}, slices.Sorted(maps.Keys(targets))); diff != "" {
		t.Errorf("targets in use (-want +got):\n%s", diff)
	}
}

// TestBuildContext builds what the Dockerfile builds, from the files that Docker would be given and that it copies.
func TestBuildContext(t *testing.T) {
	t.Parallel()
	stages, _ := dockerfile(t)
	build := stages["build"]
	dir := t.TempDir()
	ignored := ignore(t)
	for _, line := range build.lines {
		args, ok := strings.CutPrefix(line, "COPY ")
		if !ok {
			continue
		}
		names := strings.Fields(args)
		for _, name := range names[:len(names)-1] {
			copyTree(t, name, dir, ignored)
		}
	}
	for _, name := range []string{"cmd/speedy-bites/main_test.go", "internal/httpapi/testdata"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
			t.Errorf("the build is given %s", name)
		}
	}
	built := 0
	for _, line := range build.lines {
		m := regexp.MustCompile(`^RUN go build .*-o /out/(\S+) (\S+)$`).FindStringSubmatch(line)
		if m == nil {
			continue
		}
		built++
		cmd := exec.CommandContext(t.Context(), "go", "build", "-o", filepath.Join(dir, m[1]), m[2])
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off")
		if out, code := run(t, cmd); code != 0 {
			t.Errorf("%s: exit code %d\n%s", line, code, out)
		}
	}
	if built != 2 || build.value("ENV") != "CGO_ENABLED=0" {
		t.Errorf("the Dockerfile builds %d programs with %s, want 2 with CGO_ENABLED=0", built, build.value("ENV"))
	}
}

// ignore tells whether .dockerignore leaves a file out. It knows the forms that the file uses.
func ignore(t *testing.T) func(name string) bool {
	t.Helper()
	var rules []string
	for line := range strings.Lines(read(t, ".dockerignore")) {
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
			rules = append(rules, line)
		}
	}
	return func(name string) (out bool) {
		for _, rule := range rules {
			pattern, in := strings.CutPrefix(rule, "!")
			if covers(pattern, name) {
				out = !in
			}
		}
		return out
	}
}

// covers says whether a pattern is about a file or about a directory that it is in.
func covers(pattern, name string) bool {
	anywhere, isAnywhere := strings.CutPrefix(pattern, "**/")
	for p := name; p != "."; p = path.Dir(p) {
		if ok, _ := path.Match(pattern, p); ok {
			return true
		}
		if ok, _ := path.Match(anywhere, path.Base(p)); isAnywhere && ok {
			return true
		}
	}
	return false
}

// copyTree copies a file or directory of the repository, but for what is ignored.
func copyTree(t *testing.T, name, to string, ignored func(string) bool) {
	t.Helper()
	err := filepath.WalkDir(filepath.Join(root, name), func(from string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, from)
		if err != nil {
			return err
		}
		if d.IsDir() {
			if filepath.ToSlash(rel) == "internal/monitoring" { // Large, and ignored: the test says so.
				return filepath.SkipDir
			}
			return nil
		}
		if ignored(filepath.ToSlash(rel)) {
			return nil
		}
		text, err := os.ReadFile(from)
		if err != nil {
			return err
		}
		if err := os.MkdirAll(filepath.Dir(filepath.Join(to, rel)), 0o700); err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, rel), text, 0o600)
	})
	if err != nil {
		t.Fatal(err)
	}
	if name == "internal" && !ignored("internal/monitoring/go.mod") {
		t.Error(".dockerignore does not leave internal/monitoring out")
	}
}
