package accounts

import (
	"errors"
	"fmt"
	"time"
)

// Config is the settings of the accounts.
type Config struct {
	// TokenSecret signs the tokens (HMAC-SHA-256); at least 32 bytes.
	TokenSecret []byte
	// TokenTTL is how long a token is valid; more than 0.
	TokenTTL time.Duration
}

// Validate reports everything that is wrong with c. It never shows the secret.
func (c Config) Validate() error {
	var problems []error
	if n := len(c.TokenSecret); n < minSecret {
		problems = append(problems, fmt.Errorf("token secret has %d bytes, at least %d are needed", n, minSecret))
	}
	if c.TokenTTL <= 0 {
		problems = append(problems, fmt.Errorf("token lifetime %v must be more than 0", c.TokenTTL))
	}
	return errors.Join(problems...)
}

// minSecret is the length of SHA-256's output: a shorter key would be the weakest part of the signature (RFC 2104 §3).
const minSecret = 32
