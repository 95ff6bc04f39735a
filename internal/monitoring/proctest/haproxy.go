package proctest

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"sync"
	"testing"

	"speedybites/internal/monitoring/localstack"
)

// HAProxy is the path of the program.
var HAProxy = sync.OnceValues(func() (string, error) {
	return debianDaemon("haproxy")
})

// debianDaemon is the path of a program that Debian has where it is not in everybody's PATH, in a package of its name.
func debianDaemon(name string) (string, error) {
	elsewhere := "/usr/sbin/" + name
	if _, err := os.Stat(elsewhere); err == nil {
		return elsewhere, nil
	}
	return localstack.Debian(context.Background(), name, name)
}

// Balancer is HAProxy with the shipped configuration, in front of two instances.
type Balancer struct {
	*Process

	API, Operators string // URLs
}

// StartBalancer starts HAProxy for instances at two addresses, and waits until both are ready. It listens on sockets that
// it inherits, so that nobody can take its ports.
func StartBalancer(tb testing.TB, instances [2]string) *Balancer {
	tb.Helper()
	root, err := localstack.RepoRoot()
	if err != nil {
		tb.Fatal(err)
	}
	b := &Balancer{}
	config := filepath.Join(root, "observability", "stack", "haproxy", "haproxy.cfg")
	cmd := exec.CommandContext(context.Background(), Program(tb, HAProxy), "-db", "-f", config) //nolint:gosec // G204: a test's.
	cmd.Env = append(os.Environ(), "API_1="+instances[0], "API_2="+instances[1], "API_LISTEN=fd@3", "OPERATORS_LISTEN=fd@4")
	for _, url := range []*string{&b.API, &b.Operators} {
		l, err := (&net.ListenConfig{}).Listen(tb.Context(), "tcp", "127.0.0.1:0")
		if err != nil {
			tb.Fatal(err)
		}
		defer func() { _ = l.Close() }()
		f, err := l.(*net.TCPListener).File()
		if err != nil {
			tb.Fatal(err)
		}
		defer func() { _ = f.Close() }()
		cmd.ExtraFiles = append(cmd.ExtraFiles, f)
		*url = "http://" + l.Addr().String()
	}
	b.Process = Start(tb, cmd)
	b.Until(tb, Answers(b.Operators+"/healthz"))
	b.WaitFor(tb, "ready", 2)
	return b
}

// WaitFor waits until so many instances are up in a backend, as the exporter tells.
func (b *Balancer) WaitFor(tb testing.TB, backend string, up int) {
	tb.Helper()
	one := regexp.MustCompile(`(?m)^haproxy_server_status\{proxy="` + backend + `",server="[^"]*",state="UP"\} 1$`)
	b.Until(tb, func() error {
		metrics, _, err := Get(b.Operators + "/metrics")
		if got := len(one.FindAllString(metrics, -1)); err == nil && got != up {
			err = fmt.Errorf("%d servers are up in %s, want %d", got, backend, up)
		}
		return err
	})
}

// Pgbouncer is the path of the program.
var Pgbouncer = sync.OnceValues(func() (string, error) {
	return debianDaemon("pgbouncer")
})
