#!/usr/bin/env bash
# How the speed of a training on this machine's processor grows with processes: one rank of one thread a core against one
# process of as many threads, and against one thread alone.
#
#   scripts/bench_ranks.sh [ROUNDS]     default 5; PROGRAM (build/qlora-train), MODEL (the quick start's) and RANKS
#                                       ("1 2") from the environment
#
# strong: a step of 8 micro-batches, whoever takes them. weak: 4 micro-batches for each rank or thread. A round starts
# every case once, in another order each time; of each start the first step is left out. CSV to standard output:
# median tokens a second of all steps, their quartiles, and how often faster than one process of one thread that is, in a
# step as large; perfect is the number of ranks.
set -euo pipefail
cd "$(dirname "$0")/.."
rounds=${1:-5}
program=${PROGRAM:-build/qlora-train}
model=${MODEL:-models/SmolLM2-135M-Instruct.Q4_1.gguf}
ranks=${RANKS:-1 2}
steps=5
[ -f "$model" ] || { echo "bench_ranks.sh: no $model; scripts/fetch_model.sh fetches it, MODEL names another" >&2; exit 2; }
command -v mpirun >/dev/null || { echo "bench_ranks.sh: there is no mpirun here" >&2; exit 2; }
model=$(realpath "$model")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

mpirun_options=(--bind-to none)
[ "$(id -u)" -ne 0 ] || mpirun_options+=(--allow-run-as-root)

cat >"$work/bench.yaml" <<END
model: {path: $model}
data: {train: $PWD/data/demo/train.jsonl, format: messages, max_length: 256, packing: true}
training: {output_dir: unused, per_device_train_batch_size: 1, max_steps: $((steps + 1)), save_steps: 0}
device: {backend: cpu}
END

# run CASE PROCESSES THREADS MICRO_BATCHES: appends the speeds of its steps to CASE.speeds.
run() {
    local start=()
    rm -rf "$work/out"
    [ "$2" -eq 1 ] || start=(mpirun "${mpirun_options[@]}" -n "$2")
    if ! "${start[@]}" "$program" "$work/bench.yaml" training.output_dir="$work/out" device.threads="$3" \
        training.gradient_accumulation_steps="$4" </dev/null >"$work/log" 2>&1
    then
        tail -n 20 "$work/log" >&2
        exit 1
    fi
    sed -nE 's/.*"tokens_per_second": ([0-9.e+]+).*/\1/p' "$work/out/metrics.jsonl" | tail -n "+2" >>"$work/$1.speeds"
}

# A step of m micro-batches by one thread is what both are compared with.
cases=()
for n in $ranks; do
    cases+=("strong,$n,1,8")
    [ "$n" -eq 1 ] || cases+=("strong,1,$n,8" "weak,$n,1,$((4 * n))" "weak,1,$n,$((4 * n))" "weak,1,1,$((4 * n))")
done
for round in $(seq "$rounds"); do
    for case in $(shuf -e "${cases[@]}" --random-source=<(yes "$round")); do
        IFS=, read -r kind processes threads micros <<<"$case"
        run "$case" "$processes" "$threads" "$micros"
    done
done

quantile() { # FILE QUARTER
    sort -g "$1" | awk -v q="$2" '{ v[NR] = $1 } END { at = 1 + (NR - 1) * q / 4; i = int(at); printf "%.1f", v[i] + (at - i) * (v[i < NR ? i + 1 : i] - v[i]) }'
}

echo "scaling,processes,threads_each,micro_batches,tokens_per_second,first_quartile,third_quartile,steps,times_one_thread"
for case in "${cases[@]}"; do
    IFS=, read -r kind processes threads micros <<<"$case"
    file=$work/$case.speeds median=$(quantile "$work/$case.speeds" 2) one=$(quantile "$work/$kind,1,1,$micros.speeds" 2)
    echo "$case,$median,$(quantile "$file" 1),$(quantile "$file" 3),$(wc -l <"$file"),$(awk "BEGIN { printf \"%.3f\", $median / $one }")"
done
