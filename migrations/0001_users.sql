-- +goose Up
SET LOCAL lock_timeout = '5s';

CREATE TABLE users (
    id            uuid        NOT NULL,
    email         text        NOT NULL,
    name          text        NOT NULL,
    role          text        NOT NULL,
    password_hash text        NOT NULL, -- PHC string; never leaves the accounts package
    created_at    timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT users_pkey PRIMARY KEY (id),
    CONSTRAINT users_email_length CHECK (char_length(email) BETWEEN 3 AND 254),
    CONSTRAINT users_name_length CHECK (char_length(name) BETWEEN 1 AND 120),
    CONSTRAINT users_role_known CHECK (role IN ('customer', 'owner', 'admin'))
);

-- The address is kept as its owner spelled it; one person has one account whatever the spelling.
CREATE UNIQUE INDEX users_email_key ON users (lower(email));

-- +goose Down
SET LOCAL lock_timeout = '5s';

DROP TABLE users;
