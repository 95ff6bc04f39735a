package tracing

import (
	"fmt"
	"log/slog"
	"math"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

// Settings are what the OTEL_* variables say about traces. A value that cannot
// be used is warned of and treated as not set, as their specification wants.
type Settings struct {
	// Disabled is OTEL_SDK_DISABLED: no signal is produced.
	Disabled bool
	// Exporter is "otlp", "console", or "none", which it is as long as no
	// endpoint is set.
	Exporter string
	// Sampler is the sampler asked for.
	Sampler sdktrace.Sampler
	// Batch is what OTEL_BSP_* say.
	Batch Batch

	otlp otlp
}

// reader reads variables and warns of those that cannot be used.
type reader struct {
	getenv func(string) string
	log    *slog.Logger
}

// ReadSettings reads the variables from getenv, and warns on log, one line for
// each mistake.
func ReadSettings(getenv func(string) string, log *slog.Logger) Settings {
	r := reader{getenv: getenv, log: log}
	s := Settings{
		Disabled: r.flag("OTEL_SDK_DISABLED"),
		Exporter: "none",
	}
	s.Sampler = r.sampler()
	if s.Disabled {
		return s
	}
	// Metrics are scraped and logs are files, which these cannot change.
	r.oneOf("OTEL_METRICS_EXPORTER", "prometheus", "none")
	r.oneOf("OTEL_LOGS_EXPORTER", "none")
	s.Batch = Batch{
		Queue: r.count("OTEL_BSP_MAX_QUEUE_SIZE"), Size: r.count("OTEL_BSP_MAX_EXPORT_BATCH_SIZE"),
		Interval: r.millis("OTEL_BSP_SCHEDULE_DELAY"), Timeout: r.millis("OTEL_BSP_EXPORT_TIMEOUT"),
	}
	switch wanted := r.oneOf("OTEL_TRACES_EXPORTER", "otlp", "console", "none"); wanted {
	case "console", "none":
		s.Exporter = wanted
	default:
		if otlp, ok := r.otlp(); ok {
			s.Exporter, s.otlp = "otlp", otlp
		}
	}
	return s
}

// value returns a variable. The specification wants the empty one to be as
// good as none.
func (r reader) value(name string) string { return strings.TrimSpace(r.getenv(name)) }

func (r reader) warn(name, value, allowed string) {
	r.log.Warn("variable cannot be used and is ignored", "name", name, "value", value, "allowed", allowed)
}

func (r reader) oneOf(name string, allowed ...string) string {
	value := r.value(name)
	if value != "" && !slices.Contains(allowed, value) {
		r.warn(name, value, strings.Join(allowed, ", "))
		return ""
	}
	return value
}

func (r reader) flag(name string) bool {
	return strings.EqualFold(r.oneOf(name, "true", "false", "TRUE", "FALSE", "True", "False"), "true")
}

// count returns a positive number, or 0 when there is none.
func (r reader) count(name string) int {
	value := r.value(name)
	if value == "" {
		return 0
	}
	n, err := strconv.Atoi(value)
	if err != nil || n <= 0 || n > math.MaxInt32 {
		r.warn(name, value, "a whole number above 0")
		return 0
	}
	return n
}

func (r reader) millis(name string) time.Duration {
	return time.Duration(r.count(name)) * time.Millisecond
}

func (r reader) sampler() sdktrace.Sampler {
	const name = "OTEL_TRACES_SAMPLER"
	switch r.oneOf(name, "always_on", "always_off", "traceidratio",
		"parentbased_always_on", "parentbased_always_off", "parentbased_traceidratio") {
	case "always_on":
		return sdktrace.AlwaysSample()
	case "always_off":
		return sdktrace.NeverSample()
	case "traceidratio":
		return sdktrace.TraceIDRatioBased(r.ratio())
	case "parentbased_always_off":
		return sdktrace.ParentBased(sdktrace.NeverSample())
	case "parentbased_traceidratio":
		return sdktrace.ParentBased(sdktrace.TraceIDRatioBased(r.ratio()))
	case "":
		if r.value(name) == "" && r.value("OTEL_TRACES_SAMPLER_ARG") != "" {
			// Whoever gives a ratio alone means it.
			return sdktrace.ParentBased(sdktrace.TraceIDRatioBased(r.ratio()))
		}
	}
	return sdktrace.ParentBased(sdktrace.AlwaysSample())
}

func (r reader) ratio() float64 {
	const name = "OTEL_TRACES_SAMPLER_ARG"
	value := r.value(name)
	if value == "" {
		return 1
	}
	ratio, err := strconv.ParseFloat(value, 64)
	if err != nil || !(ratio >= 0 && ratio <= 1) {
		r.warn(name, value, "a number from 0 to 1")
		return 1
	}
	return ratio
}

// Pairs reads a list of key=value, such as OTEL_RESOURCE_ATTRIBUTES. One wrong
// pair spoils the list. The warning keeps the value to itself, which may be
// secret.
func Pairs(name string, getenv func(string) string, log *slog.Logger) map[string]string {
	return reader{getenv: getenv, log: log}.pairs(name)
}

func (r reader) pairs(name string) map[string]string {
	text := r.value(name)
	if text == "" {
		return nil
	}
	pairs := make(map[string]string)
	for part := range strings.SplitSeq(text, ",") {
		key, value, ok := strings.Cut(part, "=")
		key = strings.TrimSpace(key)
		value, err := url.PathUnescape(strings.TrimSpace(value))
		if !ok || key == "" || err != nil {
			r.warn(name, fmt.Sprintf("(%d characters)", len(text)), "key=value, with commas between and %XX for special characters")
			return nil
		}
		pairs[key] = value
	}
	return pairs
}
