#!/usr/bin/env bash
# What paging costs on this machine's CPU, the device's memory being simulated: batches of mixed lengths under a limit
# that only short ones fit with the whole optimizer state, and a limit that has no room for the weights. Runs alternate
# with ones that have all the memory that they want; medians are compared, adapters must be equal to the byte.
# Usage: scripts/bench_paging.sh BUILD_DIR MODEL ROWS.json [ROUNDS]   (ROWS.json: alpaca rows, a few hundred)
set -euo pipefail
[ $# -ge 3 ] || { sed -n 2,5p "$0"; exit 2; }
train=$(realpath "$1")/qlora-train model=$(realpath "$2") rows=$(realpath "$3") rounds=${4:-3}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

# Short rows, and in the middle one long enough for max_length: the answers of many, one after another.
python3 - "$rows" <<'EOF'
import json, sys
rows = json.load(open(sys.argv[1]))
short = [r for r in rows if len(r["output"]) < 900][:29]
long = dict(rows[0], output="\n".join(r["output"] for r in rows[100:140]))
with open("mixed.jsonl", "w") as f:
    for i, r in enumerate(short[:13] + [long] + short[13:]):
        f.write(json.dumps({k: r[k] for k in ("instruction", "input", "output")}) + "\n")
EOF

cat >mixed.yaml <<END_OF_CONFIG
model: {path: $model}
lora: {r: 16, lora_alpha: 16}
data: {train: mixed.jsonl, format: alpaca, max_length: 2048, packing: false, shuffle: false}
training: {output_dir: unused, per_device_train_batch_size: 1, gradient_accumulation_steps: 3, save_steps: 0,
           gradient_checkpointing: false}
device: {backend: cpu}
END_OF_CONFIG

bytes_of() { awk -v what="$2" 'index($0, "  " what) == 1 { sub("^  " what " *", ""); print $1; exit }' "$1"; }
seconds_of() { sed -nE 's/.*"elapsed_seconds": *([0-9.]+).*/\1/p' "$1/metrics.jsonl" | tail -n 1; }
median() { sort -n | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }

compare() { # NAME "OVERRIDES OF BOTH" "OVERRIDES OF THE PAGED RUN"
    local name=$1 both=$2 paged=$3 i a b
    : >"$name.free" && : >"$name.paged"
    for i in $(seq "$rounds"); do
        for kind in free paged; do
            # shellcheck disable=SC2086
            "$train" mixed.yaml $both training.output_dir="$work/$name-$kind-$i" \
                $([ $kind = paged ] && echo "$paged" || echo device.memory_limit=20GiB) >"$name-$kind.log"
            seconds_of "$work/$name-$kind-$i" >>"$name.$kind"
        done
        cmp "$name-free-$i/adapter/adapter_model.safetensors" "$name-paged-$i/adapter/adapter_model.safetensors"
    done
    a=$(median <"$name.free") b=$(median <"$name.paged")
    echo "$name: $a s with all the memory, $b s paged: $(awk -v a="$a" -v b="$b" 'BEGIN { printf "%+.1f%%", 100 * (b / a - 1) }'); same adapter"
    echo "  paged bytes by step: $(sed -nE 's/.*"tokens": *([0-9]+).*"paged_bytes": *([0-9]+).*/\1:\2/p' "$name-paged-1/metrics.jsonl" | tr '\n' ' ')"
    grep -oE "waited [0-9.]+ s" "$name-paged.log" | awk '{ s += $2 } END { printf "  waited %.3f s in all\n", s }'
}

"$train" plan mixed.yaml device.memory_limit=20GiB >plan.txt
total=$(bytes_of plan.txt total) state=$(bytes_of plan.txt "optimizer state")
echo "optimizer state $state of $total bytes"
compare mixed-lengths "" "device.memory_limit=$((total - state + 256))"

few="training.gradient_checkpointing=true training.max_steps=4"
# shellcheck disable=SC2086
"$train" plan mixed.yaml $few device.memory_limit=20GiB >plan.txt
total=$(bytes_of plan.txt total)
weights=$(($(bytes_of plan.txt "quantized weights") + $(bytes_of plan.txt "quantization constants")))
without=$((total - $(bytes_of plan.txt "optimizer state") - weights * 3 / 4))
echo "quantized weights $weights bytes; a limit of $without bytes leaves room for a quarter of them"
compare weights "$few" "device.memory_limit=$without"
