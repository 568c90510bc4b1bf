# shellcheck shell=bash
# A redocly of the tests' own, in target/redocly. To be sourced.
#
#   redocly_for_tests    installs it where it is not there, and sets $redocly_for_tests to it; fails with a reason where it can't be had

# shellcheck source-path=SCRIPTDIR source=prerequisites.sh
. "$(dirname "${BASH_SOURCE[0]}")/prerequisites.sh"

redocly_version=2.77.0

redocly_for_tests() {
    local root target
    root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
    target=${CARGO_TARGET_DIR:-$root/target}
    mkdir -p "$target"
    target=$(cd "$target" && pwd -P)/redocly
    redocly_for_tests=$target/node_modules/.bin/redocly
    # The version is kept beside it last: a folder that has it is whole.
    if [ "$(cat "$target/version" 2>/dev/null)" = "$redocly_version" ] && [ -x "$redocly_for_tests" ]; then return; fi
    if ! command -v npm >/dev/null; then
        say "there is no Node here: redocly needs its npm"
        return 1
    fi
    rm -rf "$target"
    mkdir -p "$target"
    say "fetching redocly $redocly_version"
    twice npm install --prefix "$target" --silent --no-fund --no-audit --ignore-scripts "@redocly/cli@$redocly_version" >&2 &&
        echo "$redocly_version" >"$target/version"
}
