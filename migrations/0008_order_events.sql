-- +goose Up
SET LOCAL lock_timeout = '5s';

-- What happened to an order after it was placed, in the order in which it happened. seq is 1 for the first step; that it
-- was placed is event 0, and in the order itself. Whoever watches an order goes on behind the seq that was seen last.
CREATE TABLE order_events (
    order_id uuid        NOT NULL,
    seq      smallint    NOT NULL,
    status   text        NOT NULL,
    at       timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT order_events_pkey PRIMARY KEY (order_id, seq),
    CONSTRAINT order_events_order_id_fkey FOREIGN KEY (order_id) REFERENCES orders (id) ON DELETE CASCADE
);

-- By a trigger, so that no change of the status is without its event. The update holds the order's row, so that seq is
-- drawn by one transaction at a time. The notification wakes those who wait; what happened they read here.
-- +goose StatementBegin
CREATE FUNCTION orders_record_event() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO order_events (order_id, seq, status)
    SELECT NEW.id, coalesce(max(seq), 0) + 1, NEW.status FROM order_events WHERE order_id = NEW.id;
    PERFORM pg_notify('order_events', NEW.id::text);
    RETURN NULL;
END $$;
-- +goose StatementEnd

CREATE TRIGGER orders_event AFTER UPDATE ON orders
    FOR EACH ROW WHEN (OLD.status IS DISTINCT FROM NEW.status) EXECUTE FUNCTION orders_record_event();

-- +goose Down
SET LOCAL lock_timeout = '5s';

DROP TRIGGER orders_event ON orders;
DROP FUNCTION orders_record_event();
DROP TABLE order_events;
