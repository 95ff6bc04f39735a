#!/bin/sh
# Makes every secret of docker-compose.yml that is missing, and leaves those that are there as they are:
#
#	observability/stack/secrets.sh [directory]
#
# The directory is secrets/ in the repository if none is named. Containers run as other users than you, and Compose mounts
# the files as they are: so all may read them, and none but you may enter the directory.
set -eu
dir=${1:-$(dirname -- "$0")/../../secrets}
umask 077
mkdir -p -- "$dir"
chmod 700 -- "$dir"
cd -- "$dir"
[ -e .gitignore ] || echo '*' >.gitignore

# keep NAME: makes the file of what comes in, unless there is one. It is never there in part.
keep() {
	if [ ! -s "$1" ]; then
		cat >"$1.unfinished"
		[ -s "$1.unfinished" ] || { echo "$0: no content for $dir/$1" >&2 && exit 1; }
		mv -- "$1.unfinished" "$1"
		echo "made $dir/$1"
	fi
	chmod 444 -- "$1"
}

# random: 48 characters of chance.
random() { od -An -v -N24 -tx1 /dev/urandom | tr -d ' \n'; }

random | keep postgres_password
printf 'postgres://speedybites:%s@postgres:5432,postgres-replica:5432/speedybites' "$(cat postgres_password)" | keep database_url
grep -q postgres-replica: database_url ||
	echo "$dir/database_url names no postgres-replica: without it, the API does not find the replica after a failover" >&2
random | keep replication_password
random | keep exporter_password
random | keep token_secret
random | keep grafana_admin_password

# Where Alertmanager sends what. As shipped, everything goes to the receiver of the stack.
for name in page ticket watchdog; do
	printf 'http://receiver:9096/%s' "$name" | keep "webhook_${name}_url"
done
# For receivers that alerts/alertmanager.yml has and routes nothing to. Put yours here before you route to them.
printf unused | keep pagerduty_routing_key
printf http://127.0.0.1/unused | keep slack_api_url
printf unused | keep smtp_password
