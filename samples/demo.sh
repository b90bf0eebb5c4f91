#!/usr/bin/env bash
# Runs for `make demo`: starts the service with the CIFAR-10 model, stores the sample images,
# searches for others, and leaves the service running. Another run replaces the service and keeps
# the stored images.

set -euo pipefail
cd "$(dirname "$0")/.."
port=${PORT:-8080}
url=http://127.0.0.1:$port
run=${RUN:-runs/demo}
scihcgrl=${SCIHCGRL:-target/release/scihcgrl}
mkdir -p "$run"
# Codes of different models are not comparable, so each model has its own data folder.
model=models/cifar10.safetensors
data=$run/data-$(sha256sum $model | cut -c 1-12)

# Stops the service of an earlier run, which has the data folder open.
old=$(cat "$run/pid" 2>/dev/null || true)
if [ -n "$old" ] && [ "$(cat "/proc/$old/comm" 2>/dev/null)" = scihcgrl ]; then
    kill "$old"
    while kill -0 "$old" 2>/dev/null; do sleep 0.1; done
fi

# The log of an earlier run would match below.
rm -f "$run/log"
nohup "$scihcgrl" serve --addr "127.0.0.1:$port" --data-dir "$data" --model $model >"$run/log" 2>&1 </dev/null &
pid=$!
echo "$pid" >"$run/pid"
until grep -qs '^listening on' "$run/log"; do
    if ! kill -0 "$pid" 2>/dev/null; then
        echo "The service did not start. The end of $run/log:" >&2
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
