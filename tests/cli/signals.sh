# SIGTERM, SIGINT, SIGUSR1 and SIGHUP end a run with a good checkpoint and exit status 75; run again, it goes on from there.
. "$TESTS/cli/lib.sh"

steps=150
write_data
write_config whole $steps 1000 >whole.yaml
write_config stopped $steps 1000 >stopped.yaml
expect 0 "$QLORA_TRAIN" whole.yaml

# Bash starts background programs with SIGINT ignored, which a program would inherit: set it back.
start() {
    env --default-signal=INT,HUP "$QLORA_TRAIN" stopped.yaml >out.txt 2>err.txt &
    pid=$!
}

# Early and close together: the run has most of its steps left however long a signal takes on a busy machine.
target=3
for signal in TERM INT USR1 HUP; do
    start
    wait_for_steps $pid stopped $target || { cat err.txt; fail "the run ended by itself before step $target"; }
    kill -$signal $pid
    status=0
    wait $pid || status=$?
    [ $status -eq 75 ] || { cat err.txt; fail "exit status $status after SIG$signal, expected 75"; }
    logged=$(logged_steps stopped)
    [ "$(newest_checkpoint stopped)" = "stopped/checkpoint-$logged" ] ||
        fail "SIG$signal: newest checkpoint $(newest_checkpoint stopped), $logged steps logged"
    [ "$logged" -lt $steps ] || fail "SIG$signal came too late to stop anything"
    [ ! -e stopped/adapter ] || fail "a stopped run already has its final adapter"
    target=$((logged + 3))
done

expect 0 "$QLORA_TRAIN" stopped.yaml
same_run whole stopped

# A run that is told to begin anew is continued by the same command, as a scheduler repeats it; one that began
# otherwise is not overwritten.
write_config anew $steps 1000 >anew.yaml
"$QLORA_TRAIN" anew.yaml training.resume_from_checkpoint=none >out.txt 2>err.txt &
pid=$!
wait_for_steps $pid anew 3 || { cat err.txt; fail "the run ended by itself"; }
kill -TERM $pid
status=0
wait $pid || status=$?
[ $status -eq 75 ] || fail "exit status $status, expected 75"
expect 2 "$QLORA_TRAIN" anew.yaml training.resume_from_checkpoint="$PWD/$(newest_checkpoint stopped)"
expect 0 "$QLORA_TRAIN" anew.yaml training.resume_from_checkpoint=none
same_run whole anew

# While a run has the directory, a second one is refused and disturbs nothing. The first is held meanwhile, so that it
# cannot end before.
write_config busy $steps 1000 >busy.yaml
"$QLORA_TRAIN" busy.yaml >busy.out 2>busy.err &
pid=$!
wait_for_steps $pid busy 2 || fail "the run ended by itself"
kill -STOP $pid || fail "the first run is gone"
expect 2 "$QLORA_TRAIN" busy.yaml
kill -CONT $pid || fail "the first run is gone"
wait $pid || fail "the first run failed: $(cat busy.err)"
same_run whole busy
