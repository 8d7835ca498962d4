#!/usr/bin/env bash
# Speed of QLoRA on this machine's processor: qlora-train beside transformers + PEFT + bitsandbytes, and both beside
# what the machine's best matrix product would allow. `bench_cpu.sh --help` says what is measured and how.
# PYTHON names the interpreter that has the packages of tests/interop/requirements.txt.
set -euo pipefail

# Neither side gets what a user would not have set; threads are given to both by their own options.
for prefix in OPENBLAS OMP GOMP KMP MKL; do
    for name in $(compgen -e "${prefix}_" || true); do unset "$name"; done
done

python=${PYTHON:-python3}
"$python" -c 'import accelerate, bitsandbytes, peft, torch, transformers' 2>/dev/null || {
    echo "bench_cpu.sh: $python lacks packages of tests/interop/requirements.txt; set PYTHON to one that has them" >&2
    exit 2
}
exec "$python" "$(dirname "$0")/../tests/interop/bench_cpu.py" "$@"
