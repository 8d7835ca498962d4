# A run that is short of memory ends in the bytes of one that is not: optimizer pages leave, to memory or to a file; also
# when it is killed on the way. What a plan says is what the run then takes.
. "$TESTS/cli/lib.sh"

steps=24
write_data
write_config roomy $steps 6 >config.yaml
plan_of() { "$QLORA_TRAIN" plan config.yaml "$@" >plan.txt 2>err.txt || { cat plan.txt err.txt; fail "plan $*"; }; }
bytes_of() { awk -v what="$1" 'index($0, "  " what) == 1 { sub("^  " what " *", ""); print $1; exit }' plan.txt; }

run() { # NAME OVERRIDE...
    local name=$1
    shift
    plan_of training.output_dir="$PWD/$name" "$@"
    expect 0 "$QLORA_TRAIN" config.yaml training.output_dir="$PWD/$name" "$@"
    cmp roomy/adapter/adapter_model.safetensors "$name/adapter/adapter_model.safetensors" || fail "$name: another adapter"
    cmp roomy/checkpoint-$steps/optimizer.safetensors "$name/checkpoint-$steps/optimizer.safetensors" ||
        fail "$name: other moments"
    values roomy/metrics.jsonl loss >want.txt
    values "$name/metrics.jsonl" loss | cmp - want.txt || fail "$name: other losses"
    # The first step's micro-batches may be smaller than the largest, which the plan is for.
    local peak
    peak=$(values "$name/metrics.jsonl" peak_device_bytes | sort -n | tail -n 1)
    [ "$peak" = "$(bytes_of total)" ] || fail "$name: the plan says $(bytes_of total) bytes, the run took $peak"
    echo "$name: $peak bytes, $(values "$name/metrics.jsonl" paged_bytes | sort -n | tail -n 1) paged in a step"
}

paged_bytes() { values "$1/metrics.jsonl" paged_bytes; }

# No limit: nothing moves. (A GPU keeps decoded weights where there is room: the first thing to go, so not in `all`.)
plan_of device.memory_limit=1GiB training.gradient_checkpointing=false device.cache_weights=off
all=$(bytes_of total) state=$(($(bytes_of "optimizer state") - 256)) # but for one number that stays
expect 0 "$QLORA_TRAIN" config.yaml device.memory_limit=1GiB training.gradient_checkpointing=false
[ "$(paged_bytes roomy | sort -u)" = 0 ] || fail "pages moved without need"

for percent in 25 50 100; do
    run share$percent training.gradient_checkpointing=false device.memory_limit=$((all - state * percent / 100))
    [ "$(paged_bytes share$percent | sort -n | tail -n 1)" -gt 0 ] || fail "nothing was paged at $percent%"
done
grep -q " paged .* (waited .* s)" out.txt || fail "the log is silent about pages"
grep -q "optimizer pages in host memory" plan.txt || fail "the plan is silent about pages"
mkdir spill
run file training.gradient_checkpointing=false device.memory_limit=$((all - state)) device.spill=spill
[ -z "$(ls -A spill)" ] || fail "the spill file was left behind"

# adamw_* keep their state where it is: refused with the figures, and nothing is written.
expect 2 "$QLORA_TRAIN" config.yaml training.optim=adamw_32bit training.gradient_checkpointing=false \
    device.memory_limit=$((all - 256)) training.output_dir="$PWD/refused"
grep -q "a paged training.optim" err.txt || { cat err.txt; fail "the way out is not named"; }
[ ! -e refused ] || fail "a refused run wrote something"
expect 2 "$QLORA_TRAIN" config.yaml device.memory_limit=$((all - state)) device.spill=nowhere/to/be/found \
    training.gradient_checkpointing=false training.output_dir="$PWD/nowhere"
grep -q "device.spill" err.txt || { cat err.txt; fail "the error does not name device.spill"; }

expect 2 "$QLORA_TRAIN" config.yaml device.memory_limit=$((all - state)) device.spill=/proc \
    training.gradient_checkpointing=false training.output_dir="$PWD/nowhere"
[ ! -e nowhere ] || fail "a run without a place to spill to wrote something"

# A model that does not fit an evaluation or an answer: the limit that would do, and what else.
expect 2 "$QLORA_TRAIN" eval config.yaml device.memory_limit=64KiB
limit=$(sed -nE 's/.*a limit of at least ([0-9.]+) MiB.*/\1/p' err.txt)
[ -n "$limit" ] || { cat err.txt; fail "no limit is named"; }
expect 0 "$QLORA_TRAIN" eval config.yaml device.memory_limit="${limit}MiB"
expect 2 "$QLORA_TRAIN" eval config.yaml device.memory_limit="$(awk "BEGIN { print $limit - 0.2 }")MiB"
grep -q "it would fit with batches of at most" err.txt || { cat err.txt; fail "smaller batches are not named"; }

# A plan refuses what the run would: here a directory that has another run.
expect 2 "$QLORA_TRAIN" plan config.yaml training.output_dir="$PWD/share50" training.learning_rate=1e-4
grep -q "training.learning_rate" err.txt || { cat err.txt; fail "the plan does not say what differs"; }
expect 2 "$QLORA_TRAIN" plan config.yaml model.path=Llama-9-7B
grep -q "llama-2-7b" err.txt || { cat err.txt; fail "the models that a plan knows are not named"; }

# Killed while pages are away, and resumed: every row as in the run that was not.
short="training.gradient_checkpointing=false device.memory_limit=$((all - state / 2))"
"$QLORA_TRAIN" config.yaml training.output_dir="$PWD/killed" $short >out.txt 2>err.txt &
pid=$!
wait_for_steps $pid killed $((7 + RANDOM % 10)) || { cat err.txt; fail "the run ended by itself"; }
kill -KILL $pid
wait $pid 2>/dev/null || true
# Where it does not fit any more, only keys are named that do not make it another run.
expect 2 "$QLORA_TRAIN" config.yaml training.output_dir="$PWD/killed" training.gradient_checkpointing=false \
    device.memory_limit=$((all - state - 1024))
grep -q "it would fit with training.gradient_checkpointing auto" err.txt || { cat err.txt; fail "the way out is not named"; }
expect 2 "$QLORA_TRAIN" config.yaml training.output_dir="$PWD/killed" device.memory_limit=64KiB
! grep -Eq "training\.|data\.|lora\." err.txt || { cat err.txt; fail "keys are named that would make another run"; }
limit=$(sed -nE 's/.*a limit of at least ([0-9.]+) MiB.*/\1/p' err.txt)
expect 0 "$QLORA_TRAIN" plan config.yaml training.output_dir="$PWD/killed" device.memory_limit="${limit}MiB"
expect 0 "$QLORA_TRAIN" config.yaml training.output_dir="$PWD/killed" $short
grep -q "resuming from" out.txt || fail "the killed run did not resume"
same_run share50 killed
