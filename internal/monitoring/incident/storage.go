package incident

import (
	"context"
	"errors"
	"math"
	"slices"
	"sort"
	"strings"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/util/annotations"
)

// memory is a storage of samples in slices. Rules read the same few minutes over and over, and Prometheus's own storage,
// which has to unpack them each time, takes most of an hour's time for that. One goroutine uses it.
type memory struct {
	all    []*memorySeries // by reference, which begins at 1
	byHash map[uint64][]*memorySeries
	byName map[string]*metric
}

// metric has the series of one name, and which of them were asked for before.
type metric struct {
	series   []*memorySeries
	selected map[string][]*memorySeries // by matchers
}

// milliseconds are a Unix time, as Prometheus counts it.
type milliseconds = int64

type sample struct {
	t milliseconds
	v float64
}

type memorySeries struct {
	ref     storage.SeriesRef
	labels  labels.Labels
	samples []sample
}

func newMemory() *memory {
	return &memory{byHash: map[uint64][]*memorySeries{}, byName: map[string]*metric{}}
}

// of returns the series with these labels, a new one if need be.
func (m *memory) of(ls labels.Labels) *memorySeries {
	hash := ls.Hash()
	for _, s := range m.byHash[hash] {
		if labels.Equal(s.labels, ls) {
			return s
		}
	}
	s := &memorySeries{ref: storage.SeriesRef(len(m.all) + 1), labels: ls}
	m.all = append(m.all, s)
	m.byHash[hash] = append(m.byHash[hash], s)
	name := ls.Get(model.MetricNameLabel)
	if m.byName[name] == nil {
		m.byName[name] = &metric{}
	}
	m.byName[name].series = append(m.byName[name].series, s)
	m.byName[name].selected = map[string][]*memorySeries{}
	return s
}

// AppenderV2 implements storage.AppendableV2. What is appended is seen at once, and cannot be rolled back: nobody reads while
// somebody appends, and an incident ends with the first failure.
func (m *memory) AppenderV2(context.Context) storage.AppenderV2 { return memoryAppender{m} }

type memoryAppender struct{ memory *memory }

// Append implements storage.AppenderV2.
func (a memoryAppender) Append(ref storage.SeriesRef, ls labels.Labels, _, t milliseconds, v float64,
	h *histogram.Histogram, fh *histogram.FloatHistogram, _ storage.AppendV2Options,
) (storage.SeriesRef, error) {
	if h != nil || fh != nil {
		return 0, errors.New("native histograms are not supported")
	}
	var s *memorySeries
	if ref > 0 {
		s = a.memory.all[ref-1]
	} else {
		s = a.memory.of(ls)
	}
	if n := len(s.samples); n > 0 {
		last := s.samples[n-1]
		switch {
		case t < last.t:
			return 0, storage.ErrOutOfOrderSample
		case t == last.t && math.Float64bits(v) != math.Float64bits(last.v):
			return 0, storage.ErrDuplicateSampleForTimestamp
		case t == last.t:
			return s.ref, nil
		}
	}
	s.samples = append(s.samples, sample{t, v})
	return s.ref, nil
}

// Commit implements storage.AppenderV2.
func (memoryAppender) Commit() error { return nil }

// Rollback implements storage.AppenderV2.
func (memoryAppender) Rollback() error { return errors.New("samples cannot be rolled back") }

// Querier implements storage.Queryable.
func (m *memory) Querier(mint, maxt milliseconds) (storage.Querier, error) {
	return memoryQuerier{m, mint, maxt}, nil
}

type memoryQuerier struct {
	memory     *memory
	mint, maxt milliseconds
}

// Select implements storage.Querier.
func (q memoryQuerier) Select(_ context.Context, sorted bool, _ *storage.SelectHints, matchers ...*labels.Matcher) storage.SeriesSet {
	set := &memorySet{mint: q.mint, maxt: q.maxt}
	for _, s := range q.memory.find(matchers) {
		if s.samples[len(s.samples)-1].t >= q.mint {
			set.series = append(set.series, s)
		}
	}
	if sorted {
		slices.SortFunc(set.series, func(a, b *memorySeries) int { return labels.Compare(a.labels, b.labels) })
	}
	return set
}

func (m *memory) find(matchers []*labels.Matcher) []*memorySeries {
	match := func(all []*memorySeries) (found []*memorySeries) {
		for _, s := range all {
			if labels.Selector(matchers).Matches(s.labels) {
				found = append(found, s)
			}
		}
		return found
	}
	i := slices.IndexFunc(matchers, func(l *labels.Matcher) bool {
		return l.Name == model.MetricNameLabel && l.Type == labels.MatchEqual
	})
	if i < 0 {
		var found []*memorySeries
		for _, one := range m.byName {
			found = append(found, match(one.series)...)
		}
		slices.SortFunc(found, func(a, b *memorySeries) int { return labels.Compare(a.labels, b.labels) })
		return found
	}
	of := m.byName[matchers[i].Value]
	if of == nil {
		return nil
	}
	var key strings.Builder
	for _, l := range matchers {
		key.WriteString(l.Name + l.Type.String() + l.Value + "\xff")
	}
	found, ok := of.selected[key.String()]
	if !ok {
		found = match(of.series)
		of.selected[key.String()] = found
	}
	return found
}

// LabelValues implements storage.Querier. No rule asks for it.
func (memoryQuerier) LabelValues(context.Context, string, *storage.LabelHints, ...*labels.Matcher) ([]string, annotations.Annotations, error) {
	return nil, nil, errors.ErrUnsupported
}

// LabelNames implements storage.Querier. No rule asks for it.
func (memoryQuerier) LabelNames(context.Context, *storage.LabelHints, ...*labels.Matcher) ([]string, annotations.Annotations, error) {
	return nil, nil, errors.ErrUnsupported
}

// Close implements storage.Querier.
func (memoryQuerier) Close() error { return nil }

// memorySet goes through series. It implements storage.SeriesSet.
type memorySet struct {
	series     []*memorySeries
	next       int
	mint, maxt milliseconds
}

// Next implements storage.SeriesSet.
func (s *memorySet) Next() bool {
	s.next++
	return s.next <= len(s.series)
}

// At implements storage.SeriesSet.
func (s *memorySet) At() storage.Series {
	return memoryRange{s.series[s.next-1], s.mint, s.maxt}
}

// Err implements storage.SeriesSet.
func (*memorySet) Err() error { return nil }

// Warnings implements storage.SeriesSet.
func (*memorySet) Warnings() annotations.Annotations { return nil }

// memoryRange is a series from one time to another. It implements storage.Series.
type memoryRange struct {
	series     *memorySeries
	mint, maxt milliseconds
}

// Labels implements storage.Series.
func (r memoryRange) Labels() labels.Labels { return r.series.labels }

// Iterator implements storage.Series.
func (r memoryRange) Iterator(reuse chunkenc.Iterator) chunkenc.Iterator {
	it, ok := reuse.(*memoryIterator)
	if !ok {
		it = &memoryIterator{}
	}
	all := r.series.samples
	from := sort.Search(len(all), func(i int) bool { return all[i].t >= r.mint })
	to := len(all)
	for to > from && all[to-1].t > r.maxt {
		to--
	}
	*it = memoryIterator{samples: all[from:to], at: -1}
	return it
}

// memoryIterator goes through samples. It implements chunkenc.Iterator.
type memoryIterator struct {
	samples []sample
	at      int
}

// Next implements chunkenc.Iterator.
func (it *memoryIterator) Next() chunkenc.ValueType {
	it.at++
	return it.kind()
}

// Seek implements chunkenc.Iterator.
func (it *memoryIterator) Seek(t milliseconds) chunkenc.ValueType {
	it.at = max(it.at, 0)
	if it.at < len(it.samples) {
		rest := it.samples[it.at:]
		it.at += sort.Search(len(rest), func(i int) bool { return rest[i].t >= t })
	}
	return it.kind()
}

func (it *memoryIterator) kind() chunkenc.ValueType {
	if it.at >= len(it.samples) {
		return chunkenc.ValNone
	}
	return chunkenc.ValFloat
}

// At implements chunkenc.Iterator.
func (it *memoryIterator) At() (milliseconds, float64) {
	s := it.samples[it.at]
	return s.t, s.v
}

// AtT implements chunkenc.Iterator.
func (it *memoryIterator) AtT() milliseconds { return it.samples[it.at].t }

// AtST implements chunkenc.Iterator. There are no start times.
func (*memoryIterator) AtST() milliseconds { return 0 }

// AtHistogram implements chunkenc.Iterator. There are no native histograms.
func (*memoryIterator) AtHistogram(*histogram.Histogram) (milliseconds, *histogram.Histogram) {
	return 0, nil
}

// AtFloatHistogram implements chunkenc.Iterator. There are no native histograms.
func (*memoryIterator) AtFloatHistogram(*histogram.FloatHistogram) (milliseconds, *histogram.FloatHistogram) {
	return 0, nil
}

// Err implements chunkenc.Iterator.
func (*memoryIterator) Err() error { return nil }
