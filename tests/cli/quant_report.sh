# The data types compared on a model: figures that agree with what the other commands compute; and int8-zeropoint, the
# one among them that differs in kind, through a training, its resumption and an export.
. "$TESTS/cli/lib.sh"

mkdir base
cp "$model/config.json" "$model/model.safetensors" base/
byte_tokenizer base
for i in $(seq 60); do printf 'Line %d of a text whose words repeat, and repeat again.\n' $((i % 7)); done >text.txt

expect 0 env OMP_NUM_THREADS=1 "$QLORA_TRAIN" quant-report base --text text.txt --html page.html
cp out.txt one.txt
[ -z "$(complaints)" ] || fail "complaints: $(complaints)"
expect 0 env OMP_NUM_THREADS=2 "$QLORA_TRAIN" quant-report base
# Without the text the figures are the same, whatever the number of threads.
for type in bf16 int8 int8-zeropoint int4 fp4 nf4 "nf4 + double quantization"; do
    a=$(grep "^$type  " one.txt | head -n 1 | cut -c1-68) b=$(grep "^$type  " out.txt | head -n 1 | cut -c1-68)
    [ -n "$a" ] && [ "$a" = "$b" ] || fail "$type: '$a' with a thread, '$b' with two"
done

# Bits a parameter, and the errors in their order.
column() { grep "^$1  " one.txt | head -n 1 | cut -c26- | awk -v n="$2" '{ print $n }'; }
[ "$(column bf16 1)" = 16.0000 ] || fail "bf16 has $(column bf16 1) bits"
[ "$(column int8-zeropoint 1)" = "$(column int8 1)" ] || fail "the zero point costs memory"
[ "$(column bf16 4)" = exact ] || fail "bf16 is not exact on a BF16 model: $(column bf16 4)"
awk -v nf4="$(column nf4 2)" -v fp4="$(column fp4 2)" -v int8="$(column int8 2)" -v zero="$(column int8-zeropoint 2)" \
    'BEGIN { exit !(zero < int8 && int8 < nf4 && nf4 < fp4) }' || { cat one.txt; fail "the errors are in another order"; }

# Perplexities are those of `eval`.
cat >eval.yaml <<'END'
model: {path: base}
data: {eval: text.txt, format: text, max_length: 512}
quantization: {compute_dtype: f32}
END
perplexity_of() { # OVERRIDES...
    expect 0 "$QLORA_TRAIN" eval eval.yaml "$@"
    tail -n 1 out.txt | sed -E 's/.*"eval_perplexity": ([0-9.e+]+).*/\1/'
}
near() { awk -v a="$1" -v b="$2" 'BEGIN { exit !(a > 1 && b > 1 && (a - b) ^ 2 < 1e-6 * a * a) }' || fail "$3: $1, and eval gives $2"; }
near "$(column int8-zeropoint 6)" "$(perplexity_of quantization.quant_type=int8-zeropoint)" int8-zeropoint
near "$(column fp4 6)" "$(perplexity_of quantization.quant_type=fp4 quantization.double_quant=false)" fp4
near "$(column bf16 5)" "$(perplexity_of quantization.quant_type=none)" bf16

# A page that needs nothing else: no script, no address, a drawing for each 4- and 8-bit type and the layers.
grep -Eq '<script|https?://|@import|url\(' page.html && fail "the page refers to something"
[ "$(grep -c '<svg ' page.html)" -eq 6 ] || fail "$(grep -c '<svg ' page.html) drawings, not 6"

# What has no values from before is refused; so are constants in two levels where there is one.
expect 2 "$QLORA_TRAIN" quant-report "$model/bnb4"
grep -q 'quantized to 4 bits by bitsandbytes' err.txt || fail "no reason: $(cat err.txt)"
expect 2 "$QLORA_TRAIN" eval eval.yaml quantization.quant_type=int8-zeropoint quantization.double_quant=true
grep -q 'quantization.double_quant: true, but int8-zeropoint' err.txt || fail "no reason: $(cat err.txt)"

# A training on it, stopped and gone on with, and what comes of it.
write_data
for name in whole halves; do write_config $name 16 4 | sed 's/^training:/quantization: {quant_type: int8-zeropoint}\n&/' >$name.yaml; done
expect 0 "$QLORA_TRAIN" whole.yaml
"$QLORA_TRAIN" halves.yaml >out.txt 2>err.txt &
pid=$!
wait_for_steps $pid halves 5 || { cat err.txt; fail "the run ended before step 5"; }
kill -KILL $pid 2>/dev/null || true
wait $pid 2>/dev/null || true
[ ! -e halves/adapter ] || echo "the run had ended: nothing was resumed"
expect 0 "$QLORA_TRAIN" halves.yaml
same_run whole halves
expect 0 "$QLORA_TRAIN" export whole/checkpoint-16 --merged merged --base dequantized
expect 0 "$QLORA_TRAIN" export whole/checkpoint-16 --merged original
