# `generate` gives what a model was taught: answers learned by heart by the tiny model, with a tokenizer of single bytes
# made for it here, come back letter for letter and end where they should; the base does not know them.
. "$TESTS/cli/lib.sh"

cp -r "$model" model && chmod -R u+w model
byte_tokenizer model
echo '{"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<bos>", "eos_token": "<eos>", "add_bos_token": false}' \
    >model/tokenizer_config.json

cat >train.jsonl <<'END'
{"prompt": "count:", "completion": " one two three"}
{"prompt": "greet:", "completion": " grüß Gott"}
{"prompt": "clear:", "completion": "a\u009b2Jb"}
END
cat >config.yaml <<END
model: {path: model}
lora: {r: 16, lora_alpha: 32}
data: {train: train.jsonl, format: prompt-completion, chat_template: none, max_length: 64}
training: {output_dir: run, max_steps: 150, per_device_train_batch_size: 2, gradient_accumulation_steps: 1,
           learning_rate: 1e-2, lr_scheduler_type: cosine}
device: {backend: $backend, threads: 2}
END
expect 0 "$QLORA_TRAIN" config.yaml
tail -n 1 run/metrics.jsonl

# answer ARGUMENT...: what `generate` writes, in out.txt.
answer() { expect 0 "$QLORA_TRAIN" generate config.yaml "$@"; }

# says TEXT ARGUMENT...: exactly that and a newline, and nothing on standard error.
says() {
    local text=$1
    shift
    answer "$@"
    printf '%s\n' "$text" | cmp - out.txt || { cat out.txt; fail "expected \"$text\": generate $*"; }
    [ -z "$(complaints)" ] || { cat err.txt; fail "generate $*"; }
}

adapter="--adapter run/adapter"
# shellcheck disable=SC2086
{
    says " one two three" $adapter --prompt count:
    says " grüß Gott" $adapter --prompt greet: --temperature 0
    says " one" $adapter --prompt count: --max-new-tokens 4
    says "" $adapter --prompt count: --max-new-tokens 0
    # A text so sure that a low temperature finds it too; and what is sampled depends on the seed alone.
    says " one two three" $adapter --prompt count: --temperature 0.05 --seed 7
    answer $adapter --prompt count: --temperature 50 --seed 1 --max-new-tokens 20 && mv out.txt first
    answer $adapter --prompt count: --temperature 50 --seed 1 --max-new-tokens 20
    cmp first out.txt || fail "one seed, two texts"
    answer $adapter --prompt count: --temperature 50 --seed 2 --max-new-tokens 20
    ! cmp -s first out.txt || fail "two seeds, one text"
}
answer --prompt count: --max-new-tokens 20
! grep -q "one two" out.txt || fail "the base knows what it was never taught"
answer --adapter "$(newest_checkpoint run)" --prompt count:
[ "$(cat out.txt)" = " one two three" ] || fail "a checkpoint gives another answer than the adapter"

# What a terminal would act on is shown there, though each of its two bytes is a token of its own.
if command -v python3 >/dev/null; then
    cat >terminal.py <<'END'
import os, pty, sys
sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))
END
    expect 0 python3 terminal.py "$QLORA_TRAIN" generate config.yaml --adapter run/adapter --prompt clear: </dev/null
    grep -qF 'a\x9b2Jb' out.txt || { cat -v out.txt; fail "a control character reached the terminal"; }
fi
answer --adapter run/adapter --prompt clear:
[ "$(cat out.txt)" = $'a\xc2\x9b2Jb' ] || fail "not what it was taught"

# Rows that are no conversations have no chat template, and so no place for a system message.
expect 2 "$QLORA_TRAIN" generate config.yaml --prompt count: --system 'Be brief.'
grep -q -- "--system: the prompt goes in no chat template" err.txt || { cat err.txt; fail "a system message that is not used"; }

# An endless answer ends with the model's positions: refused before it begins.
expect 2 "$QLORA_TRAIN" generate config.yaml --prompt count: --max-new-tokens 507
grep -q "more than the 512 positions" err.txt || { cat err.txt; fail "a text longer than the model's positions"; }
