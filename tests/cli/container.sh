# As the first process of a container (process 1 of a PID namespace), where a signal that a program does not catch is lost:
# a request to stop is met as anywhere, and one that is meant ends the program at once.
. "$TESTS/cli/lib.sh"
trap 'jobs -p | xargs -r kill -KILL 2>/dev/null || true' EXIT

# Without rights a namespace of users comes first, which some systems forbid.
contain=(unshare --pid --fork --kill-child)
[ "$(id -u)" -eq 0 ] || contain+=(--user --map-current-user)
"${contain[@]}" true 2>/dev/null || skip "container: no PID namespace can be made here"

write_data
steps=300
for run in whole stopped meant; do write_config $run $steps 1000 >$run.yaml; done
expect 0 "$QLORA_TRAIN" whole.yaml

# start RUN ARGUMENT...: $program is the program's number outside, $pid that of what returns its status. As at the user's,
# without OMP_WAIT_POLICY, the program starts itself again.
start() {
    local run=$1
    shift
    env -u OMP_WAIT_POLICY "${contain[@]}" "$QLORA_TRAIN" "$run.yaml" "$@" >"$run.out" 2>"$run.err" &
    pid=$!
    wait_for_steps $pid "$run" "$target" || { cat "$run.err"; fail "the run ended by itself"; }
    program=$(pgrep -P $pid)
    grep -q '^NSpid:.*[[:space:]]1$' "/proc/$program/status" || fail "the program is not process 1"
}

ended() { # STATUS WHAT
    local status=0
    wait $pid || status=$?
    [ $status -eq "$1" ] || fail "exit status $status, expected $1: $2"
}

target=3
for signal in TERM USR1 INT; do
    start stopped
    kill -$signal "$program"
    ended 75 "SIG$signal"
    logged=$(logged_steps stopped)
    [ "$(newest_checkpoint stopped)" = "stopped/checkpoint-$logged" ] || fail "SIG$signal: no checkpoint of step $logged"
    target=$((logged + 2))
done
[ "$logged" -lt $steps ] || fail "the signals came too late to stop anything"
expect 0 "$QLORA_TRAIN" stopped.yaml
same_run whole stopped

# Held in a micro-batch so large that it has the first request but has not met it when the second comes.
for i in 1 2 3 4 5 6 7 8; do cat train.jsonl; done >large.jsonl
target=1
for try in 1 2 3 4 5; do
    rm -rf meant
    start meant data.train=large.jsonl data.packing=false training.per_device_train_batch_size=600 \
        training.gradient_accumulation_steps=1
    kill -TERM "$program"
    sleep 0.1
    kill -STOP "$program" 2>/dev/null || true
    sleep 0.02
    if [ "$(ps -o s= -p "$program")" = T ] && [ -z "$(newest_checkpoint meant)" ]; then break; fi
    [ $try -lt 5 ] || fail "no run could be held while it stopped"
    kill -CONT "$program" 2>/dev/null || true
    wait $pid || true
done
sleep 2.1
kill -TERM "$program"
kill -CONT "$program"
ended 143 "SIGTERM again after 2.2 s"
[ -z "$(newest_checkpoint meant)" ] || fail "SIGTERM again after 2.2 s did not end the program at once"
