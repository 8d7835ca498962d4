#!/usr/bin/env bash
# The documentation, tried: tests/docs/run.sh PROGRAM [FILE.md...]. What it names is there (check.py), and its commands run
# (run.py). What a run writes is what docs/logs.md says (logs.py). The last line is "N passed, N failed, N skipped".
set -euo pipefail
cd "$(dirname "$0")"
[ $# -ge 1 ] || { echo "usage: $0 PROGRAM [FILE.md...]" >&2; exit 2; }
command -v python3 >/dev/null || { echo "the documentation is not tried: no python3"; exit 77; }
QLORA_TRAIN=$(cd "$OLDPWD" && realpath "$1")
TESTS=$(realpath ..)
export QLORA_TRAIN TESTS
shift
files=()
for file in "$@"; do files+=("$(cd "$OLDPWD" && realpath "$file")"); done

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
{
    python3 check.py "$QLORA_TRAIN" || true    # its last line says how many failed
    if (cd "$scratch" && bash -c '. "$TESTS/docs/rig.sh"' rig "$scratch"); then
        python3 logs.py "$scratch/logged" || true
        python3 run.py "$QLORA_TRAIN" "$scratch" ${files[@]+"${files[@]}"} || true
    fi
} | tee "$scratch/log" | sed -E '/^[0-9]+ passed, [0-9]+ failed, [0-9]+ skipped$/d'
# One that ended without its count has failed too.
awk '/^[0-9]+ passed, [0-9]+ failed, [0-9]+ skipped$/ { ok += $1; bad += $3; left += $5; parts++ }
     END { bad += 3 - parts; print ok + 0 " passed, " bad + 0 " failed, " left + 0 " skipped"; exit bad > 0 }' "$scratch/log"
