#!/usr/bin/env bash
# Every test there is: the style, the C tests in a Release build and under AddressSanitizer + UBSan, tests/cli/*.sh.
# scripts/test.sh STAGE...: those stages only; with a name that there is not it lists them.
# The last line is "N passed, N failed[, N skipped]"; exit status 1 if anything failed, or if nothing was run.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
jobs=$(nproc)
style_version=14    # of clang-format, which writes some code otherwise in each version
passed=0 failed=0 skipped=0
wanted=" $* " built=" "

heading() {
    printf '\n=== %s ===\n' "$1"
}

# Runs COMMAND under a heading and says how long it took, unless others were asked for.
stage() { # NAME TITLE COMMAND [ARGUMENT...]
    local name=$1 began=$SECONDS before=$((passed + failed + skipped))
    case $wanted in "  " | *" $1 "*) ;; *) return 0 ;; esac
    heading "$2"
    shift 2
    "$@"
    [ $((passed + failed + skipped)) -gt "$before" ] || { echo "stage $name tested nothing"; failed=$((failed + 1)); }
    echo "stage $name: $((SECONDS - began)) s"
}

check_names() {
    local known name
    known=$(sed -nE 's/^stage ([a-z_]+) ".*/\1/p' scripts/test.sh)
    for name in $wanted; do
        grep -qxF "$name" <<<"$known" || { echo "no stage $name; there are:" "${known//$'\n'/ }" >&2; exit 2; }
    done
}

finish() {
    if [ "$skipped" -gt 0 ]; then
        echo "$passed passed, $failed failed, $skipped skipped"
    else
        echo "$passed passed, $failed failed"
    fi
    [ "$failed" -eq 0 ] && [ $((passed + skipped)) -gt 0 ]
    exit
}

# One test: every C, C++ and CUDA file is as clang-format writes it.
style() {
    local version bad
    version=$(clang-format --version 2>/dev/null | sed -nE 's/.* version ([0-9]+)\..*/\1/p' || true)
    if [ "$version" != $style_version ] || ! git rev-parse --is-inside-work-tree >/dev/null 2>&1; then
        echo "style is skipped: it takes clang-format $style_version (here: ${version:-none}) and a git checkout"
        skipped=$((skipped + 1))
        return
    fi
    [ -n "$(git ls-files '*.c')" ] || { echo "style: no file of this checkout is known to git"; return; }
    bad=$(git ls-files -z '*.c' '*.h' '*.cc' '*.cu' '*.cuh' | xargs -0 clang-format --dry-run -Werror 2>&1 || true)
    if [ -z "$bad" ]; then
        echo "style: as clang-format $style_version writes it"
        passed=$((passed + 1))
    else
        sed -nE 's/^([^: ]+):[0-9]+:.* error: .*/\1/p' <<<"$bad" | uniq -c | sort -rn
        head -n 5 <<<"$bad"
        echo "style: these files differ; clang-format -i FILE"
        failed=$((failed + 1))
    fi
}

# What does not build is one failure, and the end: nothing after it could be trusted. Once a run, whoever needs it.
build() { # PRESET
    local dir=build-$1
    [ "$1" != release ] || dir=build
    case $built in *" $1 "*) return 0 ;; esac
    built+="$1 "
    if ! {
        cmake --preset "$1" -DQLORA_TESTS=ON -DQLORA_WERROR=ON >"$dir.log" &&
            cmake --build "$dir" -j "$jobs" >>"$dir.log"
    } 2>&1
    then
        tail -n 40 "$dir.log"
        failed=$((failed + 1))
        finish
    fi
    rm -f "$dir.log"
}

# Runs the C tests of a build and counts cmocka's cases. A program counts as one failure if it fails without a failed
# case (it crashed, or ran out of time) or passes without having run one, and so does a build without any test.
c_tests() { # PRESET
    local dir=build-$1 log ok=0 bad=0 left=0
    [ "$1" != release ] || dir=build
    build "$1"
    log=$dir/Testing/Temporary/LastTest.log
    rm -f "$log"
    ctest --test-dir "$dir" -j "$jobs" --output-on-failure --no-tests=error --test-output-size-passed 10000000 \
        --test-output-size-failed 10000000 || true
    if [ ! -f "$log" ]; then
        failed=$((failed + 1))
        return
    fi
    read -r ok bad left < <(awk '
        /^[0-9]+\/[0-9]+ Testing: /   { case_failed = 0; summary = 0; cases = ok + left; programs++ }
        /^\[=+\].*test\(s\) run/      { summary = 1 }
        /^\[       OK \]/             { ok++ }
        /^\[  FAILED  \]/ && !summary { bad++; case_failed = 1 }
        /^\[  SKIPPED \]/ && !summary { left++ }
        /^Test Passed\.$/             { ended++; if (ok + left == cases) bad++ }
        /^Test Failed\.$/             { ended++; if (!case_failed) bad++ }
        END                           { print ok + 0, bad + programs - ended + !programs, left + 0 }' "$log")
    if [ "$left" -gt 0 ]; then
        echo "skipped in $dir:"
        awk '/^\[=+\].*test\(s\) run/ { summary = 1 }  / Testing: / { summary = 0 }
             /^\[  SKIPPED \]/ && !summary { print "  " $4 (reason == "" ? "" : ": " reason) }
             { reason = /^skip(ped)?: / ? substr($0, index($0, " ") + 1) : "" }' "$log"
    fi
    passed=$((passed + ok)) failed=$((failed + bad)) skipped=$((skipped + left))
}

# Runs what ends with "N passed, N failed, N skipped", and adds these; or with 77, and why, where it cannot run.
counted() { # COMMAND...
    local out ok bad left status=0
    out=$(mktemp)
    "$@" | tee "$out" || status=$?
    if [ $status -eq 77 ]; then
        rm -f "$out"
        skipped=$((skipped + 1))
        return
    fi
    read -r ok bad left < <(sed -n 's/^\([0-9]*\) passed, \([0-9]*\) failed, \([0-9]*\) skipped$/\1 \2 \3/p' "$out" |
        tail -n 1; echo 0 1 0)    # a runner that printed no count failed
    rm -f "$out"
    passed=$((passed + ok)) failed=$((failed + bad)) skipped=$((skipped + left))
}

cli_tests() { # PRESET PROGRAM TEST...
    build "$1"
    counted "$root/tests/cli/run.sh" "$root/$2" "${@:3}"
}

release_tests() {
    build release
    if build/qlora-train --version | grep -q "CUDA: yes"; then
        echo "CUDA kernels compiled by nvcc, warnings as errors"
        passed=$((passed + 1))
    else
        echo "no CUDA toolkit: compiling the kernels with nvcc is skipped; they are tested on the host all the same"
        skipped=$((skipped + 1))
    fi
    c_tests release
}

samples_tests() {
    cli_tests asan build-asan/qlora-train samples
    QLORA_TEST_BACKEND=cuda cli_tests release build/tests/qlora-train-cudahost samples
    cluster_test release build/qlora-train samples_ranks
}
docs_tests() {
    build release
    counted tests/docs/run.sh build/qlora-train
}

fault_tests() {
    build release
    counted tests/faults/run.sh build/qlora-train
}

# A script of tests/cluster is one test: exit status 77 is skipped, and its last line says why. So is a part that it leaves
# out, which a line says that begins with SKIP.
cluster_test() { # PRESET PROGRAM SCRIPT ARGUMENT...
    local out status=0
    build "$1"
    out=$(mktemp)
    timeout -k 30 900 "tests/cluster/$3.sh" "$2" "${@:4}" >"$out" 2>&1 || status=$?
    case $status in
        0)
            echo "PASS $3 ${*:4}"
            grep '^SKIP ' "$out" && skipped=$((skipped + 1))
            passed=$((passed + 1))
            ;;
        77) echo "SKIP $3: $(tail -n 1 "$out")"; skipped=$((skipped + 1)) ;;
        *) cat "$out"; echo "FAIL $3 ${*:4}"; failed=$((failed + 1)) ;;
    esac
    rm -f "$out"
}

# The job script in a Slurm of its own, which takes root and Debian's packages. It waits most of its two minutes.
# With tokens one at a time, each op of a GPU takes another way than in training.
generate_tests() { QLORA_TEST_BACKEND=cuda cli_tests release build/tests/qlora-train-cudahost generate; }

slurm_tests() {
    if [ "$(id -u)" -eq 0 ] && ! command -v slurmctld >/dev/null; then scripts/deps.sh --slurm || true; fi
    cluster_test release build/qlora-train slurm
}

ranks_tests() {
    cluster_test release build/tests/ranks_driver ranks
    cluster_test asan build-asan/tests/ranks_driver ranks short
    cluster_test release build/qlora-train train_ranks
    cluster_test release build/tests/qlora-train-cudahost cuda_ranks
    cluster_test asan build-asan/qlora-train train_ranks short
}

check_names

heading "Dependencies"
scripts/deps.sh --tools || { failed=1; finish; }

heading "Model for the tests that need one"
if [ -z "${QLORA_SMOLLM2_GGUF:-}" ]; then
    if scripts/fetch_model.sh; then
        export QLORA_SMOLLM2_GGUF=$root/models/SmolLM2-135M-Instruct.Q4_1.gguf
    else
        echo "no model: the tests that need it are skipped"
    fi
fi

stage style "Style" style
stage lint "Static analysis" counted scripts/lint.sh
stage release "C tests, Release" release_tests
stage asan "C tests, AddressSanitizer and UndefinedBehaviorSanitizer" c_tests asan
stage cli "Command line tests" cli_tests release build/qlora-train
stage cli_asan "Command line tests, AddressSanitizer" cli_tests asan build-asan/qlora-train \
    accumulation bad_input configs damaged_checkpoint generate init report resume stopped_export
stage cli_cuda "Command line tests, emulated GPU" cli_tests release build/tests/qlora-train-cudahost cuda no_cublas
stage cli_generate "Generation, emulated GPU" generate_tests
stage samples "Answers to prompts in a training" samples_tests
stage docs "Documentation" docs_tests
stage ranks "Several processes" ranks_tests
stage slurm "Jobs in a Slurm" slurm_tests
stage faults "Failures of the machine" fault_tests
stage threads "Threads of the CPU backend, ThreadSanitizer" counted scripts/threads.sh
stage fuzz "Fuzzing" counted scripts/fuzz.sh --seconds 6
stage source "The source as an archive" counted scripts/source.sh

heading "Result"
finish
