package accounts_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/uuid"

	"speedybites/internal/accounts"
)

func TestToken(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	session, err := f.service.Register(t.Context(), "", ada())
	if err != nil {
		t.Fatal(err)
	}
	good := jwt.MapClaims{
		"iss": "speedy-bites", "sub": session.User.ID.String(), "role": "customer", "jti": uuid.NewString(),
		"iat": time.Now().Unix(), "exp": time.Now().Add(time.Hour).Unix(),
	}
	with := func(key string, value any) jwt.MapClaims {
		c := maps.Clone(good)
		c[key] = value
		if value == nil {
			delete(c, key)
		}
		return c
	}
	sign := func(method jwt.SigningMethod, key any, c jwt.Claims) string {
		token, err := jwt.NewWithClaims(method, c).SignedString(key)
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	secret := config().TokenSecret
	hs256 := jwt.SigningMethodHS256
	parts := strings.Split(session.Token, ".")
	tests := map[string]struct {
		token string
		good  bool
	}{
		"Own":            {session.Token, true},
		"OfAnotherBuild": {sign(hs256, secret, good), true},
		"Empty":          {"", false},
		"Garbage":        {"a.b.c", false},
		"NoSignature":    {parts[0] + "." + parts[1] + ".", false},
		"OtherPayload":   {parts[0] + "." + strings.Split(sign(hs256, secret, good), ".")[1] + "." + parts[2], false},
		"OtherSecret":    {sign(hs256, []byte(strings.Repeat("x", 32)), good), false},
		"HS384":          {sign(jwt.SigningMethodHS384, secret, good), false},
		"HS512":          {sign(jwt.SigningMethodHS512, secret, good), false},
		"None":           {sign(jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, good), false},
		"OtherIssuer":    {sign(hs256, secret, with("iss", "somebody")), false},
		"NoIssuer":       {sign(hs256, secret, with("iss", nil)), false},
		"Expired":        {sign(hs256, secret, with("exp", time.Now().Add(-time.Second).Unix())), false},
		"NoExpiry":       {sign(hs256, secret, with("exp", nil)), false},
		"ExpiryNoNumber": {sign(hs256, secret, with("exp", "tomorrow")), false},
		"ExpiryTooFar":   {sign(hs256, secret, with("exp", 1e300)), false},
		"NoSubject":      {sign(hs256, secret, with("sub", nil)), false},
		"SubjectNoID":    {sign(hs256, secret, with("sub", "ada")), false},
		"UnknownRole":    {sign(hs256, secret, with("role", "chef")), false},
		"NoRole":         {sign(hs256, secret, with("role", nil)), false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, err := f.service.Authenticate(test.token)
			if test.good && (err != nil || p.ID != session.User.ID || p.Role != accounts.Customer || !p.ExpiresAt.After(time.Now())) {
				t.Errorf("got %v, %v", p, err)
			}
			if !test.good && !errors.Is(err, accounts.ErrBadToken) {
				t.Errorf("got %v, %v, want %v", p, err, accounts.ErrBadToken)
			}
		})
	}

	t.Run("EndsWhenItSays", func(t *testing.T) {
		t.Parallel()
		cfg := config()
		cfg.TokenTTL = 1500 * time.Millisecond
		before := time.Now()
		session, err := newService(t, f.db, cfg).Login(t.Context(), ada().Email, ada().Password)
		if err != nil {
			t.Fatal(err)
		}
		var claims struct {
			Exp float64
		}
		payload, err := base64.RawURLEncoding.DecodeString(strings.Split(session.Token, ".")[1])
		if err != nil || json.Unmarshal(payload, &claims) != nil {
			t.Fatalf("payload %s: %v", payload, err)
		}
		if got := time.UnixMilli(int64(claims.Exp*1000 + 0.5)); !got.Equal(session.ExpiresAt) {
			t.Errorf("got exp %v, want the session's %v", got, session.ExpiresAt)
		}
		if session.ExpiresAt.Before(before.Add(cfg.TokenTTL).Truncate(time.Millisecond)) {
			t.Errorf("got the end %v, less than %v after %v", session.ExpiresAt, cfg.TokenTTL, before)
		}
		for time.Now().Before(session.ExpiresAt) {
			time.Sleep(10 * time.Millisecond)
		}
		if _, err := f.service.Authenticate(session.Token); !errors.Is(err, accounts.ErrBadToken) {
			t.Errorf("got %v of an expired token, want %v", err, accounts.ErrBadToken)
		}
	})
}
