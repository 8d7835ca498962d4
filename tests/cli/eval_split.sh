# Rows held out of the training data: the same ones for training, after a resumption, for `eval` and for what an export
# compares; none of them trained.
. "$TESTS/cli/lib.sh"

token_rows 60 20 60 7 >train.jsonl
config() { # OUTPUT_DIR STEPS
    cat <<END
model: {path: $model}
data: {train: train.jsonl, format: tokens, eval_split: 0.2, packing: false}
training: {output_dir: $1, max_steps: $2, per_device_train_batch_size: 4, gradient_accumulation_steps: 1,
           learning_rate: 2e-3, eval_steps: 5, save_steps: 5, seed: 3}
device: {backend: $backend, threads: 2}
END
}
config whole 10 >whole.yaml
expect 0 "$QLORA_TRAIN" plan whole.yaml
grep -q '^train     48 rows (tokens)' out.txt || { cat out.txt; fail "48 of 60 rows are left to train"; }
grep -q '^eval      12 rows (tokens).*held out of data.train by eval_split' out.txt || fail "12 of 60 rows are held out"
grep -Eq '^row [0-9]+ +\(trained between \[\[ and \]\]\)$' out.txt || fail "no row is shown"
expect 0 "$QLORA_TRAIN" whole.yaml
values whole/metrics.jsonl eval_loss >logged
[ "$(wc -l <logged)" -eq 2 ] || fail "expected two evaluations: $(cat logged)"

# Two halves of the run see what the whole one saw.
config halves 10 >halves.yaml
"$QLORA_TRAIN" halves.yaml >out.txt 2>err.txt &
pid=$!
wait_for_steps $pid halves 5 || { cat err.txt; fail "the run ended before step 5"; }
kill -KILL $pid 2>/dev/null || true
wait $pid 2>/dev/null || true
expect 0 "$QLORA_TRAIN" halves.yaml
same_run whole halves

# The rows of `eval` are those of the run.
expect 0 "$QLORA_TRAIN" eval whole.yaml --adapter whole/adapter
tail -n 1 out.txt >answer
values answer eval_loss >alone
tail -n 1 logged >last
close_values last alone 1 1e-6 || fail "eval gives another loss: $(cat alone), the run $(cat last)"

# Other rows by another seed, which is another run; a file and a split are one too many.
expect 0 "$QLORA_TRAIN" eval whole.yaml --adapter whole/adapter training.seed=4
tail -n 1 out.txt >answer
values answer eval_loss >other
! cmp -s alone other || fail "another seed holds out the same rows"
expect 2 "$QLORA_TRAIN" whole.yaml data.eval_split=0.3
grep -q 'data.eval_split=0.3 (it was data.eval_split=0.2)' err.txt || { cat err.txt; fail "the split is not named"; }
expect 2 "$QLORA_TRAIN" plan whole.yaml data.eval_split=60 training.output_dir=no_rows
grep -q 'data.eval_split: would take 60 of 60 rows' err.txt || { cat err.txt; fail "nothing would be left"; }

expect 0 "$QLORA_TRAIN" export whole/checkpoint-10 --merged merged
grep -q '^loss on ' out.txt || { cat out.txt; fail "no loss is compared"; }
