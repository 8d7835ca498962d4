#!/usr/bin/env bash
# How a step's time and memory grow with length, rows, rank, model size and threads: docs/growth.csv, docs/growth.svg,
# and on standard output where a curve grows faster than its floating-point operations or its number of values.
# Usage: scripts/bench_growth.sh [--program FILE] [--out DIR] [--steps N] [--sweeps A,B] [--try]
# Needs Python 3 (nothing but its standard library), no model files and about 15 minutes; --try takes one.
set -euo pipefail

for prefix in OPENBLAS OMP GOMP KMP MKL; do
    for name in $(compgen -e "${prefix}_" || true); do unset "$name"; done
done

cd "$(dirname "$0")"
exec python3 growth/measure.py "$@"
