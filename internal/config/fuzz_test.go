package config_test

import (
	"errors"
	"strings"
	"testing"

	"speedybites/internal/config"
)

// FuzzLoad looks for panics, for errors without a line for each mistake, and
// for secrets in them.
func FuzzLoad(f *testing.F) {
	f.Add("PORT", "x", "A=1", "p@ss", "h/db")
	f.Add("DB_POOL_MAX", "1", "TOKEN_SECRET='x", "p/ss?x=@", "h:x,/db?password=y")
	f.Add("LOG_LEVEL", "info", "export PORT=\"1\\\"", "p%ss", "[::1")
	f.Fuzz(func(t *testing.T, name, value, dotenv, password, rest string) {
		// Letters that neither a keyword nor another input holds.
		const mark = "QzXvKqW"
		if strings.Contains(name+value+dotenv+rest, mark) {
			t.Skip()
		}
		environ := []string{
			"DATABASE_URL=postgres://u:" + mark + password + mark + "@" + rest,
			"TOKEN_SECRET=" + mark + password,
			name + "=" + value,
		}
		cfg, err := config.Load(environ, files(map[string]string{".env": dotenv}))
		if strings.Contains(cfg.String(), mark) {
			t.Errorf("the config shows a secret: %s", cfg)
		}
		if err == nil {
			return
		}
		if strings.Contains(err.Error(), mark) {
			t.Errorf("the error shows a secret: %v", err)
		}
		wrong, ok := errors.AsType[*config.Error](err)
		if !ok || len(wrong.Mistakes) != strings.Count(err.Error(), "\n")+1 {
			t.Errorf("got %v, want one line for each mistake", err)
		}
	})
}

// FuzzRedact looks for passwords in redacted URLs, wherever a slip of the pen
// puts them.
func FuzzRedact(f *testing.F) {
	f.Add("postgres://u:", "p", "@h/db")
	f.Add("postgres://u:", "p@", "w@h/db?sslmode=x")
	f.Add("postgresql://", "", "/db?password=")
	f.Add("postgres://h/db?application_name=x&password=", "a@b", "")
	f.Add("host=h password=", "'a b'", "")
	f.Fuzz(func(t *testing.T, before, password, after string) {
		const mark = "QzXvKqW"
		if strings.Contains(before+after, mark) || !inPasswordPosition(before) {
			t.Skip()
		}
		// "user:pass@word" without a host has a host "word", whoever looks.
		if strings.Contains(password, "@") && !strings.Contains(after, "@") && !strings.Contains(before, "?") {
			t.Skip()
		}
		// The marks are letters, and so the password is no port.
		text := before + mark + password + mark + after
		if got := config.RedactURL(text); strings.Contains(got, mark) {
			t.Errorf("RedactURL(%q) = %q shows the password", text, got)
		}
	})
}

// inPasswordPosition reports whether what follows before is meant as a
// password: after "scheme://user:", or after a password parameter.
func inPasswordPosition(before string) bool {
	if strings.HasSuffix(before, "password=") && strings.Contains(before, "?") {
		return true
	}
	_, login, ok := strings.Cut(before, "://")
	return !ok || strings.Count(login, ":") == 1 && strings.HasSuffix(login, ":") && !strings.ContainsAny(login, "@/?#,[")
}
