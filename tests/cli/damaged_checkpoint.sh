# A damaged checkpoint is named in a warning, the one before it is used, and the result is the same.
. "$TESTS/cli/lib.sh"

steps=60
write_data
write_config whole $steps 10 >whole.yaml
expect 0 "$QLORA_TRAIN" whole.yaml

write_config run $steps 10 >run.yaml
"$QLORA_TRAIN" run.yaml >out.txt 2>err.txt &
pid=$!
wait_for_steps $pid run 33 || { cat err.txt; fail "the run ended by itself"; }
kill -KILL $pid
wait $pid 2>/dev/null || true
newest=$(newest_checkpoint run)
[ "$(find run -maxdepth 1 -type d -name 'checkpoint-*' | grep -Ec -- '-[0-9]+$')" -ge 2 ] || fail "fewer than two checkpoints"
cp -a run saved

restore() {
    rm -rf run
    cp -a saved run
}

check_resumed() { # WHAT
    expect 0 "$QLORA_TRAIN" run.yaml
    grep -q "^warning: .*$(basename "$newest")" err.txt || { cat err.txt; fail "no warning names $newest ($1)"; }
    same_run whole run
}

for file in adapter_model.safetensors optimizer.safetensors trainer_state.json; do
    restore
    flip_bit "$newest/$file"
    check_resumed "bit flip in $file"
done
restore
truncate -s -1 "$newest/optimizer.safetensors"
check_resumed "optimizer.safetensors one byte short"
restore
rm "$newest/trainer_state.json"
check_resumed "trainer_state.json missing"

# Asked for by name, a damaged checkpoint is an error, not a reason to use another.
restore
flip_bit "$newest/optimizer.safetensors"
write_config other $steps 10 >other.yaml
expect 2 "$QLORA_TRAIN" other.yaml training.resume_from_checkpoint="$PWD/$newest"
grep -q "$(basename "$newest")" err.txt || { cat err.txt; fail "the error does not name the checkpoint"; }

# With every checkpoint damaged the run starts over, says so, and still ends the same.
restore
for checkpoint in run/checkpoint-*; do flip_bit "$checkpoint/optimizer.safetensors"; done
check_resumed "all damaged"
