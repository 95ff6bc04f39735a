#!/bin/sh
# Runs a replica of the primary: copies it on the first start, follows it from then on.
#
# Wants PGDATA, which must be below a directory of its own; PRIMARY_HOST and, if it is not 5432, PRIMARY_PORT; SECRETS, the
# directory of replication_password. Arguments are the server's.
set -eu
umask 077
password=$(cat "$SECRETS/replication_password")
export PGPASSFILE="${TMPDIR:-/tmp}/replication.pgpass" # beside the data, so that a copy of the data is none of the password
printf '*:*:*:replicator:%s\n' "$password" >"$PGPASSFILE"
primary="host=$PRIMARY_HOST port=${PRIMARY_PORT:-5432} user=replicator passfile=$PGPASSFILE application_name=replica connect_timeout=5"

if [ ! -d "$PGDATA" ]; then
    # A copy that was cut off is none.
    rm -rf "$PGDATA.unfinished"
    pg_basebackup --dbname "$primary" --pgdata "$PGDATA.unfinished" --slot replica --wal-method stream --checkpoint fast
    touch "$PGDATA.unfinished/standby.signal"
    mv "$PGDATA.unfinished" "$PGDATA"
fi
exec postgres -c primary_slot_name=replica -c "primary_conninfo=$primary" "$@"
