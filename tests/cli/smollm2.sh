# SmolLM2-135M-Instruct against transformers + PEFT + bitsandbytes: five perplexities within 0.2%, thirty training
# losses within 0.1% each (tests/golden/smollm2).
. "$(dirname "$0")/lib.sh"
[ -n "${QLORA_SMOLLM2_GGUF:-}" ] || skip "QLORA_SMOLLM2_GGUF does not name the model"
golden=$TESTS/golden/smollm2

cat >run.yaml <<END
model: {path: $QLORA_SMOLLM2_GGUF}
lora: {r: 8, lora_alpha: 16, dtype: f32, init: $golden/init_adapter}
data: {train: $golden/train.jsonl, eval: $golden/ppl.jsonl, format: tokens, max_length: 512, packing: false, shuffle: false}
training: {output_dir: run, max_steps: 30, per_device_train_batch_size: 4, gradient_accumulation_steps: 1,
           learning_rate: 2e-4, max_grad_norm: 0.3, save_steps: 0}
END

# number KEY: its value in the last line of out.txt, or in each line of the file given.
number() {
    sed -n "s/.*\"$1\": *\([-0-9.e+]*\).*/\1/p" "${2:-/dev/stdin}"
}

for case in "bf16-weights none false" "nf4 nf4 false" "nf4+dq nf4 true" "fp4 fp4 false" "fp4+dq fp4 true"; do
    read -r name type double <<<"$case"
    # init_adapter has B = 0: it changes nothing.
    expect 0 "$QLORA_TRAIN" eval run.yaml quantization.quant_type="$type" quantization.double_quant="$double"
    got=$(tail -n 1 out.txt | number eval_perplexity)
    want=$(grep -F "\"$name\":" "$golden/expected.json" | number "$name")
    awk -v g="$got" -v w="$want" -v n="$name" 'BEGIN {
        d = g / w - 1; if (d < 0) d = -d
        printf "%-13s perplexity %.6f, expected %.6f (%.4f%%)\n", n, g, w, 100 * d
        exit !(g > 0 && d <= 0.002) }' || fail "perplexity of $name"
done

expect 0 "$QLORA_TRAIN" run.yaml
number loss run/metrics.jsonl >loss.txt
number grad_norm run/metrics.jsonl >norm.txt
sed -n '/"loss"/,/\]/p' "$golden/expected.json" | grep -Eo '[0-9]+\.[0-9]+' >want.txt
sed -n '/"grad_norm"/,/\]/p' "$golden/expected.json" | grep -Eo '[0-9]+\.[0-9]+' >want_norm.txt
[ "$(wc -l <loss.txt)" -eq 30 ] && [ "$(wc -l <want.txt)" -eq 30 ] || fail "expected thirty losses"
paste loss.txt want.txt norm.txt want_norm.txt | awk '
    { d = $1 / $2 - 1; if (d < 0) d = -d; if (d > worst) worst = d
      e = $3 / $4 - 1; if (e < 0) e = -e; if (e > worst_norm) worst_norm = e }
    END { printf "30 losses: worst difference %.5f%%; gradient norms %.4f%%\n", 100 * worst, 100 * worst_norm
          exit !(worst <= 0.001) }' || fail "training losses"
