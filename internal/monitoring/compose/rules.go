package compose

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"
)

// pinned is a reference to an image with a tag of at least two numbers, which is not moved from release to release.
var pinned = regexp.MustCompile(`^[\w./-]+:v?\d+\.\d+(\.\d+)?(-[a-z0-9.]+)?(@sha256:[0-9a-f]{64})?$`)

// Check returns what is wrong with the services of a stack, beyond what Docker Compose would say. Each error names file and
// line.
func (s *Stack) Check() []error {
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(s.Services)) {
		c := checker{stack: s, service: s.Services[name]}
		c.image()
		c.rights()
		c.ports()
		c.limits()
		c.health()
		c.mounts()
		c.environment()
		errs = append(errs, c.errs...)
	}
	return append(errs, s.unused()...)
}

// checker looks at one service.
type checker struct {
	stack   *Stack
	service types.ServiceConfig
	errs    []error
}

// wrong notes a mistake in the service's key, or in what is missing there.
func (c *checker) wrong(key, format string, args ...any) {
	doc := c.stack.doc
	at := doc.line("services", c.service.Name, key)
	c.errs = append(c.errs, doc.errorf(at, "service "+c.service.Name+": "+format, args...))
}

func (c *checker) image() {
	image := c.service.Image
	if c.service.Build != nil {
		if !strings.HasSuffix(image, ":local") {
			c.wrong("image", "what is built here has the tag local, not %q: nobody shall look for it in a registry", image)
		}
		return
	}
	if !pinned.MatchString(image) {
		c.wrong("image", "%q is not pinned: it wants a tag such as :1.2.3", image)
	}
}

func (c *checker) rights() {
	user, _, _ := strings.Cut(c.service.User, ":")
	switch {
	case user == "" || user == "0" || user == "root":
		c.wrong("user", "runs as root, or as whom its image says: user is %q", c.service.User)
	case !c.service.ReadOnly:
		c.wrong("read_only", "its image can be written to: read_only is not set")
	case !slices.Equal(c.service.CapDrop, []string{"ALL"}):
		c.wrong("cap_drop", "keeps capabilities: cap_drop is %v, want [ALL]", c.service.CapDrop)
	case !slices.Contains(c.service.SecurityOpt, "no-new-privileges:true"):
		c.wrong("security_opt", "may get privileges: security_opt has no no-new-privileges:true")
	case c.service.Privileged || len(c.service.CapAdd) > 0 || c.service.Pid != "" || c.service.NetworkMode != "":
		c.wrong("privileged", "privileged, cap_add, pid and network_mode are not for this stack")
	}
}

func (c *checker) ports() {
	for _, port := range c.service.Ports {
		if port.HostIP != "127.0.0.1" {
			c.wrong("ports", "port %s is published on %q, not on 127.0.0.1", port.Published, port.HostIP)
		}
	}
}

func (c *checker) limits() {
	if c.service.MemLimit == 0 {
		c.wrong("mem_limit", "has no mem_limit")
	}
	if c.service.PidsLimit == 0 {
		c.wrong("pids_limit", "has no pids_limit")
	}
	if c.service.Logging == nil || c.service.Logging.Options["max-size"] == "" {
		c.wrong("logging", "its output may fill the disk: logging has no max-size")
	}
}

// oneShot says whether the service does something once and ends.
func oneShot(s types.ServiceConfig) bool { return s.Restart == "no" }

func (c *checker) health() {
	check := c.service.HealthCheck
	switch {
	case oneShot(c.service):
		if check == nil || !check.Disable {
			c.wrong("healthcheck", "it ends, so its health check has to be disabled")
		}
	case c.service.Restart != "unless-stopped":
		c.wrong("restart", "restart is %q, want unless-stopped, or no for what ends", c.service.Restart)
	case check == nil || check.Disable || len(check.Test) < 2:
		c.wrong("healthcheck", "has no health check")
	case check.Interval == nil || check.Timeout == nil || check.Retries == nil:
		c.wrong("healthcheck", "interval, timeout and retries are not all set")
	}
	for _, name := range slices.Sorted(maps.Keys(c.service.DependsOn)) {
		on, condition := c.stack.Services[name], c.service.DependsOn[name].Condition
		if ends := condition == types.ServiceConditionCompletedSuccessfully; ends != oneShot(on) {
			c.wrong("depends_on", "%s is waited for as %s, and restarts: %q", name, condition, on.Restart)
		}
	}
}

// mounts checks that what is mounted is there and cannot be written to, but for named volumes.
func (c *checker) mounts() {
	for _, v := range c.service.Volumes {
		if v.Type != types.VolumeTypeBind {
			continue
		}
		from, err := filepath.Rel(c.stack.Root, v.Source)
		switch {
		case err != nil || !filepath.IsLocal(from):
			c.wrong("volumes", "%s is not in the repository", v.Source)
		case !v.ReadOnly:
			c.wrong("volumes", "%s can be written to", from)
		default:
			if err := filled(v.Source); err != nil {
				c.wrong("volumes", "%s: %w", from, err)
			}
		}
	}
}

// filled returns an error unless there is such a file, or a directory with something in it. Docker would make an empty
// directory of what is not there.
func filled(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return errors.Unwrap(err)
	}
	if !info.IsDir() {
		if info.Size() == 0 {
			return errors.New("is empty")
		}
		return nil
	}
	entries, err := os.ReadDir(path)
	if err == nil && len(entries) == 0 {
		err = errors.New("is empty")
	}
	return err
}

// secretName is of variables that hold what nobody shall read, if they are not of files.
var secretName = regexp.MustCompile(`(?i)(password|passwd|_pass$|secret|token|_key|database_url|dsn|source_name)`)

func (c *checker) environment() {
	for _, name := range slices.Sorted(maps.Keys(c.service.Environment)) {
		value := c.service.Environment[name]
		if secretName.MatchString(name) && (value == nil || !strings.HasPrefix(*value, "/run/secrets")) {
			c.wrong("environment", "%s holds a secret: it wants a file", name)
		}
	}
}

// unused returns the volumes and secrets that no service has.
func (s *Stack) unused() []error {
	volumes, secrets := map[string]bool{}, map[string]bool{}
	for _, service := range s.Services {
		for _, v := range service.Volumes {
			volumes[v.Source] = true
		}
		for _, secret := range service.Secrets {
			secrets[secret.Source] = true
		}
	}
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(s.Volumes)) {
		if !volumes[name] {
			errs = append(errs, s.doc.errorf(s.doc.line("volumes", name), "volume %s is nobody's", name))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.Secrets)) {
		if !secrets[name] {
			errs = append(errs, s.doc.errorf(s.doc.line("secrets", name), "secret %s is nobody's", name))
		}
	}
	return errs
}
