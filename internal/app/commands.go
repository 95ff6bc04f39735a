package app

import (
	"context"
	"log/slog"
	"time"

	"speedybites/internal/accounts"
	"speedybites/internal/config"
	"speedybites/internal/postgres"
)

// findPrimary bounds how long a command looks for the database's primary.
const findPrimary = 10 * time.Second

// DatabaseDSN returns the URL of the configured database's primary with TLS settled, for commands that need no pool.
func DatabaseDSN(ctx context.Context, c config.Database) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, findPrimary)
	defer cancel()
	return postgres.FindPrimary(ctx, databaseConfig(c, c.URL.Reveal()))
}

// OpenAccounts opens the accounts of the configured database for a command. The caller calls closeDB in the end.
func OpenAccounts(cfg config.Config, log *slog.Logger) (users *accounts.Service, closeDB func(context.Context), err error) {
	db, err := postgres.Open(databaseConfig(cfg.Database, cfg.Database.URL.Reveal()), postgres.Deps{Logger: log})
	if err != nil {
		return nil, nil, err
	}
	users, err = accounts.New(db, accounts.Config{
		TokenSecret: []byte(cfg.Token.Secret.Reveal()), TokenTTL: cfg.Token.TTL,
	}, log)
	if err != nil {
		db.Close(context.Background())
		return nil, nil, err
	}
	return users, db.Close, nil
}
