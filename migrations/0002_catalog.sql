-- +goose Up
SET LOCAL lock_timeout = '5s';

CREATE TABLE restaurants (
    id          uuid        NOT NULL,
    owner_id    uuid        NOT NULL,
    name        text        NOT NULL,
    cuisine     text        NOT NULL,
    description text        NOT NULL DEFAULT '',
    address     text        NOT NULL,
    open        boolean     NOT NULL DEFAULT true,
    created_at  timestamptz NOT NULL DEFAULT now(),
    updated_at  timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT restaurants_pkey PRIMARY KEY (id),
    CONSTRAINT restaurants_owner_id_fkey FOREIGN KEY (owner_id) REFERENCES users (id),
    CONSTRAINT restaurants_name_length CHECK (char_length(name) BETWEEN 1 AND 120),
    CONSTRAINT restaurants_cuisine_length CHECK (char_length(cuisine) BETWEEN 1 AND 60),
    CONSTRAINT restaurants_description_length CHECK (char_length(description) <= 2000),
    CONSTRAINT restaurants_address_length CHECK (char_length(address) BETWEEN 1 AND 300)
);

CREATE INDEX restaurants_owner_id_idx ON restaurants (owner_id);

CREATE TABLE menu_items (
    id            uuid        NOT NULL,
    restaurant_id uuid        NOT NULL,
    name          text        NOT NULL,
    description   text        NOT NULL DEFAULT '',
    price_cents   bigint      NOT NULL,
    currency      text        NOT NULL DEFAULT 'USD',
    available     boolean     NOT NULL DEFAULT true,
    image_url     text,
    created_at    timestamptz NOT NULL DEFAULT now(),
    updated_at    timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT menu_items_pkey PRIMARY KEY (id),
    CONSTRAINT menu_items_restaurant_id_fkey FOREIGN KEY (restaurant_id) REFERENCES restaurants (id),
    CONSTRAINT menu_items_name_length CHECK (char_length(name) BETWEEN 1 AND 120),
    CONSTRAINT menu_items_description_length CHECK (char_length(description) <= 2000),
    CONSTRAINT menu_items_price_cents_range CHECK (price_cents BETWEEN 0 AND 10000000),
    CONSTRAINT menu_items_currency_code CHECK (currency ~ '^[A-Z]{3}$')
);

CREATE INDEX menu_items_restaurant_id_idx ON menu_items (restaurant_id, id);

-- +goose Down
SET LOCAL lock_timeout = '5s';

DROP TABLE menu_items;
DROP TABLE restaurants;
