package postgres

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/otel/trace/noop"
)

// TestHostLists: every list of hosts that libpq takes is understood, as the primary's and as the replicas'.
func TestHostLists(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		url  string
		want []string
	}{
		{"postgres://u:p@a/db", []string{"a:5432"}},
		{"postgres://u:p@a:1/db?sslmode=disable", []string{"a:1"}},
		{"postgres://u:p@a:1,b:2,c:3/db", []string{"a:1", "b:2", "c:3"}},
		{"postgres://u:p@a:1,b/db", []string{"a:1", "b:5432"}},
		{"postgres://u:p@a,b:2/db?application_name=x", []string{"a:5432", "b:2"}},
		{"postgresql://u:p%40%2F@[::1]:1,[fe80::1],10.0.0.1:3/db", []string{"[::1]:1", "[fe80::1]:5432", "10.0.0.1:3"}},
		{"postgres://u@[::1]:7/db", []string{"[::1]:7"}},
		{"postgres://u:p@/db?host=a,b&port=1,2", []string{"a:1", "b:2"}},
	} {
		cfg := Config{URL: c.url, ReplicaURL: c.url, PoolMax: 1}
		pc, err := cfg.primaryPool(noop.NewTracerProvider())
		if err != nil {
			t.Errorf("%s: %v", c.url, err)
			continue
		}
		if diff := cmp.Diff(c.want, names(hostsOf(pc.ConnConfig))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.url, diff)
		}
		if pc.ConnConfig.User != "u" || pc.ConnConfig.Database != "db" || (pc.ConnConfig.ValidateConnect != nil) != (len(c.want) > 1) {
			t.Errorf("%s: user %q, database %q, a search for the primary: %t", c.url, pc.ConnConfig.User, pc.ConnConfig.Database,
				pc.ConnConfig.ValidateConnect != nil)
		}
		replicas, pools, err := cfg.replicaPools(noop.NewTracerProvider())
		if err != nil {
			t.Errorf("replicas %s: %v", c.url, err)
			continue
		}
		if diff := cmp.Diff(c.want, names(replicas)); diff != "" {
			t.Errorf("replicas %s (-want +got):\n%s", c.url, diff)
		}
		for i, p := range pools {
			if got := names(hostsOf(p.ConnConfig)); len(got) != 1 || got[0] != c.want[i] || p.ConnConfig.ValidateConnect != nil {
				t.Errorf("replicas %s: pool %d is of %v", c.url, i, got)
			}
		}
	}
	for _, bad := range []string{"", "mysql://a/b", "postgres://u:se cret@a b/db"} {
		if _, err := (Config{URL: bad}).DSN(); err == nil || strings.Contains(err.Error(), "se cret") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}
