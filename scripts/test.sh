#!/usr/bin/env bash
# Every test there is: the style, the C tests in a Release build and under AddressSanitizer + UBSan, tests/cli/*.sh.
# The last line is "N passed, N failed[, N skipped]"; exit status 1 if anything failed.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
jobs=$(nproc)
style_version=14    # of clang-format, which writes some code otherwise in each version
passed=0 failed=0 skipped=0

heading() {
    printf '\n=== %s ===\n' "$1"
}

finish() {
    if [ "$skipped" -gt 0 ]; then
        echo "$passed passed, $failed failed, $skipped skipped"
    else
        echo "$passed passed, $failed failed"
    fi
    [ "$failed" -eq 0 ]
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

# What does not build is one failure, and the end: nothing after it could be trusted.
build() { # PRESET DIR
    local dir=$2
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
c_tests() { # DIR
    local log=$1/Testing/Temporary/LastTest.log ok=0 bad=0 left=0
    rm -f "$log"
    ctest --test-dir "$1" --output-on-failure --no-tests=error --test-output-size-passed 10000000 \
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
        echo "skipped in $1:"
        awk '/^\[=+\].*test\(s\) run/ { summary = 1 }  / Testing: / { summary = 0 }
             /^\[  SKIPPED \]/ && !summary { print "  " $4 (reason == "" ? "" : ": " reason) }
             { reason = /^skip(ped)?: / ? substr($0, index($0, " ") + 1) : "" }' "$log"
    fi
    passed=$((passed + ok)) failed=$((failed + bad)) skipped=$((skipped + left))
}

cli_tests() { # PROGRAM TEST...
    local out
    out=$(mktemp)
    "$root/tests/cli/run.sh" "$@" | tee "$out" || true
    read -r ok bad left < <(sed -n 's/^\([0-9]*\) passed, \([0-9]*\) failed, \([0-9]*\) skipped$/\1 \2 \3/p' "$out" |
        tail -n 1; echo 0 1 0)    # a runner that printed no count failed
    passed=$((passed + ok)) failed=$((failed + bad)) skipped=$((skipped + left))
    rm -f "$out"
}

heading "Dependencies"
scripts/deps.sh || { failed=1; finish; }

heading "Style"
style

heading "Model for the tests that need one"
if [ -z "${QLORA_SMOLLM2_GGUF:-}" ]; then
    if scripts/fetch_model.sh; then
        export QLORA_SMOLLM2_GGUF=$root/models/SmolLM2-135M-Instruct.Q4_1.gguf
    else
        echo "no model: the tests that need it are skipped"
    fi
fi

heading "C tests, Release"
build release build
if build/qlora-train --version | grep -q "CUDA: yes"; then
    echo "CUDA kernels compiled by nvcc, warnings as errors"
    passed=$((passed + 1))
else
    echo "no CUDA toolkit: compiling the kernels with nvcc is skipped; they are tested on the host all the same"
    skipped=$((skipped + 1))
fi
c_tests build

heading "C tests, AddressSanitizer and UndefinedBehaviorSanitizer"
build asan build-asan
c_tests build-asan

heading "Command line tests"
cli_tests "$root/build/qlora-train"

heading "Command line tests, AddressSanitizer"
cli_tests "$root/build-asan/qlora-train" accumulation bad_input configs damaged_checkpoint generate resume stopped_export

heading "Command line tests, emulated GPU"
cli_tests "$root/build/tests/qlora-train-cudahost" cuda no_cublas

heading "Result"
finish
