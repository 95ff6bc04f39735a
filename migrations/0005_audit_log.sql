-- +goose Up
SET LOCAL lock_timeout = '5s';

-- One row for each change, written in the change's own transaction. The primary key is the operation's id, drawn once
-- for a request, so a repeated attempt adds nothing.
CREATE TABLE audit_log (
    operation_id uuid        NOT NULL,
    at           timestamptz NOT NULL DEFAULT now(),
    actor_id     uuid, -- null: the system itself, for example its command line
    actor_role   text        NOT NULL,
    action       text        NOT NULL,
    entity       text        NOT NULL,
    entity_id    uuid        NOT NULL,
    before       jsonb,
    after        jsonb,
    request_id   text        NOT NULL DEFAULT '',
    exported_at  timestamptz, -- when the row's line was in audit.log for certain
    CONSTRAINT audit_log_pkey PRIMARY KEY (operation_id)
);

-- The relay's queue: empty most of the time, however long the history is.
CREATE INDEX audit_log_pending_idx ON audit_log (at, operation_id) WHERE exported_at IS NULL;

-- +goose Down
SET LOCAL lock_timeout = '5s';

DROP TABLE audit_log;
