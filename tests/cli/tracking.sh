# What a run leaves for those who follow it: a line a start in starts.jsonl, and TensorBoard's files where they are asked for.
. "$TESTS/cli/lib.sh"

write_data
write_config out 30 7 | sed 's/^  save_steps/  report_to: [jsonl, tensorboard]\n  save_steps/' >run.yaml
grep -q tensorboard run.yaml || fail "report_to is not in the config"
"$QLORA_TRAIN" run.yaml >out.txt 2>err.txt &
pid=$!
wait_for_steps $pid out 9 || fail "the run ended by itself"
kill -KILL $pid
wait $pid 2>/dev/null || true
printf '{"time": "2026' >>out/starts.jsonl    # torn
expect 0 "$QLORA_TRAIN" run.yaml
[ "$(wc -l <out/starts.jsonl)" -eq 2 ] || { cat out/starts.jsonl; fail "not one line a start"; }
from=$(sed -nE '2s/.*"run_id":"[0-9a-f]{16}","step":([0-9]+),"total_steps":30,.*"label_tokens":[1-9].*/\1/p' out/starts.jsonl)
[ -n "$from" ] && [ "$from" -ge 7 ] && [ $((from % 7)) -eq 0 ] || { cat out/starts.jsonl; fail "the step that it went on from"; }
"$QLORA_TRAIN" --version | grep -qF "commit $(sed -nE '1s/.*"commit":"([^"]*)".*/\1/p' out/starts.jsonl))" || fail "the commit"
[ "$(find out/tensorboard -name 'events.out.tfevents.*' | wc -l)" -eq 2 ] || fail "not one event file a start"

# A finished run is left alone, and a run that asks for none writes none.
before=$(sha256sum out/starts.jsonl)
expect 0 "$QLORA_TRAIN" run.yaml
[ "$before" = "$(sha256sum out/starts.jsonl)" ] || fail "a start of a finished run was logged"
expect 0 "$QLORA_TRAIN" run.yaml training.output_dir="$PWD/plain" training.max_steps=2 training.report_to=jsonl
[ ! -e plain/tensorboard ] || fail "event files that nobody asked for"

expect 2 "$QLORA_TRAIN" plan run.yaml training.report_to=tensorboard
grep -q "training.report_to: jsonl is always written and cannot be left out; expected \[jsonl\] or" err.txt || { cat err.txt; fail "no jsonl"; }
expect 2 "$QLORA_TRAIN" plan run.yaml 'training.report_to=[jsonl, tensorbord]'
grep -q "did you mean tensorboard" err.txt || { cat err.txt; fail "a misspelt word"; }
