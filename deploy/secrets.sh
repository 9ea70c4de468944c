#!/bin/sh
# Makes the secrets that compose.yaml mounts, each a file in deploy/secrets. What stands there stays as it is, and what
# is empty is made anew.
#
#   APCA_API_KEY_ID=… APCA_API_SECRET_KEY=… deploy/secrets.sh
#
# Without Alpaca's pair it writes empty files, which a gateway before the sandbox takes; run it again with the pair to
# go to Alpaca. Nobody but you may enter the folder. The files in it are readable, because a container reads them as a
# user of its own, and mounts reach past the folder.
set -eu

folder=$(dirname "$0")/secrets
umask 077
mkdir -p "$folder"
chmod 0700 "$folder"

# keep NAME: write what stands on the standard input into a file that does not exist yet, or holds nothing.
keep() {
    [ -s "$folder/$1" ] && { cat >/dev/null; return; }
    # One that holds nothing cannot be written to either.
    rm -f "$folder/$1"
    cat >"$folder/$1"
    chmod 0444 "$folder/$1"
}

random() { od -An -N32 -tx1 /dev/urandom | tr -d ' \n'; }

printf '%s' "${APCA_API_KEY_ID:-}" | keep apca_api_key_id
printf '%s' "${APCA_API_SECRET_KEY:-}" | keep apca_api_secret_key
random | keep identity_secret
random | keep postgres_password
random | keep redis_password
random | keep grafana_password
# Where Alertmanager sends messages: the address of a Slack-compatible webhook. Empty until you write one.
printf '%s' "${ALERT_WEBHOOK_URL:-}" | keep alert_webhook_url
printf 'postgresql://tickgate:%s@postgres:5432/tickgate' "$(cat "$folder/postgres_password")" | keep postgres_url
printf 'redis://:%s@redis:6379/0' "$(cat "$folder/redis_password")" | keep redis_url
printf 'requirepass %s\n' "$(cat "$folder/redis_password")" | keep redis_conf
