package accounts

import (
	"context"

	"github.com/google/uuid"

	"speedybites/internal/audit"
	"speedybites/internal/postgres"
)

// StoredUser lets tests repeat the transaction that stores a user.
type StoredUser struct{ n *newUser }

// NewUser draws the ids of a registration.
func NewUser(r Registration, hash string) StoredUser {
	id := uuid.Must(uuid.NewV7())
	return StoredUser{&newUser{
		User: User{ID: id, Email: r.Email, Name: r.Name, Role: Customer}, passwordHash: hash,
		entry: audit.Entry{OperationID: uuid.Must(uuid.NewV7()), Action: "register", Entity: "user", EntityID: id},
	}}
}

// Store is the function that is passed to Write.
func (u StoredUser) Store(ctx context.Context, tx *postgres.Tx) error { return u.n.store(ctx, tx) }

// User is the result of the last run.
func (u StoredUser) User() User { return u.n.User }

// VerifyPassword checks a password against a hash in PHC format.
func VerifyPassword(ctx context.Context, encoded, password string) (bool, error) {
	return newHasher().verify(ctx, encoded, password)
}

// BusyHasher returns a function that verifies with a hasher whose places are all taken.
func BusyHasher() func(ctx context.Context) error {
	h := newHasher()
	for range cap(h.slots) {
		h.slots <- struct{}{}
	}
	return func(ctx context.Context) error {
		_, err := h.verify(ctx, h.dummy, "")
		return err
	}
}
