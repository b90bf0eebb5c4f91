#!/usr/bin/env bash
# Checks a running deployment: tests/smoke.sh URL [IMAGE]
#
# Needs bash and curl. It stores one image under its own id and one under an id that the service
# assigns, and deletes both. If the service has keys, SCIHCGRL_KEY must be one of the role write.

set -u
url=${1:?usage: smoke.sh URL [IMAGE]}
url=${url%/}
here=$(cd "$(dirname "$0")" && pwd)
dir=$(mktemp -d)
id=smoke-$$-$RANDOM
passed=0 failed=0

# In a file, because every user of a machine can see arguments.
touch "$dir/curlrc" && chmod 600 "$dir/curlrc"
[ -z "${SCIHCGRL_KEY:-}" ] || printf 'header = "authorization: Bearer %s"\n' "$SCIHCGRL_KEY" >"$dir/curlrc"
curl() { command curl -K "$dir/curlrc" "$@"; }

made=
trap 'for each in "$id" $made; do curl -s -o /dev/null -X DELETE "$url/images/$each"; done; rm -rf "$dir"' EXIT

image=${2:-$(find "$here/../samples" -name '*.jpg' 2>/dev/null | sort | head -n 1)}
if [ -z "$image" ]; then
    image=$dir/image.png
    base64 -d >"$image" <<'PNG'
iVBORw0KGgoAAAANSUhEUgAAAAwAAAAMCAIAAADZF8uwAAABO0lEQVR42gXBMUiUAQCG4ff9+TlEv0Aqc6ihoSQyIXSpQZAokBbh
aKoth0C7RkclCGoycg0FQYKmlqhoMAqj36YUjyByCA05JJEoXC7yebxK9V1uy1t5Ly3pkjV5Lh9lVXrET6lOyBnZkiX5Je/knjSk
LYUcSNEOT8LXcD60wmRYDc2wGCbDeNgJxVqYD//C2bAXXoeRMBTOhd3QH54F/1+sPsuobMtDqUtNHsi4lNKQl1JeCqfkjVQyLT3y
Q5blmlyQfpmScjjMyTHplqOyKCvSlAW5LB9kWsq/YUOuyDdZkVfSkCMyIOuyKctSjoRu+S0z8lMKuSU3ZFaOS006xJ271Wl5JPvS
KS+kT+qyLY9lUNpSPg1j0pZeqctJuSl/ZFRacl36pBgI90Mz7IWxsBkaYTd8CXfCRKiFQzj8ULcOL5CtAAAAAElFTkSuQmCC
PNG
fi

# check NAME STATUS PATTERN CURL-ARGUMENTS... - checks the status, and the body against a regular
# expression. A refusal must be a problem with its request's id.
check() {
    local name=$1 status=$2 pattern=$3 got type
    shift 3
    : >"$dir/body"
    read -r got type < <(curl -s -m 60 -D "$dir/head.new" -o "$dir/body" -w '%{http_code} %{content_type}\n' "$@")
    if [ "$got" != "$status" ]; then
        fail "$name" "status $got, not $status"
    elif [ "$status" -ge 400 ] && [ "$type" != application/problem+json ]; then
        fail "$name" "a $type, not a problem"
    elif [ "$status" -ge 400 ] && ! grep -q '"request_id":"[^"]' "$dir/body"; then
        fail "$name" "no request_id"
    elif ! grep -Eq "$pattern" "$dir/body" && [ -n "$pattern" ]; then
        fail "$name" "no match of $pattern"
    else
        passed=$((passed + 1))
        echo "ok    $name"
    fi
}

fail() {
    failed=$((failed + 1))
    echo "FAIL  $1: $2: $(head -c 300 "$dir/body" | tr '\n' ' ')"
}

json='content-type: application/json'
raw='content-type: application/octet-stream'
printf '{"image":"%s"}' "$(base64 <"$image" | tr -d '\n')" >"$dir/image.json"
head -c 300 "$image" >"$dir/truncated"

check 'alive' 200 '' "$url/livez"
check 'ready' 200 '' "$url/readyz"
check 'info names the model' 200 '"model_id":"[^"]' "$url/info"
check 'contract' 200 '^openapi: 3\.1' "$url/openapi.yaml"
check 'API page' 200 'swagger-ui' "$url/docs/"
check 'metrics' 200 '^scihcgrl_ready 1' "$url/metrics"

check 'store, multipart' 201 "\"id\":\"$id\"" -X PUT "$url/images/$id" -F "image=@$image" -F labels=smoke -F 'payload={"n":1}'
check 'replace, raw' 200 '"labels":\["smoke","test"\]' -X PUT "$url/images/$id?label=smoke&label=test" -H "$raw" --data-binary "@$image"
check 'read the record' 200 '"codes":\{"24":"[0-9a-f]{6}"' "$url/images/$id"
code=$(sed -n 's/.*"48":"\([0-9a-f]*\)".*/\1/p' "$dir/body")
check 'read the original' 200 '' "$url/images/$id/content"
cp "$dir/head.new" "$dir/head"
if cmp -s "$dir/body" "$image"; then
    passed=$((passed + 1))
    echo 'ok    the original is unchanged'
else
    fail 'the original is unchanged' 'it differs'
fi
check 'change' 200 '"payload":\{"n":2\}' -X PATCH "$url/images/$id" -H "$json" -d '{"payload":{"n":2}}'
check 'the unchanged original' 304 '' -H "if-none-match: $(sed -n 's/^etag: *\([^[:space:]]*\).*/\1/p' "$dir/head")" "$url/images/$id/content"
check 'store a batch with a file that is no image' 200 '"stored":1,"failed":1' "$url/images/batch?label=smoke" -F "image=@$image" -F image=nothing
made=$(sed -n 's/.*"id":"\([^"]*\)".*/\1/p' "$dir/body")
check 'list' 200 '"images":\[\{' "$url/images?limit=1"

# By a label that is unlikely to be used, so that a large gallery does not push the image off the
# page.
near="$url/search?radius=0&label=smoke&limit=1000"
check 'search, multipart' 200 "\"id\":\"$id\",\"distance\":0" "$near" -F "image=@$image"
check 'search, raw as curl sends it' 200 "\"id\":\"$id\",\"distance\":0" "$near" --data-binary "@$image"
check 'search, JSON image' 200 "\"id\":\"$id\",\"distance\":0" "$near" -H "$json" -d "@$dir/image.json"
check 'search, JSON id' 200 "\"id\":\"$id\",\"distance\":0" "$near" -H "$json" -d "{\"id\":\"$id\"}"
check 'search, JSON code' 200 "\"id\":\"$id\",\"distance\":0" "$near" -H "$json" -d "{\"code\":\"$code\"}"
check 'search by 24 bits' 200 '"bits":24,' "$near&bits=24" -F "image=@$image"
check 'encode' 200 "\"48\":\"$code\"" "$url/encode" -F "image=@$image"

check 'empty body' 400 '"empty_body"' -X POST "$url/search"
check 'broken JSON' 400 '"malformed_request"' "$url/search" -H "$json" -d '{'
check 'broken base64' 400 '"malformed_base64"' "$url/search" -H "$json" -d '{"image":"@"}'
check 'unknown route' 404 '"route_not_found"' "$url/nowhere"
check 'unknown image' 404 '"image_not_found"' "$url/images/$id-none"
check 'wrong method' 405 '"method_not_allowed"' -X DELETE "$url/search"
limit=$(curl -s -m 60 "$url/info" | sed -n 's/.*"max_body_bytes":\([0-9]*\).*/\1/p')
head -c "$((${limit:-20971520} + 1))" /dev/zero >"$dir/large"
check 'body over the limit' 413 '"body_too_large"' "$url/encode" -H "$raw" --data-binary "@$dir/large"
check 'not an image' 415 '"unsupported_image"' "$url/search" -d 'not an image'
check 'truncated image' 422 '"malformed_image"' "$url/search" -H "$raw" --data-binary "@$dir/truncated"
check 'radius past the code' 422 '0 to 48' "$url/search?radius=49" -F "image=@$image"
check 'unknown parameter' 422 'expected one of' "$url/search?near=1" -F "image=@$image"
check 'wrong field' 422 '"unknown_field"' "$url/search" -F "file=@$image"

check 'delete the image with an assigned id' 204 '' -X DELETE "$url/images/$made"
check 'delete' 204 '' -X DELETE "$url/images/$id"
check 'deleted' 404 '"image_not_found"' "$url/images/$id"

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
