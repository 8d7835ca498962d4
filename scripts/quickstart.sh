#!/usr/bin/env bash
# From a fresh clone to a fine-tuned model: builds, fetches SmolLM2-135M-Instruct, shows its answers, trains it on
# data/demo for a minute or two, shows its answers again, compares the losses and exports what was learned.
# Safe to run again: what is done already is not done twice.
set -euo pipefail
cd "$(dirname "$0")/.."

config=configs/quickstart.yaml
run=runs/quickstart
program=build/qlora-train

heading() {
    printf '\n=== %s ===\n' "$1"
}

answers() { # [--adapter DIR]
    while IFS= read -r prompt; do
        printf '\n> %s\n' "$prompt"
        "$program" generate "$config" "$@" --max-new-tokens 80 --prompt "$prompt" </dev/null
    done <data/demo/prompts.txt
}

heading "1/7 Dependencies and build"
scripts/deps.sh
# Kernels for a GPU take minutes to build: only where there is a driver for one.
cuda=OFF
for driver in /proc/driver/nvidia/version /dev/nvidiactl /dev/dxg; do
    [ ! -e "$driver" ] || cuda=AUTO
done
cmake -S . -B build -DCMAKE_BUILD_TYPE=Release -DQLORA_TESTS=OFF -DQLORA_CUDA=$cuda >build.log 2>&1 || { cat build.log >&2; exit 1; }
cmake --build build -j "$(nproc)"    # all of it, so that `cmake --install build` finds what it installs
rm -f build.log

heading "2/7 Model"
scripts/fetch_model.sh

heading "3/7 Answers before training"
answers

heading "4/7 Training ($config)"
"$program" "$config"

heading "5/7 Answers after training"
answers --adapter "$run/adapter"

heading "6/7 Loss on rows that were held back: before, after"
before=$("$program" eval "$config" | tail -n 1)
after=$("$program" eval "$config" --adapter "$run/adapter" | tail -n 1)
printf 'before  %s\nafter   %s\n' "$before" "$after"

heading "7/7 Export"
checkpoint=$(find "$run" -maxdepth 1 -name 'checkpoint-[0-9]*' | sort -V | tail -n 1)
rm -rf "$run/exported-adapter" "$run/merged"
"$program" export "$checkpoint" --adapter "$run/exported-adapter"
"$program" export "$checkpoint" --merged "$run/merged"

heading "Done"
cat <<END
$run/adapter/           the trained adapter (PEFT format)
$run/exported-adapter/  the adapter of ${checkpoint##*/}, exported: the same
$run/merged/            base model and adapter in one (Hugging Face format)
$run/${checkpoint##*/}/     what a resumed run would start from
$run/metrics.jsonl      loss, gradient norm, speed of every step

Ask it something:  $program generate $config --adapter $run/adapter --prompt "The lamp in the hall is broken."
Your own data:     copy configs/smollm2-cpu.yaml and change the paths marked YOURS
END
