package ordering

import (
	"context"
	"fmt"

	"speedybites/internal/postgres"
)

// keysPerBatch bounds the locks and the time of one transaction of DeleteExpiredKeys.
const keysPerBatch = 1000

// An hour more than the lifetime: a request in doubt looks for its own row, and lives minutes at most.
const deleteExpired = `
DELETE FROM idempotency_keys
WHERE (user_id, key) IN (
    SELECT user_id, key FROM idempotency_keys
    WHERE expires_at < now() - interval '1 hour'
    ORDER BY expires_at LIMIT $1 FOR UPDATE SKIP LOCKED
)`

// DeleteExpiredKeys deletes the idempotency keys that expired at least an hour ago and returns how many they were, also
// when it fails halfway. It runs past breaker and retries and fails with postgres.ErrUnavailable while the database is
// away: the next run finds the same keys.
func (s *Service) DeleteExpiredKeys(ctx context.Context) (int64, error) {
	var total int64
	for {
		var deleted int64
		err := s.db.Background(ctx, "orders.delete_expired_keys", func(ctx context.Context, tx *postgres.Tx) error {
			tag, err := tx.Exec(ctx, deleteExpired, keysPerBatch)
			deleted = tag.RowsAffected()
			return err
		})
		if err != nil {
			return total, fmt.Errorf("delete expired idempotency keys: %w", err)
		}
		total += deleted
		if deleted < keysPerBatch {
			return total, nil
		}
	}
}
