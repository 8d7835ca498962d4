# A run that stops early, and one that keeps its best: the same bytes whether it was stopped, killed, or neither; at any
# step, also between an evaluation and the checkpoint that is to tell of it.
. "$TESTS/cli/lib.sh"

write_data
token_rows 8 20 60 99 >eval.jsonl    # judged by other rows than the few that it learns from, it gets worse soon
head -n 12 train.jsonl >few.jsonl
config() { # OUTPUT_DIR
    write_config "$1" 60 7 | sed 's/train: train/train: few/; s/eval_steps: 20/eval_steps: 3/; s/learning_rate: 2e-3/learning_rate: 1e-2/; s/warmup_steps: 5/warmup_steps: 1/'
}
for name in whole killed stopped; do
    config $name | sed 's/^device:/  early_stopping_patience: 3\n  load_best_model_at_end: true\n  save_total_limit: 2\ndevice:/' >$name.yaml
done

# The plan counts the evaluations, the one after the last step among them, and a patience that they cannot exhaust is
# said at once.
expect 0 "$QLORA_TRAIN" plan whole.yaml
grep -qF "20 evaluations of " out.txt || { cat out.txt; fail "the plan does not count the evaluations"; }
[ -z "$(complaints)" ] || { cat err.txt; fail "a warning without a reason"; }
expect 0 "$QLORA_TRAIN" plan whole.yaml training.eval_steps=25
grep -qF "3 evaluations of " out.txt || { cat out.txt; fail "the plan does not count the last evaluation"; }
grep -qF "early_stopping_patience is 3, and the run has 3 evaluations" err.txt || fail "nothing says that it cannot stop early"

expect 0 "$QLORA_TRAIN" whole.yaml
grep -q "stopped early after step" out.txt || { tail -n 5 out.txt; fail "the run did not stop early"; }
last=$(newest_checkpoint whole)
last=${last##*-}
[ "$last" -lt 60 ] && [ $((last % 3)) -eq 0 ] || fail "it ended after step $last"
# The best is the least of the losses, three evaluations before the last; its checkpoint stays, and is the result.
best=$(sed -nE 's/.*"step": ([0-9]+), "eval_loss": ([^,]+),.*/\2 \1/p' whole/metrics.jsonl | sort -g | head -n 1 | cut -d ' ' -f 2)
[ "$best" -eq $((last - 9)) ] || fail "the best is step $best, and the last $last"
[ "$(ls -d whole/checkpoint-* | wc -l)" -eq 2 ] || fail "kept: $(ls whole)"
cmp whole/checkpoint-"$best"/adapter_model.safetensors whole/adapter/adapter_model.safetensors || fail "the adapter is not the best"
! cmp -s whole/checkpoint-"$last"/adapter_model.safetensors whole/adapter/adapter_model.safetensors || fail "the best is the last"
grep -q "\"best_global_step\": $best," whole/checkpoint-"$last"/trainer_state.json || fail "trainer_state.json names another best"

# The states of what both runs kept, without times and places.
same_states() { # RUN
    local n
    [ "$(cd whole && ls -d checkpoint-*)" = "$(cd "$1" && ls -d checkpoint-*)" ] || fail "kept: $(ls whole "$1")"
    for n in $best $last; do
        for run in whole "$1"; do sed -E "/elapsed_seconds/d; s#/$run/#/#" $run/checkpoint-"$n"/trainer_state.json >"$run.state"; done
        diff whole.state "$1.state" || fail "checkpoint-$n of $1 tells otherwise"
    done
}

# Finished: left alone, and with more patience too.
before=$(find whole -type f -exec sha256sum {} + | sort)
expect 0 "$QLORA_TRAIN" whole.yaml
expect 0 "$QLORA_TRAIN" whole.yaml training.early_stopping_patience=9
[ "$before" = "$(find whole -type f -exec sha256sum {} + | sort)" ] || fail "a finished run was changed"

# Stopped again and again, and killed again and again, evaluations and checkpoints in the way.
for run in stopped killed; do
    signal=TERM again=75
    [ $run = stopped ] || signal=KILL again=137
    for from in 2 $((best - 1)) $((best + 2)) $((last - 2)); do
        "$QLORA_TRAIN" $run.yaml >out.txt 2>err.txt &
        pid=$!
        wait_for_steps $pid $run "$from" || { cat err.txt; fail "$run ended by itself before step $from"; }
        sleep 0.0$((RANDOM % 6))
        kill -$signal $pid 2>/dev/null || true
        got=0
        wait $pid 2>/dev/null || got=$?
        [ $got -eq 0 ] && break
        [ $got -eq $again ] || { cat err.txt; fail "status $got"; }
    done
    expect 0 "$QLORA_TRAIN" $run.yaml
    same_run whole $run
    same_states $run
done

# What cannot be kept is refused: no evaluations, a damaged best, evaluations on other data.
expect 2 "$QLORA_TRAIN" whole.yaml data.eval=few.jsonl training.output_dir=whole training.eval_steps=0
grep -q "training.load_best_model_at_end: there are no evaluations to go by\|training.early_stopping_patience: there are no" err.txt ||
    { cat err.txt; fail "evaluations are needed, and it does not say so"; }
sed -i 's/"finished": true/"finished": false/' killed/run.json
rm -r killed/adapter
expect 2 "$QLORA_TRAIN" killed.yaml data.eval=few.jsonl
grep -q "load_best_model_at_end: the evaluation data are other than" err.txt || { cat err.txt; fail "other evaluation data decide"; }
flip_bit killed/checkpoint-"$best"/optimizer.safetensors
expect 2 "$QLORA_TRAIN" killed.yaml
grep -q "load_best_model_at_end: .*checkpoint-$best/optimizer.safetensors: the checksum does not hold" err.txt || { cat err.txt; fail "a damaged best is not named"; }
[ ! -e killed/adapter ] || fail "an adapter of a run whose best is damaged"
expect 0 "$QLORA_TRAIN" killed.yaml training.load_best_model_at_end=false
cmp whole/checkpoint-"$last"/adapter_model.safetensors killed/adapter/adapter_model.safetensors || fail "not the last one's adapter"

# Stopped in the middle of an evaluation: the checkpoint of its step is written without it, and tells of it once it is made.
token_rows 1500 100 120 5 >long.jsonl
for name in through interrupted; do
    config $name | sed 's/eval: eval/eval: long/; s/max_steps: 60/max_steps: 4/; s/^device:/  load_best_model_at_end: true\ndevice:/' >$name.yaml
done
expect 0 "$QLORA_TRAIN" through.yaml
"$QLORA_TRAIN" interrupted.yaml >out.txt 2>err.txt &
pid=$!
wait_for_steps $pid interrupted 3 || fail "it ended by itself"
kill -TERM $pid
got=0
wait $pid || got=$?
[ $got -eq 75 ] || { cat err.txt; fail "status $got"; }
! grep -q eval_loss interrupted/metrics.jsonl || fail "the evaluation was over too soon to be stopped in"
grep -q '"last_step": 0' interrupted/checkpoint-3/trainer_state.json || fail "checkpoint-3 knows of an evaluation"
expect 0 "$QLORA_TRAIN" interrupted.yaml
same_run through interrupted
for at in 3 4; do
    for run in through interrupted; do sed -E "/elapsed_seconds/d; s#/$run/#/#" $run/checkpoint-$at/trainer_state.json >$run.state; done
    diff through.state interrupted.state || fail "checkpoint-$at tells otherwise"
done
