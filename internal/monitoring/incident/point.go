package incident

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/common/model"
)

// kind is what a point does to its series.
type kind int

const (
	set     kind = iota // the value is n
	slope               // it changes by n a second
	jump                // it is n more
	hold                // it stays
	clock               // it is the time of the scrape, plus shift
	stamp               // it is the time that lies shift after the start
	gone                // the series ends
	observe             // a histogram gets loads
)

// point is a change of a series.
type point struct {
	at    time.Duration // when it comes, since the start of the script
	kind  kind
	n     float64
	shift time.Duration // of clock and stamp
	loads []load
}

// load is a number of equal observations a second.
type load struct{ rate, value float64 }

// parsePoint reads VALUE@TIME.
func parsePoint(text string) (point, error) {
	value, when, ok := strings.Cut(text, "@")
	if !ok {
		return point{}, fmt.Errorf("%q is no point: want VALUE@TIME", text)
	}
	at, err := parseTime(when)
	if err != nil {
		return point{}, fmt.Errorf("%q: %w", text, err)
	}
	p := point{at: at}
	switch {
	case value == "hold":
		p.kind = hold
	case value == "gone":
		p.kind = gone
	case strings.HasPrefix(value, "now"):
		p.kind = clock
		p.shift, err = parseShift(value[len("now"):])
	case strings.HasPrefix(value, "stamp"):
		p.kind = stamp
		p.shift, err = parseShift(value[len("stamp"):])
		p.shift += at
	case strings.Contains(value, "~"):
		p.kind = observe
		p.loads, err = parseLoads(value)
	case strings.Contains(value, "/"):
		p.kind = slope
		p.n, err = parseRate(value)
	case strings.HasPrefix(value, "+"):
		p.kind = jump
		p.n, err = parseNumber(value)
	default:
		p.n, err = parseNumber(value)
	}
	if err != nil {
		return point{}, fmt.Errorf("%q: %w", text, err)
	}
	return p, nil
}

func unix(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }

// parseTime reads a time since the start, in Prometheus's notation.
func parseTime(text string) (time.Duration, error) {
	d, err := model.ParseDuration(text)
	if err != nil {
		return 0, fmt.Errorf("%q is no time: want one like 90s or 2m15s", text)
	}
	return time.Duration(d), nil
}

// parseShift reads what may follow now and stamp: nothing, -2h or +30s.
func parseShift(text string) (time.Duration, error) {
	if text == "" {
		return 0, nil
	}
	d, err := parseTime(text[1:])
	switch {
	case err != nil:
		return 0, err
	case text[0] == '-':
		return -d, nil
	case text[0] == '+':
		return d, nil
	}
	return 0, fmt.Errorf("%q: want + or - and a time", text)
}

func parseNumber(text string) (float64, error) {
	n, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return 0, fmt.Errorf("%q is no number", text)
	}
	return n, nil
}

// parseRate reads +2/s, -1/m or 20/s, a change a second.
func parseRate(text string) (float64, error) {
	number, unit, _ := strings.Cut(text, "/")
	seconds := map[string]float64{"s": 1, "m": 60, "h": 3600}[unit]
	if seconds == 0 {
		return 0, fmt.Errorf("%q is no rate: want one like +2/s, or /m, or /h", text)
	}
	n, err := parseNumber(number)
	if err != nil {
		return 0, err
	}
	return n / seconds, nil
}

// parseLoads reads 19/s~30ms+1/s~2s. An observation is a number, or a duration for seconds.
func parseLoads(text string) ([]load, error) {
	var loads []load
	for part := range strings.SplitSeq(text, "+") {
		rate, value, _ := strings.Cut(part, "~")
		n, err := parseRate(rate)
		if err != nil {
			return nil, err
		}
		v, err := parseNumber(value)
		if err != nil {
			d, err := time.ParseDuration(value)
			if err != nil {
				return nil, fmt.Errorf("%q is no observation: want a number, or a duration", value)
			}
			v = d.Seconds()
		}
		loads = append(loads, load{rate: n, value: v})
	}
	return loads, nil
}

// curve is the value of a series over time. It is read forwards.
type curve struct {
	points []point // in order
	zero   time.Time
	first  time.Duration // the beginning of the history

	present bool
	from    time.Duration // when it began to be as it is
	base    float64
	slope   float64
	clocked bool
	shift   time.Duration
	born    time.Duration // it is there after this time
}

// newCurve makes a curve of points. Those at 0 hold since the history began.
func newCurve(points []point, zero time.Time, history time.Duration) *curve {
	points = slices.Clone(points)
	for i := range points {
		if points[i].at == 0 {
			points[i].at = -history
		}
	}
	slices.SortStableFunc(points, func(a, b point) int { return cmp.Compare(a.at, b.at) })
	return &curve{points: points, zero: zero, first: -history, born: -history - 1}
}

// at is the value at t, and whether there is one. t must not be before that of the last call.
func (c *curve) at(t time.Duration) (float64, bool) {
	for len(c.points) > 0 && c.points[0].at <= t {
		c.apply(c.points[0])
		c.points = c.points[1:]
	}
	return c.value(t), c.present && t > c.born
}

func (c *curve) value(t time.Duration) float64 {
	if c.clocked {
		return unix(c.zero.Add(t + c.shift))
	}
	return c.base + c.slope*(t-c.from).Seconds()
}

func (c *curve) apply(p point) {
	value := c.value(p.at)
	if !c.present {
		value, c.slope = 0, 0
		if p.kind == slope && p.at > c.first {
			c.born = p.at
		}
	}
	c.present = true
	c.base, c.from, c.clocked = value, p.at, false
	switch p.kind {
	case set:
		c.base, c.slope = p.n, 0
	case slope:
		c.slope = p.n
	case jump:
		c.base += p.n
	case hold:
		c.slope = 0
	case clock:
		c.clocked, c.shift = true, p.shift
	case stamp:
		c.base, c.slope = unix(c.zero.Add(p.shift)), 0
	case gone:
		c.present = false
	case observe:
		panic("incident: a histogram is split into its series before")
	}
}

// restart lets a counter begin at 0 at t.
func (c *curve) restart(t time.Duration) {
	c.base, c.from, c.clocked = 0, t, false
}
