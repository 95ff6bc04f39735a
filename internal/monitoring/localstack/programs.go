package localstack

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// Programs are the paths of what a stack runs, and of the programs that check its configuration.
type Programs struct {
	Prometheus, Promtool string
	Alertmanager, Amtool string
	// PostgresExporter is "" where there is none; a stack goes without it.
	PostgresExporter string
}

// Options tell [Find] where to look. The zero value is the usual.
type Options struct {
	// RepoRoot is the repository, whose .tools keeps what is built. Default: see [RepoRoot].
	RepoRoot string
	// Logger hears what is installed, built or missing. Default: nobody.
	Logger *slog.Logger
}

// Find returns the programs, and installs or builds what is missing: Prometheus and the exporter from Debian's packages,
// which takes root; Alertmanager, and Prometheus where it is not to be had or too old, from their Go modules, which
// takes minutes. Package ensure does it for tests, before many of them look at the same time.
func Find(ctx context.Context, o Options) (Programs, error) {
	if o.RepoRoot == "" {
		root, err := RepoRoot()
		if err != nil {
			return Programs{}, err
		}
		o.RepoRoot = root
	}
	log := orDiscard(o.Logger)
	b := builder{dir: filepath.Join(o.RepoRoot, ".tools"), log: log}
	var p Programs
	var err error
	if p.Prometheus, p.Promtool, err = findPrometheus(ctx, Debian, b); err != nil {
		return p, fmt.Errorf("find prometheus: %w", err)
	}
	dir, err := b.build(ctx, alertmanagerModule())
	if err != nil {
		return p, fmt.Errorf("find alertmanager: %w", err)
	}
	p.Alertmanager, p.Amtool = filepath.Join(dir, "alertmanager"), filepath.Join(dir, "amtool")
	p.PostgresExporter, err = findExporter(ctx, Debian)
	if err != nil {
		log.WarnContext(ctx, "no exporter of PostgreSQL: there will be no metrics of the job postgres", "error", err)
	}
	return p, nil
}

// findPrometheus takes a packaged Prometheus that knows what the shipped files use, or builds one.
func findPrometheus(ctx context.Context, packaged findFunc, b builder) (prometheus, promtool string, err error) {
	const name, tool = "prometheus", "promtool"
	prometheus, err = packaged(ctx, name, name)
	if err == nil {
		promtool, err = packaged(ctx, tool, name)
	}
	if err == nil {
		err = errors.Join(recent(ctx, prometheus), recent(ctx, promtool))
	}
	if err == nil {
		return prometheus, promtool, nil
	}
	b.log.InfoContext(ctx, "no packaged prometheus", "error", err)
	dir, buildErr := b.build(ctx, prometheusModule())
	if buildErr != nil {
		return "", "", errors.Join(err, buildErr)
	}
	return filepath.Join(dir, name), filepath.Join(dir, tool), nil
}

// findFunc is [Debian].
type findFunc func(ctx context.Context, program, pkg string) (string, error)

// recent returns an error unless the program is of version 2.42 or newer, the first with keep_firing_for.
func recent(ctx context.Context, program string) error {
	out, err := exec.CommandContext(ctx, program, "--version").CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s --version: %w: %s", program, err, lastLines(out))
	}
	m := regexp.MustCompile(`version (\d+)\.(\d+)`).FindSubmatch(out)
	if m == nil {
		return fmt.Errorf("%s --version answered %q", program, lastLines(out))
	}
	major, _ := strconv.Atoi(string(m[1])) // They are digits.
	minor, _ := strconv.Atoi(string(m[2]))
	if major < 2 || major == 2 && minor < 42 {
		return fmt.Errorf("%s is version %d.%d, older than 2.42", program, major, minor)
	}
	return nil
}

// findExporter knows both names of the program: Debian's and its makers'.
func findExporter(ctx context.Context, packaged findFunc) (string, error) {
	if path, err := exec.LookPath("postgres_exporter"); err == nil {
		return filepath.Abs(path)
	}
	return packaged(ctx, "prometheus-postgres-exporter", "prometheus-postgres-exporter")
}

// RepoRoot returns the repository that the working directory is in.
func RepoRoot() (string, error) {
	wd, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for dir := wd; ; dir = filepath.Dir(dir) {
		text, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if err == nil && strings.HasPrefix(string(text), "module speedybites\n") {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", fmt.Errorf("%s is in no repository of Speedy Bites", wd)
		}
	}
}

func orDiscard(log *slog.Logger) *slog.Logger {
	if log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return log
}
