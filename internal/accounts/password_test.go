package accounts_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"speedybites/internal/accounts"
)

func TestPassword(t *testing.T) {
	t.Parallel()
	one, two := accounts.HashPassword("passwörd"), accounts.HashPassword("passwörd")
	if one == two {
		t.Error("got the same hash twice, want another salt each time")
	}
	if want := "$argon2id$v=19$m=19456,t=2,p=1$"; !strings.HasPrefix(one, want) {
		t.Errorf("got %s, want %s…", one, want)
	}
	// As other implementations write it, with other parameters than ours: argon2's own test vector.
	const foreign = "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc"
	tests := map[string]struct {
		hash, password string
		want, wantErr  bool
	}{
		"Right":      {one, "passwörd", true, false},
		"Wrong":      {one, "password", false, false},
		"Foreign":    {foreign, "password", true, false},
		"Empty":      {"", "password", false, true},
		"NoHash":     {"!", "password", false, true},
		"Argon2i":    {strings.Replace(one, "argon2id", "argon2i", 1), "passwörd", false, true},
		"NoTime":     {strings.Replace(one, "t=2", "t=0", 1), "passwörd", false, true},
		"NoThreads":  {strings.Replace(one, "p=1", "p=0", 1), "passwörd", false, true},
		"MuchMemory": {strings.Replace(one, "m=19456", "m=4194304", 1), "passwörd", false, true},
		"Truncated":  {one[:len(one)-30], "passwörd", false, true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := accounts.VerifyPassword(t.Context(), test.hash, test.password)
			if got != test.want || (err != nil) != test.wantErr {
				t.Errorf("got %v, %v, want %v and an error: %v", got, err, test.want, test.wantErr)
			}
		})
	}

	t.Run("WaitingEndsWithTheRequest", func(t *testing.T) {
		t.Parallel()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := accounts.BusyHasher()(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want %v", err, context.Canceled)
		}
	})
}
