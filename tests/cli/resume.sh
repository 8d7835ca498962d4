# A run that is killed three times without warning, and resumed each time, ends with the bytes of one that was not.
. "$TESTS/cli/lib.sh"

steps=150
write_data
write_config whole $steps 7 >whole.yaml
write_config killed $steps 7 >killed.yaml
expect 0 "$QLORA_TRAIN" whole.yaml
[ "$(logged_steps whole)" -eq $steps ] || fail "$(logged_steps whole) steps logged, expected $steps"

kills=0
for from in 12 40 70; do
    target=$((from + RANDOM % 20))
    "$QLORA_TRAIN" killed.yaml >out.txt 2>err.txt &
    pid=$!
    wait_for_steps $pid killed $target || { cat err.txt; fail "the run ended by itself before step $target"; }
    delay=0.0$((RANDOM % 10))
    sleep $delay
    if kill -KILL $pid 2>/dev/null; then kills=$((kills + 1)); fi
    wait $pid 2>/dev/null || true
    echo "killed $delay s after step $target, at $(logged_steps killed); newest checkpoint: $(newest_checkpoint killed)"
done
[ $kills -eq 3 ] || fail "only $kills of 3 runs could be killed"
[ ! -e killed/adapter ] || fail "a killed run already has its final adapter"
# A torn last line, as a crash in the middle of a write leaves it.
printf '{"step": 9' >>killed/metrics.jsonl

expect 0 "$QLORA_TRAIN" killed.yaml
same_run whole killed

# A finished run is left alone.
before=$(find killed -type f -exec sha256sum {} + | sort)
expect 0 "$QLORA_TRAIN" killed.yaml
[ "$before" = "$(find killed -type f -exec sha256sum {} + | sort)" ] || fail "a finished run was changed"

# Also where it would not fit any more: there is nothing left to fit.
expect 0 "$QLORA_TRAIN" killed.yaml device.memory_limit=1MiB
grep -q "this run is finished" out.txt || fail "the run is not said to be finished"
[ "$before" = "$(find killed -type f -exec sha256sum {} + | sort)" ] || fail "a finished run was changed"
mv killed/adapter adapter.aside
expect 0 "$QLORA_TRAIN" killed.yaml
grep -q "adapter_model.safetensors is gone; .qlora-train export $PWD/$(newest_checkpoint killed) --adapter DIR" err.txt ||
    { cat err.txt; fail "a missing adapter is not named, or not what writes it again"; }
mkdir checkpoints.aside
mv killed/checkpoint-* checkpoints.aside
expect 0 "$QLORA_TRAIN" killed.yaml
grep -q "adapter_model.safetensors is gone, and so is every checkpoint" err.txt || { cat err.txt; fail "nothing is said to be missing"; }
! grep -q "nothing to do" out.txt || fail "nothing is left, and it says that there is nothing to do"
mv adapter.aside killed/adapter
expect 0 "$QLORA_TRAIN" killed.yaml    # the adapter is what a run is for
grep -q "nothing to do" out.txt || fail "the run is not said to be done"
[ -z "$(complaints)" ] || { cat err.txt; fail "a complaint, though the adapter is there"; }
mv checkpoints.aside/* killed
expect 0 "$QLORA_TRAIN" plan killed.yaml
grep -q "this run is finished" out.txt || fail "the plan does not say that the run is finished"

# Another run's directory is refused, before its data are read.
expect 2 "$QLORA_TRAIN" killed.yaml lora.r=8
grep -q "lora.r=8 (it was lora.r=16)" err.txt || fail "the key that differs is not named"
echo '{"input_ids": "none"}' >broken.jsonl
expect 2 "$QLORA_TRAIN" killed.yaml data.train=broken.jsonl
grep -q "broken.jsonl:1" err.txt || fail "the broken row is not named"
expect 2 "$QLORA_TRAIN" killed.yaml lora.r=8 data.train=broken.jsonl device.memory_limit=1MiB
grep -q "lora.r=8 (it was lora.r=16)" err.txt || fail "data were read for a run that is refused"
token_rows 4 20 30 9 >other.jsonl
expect 2 "$QLORA_TRAIN" killed.yaml data.train=other.jsonl device.memory_limit=1MiB
grep -q "other training data" err.txt || fail "memory was planned for a run that is refused"
[ "$before" = "$(find killed -type f -exec sha256sum {} + | sort)" ] || fail "another run's directory was changed"

# At most save_total_limit checkpoints are kept.
[ "$(find whole -maxdepth 1 -name 'checkpoint-*' | wc -l)" -le 3 ] || fail "more than 3 checkpoints: $(ls whole)"

# Killed before its first checkpoint, a run starts over.
write_config early 60 60 >early.yaml
write_config early-whole 60 60 >early-whole.yaml
"$QLORA_TRAIN" early.yaml >out.txt 2>err.txt &
pid=$!
wait_for_steps $pid early 2 || fail "the run ended by itself"
kill -KILL $pid
wait $pid 2>/dev/null || true
[ -z "$(newest_checkpoint early)" ] || fail "a checkpoint before step 60: $(newest_checkpoint early)"
expect 0 "$QLORA_TRAIN" early.yaml
expect 0 "$QLORA_TRAIN" early-whole.yaml
same_run early-whole early
