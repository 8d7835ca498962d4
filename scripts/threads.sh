#!/usr/bin/env bash
# Data races of the CPU backend, of loading and of paging: C tests and a training run of a build with ThreadSanitizer
# (cmake --preset tsan), which takes clang 14 and its OpenMP. GCC's libgomp would not do: nobody tells ThreadSanitizer of
# its barriers, and each parallel loop is a race to it. Debian's libomp comes with Archer, which does.
# Exit status 77 where they are not there; the last line is "N passed, N failed, 0 skipped".
set -euo pipefail
cd "$(dirname "$0")/.."
build=build-tsan
tests=(test_ops test_dataset test_paging test_pager test_model)
passed=0 failed=0

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# As much as is needed here, and proof that a race is found: two threads count, in one place.
cat >"$work/race.c" <<'END'
#include <stdio.h>
int main(void) {
    static int count;
#pragma omp parallel num_threads(4)
    for (int i = 0; i < 1000; i++) count++;
    printf("%d\n", count);
}
END
export TSAN_OPTIONS="suppressions=$PWD/tests/tsan.supp exitcode=66" OMP_WAIT_POLICY=passive
if ! clang-14 -O1 -g -fopenmp -fsanitize=thread -o "$work/race" "$work/race.c" 2>"$work/log" ||
    ! { ARCHER_OPTIONS=verbose=1 "$work/race" >"$work/log" 2>&1 || true; grep -q '^Archer detected' "$work/log"; }; then
    tail -n 3 "$work/log"
    echo "threads are skipped: clang-14 and libomp-14-dev, with Archer, are not there"
    exit 77
fi

# A race is found where STATUS is 66.
check() { # NAME STATUS COMMAND...
    local name=$1 want=$2 status=0
    shift 2
    timeout -k 10 900 "$@" >"$work/log" 2>&1 || status=$?
    if [ $status -eq "$want" ]; then
        echo "PASS $name"
        passed=$((passed + 1))
    else
        echo "FAIL $name: exit status $status, expected $want"
        grep -A 30 -m 1 'WARNING: ThreadSanitizer' "$work/log" || tail -n 30 "$work/log"
        failed=$((failed + 1))
    fi
}

if ! {
    cmake --preset tsan -DQLORA_TESTS=ON -DQLORA_WERROR=ON >"$work/log" &&
        cmake --build $build -j "$(nproc)" --target qlora-train "${tests[@]}" >>"$work/log"
} 2>&1
then
    tail -n 40 "$work/log"
    echo "0 passed, 1 failed, 0 skipped"
    exit 1
fi

check "a race that was planted" 66 "$work/race"
for t in "${tests[@]}"; do check "$t" 0 $build/tests/"$t"; done

model=$PWD/tests/golden/tiny/llama-mha
for i in $(seq 64); do echo "{\"input_ids\":[1,5,$((i + 3)),9,12,7,$((i % 40 + 8))]}"; done >"$work/train.jsonl"
cat >"$work/config.yaml" <<END
model: {path: $model}
lora: {r: 8, lora_dropout: 0.1}
data: {train: $work/train.jsonl, eval: $work/train.jsonl, format: tokens, max_length: 32, packing: true}
training: {output_dir: $work/run, max_steps: 3, save_steps: 2, eval_steps: 2, per_device_train_batch_size: 4,
           gradient_accumulation_steps: 2}
device: {backend: cpu, threads: 4}
END
check "training" 0 $build/qlora-train "$work/config.yaml"
echo "$passed passed, $failed failed, 0 skipped"
[ $failed -eq 0 ]
