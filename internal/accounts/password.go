package accounts

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"runtime"
	"strings"

	"golang.org/x/crypto/argon2"
)

// The parameters of new hashes: OWASP's recommendation for argon2id. Old hashes carry their own.
const (
	argonMemoryKiB = 19 * 1024
	argonTime      = 2
	argonThreads   = 1
	argonSaltLen   = 16
	argonKeyLen    = 32
)

// maxMemoryKiB and maxTime bound what a stored hash may ask of this process.
const (
	maxMemoryKiB = 256 * 1024
	maxTime      = 16
)

var errMalformedHash = errors.New("malformed password hash")

// hasher hashes passwords, a bounded number at once: each needs 19 MiB, and more at once than there are processors
// would be no faster.
type hasher struct {
	slots chan struct{}
	// dummy is what is verified for unknown users, so that an answer takes as long as for known ones.
	dummy string
}

func newHasher() *hasher {
	return &hasher{
		slots: make(chan struct{}, 2*runtime.GOMAXPROCS(0)),
		// A random key is no password's hash, and comparing with it costs the same.
		dummy: encodeHash(random(argonSaltLen), random(argonKeyLen)),
	}
}

// HashPassword returns the argon2id hash of password in PHC string format, for storing a user without a Service.
func HashPassword(password string) string {
	salt := random(argonSaltLen)
	return encodeHash(salt, argon2.IDKey([]byte(password), salt, argonTime, argonMemoryKiB, argonThreads, argonKeyLen))
}

// hash waits for a free slot and hashes password.
func (h *hasher) hash(ctx context.Context, password string) (string, error) {
	if err := h.acquire(ctx); err != nil {
		return "", err
	}
	defer h.release()
	return HashPassword(password), nil
}

// verify waits for a free slot and reports whether encoded is the hash of password.
func (h *hasher) verify(ctx context.Context, encoded, password string) (bool, error) {
	if err := h.acquire(ctx); err != nil {
		return false, err
	}
	defer h.release()
	p, err := parseHash(encoded)
	if err != nil {
		return false, err
	}
	//nolint:gosec // parseHash bounds the length of the key.
	key := argon2.IDKey([]byte(password), p.salt, p.time, p.memoryKiB, p.threads, uint32(len(p.key)))
	return subtle.ConstantTimeCompare(key, p.key) == 1, nil
}

func (h *hasher) acquire(ctx context.Context) error {
	select {
	case h.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait to hash a password: %w", context.Cause(ctx))
	}
}

func (h *hasher) release() { <-h.slots }

type phc struct {
	memoryKiB, time uint32
	threads         uint8
	salt, key       []byte
}

func encodeHash(salt, key []byte) string {
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, argonMemoryKiB, argonTime, argonThreads,
		base64.RawStdEncoding.EncodeToString(salt), base64.RawStdEncoding.EncodeToString(key))
}

func parseHash(encoded string) (phc, error) {
	parts := strings.Split(encoded, "$")
	if len(parts) != 6 || parts[0] != "" || parts[1] != "argon2id" || parts[2] != fmt.Sprintf("v=%d", argon2.Version) {
		return phc{}, errMalformedHash
	}
	var p phc
	if _, err := fmt.Sscanf(parts[3], "m=%d,t=%d,p=%d", &p.memoryKiB, &p.time, &p.threads); err != nil {
		return phc{}, errMalformedHash
	}
	salt, saltErr := base64.RawStdEncoding.DecodeString(parts[4])
	key, keyErr := base64.RawStdEncoding.DecodeString(parts[5])
	if saltErr != nil || keyErr != nil {
		return phc{}, errMalformedHash
	}
	if p.memoryKiB < 8 || p.memoryKiB > maxMemoryKiB || p.time < 1 || p.time > maxTime || p.threads < 1 ||
		len(salt) < 8 || len(key) < 16 || len(key) > 64 {
		return phc{}, errMalformedHash
	}
	p.salt, p.key = salt, key
	return p, nil
}

// random returns n bytes from the system's generator, which cannot fail.
func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b)
	return b
}
