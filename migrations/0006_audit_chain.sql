-- +goose Up
SET LOCAL lock_timeout = '5s';

-- The last line of each hash chain of audit.log, written in the transaction that marks the lines' entries. A file that
-- has lost its end, or all files that are gone, are found by comparing. Rows are never deleted by the service.
CREATE TABLE audit_chain (
    chain_id   uuid        NOT NULL,
    stream     text        NOT NULL, -- whose files: host and directory
    seq        bigint      NOT NULL,
    hash       bytea       NOT NULL,
    begun_at   timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT audit_chain_pkey PRIMARY KEY (chain_id),
    CONSTRAINT audit_chain_seq_positive CHECK (seq > 0),
    CONSTRAINT audit_chain_hash_length CHECK (octet_length(hash) = 32)
);

-- +goose Down
SET LOCAL lock_timeout = '5s';

DROP TABLE audit_chain;
