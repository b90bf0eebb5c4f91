#!/usr/bin/env bash
# Measures, tests and trains on a machine with a GPU, with the files that `make gpu-pack` packed. Needs
# no network.
#
#   usage: run.sh FOLDER
#
# FOLDER gets results.jsonl, which is valid after every line, report.md, log.txt and at most three
# models. A second run with other STEPS adds to the same folder.
# Variables:
#   DEVICE   cuda by default; cpu runs a small form of everything
#   MINUTES  time limit for the whole run; 13 by default
#   STEPS    which of measure,serve,scenario,train to run; all by default
#   PROJECT  the project's folder, which holds models and samples; the parent of this script's folder by default
#   LIBTORCH the `torch` folder of PyTorch, which holds lib/libtorch_cpu.so; found through PYTHON by default
#   PYTHON   a Python 3 interpreter; python3 by default
set -euo pipefail
[ $# = 1 ] || { sed -n '2,17s/^# \{0,1\}//p' "$0" >&2; exit 2; }
python=${PYTHON:-python3}
command -v "$python" >/dev/null || { echo "Command not found: $python. Set PYTHON to a Python 3 interpreter." >&2; exit 1; }
exec "$python" -u "$(dirname "$0")/run.py" "$1"
