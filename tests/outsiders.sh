#!/usr/bin/env bash
# Repeats with curl the requests by which outsiders once broke the service: tests/outsiders.sh URL
# PROGRAM
#
# The service at URL has no keys, models/photos.safetensors, and --cors-origin https://app.example.
# Prints a line for each check and exits with 1 if one fails. Stores a few images.

set -uo pipefail
shopt -s extglob
url=$1 program=$2
cd "$(dirname "$0")/fixtures" || exit 1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0

# is WHAT WANTED FOUND - prints a line; records a failure if FOUND does not match the pattern
# WANTED.
is() {
    if [[ $3 == $2 ]]; then echo "ok    $1: $3"; else echo "FAIL  $1: $3, not $2" && failed=1; fi
}

# ask CURL-ARGUMENTS... - prints the status of an answer, and the code and detail of a problem.
ask() {
    curl --silent --max-time 60 --output "$work/answer" --write-out '%{http_code}' "$@"
    python3 - "$work/answer" <<'PYTHON'
import json, sys
try:
    answer = json.load(open(sys.argv[1], encoding="utf-8"))
    answer = answer.get("items", [answer])[-1]
    answer = answer.get("problem", answer)
    print("", answer.get("code", ""), answer.get("detail", ""))
except ValueError:
    print()
PYTHON
}

# of FIELD - prints a member of the last answer.
of() { python3 -c 'import json, sys; print(json.dumps(json.load(open(sys.argv[1]))[sys.argv[2]], ensure_ascii=False))' "$work/answer" "$1"; }

# code FILE - prints the 48-bit code of a picture.
code() { curl --silent --data-binary "@$1" "$url/encode" | python3 -c 'import json, sys; print(json.load(sys.stdin)["codes"]["48"])'; }

# alike FILE FILE [BITS] - prints "alike" if the codes differ in at most BITS of 48 bits (4 by
# default), or else in how many.
alike() {
    python3 -c 'import sys; found = bin(int(sys.argv[1], 16) ^ int(sys.argv[2], 16)).count("1"); print("alike" if found <= int(sys.argv[3]) else found)' \
        "$(code "$1")" "$(code "$2")" "${3:-4}"
}

echo '# Decoding'
is 'a rotated WebP whose EXIF begins as in JPEG' alike "$(alike outsiders/rotated-6-exif-prefix.webp outsiders/upright.png)"
is 'a rotated WebP' alike "$(alike outsiders/rotated-6-exif-plain.webp outsiders/upright.png)"
is 'multiplied alpha' alike "$(alike outsiders/tiff-associated-alpha.tif outsiders/tiff-associated-alpha-as-it-should-look.png)"
# Half as large. Decoded wrongly, as a white square, it was 20 bits away.
is 'an alpha mask that is all zero' alike "$(alike kinds/bmp32-v4-alpha-all-zero.bmp outsiders/upright.png 12)"
is 'a TIFF with JPEG in it' alike "$(alike outsiders/tiff-jpeg-ycbcr.tif outsiders/upright.png 8)"
for file in outsiders/tiff-{palette,bigtiff,zstd,tiled-planar}.tif outsiders/png-{no-iend,bad-idat-crc}.png; do
    is "${file##*/}" alike "$(alike "$file" outsiders/upright.png)"
done
# The same picture with its end-of-image marker.
{ cat kinds/jpeg-no-eoi.jpg; printf '\xff\xd9'; } >"$work/ended.jpg"
for file in kinds/jpeg-{samsung-no-eoi,no-eoi}.jpg; do
    is "${file##*/}" alike "$(alike "$file" "$work/ended.jpg" 0)"
done
for file in outsiders/tiff-{fax3,int16,gray-alpha,gray-float32}.tif; do
    is "${file##*/}" '200 *' "$(ask --data-binary "@$file" "$url/encode")"
done
is 'a lossless JPEG, named in the refusal' '4?? *lossless*' "$(ask --data-binary @kinds/jpeg-lossless.jpg "$url/encode")"

echo '# Ids and forms'
is 'the id of a route' '200 invalid_id *batch*' "$(ask -F id=batch -F image=@outsiders/upright.jpg "$url/images/batch")"
is 'a field after its image' '* invalid_form *after the last image*' "$(ask -F image=@outsiders/upright.jpg -F id=my-car -F labels=car "$url/images/batch")"
is 'the same with one image' '201 *' "$(ask -X PUT -F image=@outsiders/upright.jpg -F labels=car "$url/images/my-car")"
is 'its labels' '\["car"\]' "$(of labels)"
form=(-H 'content-type: multipart/form-data; boundary=BOUND' --data-binary @outsiders/form-latin1-label.bin)
is 'a label in Latin-1' '422 invalid_form *UTF-8*' "$(ask -X PUT "${form[@]}" "$url/images/latin")"
is 'the same in a batch' '*invalid_form *UTF-8*' "$(ask "${form[@]}" "$url/images/batch")"
is 'the same in a query' '422 invalid_parameter *UTF-8*' "$(ask -X PUT --data-binary @outsiders/upright.jpg "$url/images/latin?label=na%EFf")"
is 'an empty label to store' '422 invalid_label *' "$(ask -X PUT -F image=@outsiders/upright.jpg -F labels= "$url/images/empty")"
is 'an empty label to search for' '422 invalid_label *' "$(ask --data-binary @outsiders/upright.jpg "$url/search?label=&radius=48")"

echo '# JSON'
for file in base64-mime-wrapped base64-urlsafe base64-uppercase-data-uri; do
    is "$file" '200 *' "$(ask --json "@outsiders/$file.json" "$url/encode")"
done
is 'curl -d without a media type' '415 unsupported_media_type *application/json*' "$(ask -d '{"id":"my-car"}' "$url/search")"
is 'bits=48.0' "422 invalid_parameter *48*" "$(ask --data-binary @outsiders/upright.jpg "$url/search?bits=48.0")"
is 'bits twice' '422 invalid_parameter *comes twice*' "$(ask --data-binary @outsiders/upright.jpg "$url/search?bits=48&bits=32")"
is 'an integer of 65 bits' '422 invalid_payload *18446744073709551616*' "$(ask -X PATCH --json '{"payload":{"order":18446744073709551616}}' "$url/images/my-car")"
preflight=(-X OPTIONS -H 'origin: https://app.example' -H 'access-control-request-method: POST' -H 'access-control-request-headers: idempotency-key')
is 'a preflight for Idempotency-Key' '*idempotency-key*' "$(curl --silent --output /dev/null --dump-header - "${preflight[@]}" "$url/admin/jobs" | grep -i allow-headers)"

echo '# Folders'
mkdir -p "$work/photos/Отпуск" "$work/photos/a"
russian='Фотография с отпуска в Крыму летом 2019 г.jpg' chinese='写真写真写真写真写真写真写真写真写真写真写.jpg'
cp outsiders/upright.jpg "$work/photos/Отпуск/$russian"
cp outsiders/upright.jpg "$work/photos/a/$chinese"
cp outsiders/upright.jpg "$work/photos/a/ok.jpg"
echo x >"$work/photos/a/Thumbs.db"
output=$("$program" index "$work/photos" --url "$url" 2>&1)
is 'names of any script, next to files that are no pictures' 0 $?
is 'the stored ones' '*stored 3 images*' "$output"
is 'their ids' "*\"Отпуск:$russian\"*" "$(curl --silent "$url/images?limit=1000&label=%D0%9E%D1%82%D0%BF%D1%83%D1%81%D0%BA")"
echo hi >"$work/photos/A.txt"
"$program" search "$work/photos" --url "$url" >"$work/found" 2>&1
is 'a search of a folder with a text file' 0 $?
classes() {
    "$program" train --device cpu --epochs 0 --warm-up-epochs 1 --hidden 8 --input-size 32 --validation-fraction 0 --data "$1" --out "$work/model.safetensors" --restart >"$work/log" 2>&1
    python3 - "$work/model.safetensors" <<'PYTHON'
import json, struct, sys
try:
    data = open(sys.argv[1], "rb").read()
    card = json.loads(json.loads(data[8 : 8 + struct.unpack("<Q", data[:8])[0]])["__metadata__"]["scihcgrl"])
    print(card["classes"])
except OSError as error:
    print(error)
PYTHON
    rm -f "$work"/model.safetensors*
}
mkdir "$work/nested"
tar -xf nested-classes.tar -C "$work/nested"
is 'nested classes in a folder' "\['cat', 'dog'\]" "$(classes "$work/nested/photos")"
is 'the same in an archive' "\['cat', 'dog'\]" "$(classes nested-classes.tar)"
output=$("$program" train --epochs 0 --warm-up-epochs 1 --hidden 8 --input-size 32 --data outsiders/manifest-bom.jsonl --out "$work/model.safetensors" 2>&1 | tail -n 1)
is 'a manifest with a byte order mark' '*wrote *' "$output"
is 'panics' 'scihcgrl_panics_total 0' "$(curl --silent "$url/metrics" | grep '^scihcgrl_panics_total')"
exit "$failed"
