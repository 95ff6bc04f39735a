#!/bin/sh
# Gives the primary what the rest of the stack needs of it: the roles of the replica and of the exporter, with the
# passwords that are in the secrets, and the replica's slot. It may run again at any time.
#
# Wants libpq's variables, such as PGHOST and PGUSER, and SECRETS, the directory of the passwords.
set -eu
PGPASSWORD=$(cat "$SECRETS/postgres_password")
REPLICATION_PASSWORD=$(cat "$SECRETS/replication_password")
EXPORTER_PASSWORD=$(cat "$SECRETS/exporter_password")
export PGPASSWORD REPLICATION_PASSWORD EXPORTER_PASSWORD

exec psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 <<'SQL'
\getenv replication_password REPLICATION_PASSWORD
\getenv exporter_password EXPORTER_PASSWORD
SET client_min_messages = warning; -- not that a role is a member already

SELECT 'CREATE ROLE replicator' WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'replicator') \gexec
ALTER ROLE replicator LOGIN REPLICATION PASSWORD :'replication_password';

SELECT 'CREATE ROLE exporter' WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'exporter') \gexec
ALTER ROLE exporter LOGIN CONNECTION LIMIT 10 PASSWORD :'exporter_password';
GRANT pg_monitor TO exporter;

-- A replica that was away for too long lost its slot: a new one needs a new slot.
\o /dev/null
SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = 'replica' AND wal_status = 'lost';
SELECT pg_create_physical_replication_slot('replica', true) WHERE NOT EXISTS
    (SELECT FROM pg_replication_slots WHERE slot_name = 'replica');
SQL
