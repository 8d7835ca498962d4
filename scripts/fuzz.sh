#!/usr/bin/env bash
# Fuzzes the parsers: builds tests/fuzz with clang, AddressSanitizer and UndefinedBehaviorSanitizer, and runs each fuzzer
# from the seeds that tests/fuzz/make_seeds.py cuts from the files of the tests, and from what earlier runs found new.
#
#   scripts/fuzz.sh [--seconds N] [TARGET...]     each for N seconds (10), two at a time
#   scripts/fuzz.sh --runs N TARGET...            each for N inputs
#
# A line for each: inputs tried, coverage (edges, features), size of the corpus, findings, which are left in
# build-fuzz/findings/TARGET. The last line is "N passed, N failed, N skipped"; exit 1 if anything was found, 77 without
# clang.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
build=${QLORA_FUZZ_BUILD:-$root/build-fuzz}
seconds=10 runs=-1 targets=()
while [ $# -gt 0 ]; do
    case $1 in
        --seconds) seconds=$2; shift 2 ;;
        --runs) runs=$2 seconds=0; shift 2 ;;
        -*) sed -n '2,10s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
        *) targets+=("$1"); shift ;;
    esac
done

if [ ${#targets[@]} -eq 0 ]; then
    mapfile -t targets < <(cd tests/fuzz && printf '%s\n' fuzz_*.c | sed 's/^fuzz_//; s/\.c$//')
fi

# clang alone is not enough: its runtime libraries are a package of their own.
clang=$(command -v clang-14 || command -v clang || true)
can_fuzz() {
    local out rc=0
    out=$(mktemp)
    echo 'int LLVMFuzzerTestOneInput(const void *p, unsigned long n) { return p == 0 && n > 0; }' |
        "$clang" -x c -fsanitize=fuzzer,address,undefined -o "$out" - >/dev/null 2>&1 || rc=$?
    rm -f "$out"
    return $rc
}
if [ -z "$clang" ] || ! can_fuzz; then
    echo "no fuzzing: clang with libFuzzer is not there (apt-get install clang-14 libclang-rt-14-dev)"
    echo "0 passed, 0 failed, ${#targets[@]} skipped"
    exit 77
fi

mkdir -p "$build"
if ! {
    CC=$clang CXX=${clang/clang/clang++} cmake -S . -B "$build" -DCMAKE_BUILD_TYPE=Debug -DCMAKE_C_FLAGS_DEBUG=-O1 \
        -DCMAKE_CXX_FLAGS_DEBUG=-O1 -DQLORA_CUDA=OFF -DQLORA_MPI=OFF -DQLORA_FUZZ=ON &&
        cmake --build "$build" -j "$(nproc)" --target fuzzers
} >"$build/build.log" 2>&1
then
    tail -n 40 "$build/build.log"
    exit 1
fi
python3 tests/fuzz/make_seeds.py "$build/seeds"

# An input of a page or two may not take a gigabyte, nor ten seconds.
run() { # TARGET ARGUMENT...
    local t=$1
    shift
    UBSAN_OPTIONS=print_stacktrace=1 "$build/tests/fuzz/fuzz_$t" -timeout=10 -rss_limit_mb=1024 "$@"
}

# A timeout in which the machine stood still, not the parser, is none.
hangs() { # TARGET DIR
    local input
    for input in "$2"/timeout-*; do
        [ ! -f "$input" ] || { run "$1" "$input" >/dev/null 2>&1 && rm -f "$input"; } || return 0
    done
    return 1
}

fuzz() { # TARGET
    local t=$1 corpus=$build/corpus/$1 found=$build/findings/$1 log=$build/$1.log known=$root/tests/fuzz/found/$1 rc=0 last
    mkdir -p "$corpus" "$found"
    rm -f "$found"/*
    [ -d "$known" ] || known=
    # In memory, where files cost the least.
    TMPDIR=$(mktemp -d -p "$([ -d /dev/shm ] && echo /dev/shm || echo "${TMPDIR:-/tmp}")")
    export TMPDIR
    # shellcheck disable=SC2086  # $known: none, or one
    run "$t" -runs="$runs" -max_total_time="$seconds" -max_len=8192 -dict="$build/seeds/$t.dict" -close_fd_mask=1 \
        -artifact_prefix="$found/" -print_final_stats=1 -report_slow_units=100 "$corpus" "$build/seeds/$t" $known >"$log" 2>&1 || rc=$?
    if [ $rc -ne 0 ] && grep -aq 'SUMMARY: libFuzzer: timeout' "$log" && ! hangs "$t" "$found"; then rc=0; fi
    rm -rf "$TMPDIR"
    last=$(grep -aE '^#[0-9]+.* cov: ' "$log" | tail -n 1)
    printf '%-17s %10s inputs, cov %s, ft %s, corpus %s, %s findings\n' "$t" \
        "$(sed -nE 's/^stat::number_of_executed_units: *//p' "$log" | tail -n 1)" \
        "$(sed -nE 's/.* cov: ([0-9]+).*/\1/p' <<<"$last")" "$(sed -nE 's/.* ft: ([0-9]+).*/\1/p' <<<"$last")" \
        "$(sed -nE 's/.* corp: ([^ ]+).*/\1/p' <<<"$last")" "$(find "$found" -type f | wc -l)"
    if [ $rc -ne 0 ]; then
        grep -aE 'ERROR: |SUMMARY: |does not hold|runtime error' "$log" | head -n 4 | sed 's/^/    /'
        echo "    $log; the input is in $found"
    fi
    return $rc
}
export -f run hangs fuzz
export root build seconds runs
status=$(mktemp)
# shellcheck disable=SC2016  # for the inner shell
printf '%s\n' "${targets[@]}" |
    xargs -P "$(nproc)" -I{} bash -c 'fuzz "$1" && echo passed >>"$2" || echo failed >>"$2"' _ {} "$status"
passed=$(grep -c passed "$status" || true) failed=$(grep -c failed "$status" || true)
rm -f "$status"
echo "$passed passed, $failed failed, 0 skipped"
[ "$failed" -eq 0 ] && [ "$passed" -eq ${#targets[@]} ]
