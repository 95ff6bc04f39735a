package config

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// minTokenSecret is the least length of TOKEN_SECRET, in characters.
const minTokenSecret = 32

// kind is one sort of value, bound to the field that stores it.
type kind interface {
	// set stores text. An error leaves the field alone, completes the sentence
	// "must be …", and never quotes text, which may be a secret.
	set(text string) error
	// show is the stored value for people, secrets redacted.
	show() string
	// describe is a rejected text for people, secrets redacted.
	describe(text string) string
	// allowed completes the sentence "must be …".
	allowed() string
}

// quote shows a value that is no secret, on one line and of bounded length.
func quote(text string) string {
	const most = 200
	if runes := []rune(text); len(runes) > most {
		return strconv.Quote(string(runes[:most])) + "…"
	}
	return strconv.Quote(text)
}

// intKind is a whole number. Durations are one too, in milliseconds.
type intKind struct {
	unit     string
	min, max int64
	store    func(int64)
	load     func() int64
}

func integer(p *int, low, high int64) kind {
	return &intKind{
		min: low, max: high,
		store: func(n int64) { *p = int(n) },
		load:  func() int64 { return int64(*p) },
	}
}

func milliseconds(p *time.Duration, low, high int64) kind {
	return &intKind{
		unit: " milliseconds", min: low, max: high,
		store: func(n int64) { *p = time.Duration(n) * time.Millisecond },
		load:  func() int64 { return p.Milliseconds() },
	}
}

func (k *intKind) set(text string) error {
	n, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64)
	if err != nil || n < k.min || n > k.max {
		return errors.New(k.allowed())
	}
	k.store(n)
	return nil
}

func (k *intKind) show() string              { return strconv.FormatInt(k.load(), 10) }
func (*intKind) describe(text string) string { return quote(text) }
func (k *intKind) allowed() string {
	return fmt.Sprintf("a whole number from %d to %d%s", k.min, k.max, k.unit)
}

type boolKind struct{ p *bool }

func (k *boolKind) set(text string) error {
	v, err := strconv.ParseBool(strings.ToLower(strings.TrimSpace(text)))
	if err != nil {
		return errors.New(k.allowed())
	}
	*k.p = v
	return nil
}

func (k *boolKind) show() string              { return strconv.FormatBool(*k.p) }
func (*boolKind) describe(text string) string { return quote(text) }
func (*boolKind) allowed() string             { return "true or false (or 1, 0)" }

// choiceKind is one word of a few, in any case.
type choiceKind struct {
	p     *Env
	words []Env
}

func choice(p *Env, words ...Env) kind { return &choiceKind{p, words} }

func (k *choiceKind) set(text string) error {
	for _, word := range k.words {
		if strings.EqualFold(strings.TrimSpace(text), string(word)) {
			*k.p = word
			return nil
		}
	}
	return errors.New(k.allowed())
}

func (k *choiceKind) show() string              { return string(*k.p) }
func (*choiceKind) describe(text string) string { return quote(text) }
func (k *choiceKind) allowed() string           { return oneOf(k.words) }

// levelKind is a slog level by its plain name: no "INFO+2".
type levelKind struct {
	p      *slog.Level
	levels []slog.Level
}

func (k *levelKind) set(text string) error {
	for _, level := range k.levels {
		if strings.EqualFold(strings.TrimSpace(text), level.String()) {
			*k.p = level
			return nil
		}
	}
	return errors.New(k.allowed())
}

func (k *levelKind) show() string              { return strings.ToLower(k.p.String()) }
func (*levelKind) describe(text string) string { return quote(text) }
func (k *levelKind) allowed() string           { return strings.ToLower(oneOf(k.levels)) }

func oneOf[T any](words []T) string {
	names := make([]string, len(words))
	for i, word := range words {
		names[i] = fmt.Sprint(word)
	}
	last := len(names) - 1
	return strings.Join(names[:last], ", ") + " or " + names[last]
}

// pathKind is a file or directory name. Whether it exists is found out later.
type pathKind struct{ p *string }

func (k *pathKind) set(text string) error {
	if strings.TrimSpace(text) == "" || strings.ContainsFunc(text, unicode.IsControl) {
		return errors.New(k.allowed())
	}
	*k.p = text
	return nil
}

func (k *pathKind) show() string              { return *k.p }
func (*pathKind) describe(text string) string { return quote(text) }
func (*pathKind) allowed() string             { return "a path" }

// hostKind is an IP address or a host name, without a port.
type hostKind struct{ p *string }

func (k *hostKind) set(text string) error {
	host, ok := parseHost(text)
	if !ok {
		return errors.New(k.allowed())
	}
	*k.p = host
	return nil
}

func parseHost(text string) (host string, ok bool) {
	text = strings.TrimSpace(text)
	// Users know IPv6 addresses in URL form; net.JoinHostPort adds the
	// brackets itself.
	bare := strings.TrimSuffix(strings.TrimPrefix(text, "["), "]")
	if _, err := netip.ParseAddr(bare); err == nil {
		return bare, true
	}
	return text, isHostName(text)
}

func isHostName(s string) bool {
	return len(s) <= 253 && regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_.])?$`).MatchString(s)
}

func (k *hostKind) show() string              { return *k.p }
func (*hostKind) describe(text string) string { return quote(text) }
func (*hostKind) allowed() string             { return "an IP address or a host name, without a port" }

// addrKind is a host and a port to listen on; without the host, on every
// interface.
type addrKind struct{ p *string }

func (k *addrKind) set(text string) error {
	host, port, err := net.SplitHostPort(strings.TrimSpace(text))
	if err != nil {
		return errors.New(k.allowed())
	}
	if host != "" {
		var ok bool
		if host, ok = parseHost(host); !ok {
			return errors.New(k.allowed())
		}
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return errors.New(k.allowed())
	}
	*k.p = net.JoinHostPort(host, port)
	return nil
}

func (k *addrKind) show() string              { return *k.p }
func (*addrKind) describe(text string) string { return quote(text) }
func (*addrKind) allowed() string             { return "host:port or :port, with a port from 0 to 65535" }

type secretKind struct {
	p   *Secret
	min int
}

func (k *secretKind) set(text string) error {
	if utf8.RuneCountInString(text) < k.min {
		return errors.New(k.allowed())
	}
	*k.p = NewSecret(text)
	return nil
}

func (k *secretKind) show() string              { return k.p.String() }
func (*secretKind) describe(text string) string { return describeSecret(text) }
func (k *secretKind) allowed() string           { return fmt.Sprintf("at least %d characters", k.min) }

func describeSecret(text string) string {
	return fmt.Sprintf("set, %d characters", utf8.RuneCountInString(text))
}

// urlKind is a PostgreSQL connection URL.
type urlKind struct{ p *Secret }

func (k *urlKind) set(text string) error {
	if err := checkURL(text); err != nil {
		return fmt.Errorf("%s; %w", k.allowed(), err)
	}
	*k.p = NewSecret(text)
	return nil
}

func (k *urlKind) show() string { return RedactURL(k.p.Reveal()) }

func (*urlKind) describe(text string) string {
	if shown := RedactURL(text); shown != redacted {
		return quote(shown)
	}
	return describeSecret(text)
}

func (*urlKind) allowed() string {
	return "postgres://user:password@host:port/database, with several host:port after commas where there are more"
}
