# shellcheck shell=bash
# A Python of the tests' own, in target/python. To be sourced.
#
#   python_for_tests    makes it where it is not there, with the packages of tests/requirements.txt, and sets $python_for_tests to it;
#                       fails with a reason where it can't be had

# shellcheck source-path=SCRIPTDIR source=prerequisites.sh
. "$(dirname "${BASH_SOURCE[0]}")/prerequisites.sh"

python_for_tests() {
    local root target
    root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
    target=${CARGO_TARGET_DIR:-$root/target}
    mkdir -p "$target"
    target=$(cd "$target" && pwd -P)/python
    python_for_tests=$target/bin/python
    # What was asked for is kept beside it last: a folder that has it is whole.
    if cmp -s "$root/tests/requirements.txt" "$target/requirements.txt" && "$python_for_tests" -c '' 2>/dev/null; then return; fi
    rm -rf "$target"
    (
        require_tool python3 python3
        python3 -c 'import ensurepip, venv' 2>/dev/null || install_packages python3-venv
    ) || return
    say "fetching what tests/requirements.txt names"
    python3 -m venv "$target" >&2 &&
        twice "$python_for_tests" -m pip --disable-pip-version-check --quiet install --only-binary :all: --requirement "$root/tests/requirements.txt" >&2 &&
        cp "$root/tests/requirements.txt" "$target/"
}
