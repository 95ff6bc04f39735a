package accounts

import (
	"context"
	"errors"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"speedybites/internal/audit"
	"speedybites/internal/postgres"
)

// newUser is a user about to be stored. Its ids are drawn before the transaction, because an attempt whose COMMIT was
// lost is repeated with the same ones.
type newUser struct {
	User
	passwordHash string
	entry        audit.Entry
}

// A row with this id can only be from an attempt of ours whose outcome got lost. It is the result then, and the update
// that changes nothing makes COMMIT wait for the standbys as the original's did.
const insertUser = `
INSERT INTO users (id, email, name, role, password_hash)
VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (id) DO UPDATE SET created_at = users.created_at
RETURNING created_at`

// store inserts u with its audit entry in one round trip with COMMIT.
func (u *newUser) store(ctx context.Context, tx *postgres.Tx) error {
	b := &pgx.Batch{}
	b.Queue(insertUser, u.ID, u.Email, u.Name, u.Role, u.passwordHash).QueryRow(func(row pgx.Row) error {
		return row.Scan(&u.CreatedAt)
	})
	if err := audit.Queue(b, u.entry); err != nil {
		return err
	}
	return tx.CommitWith(ctx, b)
}

// userAfter is what the audit log says about a new user.
type userAfter struct {
	ID    uuid.UUID `json:"id"`
	Email string    `json:"email"`
	Name  string    `json:"name"`
	Role  Role      `json:"role"`
}

const selectByEmail = `
SELECT id, email, name, role, created_at, password_hash FROM users WHERE lower(email) = lower($1)`

// byEmail returns the user with this address and its password hash; found is false when there is none.
func byEmail(ctx context.Context, q postgres.Querier, email string) (u User, hash string, found bool, err error) {
	err = q.QueryRow(ctx, selectByEmail, email).Scan(&u.ID, &u.Email, &u.Name, &u.Role, &u.CreatedAt, &hash)
	if errors.Is(err, pgx.ErrNoRows) {
		return User{}, "", false, nil
	}
	u.CreatedAt = u.CreatedAt.UTC()
	return u, hash, err == nil, err
}
