# Vision-language models: the language model is trained, and what is exported is a whole model again, its other parts
# untouched.
. "$TESTS/cli/lib.sh"

# tensors FILE: a line for each, with name, type, shape and a checksum of its bytes.
tensors() {
    local size start name type shape from to
    size=$(od -An -tu8 -N8 "$1" | tr -d ' ')
    start=$((8 + size))
    head -c $start "$1" | tail -c "$size" |
        grep -oE '"[^"]+": ?\{"dtype": ?"[A-Z0-9_]+", ?"shape": ?\[[0-9, ]*\], ?"data_offsets": ?\[[0-9]+, ?[0-9]+\]\}' |
        sed -E 's/"([^"]+)": ?\{"dtype": ?"([^"]+)", ?"shape": ?\[([^]]*)\], ?"data_offsets": ?\[([0-9]+), ?([0-9]+)\]\}/\1 \2 [\3] \4 \5/; s/, /,/g' |
        while read -r name type shape from to; do
            echo "$name $type $shape $(tail -c +$((start + from + 1)) "$1" | head -c $((to - from)) | md5sum | cut -d' ' -f1)"
        done | sort
}

others() { tensors "$1/model.safetensors" | grep -Ev '(^|\.)language_model\.|^lm_head'; }

loss_of() { # OVERRIDE...
    "$QLORA_TRAIN" eval config.yaml "$@" >out.txt 2>err.txt || { cat out.txt err.txt; fail "eval $*"; }
    values out.txt eval_loss | tail -n 1
}

near() { # NUMBER NUMBER ABSOLUTE
    awk -v a="$1" -v b="$2" -v d="$3" 'BEGIN { x = a - b; if (x < 0) x = -x; exit !(x <= d) }' || fail "$1 and $2"
}

# Its config in one line, without the digits of reals, which have many spellings.
config_of() { tr -d ' \n' <"$1/config.json" | sed -E 's/[0-9]+\.[0-9]+(e-[0-9]+)?|[0-9]+e-[0-9]+/real/g'; }

skipped() { tr -d ' \n' <"$1/config.json" | sed -nE 's/.*"llm_int8_skip_modules":\[([^]]*)\].*/\1/p'; }

top=$PWD
for name in gemma3-vl mistral3-vl ministral3-vl gemma3-vl/bnb4; do
    golden=$TESTS/golden/arch/$name plain=$TESTS/golden/arch/${name%/*}
    mkdir -p "$top/$name"
    cd "$top/$name"
    base=original
    [ "$golden" = "$plain" ] || base=dequantized
    cat >config.yaml <<END
model: {path: $golden}
lora: {r: 4, lora_alpha: 8, dtype: f32}
data: {train: $plain/batch.jsonl, eval: $plain/batch.jsonl, format: tokens, packing: false}
training: {output_dir: out, max_steps: 6, per_device_train_batch_size: 2, gradient_accumulation_steps: 1, learning_rate: 1e-2}
device: {backend: $backend, threads: 2}
END
    expect 0 "$QLORA_TRAIN" inspect "$golden"
    others "$golden" >others.txt
    count=$(wc -l <others.txt)
    [ "$count" -ge 15 ] || fail "only $count tensors beside the language model's were found"
    grep -q "$count tensors of other parts (.*), which are not used" out.txt || { cat out.txt; fail "inspect does not say what is left out"; }

    # Adapters under the names that PEFT gives them in the wrapper, and no others.
    expect 0 "$QLORA_TRAIN" config.yaml
    tensors out/adapter/adapter_model.safetensors | cut -d' ' -f1 >names.txt
    [ "$(wc -l <names.txt)" -eq 28 ] || fail "$(wc -l <names.txt) tensors in the adapter, expected 28"
    ! grep -Ev '^base_model\.model\.model\.language_model\.layers\.[01]\.(self_attn|mlp)\.[a-z]+_proj\.lora_[AB]\.weight$' names.txt ||
        fail "a name in the adapter"
    [ "$(tr -d ' \n' <out/adapter/adapter_config.json | grep -oE '"model\.language_model\.layers\.[01]\.[a-z_.]+"' | sort -u | wc -l)" -eq 14 ] ||
        fail "target_modules are not the 14 whole names"
    own=$(loss_of --adapter out/adapter)
    first=$(values out/metrics.jsonl loss | head -n 1)
    awk -v a="$first" -v b="$own" 'BEGIN { exit !(b < a - 0.5) }' || fail "the loss went from $first to $own"

    # Merged: every other tensor as it was, and the language model under the same names.
    expect 0 "$QLORA_TRAIN" export out/checkpoint-6 --merged merged --base $base
    others merged | diff - others.txt || fail "other parts differ in the merged model"
    tensors "$plain/model.safetensors" | cut -d' ' -f1-3 | grep -E '(^|\.)language_model\.|^lm_head' >want.txt
    tensors merged/model.safetensors | cut -d' ' -f1-3 | grep -E '(^|\.)language_model\.|^lm_head' | diff - want.txt ||
        fail "the merged language model has other names, types or shapes"
    if [ $base = original ]; then
        diff <(config_of "$golden") <(config_of merged) || fail "another config"
        near "$(loss_of model.path="$PWD/merged" quantization.quant_type=none)" \
            "$(loss_of quantization.quant_type=none --adapter out/adapter)" 0.02
        # The merged model goes on being trained.
        expect 0 "$QLORA_TRAIN" config.yaml model.path="$PWD/merged" training.output_dir="$PWD/again"
    else
        # The towers are in 4 bits still, which the config has to say of them alone.
        skipped merged | grep -q '"language_model","model.language_model","lm_head"' || fail "skipped: $(skipped merged)"
        near "$(loss_of model.path="$PWD/merged" quantization.quant_type=none)" "$own" 0.02
    fi

    # In 4 bits: the language model alone, and other parts named for transformers 4 and 5.
    expect 0 "$QLORA_TRAIN" quantize "$golden" quantized
    others quantized | diff - others.txt || fail "other parts differ in the quantized model"
    [ "$(loss_of model.path="$PWD/quantized" --adapter out/adapter)" = "$own" ] || fail "another loss on the quantized model"
    if [ $base = original ]; then
        [ "$(tensors quantized/model.safetensors | grep -c quant_state)" -eq 14 ] || fail "not 14 quantized tensors"
        for module in vision_tower model.vision_tower multi_modal_projector model.multi_modal_projector lm_head; do
            skipped quantized | grep -q "\"$module\"" || fail "$module is not among the skipped: $(skipped quantized)"
        done
    else
        cmp <(tensors "$golden/model.safetensors") <(tensors quantized/model.safetensors) || fail "another checkpoint"
        [ "$(skipped quantized)" = "$(skipped "$golden")" ] || fail "skipped: $(skipped quantized)"
    fi
    echo "$name: loss $first to $own, $count other tensors"
done
