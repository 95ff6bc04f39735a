// Package patroni runs PostgreSQL under Patroni for tests: one etcd, and two members of a cluster with synchronous
// replication, from Debian's packages patroni and etcd-server.
package patroni

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"speedybites/internal/localpg"
	"speedybites/internal/monitoring/proctest"
)

// Patroni's times, in seconds, as short as its rule LoopWait + 2 × RetryTimeout ≤ TTL allows. A leader that is killed is
// replaced after TTL at the earliest.
const (
	TTL          = 5
	LoopWait     = 1
	RetryTimeout = 2
)

// patience is how long a test waits for what Patroni is bound to do, on a busy machine too.
const patience = 2 * time.Minute

// Cluster is two PostgreSQL servers, of which Patroni makes one the leader.
type Cluster struct {
	Members [2]*Member

	tb testing.TB
}

// Start starts a cluster, with an empty database and the ordinary user for it, and removes it when the test ends. It
// returns when the second member is a synchronous standby.
func Start(tb testing.TB) *Cluster {
	tb.Helper()
	programs, err := findPrograms()
	if err != nil {
		tb.Fatal(err)
	}
	c := &Cluster{tb: tb}
	etcd := startEtcd(tb, programs, programs.dir(tb))
	for i, name := range []string{"db-1", "db-2"} {
		c.Members[i] = newMember(tb, programs, name, etcd, programs.dir(tb))
		c.Members[i].Start()
	}
	c.Until(c.HasLeader)
	c.createDatabase()
	c.Until(c.HasStandby)
	return c
}

// startEtcd starts an etcd for Patroni to keep its state in, and returns its address.
func startEtcd(tb testing.TB, p programs, dir string) (address string) {
	tb.Helper()
	clients, peers := "127.0.0.1:"+proctest.FreePort(tb), "http://127.0.0.1:"+proctest.FreePort(tb)
	etcd := proctest.Start(tb, p.command(p.etcd, syscall.SIGKILL,
		"--data-dir", filepath.Join(dir, "etcd"),
		"--listen-client-urls", "http://"+clients, "--advertise-client-urls", "http://"+clients,
		"--listen-peer-urls", peers, "--initial-advertise-peer-urls", peers, "--initial-cluster", "default="+peers,
	))
	etcd.Until(tb, proctest.Answers("http://"+clients+"/health"))
	return clients
}

// Until waits for f to return nil.
func (c *Cluster) Until(f func() error) {
	c.tb.Helper()
	if err := eventually(c.tb.Context(), f); err != nil {
		c.tb.Fatal(err)
	}
}

func eventually(ctx context.Context, f func() error) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := f()
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("in vain: %w (%w)", ctx.Err(), err)
		}
	}
}

// HasLeader returns nil when one of the members is the leader.
func (c *Cluster) HasLeader() error {
	if c.Leader() == nil {
		return errors.New("there is no leader")
	}
	return nil
}

// Leader returns the member that says it is the leader, nil if none does.
func (c *Cluster) Leader() *Member {
	for _, m := range c.Members {
		if m.is("primary") {
			return m
		}
	}
	return nil
}

// HasStandby returns nil when COMMIT on the leader waits for the other member.
func (c *Cluster) HasStandby() error {
	for _, m := range c.Members {
		if m.is("synchronous") {
			return nil
		}
	}
	return errors.New("no member is a synchronous standby")
}

// Other returns the member that is not m.
func (c *Cluster) Other(m *Member) *Member {
	if m == c.Members[0] {
		return c.Members[1]
	}
	return c.Members[0]
}

// Switchover has Patroni change the roles, and returns when there is a new leader.
func (c *Cluster) Switchover() {
	c.tb.Helper()
	from := c.Leader()
	body, err := json.Marshal(map[string]string{"leader": from.name, "candidate": c.Other(from).name})
	if err != nil {
		c.tb.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(c.tb.Context(), patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, from.api+"/switchover", bytes.NewReader(body))
	if err != nil {
		c.tb.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		c.tb.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	var said bytes.Buffer
	if _, err := said.ReadFrom(resp.Body); err != nil || resp.StatusCode != http.StatusOK {
		c.tb.Fatalf("switchover: %s %s (%v)", resp.Status, said.String(), err)
	}
}

// createDatabase makes the role and the database that the URLs are for.
func (c *Cluster) createDatabase() {
	c.tb.Helper()
	conn, err := pgx.Connect(c.tb.Context(), c.Leader().AdminURL("postgres"))
	if err != nil {
		c.tb.Fatal(err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(c.tb.Context())) }()
	for _, sql := range []string{
		fmt.Sprintf("CREATE ROLE %s LOGIN PASSWORD '%s'", localpg.User, password),
		fmt.Sprintf("CREATE DATABASE %s OWNER %s", database, localpg.User),
	} {
		if _, err := conn.Exec(c.tb.Context(), sql); err != nil {
			c.tb.Fatal(err)
		}
	}
}

// URL names both members, the first one first.
func (c *Cluster) URL() string {
	return fmt.Sprintf("postgres://%s:%s@%s,%s/%s?sslmode=disable",
		localpg.User, password, c.Members[0].addr, c.Members[1].addr, database)
}
