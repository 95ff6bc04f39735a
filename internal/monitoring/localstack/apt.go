package localstack

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// Debian returns the path of a program: the one in PATH, else, for root, that of the Debian package with it, which is
// installed. Several processes may call it at once.
func Debian(ctx context.Context, program, pkg string) (string, error) {
	return debian{lockDir: "/var/cache/speedy-bites", systemd: "/run/systemd/system"}.find(ctx, program, pkg)
}

// debian is how packages are installed.
type debian struct {
	// aptGet is the program. Default: the one in PATH.
	aptGet string
	// lockDir has the lock of all who install: apt-get itself only waits for some of its locks.
	lockDir string
	// systemd is the directory that is there on a machine run by systemd. There, packages with a service start it, and
	// again at every boot; nobody asked for that.
	systemd string
}

func (d debian) find(ctx context.Context, program, pkg string) (string, error) {
	if path, err := exec.LookPath(program); err == nil {
		return filepath.Abs(path)
	}
	if err := d.install(ctx, program, pkg); err != nil {
		return "", fmt.Errorf("no program %s in PATH; install the package %s (Debian and Ubuntu: apt-get install %s), "+
			"or the program by other means: %w", program, pkg, pkg, err)
	}
	path, err := exec.LookPath(program)
	if err != nil {
		return "", fmt.Errorf("the package %s is installed, yet it has no program %s: %w", pkg, program, err)
	}
	return filepath.Abs(path)
}

// install installs a package. It refreshes the package lists only when they prove too old or missing.
func (d debian) install(ctx context.Context, program, pkg string) error {
	if os.Geteuid() != 0 {
		return errors.New("it was not installed from here, as that takes root")
	}
	if _, err := os.Stat(d.systemd); err == nil {
		return errors.New("it was not installed from here, as systemd might start it as a service")
	}
	if d.aptGet == "" {
		path, err := exec.LookPath("apt-get")
		if err != nil {
			return errors.New("there is no apt-get to install it with")
		}
		d.aptGet = path
	}
	if err := os.MkdirAll(d.lockDir, 0o755); err != nil { //nolint:gosec // G301: nothing in it is secret.
		return err
	}
	lock, err := acquire(ctx, filepath.Join(d.lockDir, "apt.lock"), true)
	if err != nil {
		return err
	}
	defer lock.Close()
	if _, err := exec.LookPath(program); err == nil {
		return nil // Somebody else was faster.
	}
	install := []string{"install", "-y", "--no-install-recommends", "-o", "DPkg::Lock::Timeout=300", pkg}
	first := d.run(ctx, install...)
	if first == nil {
		return nil
	}
	if err := d.run(ctx, "update"); err != nil {
		return errors.Join(first, err)
	}
	return d.run(ctx, install...)
}

func (d debian) run(ctx context.Context, args ...string) error {
	cmd := exec.CommandContext(ctx, d.aptGet, args...) //nolint:gosec // G204: the packages are named in the code.
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
	// An apt-get that is killed leaves half configured packages behind; it cleans up when interrupted.
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 30 * time.Second
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("apt-get %s: %w: %s", args[0], err, lastLines(out))
	}
	return nil
}
