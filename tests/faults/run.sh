#!/usr/bin/env bash
# Failures of the machine, made to happen: tests/faults/run.sh PROGRAM [--all] [--seed N] [PART...]; see README.md.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
command -v python3 >/dev/null || { echo "python3 is not there"; echo "0 passed, 0 failed, 1 skipped"; exit 0; }
exec python3 -B "$here/faults.py" "$@"
