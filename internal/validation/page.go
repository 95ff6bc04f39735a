package validation

import (
	"encoding/base64"

	"github.com/google/uuid"
)

// Limits of one page of a list.
const (
	DefaultLimit = 20
	MaxLimit     = 100
)

// cursorVersion begins every cursor, so that a later release can change what a cursor holds and still tell old ones.
const cursorVersion = 1

// Limit returns how many entries a page has: limit, or DefaultLimit for 0. It notes a limit that is not within 1 to
// MaxLimit.
func (e *Errors) Limit(limit int) int {
	if limit == 0 {
		return DefaultLimit
	}
	e.Range("limit", int64(limit), 1, MaxLimit)
	return limit
}

// Cursor returns the id of the last entry of the page before, or first when there was none. It notes a cursor that
// EncodeCursor did not make.
func (e *Errors) Cursor(cursor string, first uuid.UUID) uuid.UUID {
	if cursor == "" {
		return first
	}
	id, ok := decodeCursor(cursor)
	if !ok {
		e.Add("cursor", "must be a nextCursor of this list")
		return first
	}
	return id
}

// EncodeCursor returns the cursor of the page that follows the entry with this id.
func EncodeCursor(last uuid.UUID) string {
	return base64.RawURLEncoding.EncodeToString(append([]byte{cursorVersion}, last[:]...))
}

func decodeCursor(cursor string) (uuid.UUID, bool) {
	raw, err := base64.RawURLEncoding.DecodeString(cursor)
	if err != nil || len(raw) != 1+len(uuid.UUID{}) || raw[0] != cursorVersion {
		return uuid.UUID{}, false
	}
	id := uuid.UUID(raw[1:])
	// The decoder skips line breaks and more; one page has one cursor.
	return id, EncodeCursor(id) == cursor
}
