# compute_dtype: auto is decided when a run begins, and kept wherever it goes on.
. "$TESTS/cli/lib.sh"

write_data
write_config run 3 2 >run.yaml
expect 0 "$QLORA_TRAIN" run.yaml
begun=$(sed -n 's/.*compute in \([a-z0-9]*\) (auto: .*)$/\1/p' out.txt)
[ "$backend" != cuda ] || begun=bf16
grep -q "\"compute_dtype\": \"$begun\"" run/run.json || { cat run/run.json out.txt; fail "run.json does not say $begun"; }
grep -q "\"compute_dtype\": \"$begun\"" run/checkpoint-2/trainer_state.json || fail "the checkpoint does not say $begun"
! grep -q "compute_dtype: auto" err.txt || { cat err.txt; fail "a new run warns"; }

# As if it had begun on another machine.
other=f32
[ "$begun" != f32 ] || other=bf16
sed -i "s/\"compute_dtype\": \"$begun\"/\"compute_dtype\": \"$other\"/" run/run.json
rm -r run/checkpoint-3 run/adapter
sed -i 's/"finished": true/"finished": false/' run/run.json
expect 0 "$QLORA_TRAIN" plan run.yaml
grep -q "compute in $other\$" out.txt || { cat out.txt; fail "the plan does not compute in $other"; }
expect 0 "$QLORA_TRAIN" run.yaml
grep -q "compute in $other\$" out.txt || { cat out.txt; fail "the run does not go on in $other"; }
grep -q "auto is $begun here, but the run began in $other and goes on in it" err.txt || { cat err.txt; fail "it does not say so"; }
grep -q "\"compute_dtype\": \"$other\"" run/run.json || fail "the finished run forgot what it computed in"

# From a checkpoint in another directory.
write_config elsewhere 3 2 >elsewhere.yaml
from="$PWD/run/checkpoint-3"
expect 0 "$QLORA_TRAIN" elsewhere.yaml "training.resume_from_checkpoint=$from"
grep -q "compute in $other\$" out.txt || { cat out.txt; fail "a run from a checkpoint does not go on in $other"; }

# A run of before this was kept.
sed -i '/"compute_dtype"/d' run/run.json
rm -r run/checkpoint-3 run/adapter
sed -i 's/"finished": true/"finished": false/' run/run.json
expect 0 "$QLORA_TRAIN" run.yaml
grep -q "run.json does not say what the run computed in so far; it goes on in $begun" err.txt ||
    { cat err.txt; fail "an unknown type is not told"; }

# A type that is asked for defines the run.
expect 2 "$QLORA_TRAIN" run.yaml "quantization.compute_dtype=$other"
grep -q "compute_dtype=$other (it was quantization.compute_dtype=auto)" err.txt || { cat err.txt; fail "another type"; }
