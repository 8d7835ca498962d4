#!/usr/bin/env bash
# configs/slurm.sbatch in a real Slurm of one node, started here and ended with the test: a job that its time limit, an
# administrator's `scontrol requeue` or a TERM to all of its processes cuts ends in the bytes of an uninterrupted run; one
# that its user cancels does not come back.
#
#   tests/cluster/slurm.sh PROGRAM
#
# Needs root and Debian's slurm-wlm and munge; without them it is skipped (exit status 77). Takes about fifteen minutes: Slurm
# holds a job that was requeued back for two, and counts time limits in minutes. Not part of scripts/test.sh.
[ $# -eq 1 ] || { echo "usage: $0 PROGRAM" >&2; exit 2; }
QLORA_TRAIN=$(realpath "$1")
TESTS=$(realpath "$(dirname "$0")/..")
export QLORA_TRAIN TESTS
. "$TESTS/cli/lib.sh"
for program in munged slurmctld slurmd sbatch; do
    command -v $program >/dev/null || skip "slurm: there is no $program here"
done
[ "$(id -u)" -eq 0 ] || skip "slurm: the daemons are started as root"

work=$(mktemp -d)
chmod 755 "$work"
cd "$work"
host=$(hostname -s)
export SLURM_CONF=$work/slurm.conf

# Everything that was started here works in this directory or below it: the daemons, jobs, and what they started.
finish() {
    local process
    for process in /proc/[0-9]*; do
        case $(readlink "$process/cwd") in
            "$work" | "$work"/*) [ "${process#/proc/}" = $$ ] || kill -KILL "${process#/proc/}" 2>/dev/null || true ;;
        esac
    done
    rm -rf "$work"
}
trap finish EXIT

mkdir munge state spool
head -c 128 /dev/urandom >munge/key
chmod 400 munge/key
port=$((20000 + RANDOM % 10000))
cat >slurm.conf <<END
ClusterName=test
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket=$work/munge/socket
CryptoType=crypto/munge
SlurmctldPort=$port
SlurmdPort=$((port + 1))
SlurmctldPidFile=$work/slurmctld.pid
SlurmdPidFile=$work/slurmd.pid
SlurmctldLogFile=$work/slurmctld.log
SlurmdLogFile=$work/slurmd.log
StateSaveLocation=$work/state
SlurmdSpoolDir=$work/spool
MailProg=/bin/true
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
ReturnToService=2
KillWait=30
MinJobAge=3600
NodeName=$host NodeAddr=127.0.0.1 CPUs=$(nproc) State=UNKNOWN
PartitionName=gpu Nodes=$host Default=YES MaxTime=INFINITE State=UP
END

munged --force --foreground --socket="$work/munge/socket" --key-file="$work/munge/key" \
    --log-file="$work/munge/log" --pid-file="$work/munge/pid" --seed-file="$work/munge/seed" &
until [ -S munge/socket ]; do sleep 0.1; done
slurmctld -D >slurmctld.out 2>&1 &
slurmd -D -N "$host" >slurmd.out 2>&1 &
for i in $(seq 60); do
    [ "$(sinfo -h -o %t 2>/dev/null)" != idle ] || break
    sleep 0.5
done
[ "$(sinfo -h -o %t)" = idle ] || { tail -n 20 slurmctld.log slurmd.log; fail "Slurm did not start"; }

# submit RUN OPTION...: a job of that run's config, on one CPU of this node.
submit() {
    local run=$1
    shift
    sbatch --parsable --gres=none --cpus-per-task=1 --output="$run.log" "$@" "$TESTS/../configs/slurm.sbatch" "$run.yaml"
}

state() { # JOB
    scontrol show job "$1" | sed -nE 's/.*JobState=([A-Z]+).*/\1/p'
}

# wait_for SECONDS WHAT COMMAND...
wait_for() {
    local until=$((SECONDS + $1)) what=$2
    shift 2
    until "$@"; do
        [ $SECONDS -lt $until ] || { tail -n 5 ./*.log; squeue; fail "in vain for $what"; }
        sleep 0.2
    done
}
is() { [ "$(state "$1")" = "$2" ]; }
stepped() { [ "$(logged_steps "$1")" -ge "$2" ]; }
saved() { [ -d "$1" ] && [ -n "$(newest_checkpoint "$1")" ]; }
# made STEPS RUN...: runs with an evaluation after each step, so that they last.
made() {
    local steps=$1
    shift
    for run in "$@"; do
        write_config "$run" "$steps" 100000 | sed 's/threads: 2/threads: 1/; s/eval_steps: 20/eval_steps: 1/' >"$run.yaml"
    done
}

# As many steps as take longer than the shortest time limit, a minute.
write_data
made 100000 speed
timeout 10 "$QLORA_TRAIN" speed.yaml >speed.log 2>&1 || true
steps=$(($(logged_steps speed) * 7))
made $steps whole limit late requeue all cancel
echo "$steps steps a run"
"$QLORA_TRAIN" whole.yaml >whole.log 2>&1 &
whole=$!

# Asked by the system administrator, by a signal to all processes, and by its user.
requeue=$(submit requeue) all=$(submit all)
wait_for 60 "the first steps" stepped requeue 3
wait_for 60 "the first steps" stepped all 3
scontrol requeue "$requeue"
scancel --signal=TERM --full "$all"
for run in requeue all; do
    wait_for 60 "a checkpoint of $run" saved $run
    wait_for 60 "$run in the queue again" is "${!run}" PENDING
    echo "$run: $(newest_checkpoint $run) of $(logged_steps $run) steps, $(grep 'after the request' $run.log)"
    [ "$(newest_checkpoint $run)" = "$run/checkpoint-$(logged_steps $run)" ] || fail "$run: steps were lost"
done
cancel=$(submit cancel)
wait_for 60 "the first steps" stepped cancel 3
scancel "$cancel"
wait_for 60 "the end of what was cancelled" is "$cancel" CANCELLED
sleep 5
is "$cancel" CANCELLED || fail "a cancelled job is $(state "$cancel")"

# Cut by its limit, asked before (Slurm may ask up to a minute earlier than told) and when it is over.
limit=$(submit limit --time=1 --signal=B:USR1@20) late=$(submit late --time=1 --signal=B:CONT@1)
for run in limit late; do
    wait_for 180 "a checkpoint of $run" saved $run
    wait_for 60 "$run in the queue again" is "${!run}" PENDING
    echo "$run: $(newest_checkpoint $run) of $(logged_steps $run) steps, $(grep 'after the request' $run.log)"
    [ "$(newest_checkpoint $run)" = "$run/checkpoint-$(logged_steps $run)" ] || fail "$run: steps were lost"
done

wait $whole || fail "the uninterrupted run"
for run in requeue all limit late; do
    wait_for 1200 "the end of $run" is "${!run}" COMPLETED
    same_run whole $run
    echo "$run: the bytes of an uninterrupted run, after $(grep -c 'after the request' $run.log) stops"
done
