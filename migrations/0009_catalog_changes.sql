-- +goose Up
SET LOCAL lock_timeout = '5s';

-- A restaurant with orders cannot go, its orders stay. So none does: from this moment on it is not shown and sells nothing.
ALTER TABLE restaurants ADD COLUMN deleted_at timestamptz;

-- +goose Down
SET LOCAL lock_timeout = '5s';

DELETE FROM menu_items WHERE restaurant_id IN (SELECT id FROM restaurants WHERE deleted_at IS NOT NULL);
UPDATE restaurants SET open = false WHERE deleted_at IS NOT NULL;
ALTER TABLE restaurants DROP COLUMN deleted_at;
