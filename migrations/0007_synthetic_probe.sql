-- +goose Up
SET LOCAL lock_timeout = '5s';

-- When each instance last wrote as a test. The service deletes the row of an instance that it has not seen for a day.
-- Only probed_at changes, and it has no index: with room on the page every update stays there (HOT), the next one
-- tidies up behind it, and autovacuum has nothing to do.
CREATE TABLE synthetic_probe (
    instance  text        NOT NULL,
    probed_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT synthetic_probe_pkey PRIMARY KEY (instance),
    CONSTRAINT synthetic_probe_instance_length CHECK (char_length(instance) BETWEEN 1 AND 255)
) WITH (fillfactor = 10);

-- +goose Down
SET LOCAL lock_timeout = '5s';

DROP TABLE synthetic_probe;
