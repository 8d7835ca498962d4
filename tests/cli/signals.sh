# SIGTERM, SIGINT, SIGUSR1, SIGUSR2 and SIGHUP end a run with a good checkpoint and exit status 75, at any moment and however often
# one request arrives; run again, it goes on from there to the same bytes.
. "$TESTS/cli/lib.sh"
trap 'jobs -p | xargs -r kill -KILL 2>/dev/null || true' EXIT    # what a test that failed leaves

write_data

# start CONFIG ARGUMENT...: in the background. Bash starts background programs with SIGINT ignored, which a program would
# inherit: set it back. Without OMP_WAIT_POLICY the program starts itself again, as it does at the user's.
start() {
    env --default-signal=INT,HUP -u OMP_WAIT_POLICY "$QLORA_TRAIN" "$@" >"$1.out" 2>"$1.err" &
    pid=$!
}

# ended STATUS WHAT: the run that was started last ended so.
ended() {
    local status=0
    wait $pid || status=$?
    [ $status -eq "$1" ] || fail "exit status $status, expected $1: $2"
}

# The run has one checkpoint more, that of the last step which it logged.
saved() { # RUN_DIR WHAT
    logged=$(logged_steps "$1")
    [ "$(newest_checkpoint "$1")" = "$1/checkpoint-$logged" ] ||
        fail "$2: newest checkpoint $(newest_checkpoint "$1"), $logged steps logged"
    [ ! -e "$1/adapter" ] || fail "$2: a stopped run already has its final adapter"
}

# A run that is held for longer than a stop may take says so afterwards; held while the rest is tested.
write_config held 40 1000 >held.yaml
start held.yaml
held=$pid
wait_for_steps $held held 1 || fail "the run ended by itself"
kill -STOP $held
held_since=$SECONDS

steps=300
write_config whole $steps 1000 >whole.yaml
write_config stopped $steps 1000 >stopped.yaml
expect 0 "$QLORA_TRAIN" whole.yaml

# Early and close together: the run has most of its steps left however long a signal takes on a busy machine.
target=3
for signal in TERM INT USR1 USR2 HUP; do
    start stopped.yaml
    wait_for_steps $pid stopped $target || { cat stopped.yaml.err; fail "the run ended by itself before step $target"; }
    kill -$signal $pid
    ended 75 "SIG$signal"
    saved stopped SIG$signal
    grep -Eq "^stopped by SIG$signal after step $logged of $steps; .*, [0-9.]+ s after the request" stopped.yaml.out ||
        { tail -n 3 stopped.yaml.out; fail "SIG$signal: the time from the request to the checkpoint is not said"; }
    [ "$logged" -lt $steps ] || fail "SIG$signal came too late to stop anything"
    target=$((logged + 3))
done

# One request that arrives several times. While the program is held the same signal waits once, so it is held again.
requests=(TERM INT USR1)
for round in 1 2 3 4; do
    first=${requests[RANDOM % 3]} again=${requests[RANDOM % 3]}
    [ $round -gt 1 ] || first=TERM again=TERM
    start stopped.yaml
    wait_for_steps $pid stopped $target || fail "the run ended by itself before step $target"
    kill -$first $pid
    kill -STOP $pid
    kill -$again $pid
    kill -USR1 $pid
    kill -CONT $pid
    kill -$first $pid 2>/dev/null || true    # it may have ended
    ended 75 "SIG$first, SIG$again, SIGUSR1, SIG$first at once"
    saved stopped "SIG$first, SIG$again"
    target=$((logged + 1))
done
[ "$logged" -lt $steps ] || fail "the signals came too late to stop anything"

# More than two seconds later SIGUSR1 is still the same request, and SIGTERM is meant. The programs are held meanwhile, in
# a micro-batch so large that it has the first SIGTERM, but not met it.
for i in 1 2 3 4 5 6 7 8; do cat train.jsonl; done >large.jsonl
large=(data.train=large.jsonl data.packing=false training.per_device_train_batch_size=600
    training.gradient_accumulation_steps=1)
write_config late 4 1000 >late.yaml
write_config meant 4 1000 >meant.yaml
# On a busy machine the run may be done with its stop before it is held: again.
hold_stopping() { # RUN
    local try
    for try in 1 2 3 4 5; do
        rm -rf "$1"
        start "$1.yaml" "${large[@]}"
        wait_for_steps $pid "$1" 1 || fail "the run ended by itself"
        kill -TERM $pid
        sleep 0.1
        kill -STOP $pid 2>/dev/null || true
        sleep 0.02
        if [ "$(ps -o s= -p $pid)" = T ] && [ -z "$(newest_checkpoint "$1")" ]; then return; fi
        kill -CONT $pid 2>/dev/null || true
        wait $pid || true
    done
    fail "no run could be held while it stopped"
}
hold_stopping late
late=$pid
hold_stopping meant
sleep 2.1
kill -USR1 $late
kill -TERM $pid
kill -CONT $late $pid
ended 143 "SIGTERM again after 2.2 s"
[ -z "$(newest_checkpoint meant)" ] || fail "SIGTERM again after 2.2 s did not end the program at once"
pid=$late
ended 75 "SIGUSR1 again after 2.2 s"
saved late "SIGUSR1 again after 2.2 s"

expect 0 "$QLORA_TRAIN" stopped.yaml
same_run whole stopped

# Pending already when the program starts, as a signal is that comes while it starts itself again: nothing is written.
write_config first 100000 100000 >first.yaml
status=0
timeout 120 env --block-signal=TERM -u OMP_WAIT_POLICY sh -c 'kill -TERM $$; exec "$0" "$@"' "$QLORA_TRAIN" first.yaml \
    training.preempted_exit_status=1 training.preempted_exit_status=33 >first.out 2>&1 || status=$?
[ $status -eq 33 ] || { cat first.out; fail "exit status $status after a pending SIGTERM, expected 33"; }
[ ! -e first ] || fail "a run that was stopped at its very beginning left something"

# While data is read and before the first step: at once, and another run may have the directory. Before main() the signal
# ends the program as any other.
for i in $(seq 200); do cat train.jsonl; done >much.jsonl
before=0
for round in 1 2 3 4 5 6; do
    delay=0.$(printf '%02d' $((RANDOM % 30)))
    start first.yaml data.train=much.jsonl training.seed=$round
    sleep $delay
    kill -TERM $pid
    status=0
    wait $pid || status=$?
    echo "SIGTERM $delay s after the start: status $status, $(logged_steps first) steps"
    case $status in
        75) ;;
        143) [ ! -e first ] || fail "ended by SIGTERM with $(ls first)" ;;
        *) cat first.yaml.err; fail "exit status $status" ;;
    esac
    if [ "$(logged_steps first)" -eq 0 ]; then
        [ -z "$(newest_checkpoint first 2>/dev/null)" ] || fail "$(newest_checkpoint first) of a run without a step"
        before=$((before + 1))
    else
        saved first "$delay s after the start"
        rm -r first
    fi
done
[ $before -ge 2 ] || fail "only $before of 6 signals came before the first step"

# In the middle of a step of many micro-batches: it is dropped, and taken again as a whole. A signal may come late on a
# busy machine, so there are several tries.
one_by_one=(training.per_device_train_batch_size=1 training.gradient_accumulation_steps=400 data.packing=false
    training.eval_steps=0)
write_config steady 3 1000 >steady.yaml
write_config broken 3 1000 >broken.yaml
expect 0 "$QLORA_TRAIN" steady.yaml "${one_by_one[@]}"
for round in 1 2 3 4; do
    rm -rf broken
    start broken.yaml "${one_by_one[@]}"
    wait_for_steps $pid broken 1 || fail "the run ended by itself"
    kill -TERM $pid
    ended 75 "SIGTERM in the middle of a step"
    saved broken "SIGTERM in the middle of a step"
    [ "$logged" -gt 1 ] || break
done
[ "$logged" -eq 1 ] || fail "the step at hand was finished first, in each of $round tries"
expect 0 "$QLORA_TRAIN" broken.yaml "${one_by_one[@]}"
same_run steady broken

# In an evaluation, or while a checkpoint is written: they are most of what these runs do.
evaluations=(data.eval=train.jsonl training.eval_steps=1 training.save_steps=1)
write_config evaluated 8 1 >evaluated.yaml
write_config torn 8 1 >torn.yaml
expect 0 "$QLORA_TRAIN" evaluated.yaml "${evaluations[@]}"
for target in 2 4; do
    start torn.yaml "${evaluations[@]}"
    wait_for_steps $pid torn $target || fail "the run ended by itself before step $target"
    sleep 0.0$((RANDOM % 10))
    kill -TERM $pid
    status=0
    wait $pid || status=$?
    [ $status -ne 0 ] || break    # a fast machine was done
    [ $status -eq 75 ] || fail "exit status $status, expected 75"
    saved torn "between evaluations"
done
expect 0 "$QLORA_TRAIN" torn.yaml "${evaluations[@]}"
same_run evaluated torn

# A run that is told to begin anew is continued by the same command, as a scheduler repeats it; one that began
# otherwise is not overwritten.
write_config anew $steps 1000 >anew.yaml
start anew.yaml training.resume_from_checkpoint=none
wait_for_steps $pid anew 3 || { cat anew.yaml.err; fail "the run ended by itself"; }
kill -TERM $pid
ended 75 "SIGTERM"
expect 2 "$QLORA_TRAIN" anew.yaml training.resume_from_checkpoint="$PWD/$(newest_checkpoint stopped)"
expect 0 "$QLORA_TRAIN" anew.yaml training.resume_from_checkpoint=none
same_run whole anew

# While a run has the directory, a second one is refused and disturbs nothing. The first is held meanwhile, so that it
# cannot end before.
write_config busy $steps 1000 >busy.yaml
start busy.yaml
wait_for_steps $pid busy 2 || fail "the run ended by itself"
kill -STOP $pid || fail "the first run is gone"
expect 2 "$QLORA_TRAIN" busy.yaml
kill -CONT $pid || fail "the first run is gone"
ended 0 "$(cat busy.yaml.err)"
same_run whole busy

# Slurm's script: every process of the job is asked, or the shell alone; the job goes back into the queue, but not when
# its user has cancelled it. The shell hands a request on within a second, in which the program is held, or it might be done.
name=$(basename "$QLORA_TRAIN" | cut -c 1-15)
mkdir bin
printf '#!/bin/sh\necho "$@" >>requeued\n[ "$1" != show ] || cat shown\n' >bin/scontrol
chmod +x bin/scontrol
job=(env -u SLURM_ARRAY_TASK_ID -u SLURM_NTASKS -u SLURM_JOB_NUM_NODES PATH="$PWD/bin:$PATH" SLURM_JOB_ID=7)
write_config job $steps 1000 >job.yaml
requeues=0 logged=0
for who in group shell cancelled group shell; do
    case $who in cancelled) state=COMPLETING ;; *) state=RUNNING ;; esac
    echo "JobId=7 JobState=$state Reason=None Restarts=0" >shown
    "${job[@]}" setsid bash "$TESTS/../configs/slurm.sbatch" job.yaml >job.out 2>&1 &
    pid=$!
    wait_for_steps $pid job $((logged + 2)) || { tail -n 3 job.out; fail "the job ended by itself"; }
    if [ $who = shell ]; then
        pkill -STOP -x -g $pid "$name" || fail "the job has no program"
        kill -USR1 $pid
        sleep 1.5
        pkill -CONT -x -g $pid "$name" || fail "the held program is gone"
    else
        kill -TERM -- -$pid
    fi
    ended 75 "a job ($who): $(tail -n 3 job.out)"
    saved job "a job ($who)"
    [ $who = cancelled ] || requeues=$((requeues + 1))
    [ "$(grep -c '^requeue 7$' requeued)" -eq $requeues ] || fail "a job ($who) was requeued, or was not"
done
"${job[@]}" bash "$TESTS/../configs/slurm.sbatch" job.yaml >job.out 2>&1 || fail "the job"
[ "$(grep -c '^requeue' requeued)" -eq $requeues ] || fail "a finished job was requeued"
same_run whole job

while [ $((SECONDS - held_since)) -lt 22 ]; do sleep 0.5; done
kill -CONT $held
pid=$held
ended 0 "held for 22 s"
[ "$(grep -c '^warning: a request to stop may be met only after .*KillWait' held.yaml.err)" -eq 1 ] ||
    { cat held.yaml.err; fail "that stopping takes long is not said"; }
! grep -q 'a request to stop' busy.yaml.err || fail "a warning of slow stops where they are fast"
