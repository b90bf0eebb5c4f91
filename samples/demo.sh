#!/usr/bin/env bash
# What `make demo` runs: starts the service on the model for CIFAR-10, stores the sample gallery, searches with images that are not in
# it, and leaves the service running. Running it again replaces the service; what is stored stays.

set -euo pipefail
cd "$(dirname "$0")/.."
port=${PORT:-8080}
url=http://127.0.0.1:$port
run=${RUN:-runs/demo}
scihcgrl=${SCIHCGRL:-target/release/scihcgrl}
mkdir -p "$run"
# Codes of one model mean nothing to another, so each has a data folder of its own.
model=models/cifar10.safetensors
data=$run/data-$(sha256sum $model | cut -c 1-12)

# The service of an earlier run has the data folder open.
old=$(cat "$run/pid" 2>/dev/null || true)
if [ -n "$old" ] && [ "$(cat "/proc/$old/comm" 2>/dev/null)" = scihcgrl ]; then
    kill "$old"
    while kill -0 "$old" 2>/dev/null; do sleep 0.1; done
fi

# An earlier run's log tells of another start.
rm -f "$run/log"
nohup "$scihcgrl" serve --addr "127.0.0.1:$port" --data-dir "$data" --model $model >"$run/log" 2>&1 </dev/null &
pid=$!
echo "$pid" >"$run/pid"
until grep -qs '^listening on' "$run/log"; do
    if ! kill -0 "$pid" 2>/dev/null; then
        echo "The service did not start; $run/log says:" >&2
        tail -n 3 "$run/log" >&2
        exit 1
    fi
    sleep 0.1
done

"$scihcgrl" index samples/gallery --url "$url" --skip-stored
echo
for class in airplane cat horse ship truck; do
    query=$(find "samples/queries/$class" -name '*.jpg' | sort | sed -n 1p)
    "$scihcgrl" search "$query" --url "$url" --labelled --limit 5 | sed '$d'
done
echo
"$scihcgrl" search samples/queries --url "$url" --labelled | sed -n '$s/^/200 queries: /p'

cat <<END

The service runs at $url (process $pid, log in $run/log). Try it on your own images:

    curl -F image=@photo.jpg '$url/search?limit=3'
    curl -X PUT -F image=@photo.jpg -F labels=cat $url/images/my-cat
    $scihcgrl index FOLDER --url $url
    $scihcgrl search photo.jpg --url $url

Stop it with: kill $pid
END
