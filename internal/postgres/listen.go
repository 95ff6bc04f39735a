package postgres

import (
	"context"
	"log/slog"
	"net"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"speedybites/internal/postgres/cluster"
)

// listenLook is the time between looks whether a listener is still with the primary, and between attempts to connect.
const listenLook = time.Second

// Listen calls notify with the payload of every notification on a channel of the primary, over a connection of its own,
// until ctx ends. It calls missed whenever some may have been missed: after every connection, the first included. Both are
// called one at a time and must not block. While the primary is away nobody listens, and nobody dials.
func (db *DB) Listen(ctx context.Context, channel string, notify func(payload string), missed func()) {
	for ctx.Err() == nil {
		if view := db.primary.monitor.View(); view.State == cluster.Connected && view.Server != "" {
			err := db.listenTo(ctx, view, channel, notify, missed)
			if ctx.Err() != nil {
				return
			}
			db.primary.log.LogAttrs(ctx, slog.LevelInfo, "not listening for notifications", slog.String("channel", channel), slog.Any("error", err))
		}
		timer := time.NewTimer(listenLook)
		select {
		case <-db.primary.monitor.View().Changed:
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
	}
}

// listenTo listens on the server of view until it is no longer the primary, or the connection is lost.
func (db *DB) listenTo(ctx context.Context, view *cluster.View, channel string, notify func(string), missed func()) error {
	conn, err := db.connectListener(ctx, view.Server)
	if err != nil {
		return err
	}
	// The network connection first, so that no farewell can hang.
	defer func() {
		_ = conn.PgConn().Conn().Close()
		_ = conn.Close(context.WithoutCancel(ctx))
	}()
	if err := within(ctx, watchTimeout, func(ctx context.Context) error {
		_, err := conn.Exec(ctx, "listen "+pgx.Identifier{channel}.Sanitize())
		return err
	}); err != nil {
		return err
	}
	missed()
	for {
		var payload string
		err := within(ctx, listenLook, func(ctx context.Context) error {
			n, err := conn.WaitForNotification(ctx)
			if err == nil {
				payload = n.Payload
			}
			return err
		})
		now := db.primary.monitor.View()
		switch {
		case err == nil:
			notify(payload)
		case conn.IsClosed() || ctx.Err() != nil:
			return err
		case now.State != cluster.Connected || now.Server != view.Server || now.Epoch != view.Epoch:
			return errSevered
		}
	}
}

func (db *DB) connectListener(ctx context.Context, server string) (*pgx.Conn, error) {
	cc := db.topology.prober.config.Copy()
	cc.RuntimeParams["application_name"] = "speedy-bites listener"
	if i := slices.IndexFunc(db.topology.hosts, func(h host) bool { return h.name == server }); i >= 0 {
		db.topology.hosts[i].pin(cc)
	}
	cc.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
		if _, connected := db.primary.connectedness(); !connected {
			return nil, errNoDial
		}
		nc, err := newDialer().DialContext(ctx, network, address)
		db.primary.dialed(dialListener, err)
		return nc, err
	}
	var conn *pgx.Conn
	err := within(ctx, watchTimeout, func(ctx context.Context) (err error) {
		conn, err = pgx.ConnectConfig(ctx, cc)
		return err
	})
	return conn, err
}

// within runs f with a limit.
func within(ctx context.Context, limit time.Duration, f func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	return f(ctx)
}
