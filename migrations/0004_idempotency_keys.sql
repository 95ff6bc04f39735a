-- +goose Up
SET LOCAL lock_timeout = '5s';

-- Which request placed which order. Every order has a row: a client's key is stored as 'client:…'; a request without
-- one gets 'request:' and its own operation id, which no client can send.
CREATE TABLE idempotency_keys (
    user_id      uuid        NOT NULL, -- no foreign key: the order's customer_id has it
    key          text        NOT NULL,
    request_hash bytea       NOT NULL,
    order_id     uuid        NOT NULL,
    uses         integer     NOT NULL DEFAULT 0, -- how often the key was met again
    created_at   timestamptz NOT NULL DEFAULT now(),
    expires_at   timestamptz NOT NULL,
    CONSTRAINT idempotency_keys_pkey PRIMARY KEY (user_id, key),
    -- Deferred: the key is claimed before the order is inserted.
    CONSTRAINT idempotency_keys_order_id_fkey FOREIGN KEY (order_id) REFERENCES orders (id)
        DEFERRABLE INITIALLY DEFERRED,
    CONSTRAINT idempotency_keys_key_form CHECK
        ((key LIKE 'client:_%' OR key LIKE 'request:_%') AND char_length(key) <= 263),
    CONSTRAINT idempotency_keys_request_hash_length CHECK (octet_length(request_hash) = 32)
);

CREATE INDEX idempotency_keys_expires_at_idx ON idempotency_keys (expires_at);

-- +goose Down
SET LOCAL lock_timeout = '5s';

DROP TABLE idempotency_keys;
