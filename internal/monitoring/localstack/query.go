package localstack

import (
	"context"
	"errors"
	"fmt"
	"time"

	v1 "github.com/prometheus/client_golang/api/prometheus/v1"
	"github.com/prometheus/common/model"

	"speedybites/internal/localpg"
	"speedybites/observability/stack/receiver"
)

// URLs are the addresses of a stack, without a path. Those of the instances are in their order.
type URLs struct {
	API, Metrics                       []string
	PostgresExporter                   string // "" without one
	Prometheus, Alertmanager, Receiver string
}

// URLs returns where everything is.
func (s *Stack) URLs() URLs {
	p := s.cfg.Ports
	url := func(port int) string { return fmt.Sprintf("http://localhost:%d", port) }
	u := URLs{Prometheus: url(p.Prometheus), Alertmanager: url(p.Alertmanager), Receiver: url(p.Receiver)}
	for i := range s.cfg.Instances {
		u.API, u.Metrics = append(u.API, url(p.API[i])), append(u.Metrics, url(p.Metrics[i]))
	}
	if s.cfg.Programs.PostgresExporter != "" {
		u.PostgresExporter = url(p.PostgresExporter)
	}
	return u
}

// Process is one process of a stack.
type Process struct {
	Name   string
	Pid    int
	Output string // path of the file with what it says
}

// Processes returns those that are running, in the order of their start, PostgreSQL aside.
func (s *Stack) Processes() []Process {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []Process
	for _, p := range s.processes {
		if !p.gone() {
			list = append(list, Process{Name: p.name, Pid: p.pid(), Output: p.output})
		}
	}
	return list
}

// Dir is the directory of the stack, with its absolute path.
func (s *Stack) Dir() string { return s.cfg.Dir }

// Database is the stack's PostgreSQL, to be killed, paused and started again.
func (s *Stack) Database() *localpg.Server { return s.db }

// Replica is its standby, which can be promoted as well; nil without one.
func (s *Stack) Replica() *localpg.Server { return s.replica }

// Notifications returns what Alertmanager has sent, newest first.
func (s *Stack) Notifications() []receiver.Notification { return s.receiver.Notifications() }

// Watchdog tells whether alerting works, as the receiver sees it.
func (s *Stack) Watchdog() receiver.Watchdog { return s.receiver.Watchdog() }

// Prometheus is the whole of Prometheus's API.
func (s *Stack) Prometheus() v1.API { return s.api }

// Query evaluates an expression now. A number is returned as a sample without labels.
func (s *Stack) Query(ctx context.Context, expr string) (model.Vector, error) {
	value, warnings, _, err := s.api.Query(ctx, expr, time.Now())
	if err := judge(warnings, err); err != nil {
		return nil, fmt.Errorf("query %s: %w", expr, err)
	}
	switch value := value.(type) {
	case model.Vector:
		return value, nil
	case *model.Scalar:
		return model.Vector{{Metric: model.Metric{}, Value: value.Value, Timestamp: value.Timestamp}}, nil
	default:
		return nil, fmt.Errorf("query %s: the result is a %s", expr, value.Type())
	}
}

// QueryRange evaluates an expression at each step of a range.
func (s *Stack) QueryRange(ctx context.Context, expr string, r v1.Range) (model.Matrix, error) {
	value, warnings, _, err := s.api.QueryRange(ctx, expr, r)
	if err := judge(warnings, err); err != nil {
		return nil, fmt.Errorf("query %s: %w", expr, err)
	}
	matrix, ok := value.(model.Matrix)
	if !ok {
		return nil, fmt.Errorf("query %s: the result is a %s", expr, value.Type())
	}
	return matrix, nil
}

// judge makes errors of warnings: they say that a result is not what was asked for.
func judge(warnings v1.Warnings, err error) error {
	for _, w := range warnings {
		err = errors.Join(err, errors.New(w))
	}
	return err
}
