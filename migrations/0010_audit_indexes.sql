-- +goose NO TRANSACTION
-- +goose Up
-- Without keeping anybody from writing: every change has its row in this table. A build that was cut off leaves an index
-- that is not valid, which the next attempt replaces.
DROP INDEX CONCURRENTLY IF EXISTS audit_log_entity_id_idx;
CREATE INDEX CONCURRENTLY audit_log_entity_id_idx ON audit_log (entity_id, operation_id);
DROP INDEX CONCURRENTLY IF EXISTS audit_log_actor_id_idx;
CREATE INDEX CONCURRENTLY audit_log_actor_id_idx ON audit_log (actor_id, operation_id);

-- +goose Down
DROP INDEX CONCURRENTLY IF EXISTS audit_log_actor_id_idx;
DROP INDEX CONCURRENTLY IF EXISTS audit_log_entity_id_idx;
