package audit

import "github.com/google/uuid"

// recentSize bounds what a recent remembers: at least so many ids, at most twice as many and a batch.
const recentSize = 10 * batchSize

// recent remembers the ids that were added last. The zero value is empty.
type recent struct{ young, old map[uuid.UUID]struct{} }

func (r *recent) add(ids []uuid.UUID) {
	if r.young == nil || len(r.young) >= recentSize {
		r.young, r.old = make(map[uuid.UUID]struct{}, len(ids)), r.young
	}
	for _, id := range ids {
		r.young[id] = struct{}{}
	}
}

func (r *recent) has(id uuid.UUID) bool {
	if _, ok := r.young[id]; ok {
		return true
	}
	_, ok := r.old[id]
	return ok
}
