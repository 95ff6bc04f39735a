// Package accounts knows the users: it registers them, checks their passwords, and signs and checks their tokens.
package accounts

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/google/uuid"

	"speedybites/internal/audit"
	"speedybites/internal/postgres"
)

// Role is what a user may do.
type Role string

// The roles. Customers order, owners run restaurants, admins may do everything.
const (
	Customer Role = "customer"
	Owner    Role = "owner"
	Admin    Role = "admin"
)

// User is a registered person.
type User struct {
	ID          uuid.UUID
	Email, Name string
	Role        Role
	CreatedAt   time.Time
}

// Principal is who a valid token speaks for.
type Principal struct {
	ID   uuid.UUID
	Role Role
	// ExpiresAt is when the token ceases to be valid.
	ExpiresAt time.Time
}

// Session is a signed token and the user it belongs to.
type Session struct {
	Token     string
	ExpiresAt time.Time
	User      User
}

// Registration is what a new user brings.
type Registration struct {
	Email, Password, Name string
	// Role "" means customer.
	Role Role
}

// Errors that a caller tells apart.
var (
	// ErrEmailTaken means that the e-mail address has an account already.
	ErrEmailTaken = errors.New("e-mail address already registered")
	// ErrBadCredentials means that the e-mail address is unknown or the password wrong; which of the two is not told.
	ErrBadCredentials = errors.New("e-mail address or password wrong")
	// ErrBadToken means that a token is malformed, not ours, or expired.
	ErrBadToken = errors.New("token not valid")
)

// Service is the accounts. It is safe for concurrent use.
type Service struct {
	db     *postgres.DB
	hasher *hasher
	signer *signer
	log    *slog.Logger
}

// New returns the accounts kept in db; it fails when cfg is not usable.
func New(db *postgres.DB, cfg Config, log *slog.Logger) (*Service, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("accounts: %w", err)
	}
	return &Service{db: db, hasher: newHasher(), signer: newSigner(cfg), log: log}, nil
}

// Register creates a user with the role customer (the default) or owner, who is the actor of this change, and returns
// a session. It fails with validation.Errors or ErrEmailTaken.
func (s *Service) Register(ctx context.Context, requestID string, r Registration) (Session, error) {
	if r.Role == "" {
		r.Role = Customer
	}
	if err := r.validate(Customer, Owner); err != nil {
		return Session{}, err
	}
	u, err := s.create(ctx, change{query: "accounts.register", action: "register"}, r, func(id uuid.UUID) audit.Actor {
		return audit.Actor{ID: id, Role: string(r.Role), RequestID: requestID}
	})
	if err != nil {
		return Session{}, fmt.Errorf("register user: %w", err)
	}
	return s.signer.sign(u)
}

// Create creates a user with any role, which must be given; the actor is the system. It is for the command line. It
// fails with validation.Errors or ErrEmailTaken.
func (s *Service) Create(ctx context.Context, r Registration) (User, error) {
	if err := r.validate(Customer, Owner, Admin); err != nil {
		return User{}, err
	}
	u, err := s.create(ctx, change{query: "accounts.create", action: "create"}, r, func(uuid.UUID) audit.Actor {
		return audit.Actor{Role: audit.System}
	})
	if err != nil {
		return User{}, fmt.Errorf("create user: %w", err)
	}
	return u, nil
}

// change is a way to create a user: the name of its query, and what the audit log calls it.
type change struct{ query, action string }

func (s *Service) create(ctx context.Context, c change, r Registration, by func(uuid.UUID) audit.Actor) (User, error) {
	hash, err := s.hasher.hash(ctx, r.Password)
	if err != nil {
		return User{}, err
	}
	id, err := uuid.NewV7()
	if err != nil {
		return User{}, fmt.Errorf("draw user id: %w", err)
	}
	operation, err := uuid.NewV7()
	if err != nil {
		return User{}, fmt.Errorf("draw operation id: %w", err)
	}
	n := newUser{User: User{ID: id, Email: r.Email, Name: r.Name, Role: r.Role}, passwordHash: hash}
	n.entry = audit.Entry{
		OperationID: operation, Actor: by(id), Action: c.action, Entity: "user", EntityID: id,
		After: userAfter{ID: id, Email: r.Email, Name: r.Name, Role: r.Role},
	}
	err = s.db.Write(ctx, c.query, n.store)
	if postgres.Violation(err) == "users_email_key" {
		return User{}, ErrEmailTaken
	}
	if err != nil {
		return User{}, err
	}
	n.CreatedAt = n.CreatedAt.UTC()
	return n.User, nil
}

// Login checks the password and returns a new session. It fails with ErrBadCredentials, or with validation.Errors when
// a field is empty. The answer takes as long for an unknown address as for a wrong password.
func (s *Service) Login(ctx context.Context, email, password string) (Session, error) {
	if err := validateLogin(email, password); err != nil {
		return Session{}, err
	}
	var (
		u     User
		hash  string
		found bool
	)
	// What is no address has no account, and need not trouble the database, which may not even be able to encode it.
	if validEmail(email) {
		err := s.db.Read(ctx, "accounts.by_email", func(ctx context.Context, q postgres.Querier) (err error) {
			u, hash, found, err = byEmail(ctx, q, email)
			return err
		})
		if err != nil {
			return Session{}, fmt.Errorf("log in: %w", err)
		}
	}
	if !found {
		hash = s.hasher.dummy
	}
	ok, err := s.hasher.verify(ctx, hash, password)
	if errors.Is(err, errMalformedHash) {
		// An account without a usable hash cannot be entered; the client learns no more than that.
		s.log.ErrorContext(ctx, "stored password hash is malformed", slog.String("user_id", u.ID.String()))
		err = nil
	}
	if err != nil {
		return Session{}, fmt.Errorf("log in: %w", err)
	}
	if !ok || !found {
		return Session{}, ErrBadCredentials
	}
	return s.signer.sign(u)
}

// Authenticate returns who a token speaks for. It fails with ErrBadToken. It does not ask the database: a token is
// good until it expires.
func (s *Service) Authenticate(token string) (Principal, error) {
	return s.signer.check(token)
}
