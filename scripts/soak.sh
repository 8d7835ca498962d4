#!/usr/bin/env bash
# A training that is killed and made to fail at random, all the time, until it is done; again and again:
#   scripts/soak.sh PROGRAM [MINUTES] [--seed N]    (10 minutes if none are given)
# Ends with counts; exit status 1 when a run ended with other bytes than an uninterrupted one, crashed or hung.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
exec python3 -B "$here/../tests/faults/soak.py" "$@"
