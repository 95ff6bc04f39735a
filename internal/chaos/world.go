package chaos

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
)

// world is everything that runs: what the faults take hold of.
type world struct {
	cfg      Config
	out      io.Writer // guarded by mu once the watches run
	dir      string
	bench    *bench
	pair     *pair
	paths    paths
	services [instances]*instance
	watches  [instances]*watch
	menu     menu
	allowed  windows

	looking     sync.WaitGroup
	stopLooking context.CancelFunc

	mu       sync.Mutex
	wrong    []Discrepancy
	happened []*happening
}

// build builds the service. With race it finds data races, too, and is several times as slow.
func build(ctx context.Context, to string, race bool) (string, error) {
	program := filepath.Join(to, "speedy-bites")
	args := []string{"build", "-o", program}
	if race {
		args = append(args, "-race")
	}
	cmd := exec.CommandContext(ctx, "go", append(args, "speedybites/cmd/speedy-bites")...) //nolint:gosec // G204: nothing of it is anybody else's
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build the service: %w\n%s", err, out)
	}
	return program, nil
}

// newWorld starts everything; on an error, what it returns has to be closed all the same.
func newWorld(ctx context.Context, cfg Config, out io.Writer) (*world, error) {
	w := &world{cfg: cfg, out: out, bench: &bench{}, allowed: windows{noise: cfg.Noise}}
	var err error
	if w.dir, err = os.MkdirTemp("", "speedybites-chaos-"); err != nil {
		return w, err
	}
	// The user that runs PostgreSQL for root has to get through.
	if err := os.Chmod(w.dir, 0o755); err != nil { //nolint:gosec // G302: what is secret in it is protected on its own
		return w, err
	}
	program, err := build(ctx, w.dir, cfg.Race)
	if err != nil {
		return w, err
	}
	if w.pair, err = startPair(ctx, w.dir); err != nil {
		return w, err
	}
	if err := w.pair.addStandby(ctx); err != nil {
		return w, err
	}
	if w.paths, err = newPaths(w.bench, w.pair); err != nil {
		return w, err
	}
	return w, w.startServices(ctx, program)
}

func (w *world) startServices(ctx context.Context, program string) error {
	looking, stop := context.WithCancel(context.WithoutCancel(ctx))
	w.stopLooking = stop
	secret := strings.ReplaceAll(uuid.NewString()+uuid.NewString(), "-", "")
	primary, _ := w.pair.roles()
	for i := range w.services {
		url, err := w.paths.url(i, primary)
		if err != nil {
			return err
		}
		s, err := newInstance(i, program, w.dir, w.environ(url, secret))
		if err != nil {
			return err
		}
		w.services[i] = s
		if i == 0 {
			if out, err := s.command(ctx, "migrate", "up").CombinedOutput(); err != nil {
				return fmt.Errorf("migrate: %w\n%s", err, out)
			}
		}
		if err := s.start(ctx); err != nil {
			return err
		}
		w.watches[i] = &watch{instance: s, allowed: &w.allowed, report: func(what string) { w.report(what, nil) }}
		w.looking.Go(func() { w.watches[i].run(looking) })
	}
	var err error
	w.menu, err = makeMenu(ctx, w.services[0].base)
	return err
}

// environ is what the instances are told. Everything that is promised is promised for the defaults; only the queue has to
// have room for all requests of a grace, on one instance, and for those that come in late.
func (w *world) environ(databaseURL, secret string) []string {
	env := []string{
		"APP_ENV=production", "HOST=127.0.0.1", "DATABASE_URL=" + databaseURL, "TOKEN_SECRET=" + secret,
		"TOKEN_TTL_MS=86400000", "DB_MAX_WAITING=" + strconv.Itoa(max(1000, 15*w.cfg.Rate)),
		"LOG_COMPRESS=false", "LOG_MAX_BACKUPS=0",
	}
	if w.cfg.replicas() { // whichever is the standby
		env = append(env, "DATABASE_REPLICA_URL="+databaseURL)
	}
	return env
}

// pick is the balancer: instances take turns, and one that is not ready is passed over while the other is.
func (w *world) pick(request, attempt int) int {
	i := (request + request/10 + attempt) % instances
	if other := 1 - i; !w.watches[i].isReady() && w.watches[other].isReady() {
		return other
	}
	return i
}

// stopServices ends the instances as SIGTERM does.
func (w *world) stopServices(ctx context.Context) error {
	if w.stopLooking != nil {
		w.stopLooking()
		w.looking.Wait()
	}
	var errs []error
	for _, s := range w.services {
		if s != nil && s.cmd != nil && !s.gone() {
			errs = append(errs, s.terminate(ctx))
		}
	}
	return errors.Join(errs...)
}

// close takes everything down. keep leaves the logs.
func (w *world) close(ctx context.Context, keep bool) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	errs := []error{w.stopServices(ctx), w.bench.close()}
	if w.pair != nil {
		errs = append(errs, w.pair.end(ctx, keep)...)
	}
	if !keep && w.dir != "" {
		errs = append(errs, os.RemoveAll(w.dir))
	}
	return errors.Join(errs...)
}
