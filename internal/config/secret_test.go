package config_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"speedybites/internal/config"
)

// TestNothingPrintsSecrets prints a Config in every way there is.
func TestNothingPrintsSecrets(t *testing.T) {
	t.Parallel()
	cfg := load(t, []string{"TOKEN_SECRET=" + goodSecret, "DATABASE_URL=" + goodURL, "DATABASE_REPLICA_URL=" + goodURL}, nil)
	hidden := struct{ cfg config.Config }{cfg} // fmt calls no methods here

	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%o", "%p", "%T", "%10.3v", "%c", "%U", "%t", "%!"} {
		for _, v := range []any{
			cfg, &cfg, hidden, &hidden, cfg.Token, cfg.Database, cfg.Token.Secret, &cfg.Token.Secret,
			[]config.Secret{cfg.Token.Secret},
			map[config.Secret]int{cfg.Token.Secret: 1},
		} {
			fmt.Fprintf(&out, verb+"\n", v)
		}
	}
	data, err := json.Marshal(map[string]any{"cfg": cfg, "token": &cfg.Token})
	if err != nil {
		t.Fatalf("json.Marshal: %v", err)
	}
	out.Write(data)
	opts := &slog.HandlerOptions{Level: slog.LevelDebug}
	for _, h := range []slog.Handler{slog.NewJSONHandler(&out, opts), slog.NewTextHandler(&out, opts)} {
		slog.New(h).Info("start", "config", cfg, "token", cfg.Token, "secret", cfg.Token.Secret, "database", &cfg.Database)
	}

	text := out.String()
	for _, secret := range []string{goodSecret, "hunter2", fmt.Sprintf("%x", goodSecret), fmt.Sprintf("%X", "hunter2")} {
		if i := strings.Index(text, secret); i >= 0 {
			t.Errorf("a secret is shown: %.200s", text[max(0, i-100):])
		}
	}
	if !strings.Contains(text, "TOKEN_SECRET=[redacted]") || !strings.Contains(text, `"database_url":"postgres://app:xxxxx@db.example:5432/speedy"`) {
		t.Errorf("the redacted values are not shown: %s", cfg)
	}
}

func TestConfigString(t *testing.T) {
	t.Parallel()
	got := load(t, []string{"TOKEN_SECRET=" + goodSecret, "LOG_LEVEL=WARN"}, nil).String()
	for _, want := range []string{"APP_ENV=development PORT=4000 HOST= METRICS_ADDR= DATABASE_URL= DATABASE_REPLICA_URL= DB_REPLICA_MAX_LAG_MS=5000 DB_POOL_MIN=2", " DB_SSL=false", " LOG_LEVEL=warn", " TOKEN_TTL_MS=3600000"} {
		if !strings.Contains(got, want) {
			t.Errorf("got %s\nwant it to contain %s", got, want)
		}
	}
}
