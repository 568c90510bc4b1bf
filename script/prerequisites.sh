# shellcheck shell=bash
# What building and running Merx takes, and installing what is missing. To be sourced.
#
#   require_build       Rust, and what compiles the C and C++ of librdkafka
#   require_postgres    the Postgres server's binaries, 15 or newer; their folder goes into $postgres_bin
#   require_tool CMD PACKAGE...

say() { printf '%s\n' "$*" >&2; }

fail() {
    say "error: $*"
    exit 1
}

# Installs Debian packages, as root or through a sudo that asks nothing; elsewhere it says what to install, and ends.
install_packages() {
    local -a sudo=()
    if [ "$(id -u)" != 0 ]; then sudo=(sudo -n); fi
    can_install || fail "please install: $* (names of Debian packages)"
    say "installing $*"
    if [ -z "${apt_updated:-}" ]; then
        twice "${sudo[@]}" apt-get -qq update >&2
        apt_updated=yes
    fi
    twice "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -qq --yes --no-install-recommends "$@" </dev/null >&2
}

can_install() {
    command -v apt-get >/dev/null && { [ "$(id -u)" = 0 ] || sudo -n true 2>/dev/null; }
}

# Networks fail now and then.
twice() { "$@" || { sleep 5 && "$@"; }; }

# require_tool CMD PACKAGE...: installs the packages if there is no such command.
require_tool() {
    local tool=$1
    shift
    command -v "$tool" >/dev/null || install_packages "$@"
}

require_build() {
    if ! command -v cargo >/dev/null && [ -r "${CARGO_HOME:-$HOME/.cargo}/env" ]; then
        # shellcheck disable=SC1091
        . "${CARGO_HOME:-$HOME/.cargo}/env"
    fi
    command -v cargo >/dev/null || fail "Rust is missing: install it as https://rustup.rs says (1.94 or newer)"
    # With the headers of the C library, which a bare compiler may lack.
    if ! echo '#include <stdlib.h>' | cc -E - >/dev/null 2>&1; then install_packages gcc libc6-dev; fi
    # librdkafka comes as source, and takes TLS from the system.
    if ! echo '#include <string>' | c++ -x c++ -E - >/dev/null 2>&1; then install_packages g++; fi
    require_tool make make
    require_tool pkg-config pkg-config
    if ! pkg-config --exists openssl; then install_packages libssl-dev; fi
    # The queries are checked against .sqlx/: a DATABASE_URL meant for the server is none for the compiler.
    export SQLX_OFFLINE=true
}

# Prints the folder of the newest server, which has to be 15 or newer. Looks where `merx` does.
find_postgres() {
    local folder version best_folder='' best=14
    if [ -n "${MERX_POSTGRES_BIN:-}" ]; then
        set -- "$MERX_POSTGRES_BIN"
    else
        local -a path
        IFS=: read -r -a path <<<"$PATH"
        set -- /usr/lib/postgresql/*/bin /usr/pgsql-*/bin /opt/homebrew/opt/postgresql@*/bin /usr/local/opt/postgresql@*/bin \
            /usr/local/pgsql/bin "${path[@]}"
    fi
    for folder; do
        if [ ! -x "$folder/postgres" ] || [ ! -x "$folder/initdb" ] || [ ! -x "$folder/pg_ctl" ]; then continue; fi
        version=$("$folder/postgres" --version | sed -n 's/^postgres (PostgreSQL) \([0-9]*\).*/\1/p')
        if [ "${version:-0}" -gt "$best" ]; then best=$version best_folder=$folder; fi
    done
    [ -n "$best_folder" ] && printf '%s\n' "$best_folder"
}

require_postgres() {
    if ! postgres_bin=$(find_postgres); then
        [ -z "${MERX_POSTGRES_BIN:-}" ] || fail "no Postgres of version 15 or newer in $MERX_POSTGRES_BIN, which MERX_POSTGRES_BIN names"
        install_postgres
        postgres_bin=$(find_postgres) || fail "this system's Postgres is older than 15: install a newer one, see https://www.postgresql.org/download/"
    fi
    export postgres_bin
}

# Debian's package makes and starts a cluster of its own, which nobody here asked for, unless it is told not to.
install_postgres() {
    local folder=/etc/postgresql-common/createcluster.d
    can_install || fail "please install a Postgres server, 15 or newer (Debian: postgresql)"
    install_packages postgresql-common
    local -a sudo=()
    if [ "$(id -u)" != 0 ]; then sudo=(sudo -n); fi
    "${sudo[@]}" mkdir -p "$folder"
    echo 'create_main_cluster = false' | "${sudo[@]}" tee "$folder/merx.conf" >/dev/null
    install_packages postgresql
    "${sudo[@]}" rm -f "$folder/merx.conf" # later packages do as their user expects
}

# Nothing of the caller's set-up shall leak into a server that tests drive.
forget_settings() {
    local name
    for name in DATABASE_URL ${!KAFKA_@} ${!MEILI_@} ${!MERX_@}; do
        if [ "$name" != MERX_POSTGRES_BIN ]; then unset "$name"; fi
    done
}

# A port of 127.0.0.1 that nobody listens on.
free_port() {
    local port
    while :; do
        port=$((20000 + RANDOM % 12000))
        if ! (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then break; fi
    done
    printf '%s\n' "$port"
}
