# Families that differ from llama in what a block is (windows, norms, fused layers, scales, biases), through the commands: the
# same bytes whether blocks are kept or recomputed, weights and moments in the device or moved, the run whole or killed; the same
# losses whether rows are packed; and what is exported computes the same.
. "$TESTS/cli/lib.sh"

steps=120
# Ids below 96, rows longer than any window.
for file in train.jsonl:48:1 eval.jsonl:10:2; do
    IFS=: read -r name rows seed <<<"$file"
    token_rows "$rows" 10 40 "$seed" | awk -F'[][]' '
        function small(list,    n, i, ids, out) {
            n = split(list, ids, ",")
            for (i = 1; i <= n; i++) out = out (i > 1 ? "," : "") (ids[i] < 0 ? ids[i] : ids[i] % 93 + 3)
            return out
        }
        { printf "{\"input_ids\":[%s],\"labels\":[%s]}\n", small($2), small($4) }' >"$name"
done

family_config() { # MODEL
    cat <<END
model: {path: $1}
lora: {r: 4, lora_alpha: 8, lora_dropout: 0.1, dtype: f32}
data: {train: train.jsonl, eval: eval.jsonl, format: tokens, max_length: 96, packing: true}
training:
  output_dir: out
  max_steps: $steps
  per_device_train_batch_size: 2
  gradient_accumulation_steps: 2
  learning_rate: 5e-3
  save_steps: 5
  eval_steps: 40
device: {backend: $backend, threads: 2}
END
}

loss_of() { # COMMAND...: the evaluation's digits
    "$@" >out.txt 2>err.txt || { cat out.txt err.txt; fail "$*"; }
    values out.txt eval_loss | tail -n 1
}

near() { # NUMBER NUMBER ABSOLUTE
    awk -v a="$1" -v b="$2" -v d="$3" 'BEGIN { x = a - b; if (x < 0) x = -x; exit !(x <= d) }' || fail "$1 and $2"
}

# About the least memory that does, with everything paged that can be.
least_limit() { # ENOUGH OVERRIDE...
    local no=0 yes=$1 limit
    shift
    while [ $((yes - no)) -gt 512 ]; do
        limit=$(((no + yes) / 2))
        if "$QLORA_TRAIN" plan config.yaml "$@" device.memory_limit=$limit >plan.txt 2>err.txt; then yes=$limit; else no=$limit; fi
    done
    "$QLORA_TRAIN" plan config.yaml "$@" device.memory_limit="$yes" >plan.txt
    echo "$yes"
}

killed_run() {
    local pid target=$((15 + RANDOM % 60))
    "$QLORA_TRAIN" config.yaml training.output_dir="$PWD/killed" >out.txt 2>err.txt &
    pid=$!
    if wait_for_steps $pid killed $target; then kill -KILL $pid 2>/dev/null || true; fi
    wait $pid 2>/dev/null || true
    [ ! -e killed/adapter ] || fail "the run was over before step $target was seen"
    echo "killed at step $(logged_steps killed), newest checkpoint $(newest_checkpoint killed)"
    expect 0 "$QLORA_TRAIN" config.yaml training.output_dir="$PWD/killed"
    same_run whole killed
}

# Each step takes all rows, so it does not matter which are together, but for the last bits of sums.
packed_run() {
    local packing
    for packing in true false; do
        expect 0 "$QLORA_TRAIN" config.yaml training.output_dir="$PWD/packing-$packing" data.packing=$packing \
            data.shuffle=false lora.lora_dropout=0 training.max_steps=4 training.per_device_train_batch_size=48 \
            training.gradient_accumulation_steps=1 training.eval_steps=0 quantization.compute_dtype=f32
        for key in loss grad_norm; do values packing-$packing/metrics.jsonl $key; done >packing-$packing.txt
    done
    [ "$(values packing-true/metrics.jsonl label_tokens)" = "$(values packing-false/metrics.jsonl label_tokens)" ] ||
        fail "not the same rows"
    close_values packing-true.txt packing-false.txt 8 1e-5 || fail "packed rows give another loss or gradient"
}

# Under the least memory that does: whatever moved, the bytes are the same.
paged_run() { # LAYERS
    local limit
    limit=$(least_limit "$planned" training.gradient_checkpointing=true)
    expect 0 "$QLORA_TRAIN" config.yaml training.output_dir="$PWD/paged" training.gradient_checkpointing=true \
        device.memory_limit="$limit"
    cmp whole/adapter/adapter_model.safetensors paged/adapter/adapter_model.safetensors || fail "paged: another adapter"
    for key in loss grad_norm eval_loss; do
        values whole/metrics.jsonl $key >want.txt
        values paged/metrics.jsonl $key | cmp - want.txt || fail "paged: another $key"
    done
    [ "$(values paged/metrics.jsonl paged_bytes | sort -n | tail -n 1)" -gt 0 ] || fail "nothing was paged"
    # Three layers or fewer fit where four are paged through.
    [ "$1" -le 3 ] || grep -q "weights of $1 of $1 layers in host memory" out.txt || { cat out.txt; fail "weights were not paged"; }
}

exports() { # MODEL
    local original own quantized merged
    own=$(loss_of "$QLORA_TRAIN" eval config.yaml --adapter whole/adapter)
    expect 0 "$QLORA_TRAIN" export "whole/checkpoint-$steps" --adapter adapter
    [ "$(loss_of "$QLORA_TRAIN" eval config.yaml --adapter adapter)" = "$own" ] || fail "the exported adapter computes another loss"
    expect 0 "$QLORA_TRAIN" quantize "$1" quantized
    quantized=$(loss_of "$QLORA_TRAIN" eval config.yaml model.path="$PWD/quantized" --adapter adapter)
    [ "$quantized" = "$own" ] || fail "loss $quantized on the quantized model, $own on what it was made from"
    original=$(loss_of "$QLORA_TRAIN" eval config.yaml quantization.quant_type=none --adapter adapter)
    expect 0 "$QLORA_TRAIN" export "whole/checkpoint-$steps" --merged merged
    merged=$(loss_of "$QLORA_TRAIN" eval config.yaml model.path="$PWD/merged" quantization.quant_type=none)
    near "$merged" "$original" 0.02
    expect 0 "$QLORA_TRAIN" export "whole/checkpoint-$steps" --merged merged-f32 --base dequantized --dtype f32
    near "$(loss_of "$QLORA_TRAIN" eval config.yaml model.path="$PWD/merged-f32" quantization.quant_type=none)" "$own" 0.02
    echo "loss $own, on the original $original, merged $merged"
}

top=$PWD
for family in gemma3-local-global olmo2-postnorm olmo3-sliding-yarn phi3-fused granite-scales glm4-sandwich-partial qwen2-bias; do
    golden=$TESTS/golden/arch/$family
    mkdir "$top/$family"
    cd "$top/$family"
    cp "$top/train.jsonl" "$top/eval.jsonl" .
    family_config "$golden" >config.yaml
    expect 0 "$QLORA_TRAIN" plan config.yaml
    planned=$(awk '$1 == "total" { print $2; exit }' out.txt)
    expect 0 "$QLORA_TRAIN" config.yaml training.output_dir="$PWD/whole" training.gradient_checkpointing=false
    peak=$(values whole/metrics.jsonl peak_device_bytes | sort -n | tail -n 1)
    [ "$peak" -le "$planned" ] || fail "the plan says $planned bytes, the run took $peak"
    expect 0 "$QLORA_TRAIN" config.yaml training.output_dir="$PWD/recomputed" training.gradient_checkpointing=true
    cmp whole/adapter/adapter_model.safetensors recomputed/adapter/adapter_model.safetensors || fail "recomputed: another adapter"
    first=$(values whole/metrics.jsonl loss | head -n 1) last=$(values whole/metrics.jsonl loss | tail -n 1)
    awk -v a="$first" -v b="$last" 'BEGIN { exit !(b < a - 0.3) }' || fail "the loss went from $first to $last"
    echo "$family: loss $first to $last"
    killed_run
    packed_run
    paged_run "$(sed -nE 's/.*"num_hidden_layers": ([0-9]+).*/\1/p' "$golden/config.json")"
    exports "$golden"
done
