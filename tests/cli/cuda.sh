# Training on a GPU: the goldens of transformers + PEFT, the CPU backend's numbers, and paging that changes nothing.
# Runs with a program that has the CUDA backend where there is a GPU, and with one that emulates it.
. "$TESTS/cli/lib.sh"

"$QLORA_TRAIN" bench "$model" --backend cuda --what copy >out.txt 2>err.txt ||
    skip "no CUDA backend: $(head -n 1 err.txt)"
head -n 1 out.txt

# golden_config NAME MODEL COMPUTE_DTYPE QUANT_TYPE: the settings of tests/golden/README.md.
golden_config() {
    cat >"$1.yaml" <<END
model: {path: $2}
quantization: {quant_type: $4, compute_dtype: $3}
lora: {r: 4, lora_alpha: 8, dtype: f32, init: $2/adapter}
data: {train: $2/batch.jsonl, format: tokens, packing: false, shuffle: false, max_length: 40}
training: {output_dir: $1, num_train_epochs: 6, per_device_train_batch_size: 2, gradient_accumulation_steps: 1,
           learning_rate: 5e-3, weight_decay: 0.01, max_grad_norm: 0.3, adam_epsilon: 1e-8, optim: adamw_32bit}
device: {backend: cuda}
END
}

# expected FILE MODE KEY: the six numbers of that list.
expected() {
    awk -v mode="\"$2\"" -v key="\"$3\"" '
        index($0, mode ":") { in_mode = 1 }
        in_mode && index($0, key ":") { in_list = 1; next }
        in_list && /]/ { exit }
        in_list { gsub(/[ ,]/, ""); print }' "$1"
}

for arch in llama-mha llama-gqa-tied-odd; do
    dir=$TESTS/golden/tiny/$arch
    for mode in fp32:none:f32:1e-4 nf4:nf4:f32:1e-4 nf4:nf4:bf16:2e-2; do
        IFS=: read -r list quant compute tolerance <<<"$mode"
        name=$arch-$list-$compute
        golden_config "$name" "$dir" "$compute" "$quant"
        expect 0 "$QLORA_TRAIN" "$name.yaml"
        for key in loss:loss6 grad_norm:grad_norm6; do
            values "$name/metrics.jsonl" "${key%:*}" >got.txt
            expected "$dir/expected.json" "$list" "${key#*:}" >want.txt
            close_values want.txt got.txt 6 "$tolerance" || fail "$name: ${key%:*} is not that of transformers + PEFT"
        done
        echo "ok: $name within $tolerance of transformers + PEFT"
    done
done

# Everything at once, in f32, as the CPU computes it: packing, dropout, accumulation, evaluation.
write_data
write_config unused 6 1000 | sed 's/eval_steps: 20/eval_steps: 3/' >run.yaml
for backend in cpu cuda; do
    expect 0 "$QLORA_TRAIN" run.yaml training.output_dir="$PWD/$backend" device.backend=$backend \
        quantization.compute_dtype=f32
    for key in loss grad_norm eval_loss; do values $backend/metrics.jsonl $key >$backend.$key; done
done
close_values cpu.loss cuda.loss 6 1e-4 || fail "the losses of CPU and GPU differ"
close_values cpu.grad_norm cuda.grad_norm 6 1e-3 || fail "the gradient norms of CPU and GPU differ"
close_values cpu.eval_loss cuda.eval_loss 2 1e-4 || fail "the evaluations of CPU and GPU differ"
echo "ok: as on the CPU"

# The same run again, as if it had died after its first checkpoint, and resumed: the same bytes.
expect 0 "$QLORA_TRAIN" run.yaml training.output_dir="$PWD/again" device.backend=cuda quantization.compute_dtype=f32 \
    training.save_steps=2
rm -r again/adapter again/checkpoint-4 again/checkpoint-6
sed -i 's/"finished": true/"finished": false/' again/run.json
expect 0 "$QLORA_TRAIN" run.yaml training.output_dir="$PWD/again" device.backend=cuda quantization.compute_dtype=f32 \
    training.save_steps=2
grep -q 'resuming from .*checkpoint-2' out.txt || fail "the run was not resumed"
same_run cuda again
echo "ok: resumed to the same bytes"

# Under pressure: bench compares the losses itself, to the last bit.
sed 's/"num_hidden_layers": 2/"num_hidden_layers": 14/' "$model/config.json" >deep.json
expect 0 "$QLORA_TRAIN" bench deep.json --backend cuda --what paging --steps 2 --length 32 --batch 2 --json paging.json
[ "$(values paging.json paged_bytes | awk '$1 > 0' | wc -l)" -eq 2 ] || fail "nothing was paged"
[ "$(values paging.json layers_paged | tail -n 1)" -gt 0 ] || fail "no weights were paged"
echo "ok: paged to the same bits"
