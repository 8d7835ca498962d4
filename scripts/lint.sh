#!/usr/bin/env bash
# Static analysis of the program's C: clang-tidy with .clang-tidy, and cppcheck with scripts/cppcheck/. The kernels, which
# are compiled once per instruction set, are left to the compiler and the tests.
# scripts/lint.sh [--all] [FILE...]: all files without names; --all adds clang's analyzer, which follows paths through
# each function, for minutes.
# What is not installed, or of another version, is skipped by name. The last line is "N passed, N failed, N skipped".
set -euo pipefail
cd "$(dirname "$0")/.."
build=build-lint
jobs=$(nproc)
passed=0 failed=0 skipped=0
analyzer='-clang-analyzer-*'
if [ "${1:-}" = --all ]; then
    analyzer='clang-analyzer-*'
    shift
fi
files=("$@")
if [ ${#files[@]} -eq 0 ]; then
    others=/kernels/
    command -v mpicc >/dev/null || others+='|/mpi_module\.c$'    # includes mpi.h
    mapfile -t files < <(git ls-files {base,cpu,cuda,data,model,trainer}'/*.c' | grep -vE "$others")
fi
[ ${#files[@]} -gt 0 ] || { echo "no file of this checkout is known to git" >&2; exit 1; }

skip() {
    echo "$*"
    skipped=$((skipped + 1))
}

verdict() { # STATUS NAME
    if [ "$1" -eq 0 ]; then
        echo "$2: nothing found in ${#files[@]} files"
        passed=$((passed + 1))
    else
        echo "$2: see above"
        failed=$((failed + 1))
    fi
}

# Its own build directory: what is analysed must not depend on what was built last, by which compiler.
configure() {
    cmake -S . -B $build -DCMAKE_BUILD_TYPE=Release -DQLORA_CUDA=OFF -DQLORA_TESTS=OFF >$build.log 2>&1 &&
        cmake --build $build --target commit >>$build.log 2>&1 || { tail -n 20 $build.log; return 1; }
    rm -f $build.log
}

# What it says on standard error are counts of what it found in the headers of others, and whatever went wrong.
tidy_some='exec 3>&1; errors=$("$@" 2>&1 >&3); status=$?
grep -vE "^[0-9]+ warnings? (generated\.|treated as errors?)$" <<<"$errors"; exit $status'

tidy() {
    local tool=clang-tidy-14 status=0 f built=()
    command -v $tool >/dev/null || { skip "clang-tidy is skipped: there is no $tool"; return; }
    configure || { failed=$((failed + 1)); return; }
    # What is not built here, for want of a library, cannot be read either.
    for f in "${files[@]}"; do
        if grep -qF "\"file\": \"$PWD/$f\"" $build/compile_commands.json; then built+=("$f"); else echo "not built here: $f"; fi
    done
    [ ${#built[@]} -gt 0 ] || { failed=$((failed + 1)); return; }
    printf '%s\0' "${built[@]}" |
        xargs -0 -n 8 -P "$jobs" bash -c "$tidy_some" tidy $tool -p $build --quiet --checks="$analyzer" || status=1
    verdict $status clang-tidy
}

check() {
    local status=0 version
    version=$(cppcheck --version 2>/dev/null | sed -nE 's/^Cppcheck ([0-9]+\.[0-9]+).*/\1/p' || true)
    [ "$version" = 2.10 ] || { skip "cppcheck is skipped: it takes version 2.10 (here: ${version:-none})"; return; }
    cppcheck -j "$jobs" --quiet --std=c11 -I. --enable=warning,performance,portability --inline-suppr --error-exitcode=1 \
        --library=scripts/cppcheck/library.cfg --suppressions-list=scripts/cppcheck/suppressions.txt "${files[@]}" ||
        status=1
    verdict $status cppcheck
}

tidy
check
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
