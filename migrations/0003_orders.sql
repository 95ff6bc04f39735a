-- +goose Up
SET LOCAL lock_timeout = '5s';

CREATE TABLE orders (
    id               uuid        NOT NULL,
    restaurant_id    uuid        NOT NULL,
    customer_id      uuid        NOT NULL,
    status           text        NOT NULL DEFAULT 'placed',
    total_cents      bigint      NOT NULL,
    currency         text        NOT NULL,
    delivery_address text        NOT NULL,
    note             text        NOT NULL DEFAULT '',
    created_at       timestamptz NOT NULL DEFAULT now(),
    updated_at       timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT orders_pkey PRIMARY KEY (id),
    CONSTRAINT orders_restaurant_id_fkey FOREIGN KEY (restaurant_id) REFERENCES restaurants (id),
    CONSTRAINT orders_customer_id_fkey FOREIGN KEY (customer_id) REFERENCES users (id),
    CONSTRAINT orders_status_known CHECK (status IN
        ('placed', 'accepted', 'preparing', 'ready', 'delivering', 'delivered', 'rejected', 'cancelled')),
    CONSTRAINT orders_total_cents_range CHECK (total_cents >= 0),
    CONSTRAINT orders_currency_code CHECK (currency ~ '^[A-Z]{3}$'),
    CONSTRAINT orders_delivery_address_length CHECK (char_length(delivery_address) BETWEEN 1 AND 500),
    CONSTRAINT orders_note_length CHECK (char_length(note) <= 500)
);

-- Lists are newest first and ids are UUIDv7, so the id is the order of time.
CREATE INDEX orders_customer_id_idx ON orders (customer_id, id);
CREATE INDEX orders_restaurant_id_idx ON orders (restaurant_id, id);

-- The name, price and currency are copies: an order records what was agreed, whatever becomes of the menu. That is also
-- why menu_item_id has no foreign key: a menu item may be deleted while the orders for it stay, and a key would lock
-- the popular rows of the menu in every order.
CREATE TABLE order_items (
    order_id         uuid     NOT NULL,
    menu_item_id     uuid     NOT NULL,
    position         smallint NOT NULL,
    name             text     NOT NULL,
    quantity         integer  NOT NULL,
    unit_price_cents bigint   NOT NULL,
    currency         text     NOT NULL,
    CONSTRAINT order_items_pkey PRIMARY KEY (order_id, menu_item_id),
    CONSTRAINT order_items_order_id_fkey FOREIGN KEY (order_id) REFERENCES orders (id) ON DELETE CASCADE,
    CONSTRAINT order_items_position_range CHECK (position BETWEEN 1 AND 50),
    CONSTRAINT order_items_name_length CHECK (char_length(name) BETWEEN 1 AND 120),
    CONSTRAINT order_items_quantity_range CHECK (quantity BETWEEN 1 AND 99),
    CONSTRAINT order_items_unit_price_cents_range CHECK (unit_price_cents BETWEEN 0 AND 10000000)
);

-- Legal steps of the status. An order starts as placed; delivered, rejected and cancelled are final.
-- +goose StatementBegin
CREATE FUNCTION orders_check_status() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        RAISE EXCEPTION 'a new order is placed, not %', NEW.status
            USING ERRCODE = 'check_violation', CONSTRAINT = 'orders_status_step', TABLE = 'orders';
    END IF;
    IF (OLD.status, NEW.status) NOT IN (
        ('placed', 'accepted'), ('accepted', 'preparing'), ('preparing', 'ready'), ('ready', 'delivering'),
        ('delivering', 'delivered'), ('placed', 'rejected'), ('placed', 'cancelled'), ('accepted', 'cancelled')
    ) THEN
        RAISE EXCEPTION 'order % cannot go from % to %', NEW.id, OLD.status, NEW.status
            USING ERRCODE = 'check_violation', CONSTRAINT = 'orders_status_step', TABLE = 'orders';
    END IF;
    RETURN NEW;
END $$;
-- +goose StatementEnd

-- The conditions keep plpgsql out of the usual insert.
CREATE TRIGGER orders_status_start BEFORE INSERT ON orders
    FOR EACH ROW WHEN (NEW.status <> 'placed') EXECUTE FUNCTION orders_check_status();
CREATE TRIGGER orders_status_step BEFORE UPDATE ON orders
    FOR EACH ROW WHEN (OLD.status IS DISTINCT FROM NEW.status) EXECUTE FUNCTION orders_check_status();

-- An order has 1 to 50 items, all in its currency, and its total is theirs. One order at a time by its key, so that the
-- cost never depends on how many others there are, whatever the planner believes. Both checks together cost an order of
-- 3 items 40 µs, one of 50 items 70 µs (of 85 and 340 µs for its inserts and COMMIT without fsync).
-- +goose StatementBegin
CREATE FUNCTION orders_require_sum(order_to_check uuid) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM orders o LEFT JOIN order_items i ON i.order_id = o.id
    WHERE o.id = order_to_check
    GROUP BY o.id
    HAVING count(i.order_id) NOT BETWEEN 1 AND 50
        OR sum(i.quantity * i.unit_price_cents) IS DISTINCT FROM o.total_cents
        OR bool_or(i.currency <> o.currency);
    IF FOUND THEN
        RAISE EXCEPTION 'order % is not the sum of 1 to 50 items in its currency', order_to_check
            USING ERRCODE = 'check_violation', CONSTRAINT = 'orders_total_is_sum', TABLE = 'orders';
    END IF;
END $$;
-- +goose StatementEnd

-- From the side of the order it is checked at the end of the transaction, since the order comes before its items.
-- +goose StatementBegin
CREATE FUNCTION orders_check_total() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM orders_require_sum(NEW.id);
    RETURN NULL;
END $$;
-- +goose StatementEnd

CREATE CONSTRAINT TRIGGER orders_total_is_sum AFTER INSERT OR UPDATE OF id, total_cents, currency ON orders
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION orders_check_total();

-- From the side of the items a deferred trigger would fire for each row and sum all rows each time. So this one fires
-- once for the statement, at once: all items of an order come in one statement, after their order. Two transactions
-- cannot outwit the two checks together: a change of the sum needs a change of the total, and that locks the order's row.
-- +goose StatementBegin
CREATE FUNCTION order_items_check_total() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    changed_order uuid;
BEGIN
    FOR changed_order IN SELECT DISTINCT c.order_id FROM changed c LOOP
        PERFORM orders_require_sum(changed_order);
    END LOOP;
    RETURN NULL;
END $$;
-- +goose StatementEnd

CREATE TRIGGER order_items_total_insert AFTER INSERT ON order_items
    REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION order_items_check_total();
CREATE TRIGGER order_items_total_delete AFTER DELETE ON order_items
    REFERENCING OLD TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION order_items_check_total();

-- +goose StatementBegin
CREATE FUNCTION order_items_refuse_update() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the items of an order are what was agreed; they do not change'
        USING ERRCODE = 'check_violation', CONSTRAINT = 'order_items_immutable', TABLE = 'order_items';
END $$;
-- +goose StatementEnd

CREATE TRIGGER order_items_immutable BEFORE UPDATE ON order_items
    FOR EACH STATEMENT EXECUTE FUNCTION order_items_refuse_update();

-- +goose Down
SET LOCAL lock_timeout = '5s';

DROP TABLE order_items;
DROP TABLE orders;
DROP FUNCTION order_items_refuse_update();
DROP FUNCTION order_items_check_total();
DROP FUNCTION orders_check_total();
DROP FUNCTION orders_require_sum(uuid);
DROP FUNCTION orders_check_status();
