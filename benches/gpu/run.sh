#!/usr/bin/env bash
# Measures, tests and trains on a machine with a GPU, or in a small form without one: what `make gpu-pack` packed needs no network there.
#
#   usage: run.sh FOLDER
#
# FOLDER gets results.jsonl, which grows line by line and is whole whenever this is stopped, report.md, log.txt and at most three models.
# Variables:
#   DEVICE   cuda, or cpu for the small form
#   MINUTES  what all of it may take, 9 by default
#   STEPS    which of measure,serve,scenario,train; all by default
#   PROJECT  the project's folder, which has models and samples; the one above this script's by default
#   LIBTORCH the folder of PyTorch that holds lib/libtorch_cpu.so; the one that PYTHON imports by default
#   PYTHON   python3 by default, 3.9 or later
set -euo pipefail
[ $# = 1 ] || { sed -n '2,15s/^# \{0,1\}//p' "$0" >&2; exit 2; }
python=${PYTHON:-python3}
command -v "$python" >/dev/null || { echo "There is no $python here; PYTHON names one." >&2; exit 1; }
exec "$python" -u "$(dirname "$0")/run.py" "$1"
