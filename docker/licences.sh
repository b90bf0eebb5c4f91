#!/bin/sh
# Lists the crates in the program with their licences: docker/licences.sh FOLDER
# Writes crates.txt, one crate per line with its version and licence, and the licence texts of the
# crates. Needs cargo, with the crates in its registry.

set -eu
out=$1
mkdir -p "$out"
cargo tree --locked --offline --edges normal --prefix none --format '{p} {l}' | sed -E 's/ \(\*\)$//; s/ \(proc-macro\)//' \
    | grep -v '^scihcgrl' | sort -u | sed -E 's/^([^ ]+) v/\1 /' >"$out/crates.txt"
while read -r name version _; do
    for crate in "${CARGO_HOME:-$HOME/.cargo}"/registry/src/*/"$name-$version"/; do
        found=$(find "$crate" -maxdepth 1 -type f \( -iname 'licen[cs]e*' -o -iname 'copying*' -o -iname 'notice*' -o -iname 'unlicense*' -o -iname 'copyright*' \))
        [ -z "$found" ] || { mkdir -p "$out/$name-$version" && echo "$found" | xargs -d '\n' cp -t "$out/$name-$version"; }
    done
done <"$out/crates.txt"
