package ordering

import (
	"sync"

	"github.com/google/uuid"
)

// flight knows the keys whose requests this process has not answered yet. A second request with such a key is refused
// instead of holding a connection while it waits for the first. Other instances' requests wait in the database.
type flight struct {
	mu   sync.Mutex
	keys map[flightKey]struct{}
}

type flightKey struct {
	user uuid.UUID
	key  string
}

// begin reports whether the key was free; it is taken then, until end.
func (f *flight) begin(user uuid.UUID, key string) bool {
	k := flightKey{user, key}
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, taken := f.keys[k]; taken {
		return false
	}
	if f.keys == nil {
		f.keys = make(map[flightKey]struct{})
	}
	f.keys[k] = struct{}{}
	return true
}

func (f *flight) end(user uuid.UUID, key string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.keys, flightKey{user, key})
}
