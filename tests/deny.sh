#!/usr/bin/env bash
# Checks the dependencies of the service and of fuzz/ against deny.toml: tests/deny.sh [ADVISORIES]
#
# ADVISORIES is RustSec's advisory database for a machine that cannot fetch it: a clone, a folder or
# a tar archive, with the folder `crates` at its top or one level below. `none` skips advisories.
# Needs cargo-deny, and git for advisories.

set -euo pipefail
cd "$(dirname "$0")/.."
advisories=${1:-}

cargo deny --version >/dev/null 2>&1 || {
    echo 'cargo-deny is missing: cargo install --locked cargo-deny' >&2
    exit 1
}

# check ARGUMENTS... - checks both packages; fails if either does.
check() {
    local package failed=0
    for package in Cargo.toml fuzz/Cargo.toml; do
        echo "$package"
        cargo deny --locked --manifest-path "$package" --config deny.toml check "$@" || failed=1
    done
    return "$failed"
}

# database FOLDER - makes a git repository of the advisories, because cargo-deny reads nothing else,
# and makes git use it in place of RustSec's.
database() {
    local crates newest
    crates=$(find "$1/given" -maxdepth 2 -type d -name crates | head -n 1)
    [ -n "$crates" ] || {
        echo "$advisories has no folder crates, as RustSec's advisory database has" >&2
        exit 1
    }
    git init --quiet --initial-branch main "$1/database"
    mv "$crates" "$1/database/crates"
    git -C "$1/database" add --force crates
    git -C "$1/database" -c user.name=deny -c user.email=deny@localhost -c commit.gpgsign=false commit --quiet --no-verify -m 'Advisories as given'
    newest=$(grep -rhoE '^date *= *"[0-9-]+"' "$1/database/crates" | cut -d '"' -f 2 | sort | tail -n 1)
    echo "Advisories as given, the newest of $newest"
    GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0="url.file://$1/database.insteadOf" GIT_CONFIG_VALUE_0=$(sed -n 's/^db-urls = \["\(.*\)"\]$/\1/p' deny.toml)
    export GIT_CONFIG_COUNT GIT_CONFIG_KEY_0 GIT_CONFIG_VALUE_0
}

check --hide-inclusion-graph licenses bans sources
case $advisories in
none) exit ;;
'') ;;
*)
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    mkdir "$work/given"
    if [ -d "$advisories" ]; then cp -a "$advisories/." "$work/given"; else tar -C "$work/given" -xf "$advisories"; fi
    database "$work"
    ;;
esac
check advisories || {
    [ -n "$advisories" ] || echo 'If the advisories could not be fetched, give a copy of them: make deny ADVISORIES=file' >&2
    exit 1
}
