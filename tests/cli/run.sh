#!/usr/bin/env bash
# Runs the command line tests: tests/cli/run.sh PROGRAM [NAME...]; all of them without names.
# Each test is one script, run by bash in an empty directory of its own with QLORA_TRAIN and TESTS (the tests/
# directory) set: exit 0 = passed, 77 = skipped (its last line says why), anything else = failed, output is shown.
# The last line printed is "N passed, N failed, N skipped". Nothing run is a failure, and so is an empty script.
set -u

here=$(cd "$(dirname "$0")" && pwd)
[ $# -ge 1 ] || { echo "usage: $0 PROGRAM [NAME...]" >&2; exit 2; }
QLORA_TRAIN=$(realpath "$1")
TESTS=$(dirname "$here")
export QLORA_TRAIN TESTS
shift
limit=${QLORA_TEST_TIMEOUT:-1200}    # seconds a test

names=("$@")
if [ ${#names[@]} -eq 0 ]; then
    for script in "$here"/*.sh; do
        name=$(basename "$script" .sh)
        case $name in run | lib) ;; *) names+=("$name") ;; esac
    done
fi

top=$(mktemp -d)
trap 'rm -rf "$top"' EXIT
passed=0 failed=0 skipped=0
for name in "${names[@]}"; do
    mkdir "$top/$name"
    started=$SECONDS
    (cd "$top/$name" && exec timeout -k 10 "$limit" bash "$here/$name.sh") >"$top/$name.log" 2>&1
    status=$?
    if [ "$status" -eq 0 ] && ! grep -qE '^ *[^ #]' "$here/$name.sh"; then
        echo "the script is empty" >>"$top/$name.log"
        status=1
    fi
    case $status in
        0) echo "PASS $name ($((SECONDS - started)) s)"; passed=$((passed + 1)) ;;
        77) echo "SKIP $name: $(tail -n 1 "$top/$name.log")"; skipped=$((skipped + 1)) ;;
        *)
            [ "$status" -eq 124 ] && echo "took longer than $limit s" >>"$top/$name.log"
            echo "FAIL $name"
            sed 's/^/    /' "$top/$name.log"
            failed=$((failed + 1))
            ;;
    esac
    rm -rf "${top:?}/$name"
done
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ] && [ $((passed + skipped)) -gt 0 ]
