package localstack

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// module is a Go module with programs.
type module struct {
	name, path, version string
	programs            []string
	tags                string
}

// Later servers than this Alertmanager need files that are not in its module. Debian's know no webhook url_file.
func alertmanagerModule() module {
	return module{
		name: "alertmanager", path: "github.com/prometheus/alertmanager", version: "v0.31.1",
		programs: []string{"alertmanager", "amtool"},
	}
}

// Without the tags it takes half an hour and all clouds' libraries; promtool does not compile without DNS.
func prometheusModule() module {
	return module{
		name: "prometheus", path: "github.com/prometheus/prometheus", version: "v0.316.0",
		programs: []string{"prometheus", "promtool"}, tags: "remove_all_sd,enable_dns_sd",
	}
}

// builder builds modules' programs into a directory each.
type builder struct {
	dir string // .tools of the repository
	// command is the go command. Default: the one in PATH.
	command string
	log     *slog.Logger
}

// build returns the directory with the module's programs, after building them unless they are there. Of several processes
// that call it at once, one builds and the others wait.
func (b builder) build(ctx context.Context, m module) (string, error) {
	final := filepath.Join(b.dir, m.name+"-"+m.version[1:])
	if complete(final, m) {
		return final, nil
	}
	if err := os.MkdirAll(b.dir, 0o755); err != nil { //nolint:gosec // G301: nothing in it is secret.
		return "", err
	}
	lock, err := acquire(ctx, final+".lock", true)
	if err != nil {
		return "", fmt.Errorf("wait for the build of %s: %w", m.name, err)
	}
	defer lock.Close()
	if complete(final, m) {
		return final, nil
	}
	if err := b.install(ctx, m, final); err != nil {
		return "", fmt.Errorf("build %s@%s: %w", m.path, m.version, err)
	}
	return final, nil
}

func complete(dir string, m module) bool {
	for _, program := range m.programs {
		if _, err := exec.LookPath(filepath.Join(dir, program)); err != nil {
			return false
		}
	}
	return true
}

// install builds beside the final directory and renames, so that nobody sees half of it.
func (b builder) install(ctx context.Context, m module, final string) error {
	left, err := filepath.Glob(final + ".unfinished-*")
	if err != nil {
		return err
	}
	for _, path := range append(left, final) {
		if err := os.RemoveAll(path); err != nil {
			return err
		}
	}
	tmp, err := os.MkdirTemp(b.dir, filepath.Base(final)+".unfinished-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)                      // If that does not work now, the next build will do it.
	if err := os.Chmod(tmp, 0o755); err != nil { //nolint:gosec // G302: nothing in it is secret.
		return err
	}
	b.log.InfoContext(ctx, "building programs, once; that takes a few minutes", "module", m.path, "version", m.version, "to", final)
	begin := time.Now()
	if err := b.run(ctx, m, tmp); err != nil {
		return err
	}
	if !complete(tmp, m) {
		return fmt.Errorf("go install made none of %v", m.programs)
	}
	if err := os.Rename(tmp, final); err != nil {
		return err
	}
	b.log.InfoContext(ctx, "built", "module", m.path, "took", time.Since(begin).Round(time.Second))
	return nil
}

func (b builder) run(ctx context.Context, m module, to string) error {
	command := b.command
	if command == "" {
		path, err := exec.LookPath("go")
		if err != nil {
			return errors.New("there is no go command in PATH")
		}
		command = path
	}
	args := []string{"install", "-tags", m.tags, "-ldflags", "-s -w -X github.com/prometheus/common/version.Version=" + m.version[1:]}
	for _, program := range m.programs {
		args = append(args, m.path+"/cmd/"+program+"@"+m.version)
	}
	cmd := exec.CommandContext(ctx, command, args...)
	cmd.Dir = to
	// What is set for our own modules must not change how others are built.
	cmd.Env = append(os.Environ(), "GOBIN="+to, "GOFLAGS=", "GOWORK=off", "CGO_ENABLED=0")
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("go install: %w: %s", err, lastLines(out))
	}
	return nil
}
