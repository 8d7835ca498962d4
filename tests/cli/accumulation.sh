# How a step is cut must not matter: 8x1 = 4x2 = 1x8 rows, packed = unpacked, checkpointing on = off.
. "$TESTS/cli/lib.sh"

token_rows 48 10 60 3 >train.jsonl
cat >base.yaml <<END
model: {path: $model}
quantization: {compute_dtype: f32}
lora: {r: 8, lora_alpha: 16, dtype: f32}
data: {train: train.jsonl, format: tokens, max_length: 128, packing: false, shuffle: false}
training: {output_dir: unused, num_train_epochs: 1, learning_rate: 1e-3, save_steps: 1000}
device: {backend: $backend, threads: 2}
END

run() { # NAME OVERRIDE...
    local name=$1
    shift
    expect 0 "$QLORA_TRAIN" base.yaml training.output_dir="$PWD/$name" "$@"
    values "$name/metrics.jsonl" loss >"$name.loss"
    values "$name/metrics.jsonl" grad_norm >"$name.norm"
    values "$name/metrics.jsonl" tokens >"$name.tokens"
}

agree() { # NAME NAME STEPS
    close_values "$1.loss" "$2.loss" "$3" 1e-5 || fail "losses of $1 and $2 differ"
    close_values "$1.norm" "$2.norm" "$3" 1e-3 || fail "gradient norms of $1 and $2 differ"
    cmp "$1.tokens" "$2.tokens" || fail "$1 and $2 count tokens differently"
}

# The same eight rows a step, in one, two or eight micro-batches. Dropout is part of it: its mask belongs to the row.
for dropout in 0.0 0.1; do
    for cut in 8x1 4x2 1x8; do
        run "$cut-$dropout" lora.lora_dropout=$dropout training.per_device_train_batch_size=${cut%x*} \
            training.gradient_accumulation_steps=${cut#*x}
    done
    agree 8x1-$dropout 4x2-$dropout 6
    agree 8x1-$dropout 1x8-$dropout 6
done
cmp -s 8x1-0.0.loss 8x1-0.1.loss && fail "dropout changed nothing"
[ "$(head -n 1 8x1-0.0.loss)" != "$(tail -n 1 8x1-0.0.loss)" ] || fail "the loss never changed"

# One step an epoch in both, so each step sees the same 48 rows: packed in rows of 128 tokens, or one by one.
run packed data.packing=true training.per_device_train_batch_size=48 training.gradient_accumulation_steps=1 \
    training.num_train_epochs=5
run unpacked training.per_device_train_batch_size=48 training.gradient_accumulation_steps=1 training.num_train_epochs=5
agree packed unpacked 5

# Recomputed activations are the same bits, with dropout too.
for checkpointing in true false; do
    run recompute-$checkpointing lora.lora_dropout=0.1 training.gradient_checkpointing=$checkpointing
done
cmp recompute-true.loss recompute-false.loss || fail "checkpointing changes the loss"
cmp recompute-true/adapter/adapter_model.safetensors recompute-false/adapter/adapter_model.safetensors ||
    fail "checkpointing changes the adapter"
