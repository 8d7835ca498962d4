# 8-bit optimizer states learn what 32-bit ones learn, and a killed run ends with the bytes of one that was not.
. "$TESTS/cli/lib.sh"

steps=60
write_data
for optim in adamw_32bit adamw_8bit paged_adamw_8bit; do
    write_config $optim $steps 4 |
        sed "s/^training:/&\n  optim: $optim/; s/learning_rate: .*/learning_rate: 5e-3/" >$optim.yaml
done
expect 0 "$QLORA_TRAIN" adamw_32bit.yaml
expect 0 "$QLORA_TRAIN" adamw_8bit.yaml

# The last evaluation, against that of the 32-bit run and against the first step.
loss_of() { values "$1/metrics.jsonl" eval_loss | tail -n 1; }
loss_of adamw_32bit >wide.txt
loss_of adamw_8bit >narrow.txt
first=$(values adamw_32bit/metrics.jsonl loss | head -n 1)
echo "first loss $first; eval loss after $steps steps: 32-bit $(cat wide.txt), 8-bit $(cat narrow.txt)"
awk -v first="$first" '{ exit !($1 < 0.75 * first) }' wide.txt || fail "nothing was learnt"
close_values wide.txt narrow.txt 1 0.01 || fail "the loss with 8-bit states is not near that with 32-bit ones"
cmp -s adamw_32bit/adapter/adapter_model.safetensors adamw_8bit/adapter/adapter_model.safetensors &&
    fail "both kinds gave the same adapter"

# Masters and moments: 12 bytes a parameter, against 4 + 2.1 at most.
wide=$(stat -c %s adamw_32bit/checkpoint-$steps/optimizer.safetensors)
narrow=$(stat -c %s adamw_8bit/checkpoint-$steps/optimizer.safetensors)
[ $((narrow * 120)) -lt $((wide * 61)) ] ||
    fail "optimizer.safetensors: $narrow bytes with 8-bit states, $wide with 32-bit ones"

"$QLORA_TRAIN" paged_adamw_8bit.yaml >out.txt 2>err.txt &
pid=$!
wait_for_steps $pid paged_adamw_8bit $((10 + RANDOM % 30)) || { cat err.txt; fail "the run ended by itself"; }
kill -KILL $pid
wait $pid 2>/dev/null || true
[ ! -e paged_adamw_8bit/adapter ] || fail "a killed run already has its final adapter"
expect 0 "$QLORA_TRAIN" paged_adamw_8bit.yaml
grep -q "resuming from" out.txt || { cat out.txt; fail "the killed run did not resume"; }
same_run adamw_8bit paged_adamw_8bit
cmp adamw_8bit/checkpoint-$steps/optimizer.safetensors paged_adamw_8bit/checkpoint-$steps/optimizer.safetensors ||
    fail "the moments differ"
