#!/usr/bin/env bash
# Speed beside transformers + PEFT + bitsandbytes on this machine's CPU: bench_peer.sh HF_DIR [ROUNDS].
# Same rows (4 x 256 random ids a step), NF4 with double quantization, rank 16, fp32 computation; the two programs
# alternate, so that a busy machine hurts both, and medians over the rounds are printed. PYTHON names the interpreter
# that has the packages of tests/interop/requirements.txt; THREADS defaults to 2.
set -euo pipefail

[ $# -ge 1 ] || { echo "usage: PYTHON=... $0 HF_DIR [ROUNDS]" >&2; exit 2; }
model=$(realpath "$1")
rounds=${2:-3}
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
program=${QLORA_TRAIN:-build/qlora-train}
threads=${THREADS:-2}
steps=6
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

vocab=$(sed -n 's/.*"vocab_size": *\([0-9]*\).*/\1/p' "$model/config.json")
[ -n "$vocab" ] || { echo "bench_peer.sh: no vocab_size in $model/config.json" >&2; exit 2; }
awk -v rows=$((4 * steps)) -v vocab="$vocab" 'BEGIN {
    srand(1)
    for (r = 0; r < rows; r++) {
        printf "{\"input_ids\":["
        for (t = 0; t < 256; t++) printf "%s%d", t ? "," : "", int(rand() * vocab)
        print "]}"
    }
}' >"$tmp/rows.jsonl"

cat >"$tmp/config.yaml" <<END
model: {path: "$model"}
quantization: {quant_type: nf4, double_quant: true, compute_dtype: f32}
lora: {r: 16, lora_alpha: 16}
data: {train: rows.jsonl, format: tokens, max_length: 256, packing: false, shuffle: false}
training: {output_dir: unused, max_steps: $steps, per_device_train_batch_size: 4, gradient_accumulation_steps: 1,
           learning_rate: 2e-4, gradient_checkpointing: false, save_steps: 1000}
device: {backend: cpu, threads: $threads}
END

# The median of the numbers on standard input.
median() {
    sort -g | awk '{ v[NR] = $1 } END { print NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'
}

values() { # FILE KEY
    sed -nE "s/.*\"$2\": *([-+0-9.eE]+).*/\1/p" "$1"
}

for round in $(seq "$rounds"); do
    run=$tmp/run-$round
    "$program" "$tmp/config.yaml" training.output_dir="$run" >"$tmp/ours.log"
    values "$run/metrics.jsonl" tokens_per_second | tail -n +2 | median >>"$tmp/ours"
    OMP_NUM_THREADS=$threads "$python" tests/interop/bench_peer.py --model "$model" --data "$tmp/rows.jsonl" \
        --steps $steps --threads "$threads" 2>"$tmp/peer.err" >"$tmp/peer.log" || { cat "$tmp/peer.err" >&2; exit 1; }
    tail -n 1 "$tmp/peer.log" >"$tmp/peer.json"
    values "$tmp/peer.json" tokens_per_second >>"$tmp/peer"
    echo "round $round: qlora-train $(tail -n 1 "$tmp/ours") tokens/s, peer $(tail -n 1 "$tmp/peer") tokens/s"
done

ours=$(median <"$tmp/ours")
peer=$(median <"$tmp/peer")
echo
echo "median of $rounds: qlora-train $ours tokens/s, peer $peer tokens/s, ratio $(awk "BEGIN { print $ours / $peer }")"
# A fast step that learns nothing is no result. Adapters are initialised differently: only the first loss is equal.
echo "qlora-train loss: $(values "$tmp/run-1/metrics.jsonl" loss | tr '\n' ' ')"
echo "qlora-train grad_norm: $(values "$tmp/run-1/metrics.jsonl" grad_norm | tr '\n' ' ')"
echo "peer, last round: $(cat "$tmp/peer.json")"
