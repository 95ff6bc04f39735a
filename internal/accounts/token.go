package accounts

import (
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/uuid"
)

const issuer = "speedy-bites"

// signer makes and checks tokens: JWTs signed with HS256.
type signer struct {
	secret []byte
	ttl    time.Duration
	parser *jwt.Parser
}

func newSigner(cfg Config) *signer {
	return &signer{
		secret: cfg.TokenSecret,
		ttl:    cfg.TokenTTL,
		// No leeway: the program that checks a token is the one that made it, or shares its clock to within what a
		// token's lifetime makes irrelevant. No check of iat for the same reason: it is not what a signature protects.
		parser: jwt.NewParser(jwt.WithValidMethods([]string{jwt.SigningMethodHS256.Alg()}), jwt.WithIssuer(issuer),
			jwt.WithExpirationRequired(), jwt.WithStrictDecoding()),
	}
}

func (s *signer) sign(u User) (Session, error) {
	id, err := uuid.NewRandom()
	if err != nil {
		return Session{}, fmt.Errorf("draw token id: %w", err)
	}
	now := time.Now().UTC().Truncate(time.Millisecond)
	c := claims{
		Issuer: issuer, Subject: u.ID, Role: u.Role, ID: id,
		IssuedAt: numericDate{now}, ExpiresAt: numericDate{now.Add(s.ttl).Truncate(time.Millisecond)},
	}
	token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, c).SignedString(s.secret)
	if err != nil {
		return Session{}, fmt.Errorf("sign token: %w", err)
	}
	return Session{Token: token, ExpiresAt: c.ExpiresAt.Time, User: u}, nil
}

func (s *signer) check(token string) (Principal, error) {
	var c claims
	_, err := s.parser.ParseWithClaims(token, &c, func(*jwt.Token) (any, error) { return s.secret, nil })
	if err != nil {
		return Principal{}, fmt.Errorf("%w: %w", ErrBadToken, err)
	}
	if c.Subject == uuid.Nil || !c.Role.known() {
		return Principal{}, fmt.Errorf("%w: no subject or role", ErrBadToken)
	}
	return Principal{ID: c.Subject, Role: c.Role, ExpiresAt: c.ExpiresAt.Time}, nil
}

// claims are the contents of a token. jwt.RegisteredClaims would cut the times to whole seconds, and a client would be
// told another end than the one that is enforced.
type claims struct {
	Issuer    string      `json:"iss"`
	Subject   uuid.UUID   `json:"sub"`
	Role      Role        `json:"role"`
	ID        uuid.UUID   `json:"jti"`
	IssuedAt  numericDate `json:"iat"`
	ExpiresAt numericDate `json:"exp"`
}

// GetExpirationTime implements jwt.Claims.
func (c claims) GetExpirationTime() (*jwt.NumericDate, error) { return c.ExpiresAt.jwt(), nil }

// GetIssuedAt implements jwt.Claims.
func (c claims) GetIssuedAt() (*jwt.NumericDate, error) { return c.IssuedAt.jwt(), nil }

// GetNotBefore implements jwt.Claims.
func (c claims) GetNotBefore() (*jwt.NumericDate, error) { return nil, nil } //nolint:nilnil // nil: no such claim

// GetIssuer implements jwt.Claims.
func (c claims) GetIssuer() (string, error) { return c.Issuer, nil }

// GetSubject implements jwt.Claims.
func (c claims) GetSubject() (string, error) { return c.Subject.String(), nil }

// GetAudience implements jwt.Claims.
func (c claims) GetAudience() (jwt.ClaimStrings, error) { return nil, nil }

// numericDate is a time as seconds since 1970 with milliseconds, as RFC 7519 allows.
type numericDate struct{ time.Time }

// MarshalJSON writes the seconds with as many decimals as needed, at most three.
func (d numericDate) MarshalJSON() ([]byte, error) {
	return strconv.AppendFloat(nil, float64(d.UnixMilli())/1000, 'f', -1, 64), nil
}

// UnmarshalJSON reads seconds with or without decimals.
func (d *numericDate) UnmarshalJSON(b []byte) error {
	seconds, err := strconv.ParseFloat(string(b), 64)
	if err != nil || math.IsNaN(seconds) || math.Abs(seconds) > 1e12 {
		return fmt.Errorf("not a numeric date: %.40q", b)
	}
	d.Time = time.UnixMilli(int64(math.Round(seconds * 1000))).UTC()
	return nil
}

func (d numericDate) jwt() *jwt.NumericDate {
	if d.IsZero() {
		return nil
	}
	return &jwt.NumericDate{Time: d.Time}
}
