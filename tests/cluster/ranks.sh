#!/usr/bin/env bash
# The processes of one run (trainer/ranks) under mpirun, on one host and on several: what they do together, what happens
# when one of them ends, hangs or is cut off, and that a suspended run goes on.
#
#   tests/cluster/ranks.sh build/tests/ranks_driver [short]
#
# Skipped (exit status 77) without Open MPI's mpirun; the part with several hosts needs root and iproute2, and else is left
# out, which the last line says. Takes about a minute: what has to be waited for is waited for at the same time. short: for
# sanitizers, without that.
[ $# -ge 1 ] || { echo "usage: $0 RANKS_DRIVER [short]" >&2; exit 2; }
driver=$(realpath "$1")
short=${2:-}
TESTS=$(realpath "$(dirname "$0")/..")
work=$(mktemp -d)
cd "$work" || exit 1
. "$TESTS/cluster/lib.sh"
[ -x "$driver" ] || skip "ranks: no $driver; it is built where CMake finds MPI"
mpi_needed ranks
export ASAN_OPTIONS=${ASAN_OPTIONS:+$ASAN_OPTIONS:}detect_leaks=0    # Open MPI frees little of its own

trap 'hosts_down; end_all_in "$work"' EXIT

stepped() { # RUN RANK STEPS
    [ "$(cat "$1/$2.steps" 2>/dev/null || echo 0)" -ge "$3" ]
}
later_than() { [ $SECONDS -gt "$1" ]; }
process() { cat "$1/$2.process"; }
processes() { cat "$1"/*.process; }

# begin RUN RANKS STARTER...: steps, of which all ranks have taken some; mpirun's process is in ${mpirun[RUN]}.
declare -A mpirun
begin() {
    local run=$1 n=$2 k
    shift 2
    mkdir "$run"
    "$@" "$driver" run "$work/$run" >"$run.out" 2>"$run.err" &
    mpirun[$run]=$!
    for k in $(seq 0 $((n - 1))); do within 60 "steps of rank $k of $run" stepped "$run" "$k" 5; done
}

# ends RUN SECONDS STATUS: all of its ranks end within that time, and mpirun with that status; ".": any but 0.
ends() {
    local got=0
    # shellcheck disable=SC2046 # many
    within "$2" "the end of $1: $(cat "$1.err")" ended $(processes "$1")
    within 30 "the end of mpirun: $(cat "$1.err")" ended "${mpirun[$1]}"
    wait "${mpirun[$1]}" || got=$?
    case $3 in
        .) [ "$got" -ne 0 ] || fail "$1: status 0" ;;
        *) [ "$got" -eq "$3" ] || { cat "$1.err"; fail "$1: status $got, expected $3"; } ;;
    esac
}

# names RUN RANK HOST TEXT: one line of its errors says so of the rank, and no line of another one.
names() {
    local all
    all=$(grep -E '^rank [0-9]+ \(' "$1.err" || true)
    [ "$all" = "rank $2 ($3, process $(process "$1" "$2")) $4; the run ends, its newest checkpoint is good" ] ||
        { cat "$1.err"; fail "$1: that rank $2 of $3 $4 is not the one thing said"; }
}
# in_time RUN START: its last words came within a minute of that; how long it was is in $took.
in_time() {
    took=$(($(stat -c %Y "$1.err") - $2))
    if [ $took -lt 25 ] || [ $took -gt 50 ]; then
        cat "$1.err"
        fail "$1: named after $took s"
    fi
}
here=$(hostname)
here=${here%%.*}

# What waits for the missing beats, or longer than them, and the other things after.
if [ -z "$short" ]; then
    begin hangs 3 ranks 3
    begin suspended 4 ranks 4
    kill -STOP "$(process hangs 1)"
    # shellcheck disable=SC2046
    kill -STOP $(processes suspended)
    stopped=$SECONDS stopped_at=$EPOCHSECONDS
fi
if [ -z "$short" ] && hosts_up 2; then
    expect 0 hosts_ranks 2 2 "$driver" check
    grep -q '^as expected: 4 ranks, 2 on this host' out.txt || fail "$(cat out.txt)"
    begin remote 4 hosts_ranks 2 2
    kill -KILL "$(process remote 2)"
    ends remote 10 .
    names remote 2 host2 "has ended before its time"
    echo "two hosts: sums, and a rank of the other one that was killed"
    begin cut 4 hosts_ranks 2 2
    host_cut_off 2
    cut_at=$EPOCHSECONDS
fi

for n in 1 2 3 4; do
    expect 0 ranks $n "$driver" check
    grep -q "^as expected: $n ranks, $n on this host" out.txt || fail "$(cat out.txt)"
done
expect 0 "$driver" check
grep -q '^as expected: 1 ranks' out.txt || fail "$(cat out.txt)"
echo "sums, exchanges and agreement: 1, 2, 3 and 4 ranks, and none"

# Signal 9 to each in turn.
for rank in 0 1 3; do
    begin killed$rank 4 ranks 4
    kill -KILL "$(process killed$rank $rank)"
    ends killed$rank 5 .
    names killed$rank $rank "$here" "has ended before its time"
done
echo "killed: rank 0, 1 and the last are named"

# What one has the others do. Errors of its own are none.
for rank in 0 2; do
    begin stop$rank 3 ranks 3
    touch stop$rank/$rank.stop
    ends stop$rank 5 0
    grep -qx "all were told to stop" stop$rank.out || fail "$(cat stop$rank.out stop$rank.err)"
    [ ! -s stop$rank.err ] || fail "$(cat stop$rank.err)"
    begin end$rank 3 ranks 3
    touch end$rank/$rank.end
    ends end$rank 5 75
    ! grep -E '^rank ' end$rank.err || fail "an end in order is called a loss"
done
echo "stop and end: told by rank 0 and by another"

# What cannot work is said before anything is waited for.
expect 2 env SLURM_STEP_NUM_TASKS=4 "$driver" check
grep -q 'expected srun --mpi=pmix' err.txt || fail "$(cat err.txt)"
expect 0 env SLURM_NTASKS=4 "$driver" check
expect 2 env PMI_SIZE=4 PMI_RANK=1 "$driver" check
grep -q 'mpiexec started 4 processes, but Open MPI .* finds 1; expected' err.txt || fail "$(cat err.txt)"
mkdir -p prefix/alone
cd prefix    # an installation's
cp "$driver" alone/
expect 2 env OMPI_COMM_WORLD_SIZE=2 alone/ranks_driver check
grep -q 'qlora-mpi.so: not there; expected' err.txt || fail "$(cat err.txt)"
installed=$(sed -n 's/: not there.*//p' err.txt)
mkdir -p "$(dirname "$installed")"
cp "$(dirname "$driver")/qlora-mpi.so" "$installed"
expect 0 ranks 2 alone/ranks_driver check
echo not a library >alone/qlora-mpi.so
expect 2 env OMPI_COMM_WORLD_SIZE=2 alone/ranks_driver check
grep -q 'alone/qlora-mpi.so: .*; expected the MPI' err.txt || fail "$(cat err.txt)"
cd "$work"
echo "refused: srun without MPI, a launcher of another MPI, a module that is not there or no library; found: one installed"

[ -z "$short" ] || exit 0

ends hangs 40 .
names hangs 1 "$here" "was not heard of for 30 s"
in_time hangs "$stopped_at"
echo "a rank that hangs is named, after $took s"

within 60 "the time that a rank may be silent" later_than $((stopped + 33))
# shellcheck disable=SC2046
kill -CONT $(processes suspended)
steps=$(cat suspended/3.steps)
within 20 "steps of what was suspended" stepped suspended 3 $((steps + 20))
touch suspended/enough
ends suspended 5 0
[ ! -s suspended.err ] || fail "$(cat suspended.err)"
echo "suspended for $((SECONDS - stopped)) s, and went on"

if [ -n "$hosts_missing" ]; then
    echo "SKIP several hosts: $hosts_missing"
else
    # shellcheck disable=SC2046
    within 40 "the end of all ranks of cut: $(cat cut.err)" ended $(processes cut)    # not of mpirun, see docs/cluster.md
    grep -qE '^rank [23] \(host2, process [0-9]+\) was not heard of for 30 s' cut.err ||
        { cat cut.err; fail "no rank of the host that is cut off is named"; }
    in_time cut "$cut_at"
    echo "a host that is cut off is named, after $took s"
fi
