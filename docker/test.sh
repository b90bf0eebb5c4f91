#!/usr/bin/env bash
# Tests the image with compose.yaml: docker/test.sh
# Kills the service during writes, restores it from a snapshot, and stops it during a search; then
# kills one of three replicas and one of their NATS servers. Prints a line for each step, exits with
# 1 at the first failure, and removes what it made. Needs bash, curl and docker with either compose.
# Variables: IMAGE, PORT (and the three after it), KILLS, DOCKER, COMPOSE.

set -euo pipefail
cd "$(dirname "$0")/.."

image=${IMAGE:-scihcgrl:cpu}
port=${PORT:-18080}
kills=${KILLS:-3}
docker=${DOCKER:-docker}
url=http://127.0.0.1:$port
project=scihcgrl-test-$$
dir=$(mktemp -d)
writer=

key() { od -An -N24 -tx1 /dev/urandom | tr -d ' \n'; }
SCIHCGRL_READ_KEYS=$(key) SCIHCGRL_WRITE_KEYS=$(key) SCIHCGRL_ADMIN_KEYS=$(key)
export SCIHCGRL_READ_KEYS SCIHCGRL_WRITE_KEYS SCIHCGRL_ADMIN_KEYS
export SCIHCGRL_IMAGE=$image SCIHCGRL_PUBLISH=127.0.0.1:$port
export REPLICA_1_PUBLISH=127.0.0.1:$((port + 1)) REPLICA_2_PUBLISH=127.0.0.1:$((port + 2)) REPLICA_3_PUBLISH=127.0.0.1:$((port + 3))
# Services are started by name; this makes `down` remove replicas too.
export COMPOSE_PROFILES=replicas

if [ -n "${COMPOSE:-}" ]; then
    read -ra composer <<<"$COMPOSE"
elif "$docker" compose version >/dev/null 2>&1; then
    composer=("$docker" compose)
else
    composer=(docker-compose)
fi
compose() { "${composer[@]}" -p "$project" -f docker/compose.yaml "$@"; }
quietly() { "$@" >"$dir/said" 2>&1 || fail "$*: $(tail -n 3 "$dir/said")"; }

# In a file, because every user of a machine can see arguments.
(umask 077 && for role in WRITE ADMIN; do
    key=SCIHCGRL_${role}_KEYS && printf 'header = "authorization: Bearer %s"\n' "${!key}" >"$dir/$role.curlrc"
done)
curl() { command curl -s -m 60 -K "$dir/${role:-WRITE}.curlrc" "$@"; }

step() { printf '%-10s%s\n' "$1" "$2"; }
fail() {
    echo "FAIL  $*" >&2
    compose logs --no-color --tail 10 >&2 || true
    exit 1
}
cleanup() {
    [ -z "$writer" ] || kill "$writer" 2>/dev/null || true
    compose down --volumes --timeout 5 >/dev/null 2>&1 || true
    rm -rf "$dir"
}
trap cleanup EXIT

now() { date +%s%N; }
# since NANOSECONDS - prints the seconds since then.
since() { local ms=$((($(now) - $1) / 1000000)) && printf '%d.%03d s' $((ms / 1000)) $((ms % 1000)); }
container() { compose ps -q "$@" scihcgrl 2>/dev/null || true; }
# within SECONDS COMMAND... - repeats a command until it succeeds.
within() {
    local end=$((SECONDS + $1)) seconds=$1
    shift
    until "$@"; do
        [ "$SECONDS" -lt "$end" ] || fail "not within $seconds s: $*"
        sleep 0.1
    done
}
memory() { "$docker" stats --no-stream --format '{{.MemUsage}}' "$(container)" | cut -d / -f 1; }

# up - starts the service, waits until it is ready, and sets `took`.
up() {
    local start deadline
    start=$(now) deadline=$((SECONDS + 120))
    quietly compose up -d --no-build scihcgrl
    until curl -f -o /dev/null "$url/readyz"; do
        [ "$SECONDS" -lt "$deadline" ] || fail 'not ready after 120 s'
        sleep 0.05
    done
    took=$(since "$start")
}

# refused PATTERN RUN-ARGUMENTS... - runs a container that must fail with a message.
refused() {
    local pattern=$1
    shift
    ! "$docker" run --rm --read-only --tmpfs /data:uid=1000 "$@" >"$dir/said" 2>&1 || fail "not refused: $*"
    grep -Eq "$pattern" "$dir/said" || fail "refused for another reason: $*: $(tail -n 3 "$dir/said")"
}

refusals() {
    refused 'without keys' "$image"
    refused 'CUDA' -e SCIHCGRL_ADMIN_KEYS "$image" serve --device cuda
    step refused 'listening without keys, and a GPU that does not exist'
}

# Checks the list of crates, the licence texts, and the devices.
contents() {
    local doc=/usr/share/doc/scihcgrl crates texts
    inside() { "$docker" run --rm --entrypoint "$1" "$image" "${@:2}"; }
    crates=$(inside grep -c '' $doc/crates/crates.txt) || fail 'no list of crates'
    inside grep -q '^sled 0' $doc/crates/crates.txt || fail 'the list of crates lacks sled'
    texts=$(inside find $doc -iname '*licen[cs]e*' -type f | wc -l)
    inside grep -q '[.]dep-v0' /opt/scihcgrl/target/release/scihcgrl || fail 'the program has no list of its crates'
    step contents "$crates crates, also listed in the program, $texts licence texts"
    step devices "$(inside scihcgrl devices | paste -sd ';' | sed 's/;/; /g')"
}

# Stores each folder of images in one request, with the class as label.
store_gallery() {
    local class image form start
    start=$(now) stored=0
    for class in samples/gallery/*/; do
        form=(-F "labels=$(basename "$class")")
        for image in "$class"*.jpg; do
            form+=(-F "id=$(id_of "$image")" -F "image=@$image")
            stored=$((stored + 1))
        done
        curl -f -o "$dir/answer" "${form[@]}" "$url/images/batch" || fail "storing $class"
        grep -q '"failed":0' "$dir/answer" || fail "storing $class: $(head -c 300 "$dir/answer")"
    done
    step store "$stored images in $(since "$start")"
}
id_of() { echo "$(basename "$(dirname "$1")")-$(basename "$1" .jpg)"; }

search_itself() {
    local image
    image=$(find samples/gallery/cat -name '*.jpg' | sort | head -n 1)
    curl -f -o "$dir/answer" --data-binary "@$image" "$url/search?radius=0&limit=1000" || fail 'searching a stored image'
    grep -q "\"id\":\"$(id_of "$image")\",\"distance\":0" "$dir/answer" || fail "a stored image is not at 0 from itself"
    step search "$(id_of "$image") is at distance 0 from itself"
}

smoke() {
    SCIHCGRL_KEY=$SCIHCGRL_WRITE_KEYS tests/smoke.sh "$url" >"$dir/said" || fail "tests/smoke.sh: $(grep FAIL "$dir/said")"
    step smoke "$(tail -n 1 "$dir/said")"
}

# write_on ROUND - stores images until the service does not answer, and records each that was
# acknowledged.
write_on() {
    local image id status number=0
    while true; do
        for image in samples/queries/*/*.jpg; do
            number=$((number + 1)) id=killed-$1-$number
            status=$(curl -o /dev/null -w '%{http_code}' -X PUT -F "image=@$image" "$url/images/$id") || return 0
            [ "$status" != 201 ] || echo "$id $image" >>"$dir/acknowledged"
        done
    done
}

kill_while_storing() {
    local round id image before checked=0
    : >"$dir/acknowledged"
    for round in $(seq "$kills"); do
        before=$(wc -l <"$dir/acknowledged")
        write_on "$round" &
        writer=$!
        until [ "$(wc -l <"$dir/acknowledged")" -ge $((before + 10 * round)) ]; do
            kill -0 "$writer" 2>/dev/null || fail 'the writer ended too early'
            sleep 0.01
        done
        quietly "$docker" kill -s KILL "$(container)"
        wait "$writer" || true
        writer=
        up
    done
    while read -r id image; do
        curl -f -o "$dir/content" "$url/images/$id/content" || fail "$id was acknowledged but is lost"
        cmp -s "$dir/content" "$image" || fail "$id differs from the image that was stored"
        checked=$((checked + 1))
    done <"$dir/acknowledged"
    step kill "$kills times during writes: all $checked acknowledged images exist; ready again after $took"
}

# answers FILE - writes the answers to some searches, without their timings.
answers() {
    local image
    for image in samples/queries/*/*[05].jpg; do
        curl -f --data-binary "@$image" "$url/search?radius=4&limit=100" || fail "searching $image"
        echo
    done | sed -E 's/"timing_ms":\{[^}]*\}//' >"$1"
}

# Sets `snapshot` to the id.
make_snapshot() {
    local start
    start=$(now)
    answers "$dir/before"
    SCIHCGRL_KEY=$SCIHCGRL_ADMIN_KEYS "$docker" exec -e SCIHCGRL_KEY "$(container)" scihcgrl snapshots create >"$dir/said" 2>&1 \
        || fail "snapshots create: $(cat "$dir/said")"
    snapshot=$(tail -n 1 "$dir/said")
    step snapshot "$snapshot in $(since "$start")"
}

restore() {
    local start
    quietly compose rm -sf scihcgrl
    quietly "$docker" volume rm "${project}_data"
    start=$(now)
    compose run --rm -T scihcgrl import "/snapshots/$snapshot" --data-dir /data >"$dir/said" 2>&1 || fail "import: $(cat "$dir/said")"
    step restore "$(tail -n 1 "$dir/said"), in $(since "$start")"
    up
    answers "$dir/after"
    cmp -s "$dir/before" "$dir/after" || fail "answers differ: $(diff "$dir/before" "$dir/after" | head -c 600)"
    step answers "$(wc -l <"$dir/after") searches return the same answers as before, with $(grep -o '"distance"' "$dir/after" | wc -l) matches"
}

# The image's own health check first runs 30 s after the start.
health() {
    local deadline=$((SECONDS + 60))
    until [ "$("$docker" inspect --format '{{.State.Health.Status}}' "$(container)")" = healthy ]; do
        [ "$SECONDS" -lt "$deadline" ] || fail 'not healthy after 60 s'
        sleep 1
    done
    step health "healthy, of $(memory)"
}

# The second half of a photo arrives after SIGTERM.
drain() {
    local image=tests/fixtures/upright.jpg size start code
    size=$(wc -c <"$image")
    { head -c $((size / 2)) "$image" && sleep 4 && tail -c "+$((size / 2 + 1))" "$image"; } \
        | curl -o "$dir/answer" -w '%{http_code}' -X POST -H 'expect:' -H 'content-type: image/jpeg' -T - "$url/search" >"$dir/status" &
    writer=$!
    sleep 2
    start=$(now)
    quietly "$docker" stop -t 60 "$(container)"
    wait "$writer" || fail 'the search was cut off'
    writer=
    [ "$(cat "$dir/status")" = 200 ] || fail "the search was answered $(cat "$dir/status"): $(head -c 300 "$dir/answer")"
    code=$("$docker" inspect --format '{{.State.ExitCode}}' "$(container -a)")
    [ "$code" = 0 ] || fail "the service exited with $code"
    step drain "the running search was answered 200, and the service exited with 0, $(since "$start") after SIGTERM"
}

# at N - prints the address of replica N.
at() { echo "http://127.0.0.1:$((port + $1))"; }
ready() { curl -f -o /dev/null "$(at "$1")/readyz"; }
working() { "$docker" exec "$(compose ps -q worker 2>/dev/null)" scihcgrl health >/dev/null 2>&1; }
deploy() {
    local replica
    quietly compose up -d --no-build replica-1 replica-2 replica-3 worker
    for replica in 1 2 3; do within 120 ready $replica; done
    within 120 working
}
photos() { find samples/queries -name '*.jpg' | sort | sed -n "$1,$2p"; }
# stored REPLICA ID FILE - stores an image. Callers retry it: writes fail with 503 while NATS elects
# the leader of the log.
stored() { curl -f -o /dev/null -D "$dir/headers" -X PUT -F "image=@$3" "$(at "$1")/images/$2"; }
store_at() {
    local image id
    while read -r image; do
        id=$(id_of "$image")
        within 60 stored "$1" "$id" "$image"
        echo "$id $image" >>"$dir/replicated"
    done
    position=$(tr -d '\r' <"$dir/headers" | sed -n 's/^scihcgrl-position: //Ip')
}
# read_at REPLICA - checks all stored images once the replica has applied the last write.
read_at() {
    local id image
    while read -r id image; do
        curl -f -o "$dir/content" -H "scihcgrl-after: $position" "$(at "$1")/images/$id/content" || fail "replica $1 lacks $id"
        cmp -s "$dir/content" "$image" || fail "$id at replica $1 differs from the image that was stored"
    done <"$dir/replicated"
}
alike() {
    local replica role=ADMIN
    for replica in 1 2 3; do curl -f "$(at $replica)/admin/digest" >"$dir/digest-$replica" || return 1; done
    cmp -s "$dir/digest-1" "$dir/digest-2" && cmp -s "$dir/digest-1" "$dir/digest-3"
}

replicas() {
    local start killed replica
    quietly compose rm -sf scihcgrl
    start=$(now)
    deploy
    step replicas "three and a worker, ready $(since "$start") after compose up"
    : >"$dir/replicated"
    store_at 1 < <(photos 1 20)
    read_at 2
    step position "replica 2 returns all images stored at replica 1 after position $position"
    killed=$(compose ps -q replica-1 nats-1 2>/dev/null)
    # $killed has two ids.
    # shellcheck disable=SC2086
    quietly "$docker" kill -s KILL $killed
    start=$(now)
    store_at 2 < <(photos 21 21)
    step killed "replica 1 and a NATS server: writes succeed again after $(since "$start")"
    store_at 3 < <(photos 22 40)
    deploy
    for replica in 1 2 3; do read_at $replica; done
    within 60 alike
    step alike "all three replicas have $(wc -l <"$dir/replicated") images and one digest, $(cat "$dir/digest-1")"
}

main() {
    local bytes
    bytes=$("$docker" image inspect --format '{{.Size}}' "$image" 2>/dev/null) || fail "there is no image $image; run make docker"
    step image "$image, $((bytes / 1000000)) MB"
    refusals
    contents
    up
    step start "ready $took after compose up, $(memory)of memory"
    store_gallery
    search_itself
    smoke
    step memory "$(memory)"
    kill_while_storing
    make_snapshot
    restore
    health
    drain
    replicas
    echo 'all steps passed'
}
main
