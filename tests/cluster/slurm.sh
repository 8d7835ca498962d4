#!/usr/bin/env bash
# configs/slurm.sbatch, as it ships, in a real Slurm: a controller and eleven made-up nodes, started here and ended with the
# test. What cuts a job (its time limit, an administrator, a signal, preemption, a node that loses power) costs no step,
# or what was done since the last checkpoint: each ends in the bytes of an uninterrupted run. What must not come back
# (cancelled by its user, refused by the program) does not.
#
#   tests/cluster/slurm.sh PROGRAM [SCENARIO...]    # some by name; all without
#
# Needs root and Debian's slurm-wlm and munge; without them it is skipped (exit status 77). All jobs run side by side, held
# where they would otherwise have to last: two to three minutes, most of it waiting for limits, which Slurm counts in minutes.
[ $# -ge 1 ] || { echo "usage: $0 PROGRAM [SCENARIO...]" >&2; exit 2; }
QLORA_TRAIN=$(realpath "$1")
shift
TESTS=$(realpath "$(dirname "$0")/..")
export QLORA_TRAIN TESTS
. "$TESTS/cli/lib.sh"
for program in munged slurmctld slurmd sbatch srun; do
    command -v $program >/dev/null || skip "slurm: there is no $program here"
done
[ "$(id -u)" -eq 0 ] || skip "slurm: the daemons are started as root"
export OMPI_MCA_mpi_yield_when_idle=1    # processes that wait leave the processor to others
unset "${!SLURM_@}" "${!SBATCH_@}" "${!SRUN_@}"    # of a job that this test may itself be

work=$(mktemp -d)
chmod 1777 "$work"
cd "$work"
. "$TESTS/cluster/slurm_start.sh"
trap finish EXIT
slurm_start

# Jobs belong to a user without rights, where such a user can read what they need.
as_user=(setpriv --reuid=nobody --regid=nogroup --clear-groups)
"${as_user[@]}" sh -c 'test -x "$QLORA_TRAIN" && test -r "$0/model.safetensors"' "$model" 2>/dev/null || as_user=()
if [ ${#as_user[@]} -gt 0 ]; then echo "jobs belong to nobody"; else echo "jobs belong to root"; fi

# ---- runs and jobs ------------------------------------------------------------------------------------------------

# As many steps as take some seconds, so that a job is cut in its middle.
write_data
made() { # STEPS SAVE_STEPS RUN: evaluates after each step, so that it lasts
    write_config "$3" "$1" "$2" | sed 's/threads: 2/threads: 1/; s/eval_steps: 20/eval_steps: 1/' >"$3.yaml"
}
made 100000 100000 speed
timeout 5 "$QLORA_TRAIN" speed.yaml >speed.log 2>&1 || true
steps=$(logged_steps speed)
[ "$steps" -ge 100 ] || steps=100
echo "$steps steps a run"

# submit RUN OPTION...: a job of that run's config, by a user without rights where such a user can read the program.
submit() {
    local run=$1
    shift
    "${as_user[@]}" sbatch --parsable --output="$run.log" "$@" "$TESTS/../configs/slurm.sbatch" "$work/$run.yaml"
}

# What Slurm says of a job, though it may be too busy to say so at once.
show() { # JOB
    local shown try
    for try in $(seq 30); do
        ! shown=$(scontrol show job "$1" 2>/dev/null) || break
        sleep 1
    done
    echo "$shown"
}
state() { # JOB
    show "$1" | sed -nE 's/.*JobState=([A-Z_]+).*/\1/p'
}
is() { [ "$(state "$1")" = "$2" ]; } # JOB STATE
has_restarts() { grep -q " Restarts=$2 " <<<"$(show "$1")"; } # JOB COUNT
restarts() { # JOB COUNT
    has_restarts "$@" || fail "job $1: $(show "$1" | grep Restarts=)"
}

# wait_for SECONDS WHAT COMMAND...
wait_for() {
    local until=$((SECONDS + $1)) what=$2
    shift 2
    until "$@"; do
        [ $SECONDS -lt $until ] || fail "in vain for $what"
        sleep "${pause:-0.5}"
    done
}

programs() { # RUN: the processes of its program
    pgrep -f "^$QLORA_TRAIN $work/$1.yaml "
}
stepped() { [ "$(logged_steps "$1")" -ge "$2" ]; }
saved() { [ -d "$1" ] && [ -n "$(newest_checkpoint "$1")" ]; }

# The run's program stands still between two steps of its first half.
hold() { # RUN
    local pause=0.1
    wait_for 120 "the first steps of $1" stepped "$1" "${moment[$1]}"
    programs "$1" | xargs -r kill -STOP || true
    [ -n "$(programs "$1")" ] && [ ! -e "$1/adapter" ] || fail "$1 was done before it was held"
}
# Several at once: a busy machine is done with one while it waits for another.
hold_all() { # RUN...
    local run holders=()
    for run; do
        hold "$run" &
        holders+=($!)
    done
    for run in "${holders[@]}"; do wait "$run" || exit 1; done
}
go_on() { programs "$1" | xargs -r kill -CONT || true; }
asked_by() { # SIGNAL_BIT RUN: the signal waits for each process of the held program
    local pending pid pids
    pids=$(programs "$2") || return 1
    for pid in $pids; do
        pending=$(sed -n 's/^ShdPnd:\t//p' "/proc/$pid/status")
        [ $((0x$pending & $1)) -ne 0 ] || return 1
    done
}
usr1=0x200 term=0x4000

# A checkpoint of the last step that was taken, and the job in the queue again.
requeued() { # RUN JOB
    wait_for 120 "a checkpoint of $1" saved "$1"
    wait_for 120 "$1 in the queue again" is "$2" PENDING
    [ "$(newest_checkpoint "$1")" = "$1/checkpoint-$(logged_steps "$1")" ] || fail "$1: steps were lost"
    restarts "$2" 1
    echo "$1: requeued after step $(logged_steps "$1"), $(grep -o '[0-9.]* s after the request' "$1.log" | tail -n 1)"
}

completed() { # RUN JOB [WHOLE_RUN]
    wait_for 240 "the end of $1" is "$2" COMPLETED
    (mkdir -p "compared/$1" && cd "compared/$1" && same_run "../../${3:-whole}" "../../$1")
    show "$2" | sed -nE "s/.* Restarts=([0-9]+) .*/$1: restarted \1 times, the bytes of an uninterrupted run/p"
}

# ---- what happens to jobs -----------------------------------------------------------------------------------------

# Asked before its time limit of a minute. Slurm may ask up to a minute earlier than told.
limit() {
    local job
    job=$(submit limit --time=1 --signal=B:USR1@10)
    hold limit
    wait_for 120 "a request before the limit" asked_by $usr1 limit
    go_on limit
    requeued limit "$job"
    completed limit "$job"
}

# Not asked before, but ended with TERM, and KillWait, when its time is over.
late() {
    local job
    job=$(submit late --time=1 --signal=B:CONT@1)
    hold late
    wait_for 180 "the end of its time" saved late
    requeued late "$job"
    completed late "$job"
}

administrator() {
    local job
    job=$(submit administrator)
    hold administrator
    scontrol requeue "$job"
    requeued administrator "$job"
    completed administrator "$job"
}

# TERM to every process of the job, the shell and the program.
everybody() {
    local job
    job=$(submit everybody)
    hold everybody
    scancel --signal=TERM --full "$job"
    wait_for 60 "the signal" asked_by $term everybody
    go_on everybody
    requeued everybody "$job"
    completed everybody "$job"
}

# Cancelled by its user: it does not come back, but goes on when it is submitted again.
cancelled() {
    local job
    job=$(submit cancelled)
    hold cancelled
    "${as_user[@]}" scancel "$job"
    wait_for 120 "a checkpoint of what was cancelled" saved cancelled
    wait_for 60 "the end of what was cancelled" is "$job" CANCELLED
    sleep 8    # longer than a requeued job waits
    is "$job" CANCELLED || fail "a cancelled job is $(state "$job")"
    restarts "$job" 0
    echo "cancelled: after step $(logged_steps cancelled), stays $(state "$job")"
    job=$(submit cancelled)
    completed cancelled "$job"
}

# A job of a partition that goes before: one is asked by Slurm when its grace time begins
# (SlurmctldParameters=preempt_send_user_signal), one has no grace time.
preempted() { # RUN PARTITION NODE
    local job other
    job=$(submit "$1" --partition="$2")
    hold "$1"
    other=$(sbatch --parsable --partition=urgent --nodelist="$3" --exclusive --output="$1.other" --wrap "sleep 3")
    if [ "$2" = grace ]; then
        wait_for 60 "a request in the time of grace" asked_by $usr1 "$1"
        go_on "$1"
    fi
    requeued "$1" "$job"
    wait_for 60 "the other job" is "$other" COMPLETED
    completed "$1" "$job"
}
grace() { preempted grace grace node5; }
abrupt() { preempted abrupt abrupt node6; }

# The node loses its power: it is not asked, everything on it is gone at once, and Slurm notices after a while.
power() {
    local job
    job=$(submit power --partition=power)
    wait_for 120 "a checkpoint of power" saved power
    hold power
    node_of() { show "$job" | sed -nE 's/^ *NodeList=(.+)/\1/p'; }
    local node
    node=$(node_of)
    power_off "$node"
    echo "power: $node is off, at step $(logged_steps power), $(newest_checkpoint power) of the run is there"
    wait_for 120 "the job in the queue again or on another node" restarted_elsewhere "$job" "$node"
    completed power "$job"
    [ "$(node_of)" != "$node" ] || fail "power: the same node again"
}
restarted_elsewhere() { # JOB NODE
    has_restarts "$1" 1 && ! grep -q "^ *NodeList=$2\$" <<<"$(show "$1")"
}

# Three configs, of which the first and the last are asked to stop while the second goes on: the last task has the number
# of the whole array.
array() {
    local first k
    first=$("${as_user[@]}" sbatch --parsable --array=1-3 --output="array-%a.log" "$TESTS/../configs/slurm.sbatch" \
        "$work"/array-{1,2,3}.yaml device.threads=1)
    hold_all array-{1,2,3}
    for k in 3 1; do
        scancel --signal=USR1 --batch "${first}_$k"
        wait_for 60 "the signal" asked_by $usr1 array-$k
        go_on array-$k
    done
    for k in 1 3; do requeued array-$k "${first}_$k"; done
    is "${first}_2" RUNNING || fail "array-2 is $(state "${first}_2")"
    restarts "${first}_2" 0
    go_on array-2
    for k in 1 2 3; do completed array-$k "${first}_$k"; done
    restarts "${first}_2" 0
}

# A second job on one output_dir is refused, once; the first goes on.
both() {
    local job second
    job=$(submit both)
    hold both
    second=$(submit both --output=both.second)
    wait_for 120 "the refusal" is "$second" FAILED
    sleep 8
    is "$second" FAILED || fail "a refused job is $(state "$second")"
    grep -q ' ExitCode=2:0' <<<"$(show "$second")" || fail "a refused job: $(show "$second" | grep ExitCode)"
    restarts "$second" 0
    echo "both: $(cat both.second)"
    go_on both
    completed both "$job"
    restarts "$job" 0
}

# Runs of two processes on two nodes, started by srun: asked as before a time limit, by a signal to the processes alone,
# and the node without the script loses its power.
ranks() {
    local run node
    declare -A jobs
    ! [ -f "${QLORA_TRAIN%/*}/qlora-mpi.so" ] && echo "ranks: left out, as the program was built without MPI" && return
    ! grep -q pmix <<<"$(srun --mpi=list 2>&1)" && echo "ranks: left out, as this Slurm has no pmix" && return
    jobs[ranks-power]=$(submit ranks-power --nodes=2 --partition=pair)
    hold ranks-power
    node=$(show "${jobs[ranks-power]}" | sed -nE 's/^ *NodeList=node\[([0-9]+)[-,]([0-9]+)\]$/node\2/p')
    power_off "$node"
    echo "ranks-power: $node is off, at step $(logged_steps ranks-power), $(newest_checkpoint ranks-power) is there"
    go_on ranks-power

    jobs[ranks-whole]=$(submit ranks-whole --nodes=2)
    for run in ranks-limit ranks-steps; do jobs[$run]=$(submit $run --nodes=2); done
    hold_all ranks-limit ranks-steps
    scancel --signal=USR1 --batch "${jobs[ranks-limit]}"
    scancel --signal=TERM "${jobs[ranks-steps]}"
    wait_for 60 "the signal" asked_by $usr1 ranks-limit
    wait_for 60 "the signal" asked_by $term ranks-steps
    for run in ranks-limit ranks-steps; do
        go_on $run
        requeued $run "${jobs[$run]}"
    done
    wait_for 120 "the job in the queue again" has_restarts "${jobs[ranks-power]}" 1
    completed ranks-whole "${jobs[ranks-whole]}" ranks-whole
    for run in ranks-limit ranks-steps ranks-power; do completed $run "${jobs[$run]}" ranks-whole; done
    grep -h '^ranks ' ranks-limit.log | uniq
    grep -hE '^rank [0-9]|^a node does not answer|^srun: error: (Node failure|Timed out)' ranks-power.log || true
}

# What there is to see of a scenario that failed.
said() { # SCENARIO...
    squeue
    for scenario; do
        tail -n 20 "$scenario"*.log
    done
    tail -n 30 slurmctld.log
}

scenarios=("$@")
[ $# -gt 0 ] || scenarios=(limit late administrator everybody cancelled grace abrupt power array both ranks)

# ---- all of them, side by side ------------------------------------------------------------------------------------

declare -A moment    # the step after which each is held
for run in "${scenarios[@]}" array-{1,2,3}; do
    save=100000
    [ "$run" != power ] || save=$((steps / 5 + 1))
    moment[$run]=$((2 + RANDOM % (steps / 3)))
    made "$steps" $save "$run"
done
moment[power]=$((steps / 5 + 1 + RANDOM % (steps / 3)))
# Processes that wait for each other are slow where there are more of them than processors.
pair_steps=$((steps / 2)) save=$((steps / 20 + 1))
for run in ranks-{whole,limit,steps,power}; do
    made $pair_steps $save "$run"
    moment[$run]=$((save + RANDOM % (pair_steps / 3)))
done
made "$steps" 100000 whole
"${as_user[@]}" "$QLORA_TRAIN" whole.yaml >whole.log 2>&1 || { cat whole.log; fail "the uninterrupted run"; }

declare -A running
for scenario in "${scenarios[@]}"; do
    ($scenario) >"$scenario.out" 2>&1 &
    running[$scenario]=$!
done
failures=()
for scenario in "${scenarios[@]}"; do
    wait "${running[$scenario]}" || failures+=("$scenario")
    cat "$scenario.out"
done
[ ${#failures[@]} -eq 0 ] || { said "${failures[@]}"; fail "${failures[*]}"; }
echo "${#scenarios[@]} scenarios in $SECONDS s"
