#!/usr/bin/env bash
# A Postgres server to be thrown away, for tests and tools.
#
#   script/throwaway-postgres.sh start DIR    starts one in DIR (which it creates) and prints its URL, which is kept in DIR/url
#   script/throwaway-postgres.sh stop DIR     stops it and removes DIR
#   script/throwaway-postgres.sh standby DIR OF    starts a standby in DIR of the one in OF, once it has caught up, and prints its URL
#   script/throwaway-postgres.sh ctl DIR ACTION [OPTION...]    what pg_ctl does, e.g. `restart --mode immediate`
#
# It listens on a free port of 127.0.0.1 with a password of its own and is as durable as a real one, so that what is measured on it
# means something. Sourced, it gives the functions throwaway_start, throwaway_standby, throwaway_stop and throwaway_ctl.

# shellcheck source-path=SCRIPTDIR source=prerequisites.sh
. "$(dirname "${BASH_SOURCE[0]}")/prerequisites.sh"

# Postgres refuses to run as root.
throwaway_user() {
    local user
    for user in postgres nobody; do
        if id "$user" >/dev/null 2>&1; then
            printf '%s\n' "$user"
            return
        fi
    done
    fail "Postgres can't run as root, and there is neither a user postgres nor nobody"
}

as_postgres() {
    if [ "$(id -u)" = 0 ]; then
        (cd / && exec runuser -u "$(throwaway_user)" -- "$@")
    else
        "$@"
    fi
}

throwaway_start() {
    local dir=$1 password
    require_postgres
    [ ! -e "$dir/cluster" ] || fail "$dir/cluster exists: stop it first"
    mkdir -p "$dir/cluster"
    dir=$(cd "$dir" && pwd -P)
    password=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
    (umask 077 && printf '%s\n' "$password" >"$dir/password")
    chmod 700 "$dir/cluster"
    if [ "$(id -u)" = 0 ]; then
        chmod 711 "$dir"
        chown "$(throwaway_user):" "$dir/cluster" "$dir/password"
    fi
    as_postgres "$postgres_bin/initdb" --pgdata "$dir/cluster" --username postgres --pwfile "$dir/password" --auth scram-sha-256 \
        --encoding UTF8 --locale C --no-sync >"$dir/initdb.log" 2>&1 || {
        cat "$dir/initdb.log" >&2
        fail "initdb failed in $dir"
    }
    throwaway_run "$dir" "$password"
}

# throwaway_run DIR PASSWORD: starts what stands in DIR/cluster.
throwaway_run() {
    local dir=$1 password=$2 port attempt
    for attempt in 1 2 3 4 5; do # somebody else may take the port first
        port=$(free_port)
        throwaway_settings "$port" | as_postgres tee "$dir/cluster/postgresql.conf" >/dev/null
        if as_postgres "$postgres_bin/pg_ctl" start --pgdata "$dir/cluster" --log "$dir/cluster/server.log" --wait --silent </dev/null >&2; then
            (umask 077 && printf 'postgres://postgres:%s@127.0.0.1:%s/postgres\n' "$password" "$port" >"$dir/url")
            cat "$dir/url"
            return
        fi
    done
    tail -n 20 "$dir/cluster/server.log" >&2
    fail "Postgres did not start in $dir, $attempt times"
}

# It begins with a copy of the primary's files as they are now, so it has all that was committed before.
throwaway_standby() {
    local dir=$1 of password
    of=$(cd "$2" && pwd -P)
    require_postgres
    [ ! -e "$dir/cluster" ] || fail "$dir/cluster exists: stop it first"
    mkdir -p "$dir/cluster"
    dir=$(cd "$dir" && pwd -P)
    chmod 700 "$dir/cluster"
    password=$(sed -n 's|.*//postgres:\(.*\)@.*|\1|p' "$of/url")
    if [ "$(id -u)" = 0 ]; then
        chmod 711 "$dir"
        chown "$(throwaway_user):" "$dir/cluster"
    fi
    as_postgres "$postgres_bin/pg_basebackup" --pgdata "$dir/cluster" --dbname "$(cat "$of/url")" --write-recovery-conf --checkpoint fast \
        --no-sync >&2 || fail "pg_basebackup failed in $dir"
    throwaway_run "$dir" "$password"
}

throwaway_settings() {
    cat <<EOF
listen_addresses = '127.0.0.1'
port = $1
unix_socket_directories = ''
max_connections = 300
shared_buffers = 128MB
max_wal_size = 2GB
jit = off
timezone = 'UTC'
EOF
}

throwaway_stop() {
    local dir
    dir=$(cd "$1" && pwd -P)
    require_postgres
    if [ -e "$dir/cluster/postmaster.pid" ]; then
        as_postgres "$postgres_bin/pg_ctl" stop --pgdata "$dir/cluster" --mode immediate --silent >&2 || say "Postgres in $dir was not running"
    fi
    rm -rf "$dir/cluster" "$dir/password" "$dir/url" "$dir/initdb.log"
    rmdir "$dir"
}

throwaway_ctl() {
    local dir action=$2
    dir=$(cd "$1" && pwd -P)
    shift 2
    require_postgres
    as_postgres "$postgres_bin/pg_ctl" "$action" --pgdata "$dir/cluster" --silent "$@" </dev/null >&2
}

if [ "${BASH_SOURCE[0]}" = "$0" ]; then
    set -euo pipefail
    case "${1:-}:${2:-}" in
    start:?*) throwaway_start "$2" ;;
    standby:?*) throwaway_standby "$2" "$3" ;;
    stop:?*) throwaway_stop "$2" ;;
    ctl:?*) throwaway_ctl "${@:2}" ;;
    *)
        sed -n '2,10s/^# \{0,1\}//p' "$0" >&2
        exit 2
        ;;
    esac
fi
