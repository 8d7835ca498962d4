# training.sample_prompts: answers at each evaluation that are `generate`'s own, a training that ends in the same bytes as
# without them, each prompt once for each step whatever stopped the run, and prompts that cannot be used refused at the start.
. "$TESTS/cli/lib.sh"
trap 'jobs -p | xargs -r kill -KILL 2>/dev/null || true' EXIT    # what a test that failed leaves

cp -r "$model" model && chmod -R u+w model
byte_tokenizer model
echo '{"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<bos>", "eos_token": "<eos>", "add_bos_token": false}' \
    >model/tokenizer_config.json
printf '{%% for m in messages %%}[{{ m.role }}]{{ m.content }}{%% endfor %%}{%% if add_generation_prompt %%}[a]{%% endif %%}' >chat.jinja

# steps_and_prompts FILE: of its rows, in order.
steps_and_prompts() {
    python3 -c 'import json, sys
for line in open(sys.argv[1], encoding="utf-8"):
    row = json.loads(line)
    assert list(row) == ["step", "prompt", "completion"], row
    print(row["step"], row["prompt"])' "$1"
}

# same_training RUN RUN: but for memory, of which answers may need more.
same_training() {
    cmp "$1/adapter/adapter_model.safetensors" "$2/adapter/adapter_model.safetensors" || fail "the adapters differ"
    cmp <(timeless "$1/metrics.jsonl" | sed -E 's/, "peak_device_bytes": [0-9]+//') \
        <(timeless "$2/metrics.jsonl" | sed -E 's/, "peak_device_bytes": [0-9]+//') || fail "the metrics of $1 and $2 differ"
}

# ---- what is written: answers learned by heart, with no row held out --------------------------------------------------

cat >train.jsonl <<'END'
{"prompt": "count:", "completion": " one two three"}
{"prompt": "greet:", "completion": " grüß Gott"}
END
long=$(printf '%.0s"<b>\\ ' $(seq 76))
long=${long% }
printf '\xef\xbb\xbfcount:\n\n \t\ngreet:\r\n%s\n' "$long" >prompts.txt
cat >config.yaml <<END
model: {path: model}
lora: {r: 16, lora_alpha: 32}
data: {train: train.jsonl, format: prompt-completion, max_length: 64}
training: {output_dir: run, max_steps: 25, per_device_train_batch_size: 2, gradient_accumulation_steps: 1,
           gradient_checkpointing: false, learning_rate: 1e-2, lr_scheduler_type: cosine, eval_steps: 10,
           sample_prompts: prompts.txt}
device: {backend: $backend, threads: 2, cache_weights: off}
END
expect 0 "$QLORA_TRAIN" config.yaml
grep -q "^samples   3 prompts of up to 455 tokens, without a chat template," out.txt || { cat out.txt; fail "the prompts are not told of"; }
[ -z "$(complaints)" ] || { cat err.txt; fail "complaints"; }
need=$(sed -nE 's/^  total +([0-9]+) bytes.*/\1/p' out.txt)
for step in 10 20 25; do printf '%s\n' "$step count:" "$step greet:" "$step $long"; done |
    diff - <(steps_and_prompts run/samples.jsonl) || fail "other rows than expected"
for said in 'count:", "completion": " one two three"' 'greet:", "completion": " grüß Gott"'; do
    grep -qF "{\"step\": 25, \"prompt\": \"$said}" run/samples.jsonl || { cat run/samples.jsonl; fail "not learned"; }
done
expect 0 "$QLORA_TRAIN" config.yaml training.sample_prompts=none training.eval_steps=0 training.output_dir="$PWD/without"
[ ! -e without/samples.jsonl ] || fail "samples that nobody asked for"
[ "$(sed -nE 's/^  total +([0-9]+) bytes.*/\1/p' out.txt)" -lt $((need - 300000)) ] || fail "the plan does not count the answers"
same_training run without
# Where the answers alone have optimizer pages leave; and where not even that is enough.
expect 0 "$QLORA_TRAIN" config.yaml device.memory_limit=$((need - 300000)) training.output_dir="$PWD/tight"
grep -q "they reach over optimizer pages" out.txt || { cat out.txt; fail "nothing has to leave"; }
same_training run tight
cmp run/samples.jsonl tight/samples.jsonl || fail "other answers in less memory"
expect 2 "$QLORA_TRAIN" config.yaml training.optim=adamw_32bit device.page_weights=never device.memory_limit=$((need - 300000)) \
    training.output_dir="$PWD/refused"
grep -q "it would fit with .*training.sample_prompts none" err.txt || { cat err.txt; fail "the advice"; }

# On a GPU weights that are kept dequantized serve single tokens too.
if [ "$backend" = cuda ]; then
    expect 0 "$QLORA_TRAIN" config.yaml device.cache_weights=auto training.output_dir="$PWD/cached"
    grep -q "^  dequantized weights " out.txt || { cat out.txt; fail "no weights are kept"; }
    same_training run cached
    cmp run/samples.jsonl cached/samples.jsonl || fail "other answers from weights that are kept"
fi

# as_generate RUN POSITIONS ARGUMENT...: the last answers are those that `generate` gives with the final adapter; the long
# prompt leaves so many positions.
as_generate() {
    local run=$1 left=$2 prompt
    shift 2
    for prompt in greet: "$long"; do
        expect 0 "$QLORA_TRAIN" generate config.yaml "$@" --adapter "$run/adapter" --prompt "$prompt" \
            --max-new-tokens "$([ "$prompt" = "$long" ] && echo "$left" || echo 128)"
        python3 - "$run/samples.jsonl" "$prompt" out.txt <<'END' || fail "another answer than generate's: $prompt"
import json, sys
rows = [json.loads(line) for line in open(sys.argv[1], encoding="utf-8")]
mine = [r["completion"] for r in rows if r["prompt"] == sys.argv[2] and r["step"] == rows[-1]["step"]]
said = open(sys.argv[3], "rb").read()[:-1]
text = "".join("\ufffd" if "\udc80" <= c <= "\udcff" or c == "\0" else c for c in said.decode(errors="surrogateescape"))
sys.exit(mine != [text])
END
    done
}
as_generate run 57 data.chat_template=none

# In a chat template that no row needs, which is then none of the checkpoint's either. The untaught model does not end.
expect 0 "$QLORA_TRAIN" config.yaml data.chat_template="$PWD/chat.jinja" training.max_steps=2 training.output_dir="$PWD/chat"
grep -q "^samples   3 prompts of up to 464 tokens, in the chat template," out.txt || fail "the prompts are not in the template"
[ ! -e chat/checkpoint-2/chat_template.jinja ] || fail "a template that was not trained with is in the checkpoint"
as_generate chat 48 data.chat_template="$PWD/chat.jinja"

# A GGUF, of data that are tokens already: its tokenizer is opened for the prompts alone.
expect 0 "$QLORA_TRAIN" export run/checkpoint-25 --gguf model.gguf
write_data
expect 0 "$QLORA_TRAIN" config.yaml model.path="$PWD/model.gguf" data.format=tokens training.max_steps=1 \
    training.learning_rate=0 training.output_dir="$PWD/gguf"
[ "$(grep -c '^{"step": 1,' gguf/samples.jsonl)" = 3 ] || { cat gguf/samples.jsonl; fail "samples of a GGUF"; }
grep -qF '"completion": " one two three"' gguf/samples.jsonl || { cat gguf/samples.jsonl; fail "not what was trained"; }

[ "$backend" = cpu ] || exit 0    # what follows is the same on any device

# ---- kills and stops: dropout, shuffling, accumulation, rows held out ---------------------------------------------------

steps=25
for i in $(seq 5); do echo "prompt $i"; done >prompts.txt
for run in whole plain killed stopped; do
    write_config $run $steps 5 | sed "s/eval_steps: 20/eval_steps: 10/; s#^model: .*#model: {path: model}#;
        s/^training:/training:\n  sample_prompts: prompts.txt/" >$run.yaml
done
expect 0 "$QLORA_TRAIN" whole.yaml
for step in 10 20 25; do sed "s/^/$step /" prompts.txt; done | diff - <(steps_and_prompts whole/samples.jsonl) ||
    fail "other rows than expected"
expect 0 "$QLORA_TRAIN" plain.yaml training.sample_prompts=none
same_training whole plain

for from in 6 14; do
    "$QLORA_TRAIN" killed.yaml >out.txt 2>err.txt &
    pid=$!
    wait_for_steps $pid killed $((from + RANDOM % 7)) || { cat err.txt; fail "the run ended by itself"; }
    sleep 0.0$((RANDOM % 10))
    kill -KILL $pid
    wait $pid 2>/dev/null || true
    echo "killed at step $(logged_steps killed); newest: $(newest_checkpoint killed); $(wc -l <killed/samples.jsonl) samples"
    printf '{"step": 5, "prom' >>killed/samples.jsonl
done
expect 0 "$QLORA_TRAIN" killed.yaml
cmp whole/samples.jsonl killed/samples.jsonl || fail "other samples after kills"
same_training whole killed

# Asked to stop while it answers two hundred prompts: the checkpoint of that step is there and none of the step's answers,
# which the same command makes first.
for i in $(seq 200); do echo "question $i"; done >many.txt
stop_while_answering() {
    rm -rf stopped
    "$QLORA_TRAIN" stopped.yaml training.sample_prompts="$PWD/many.txt" >stopped.out 2>stopped.err &
    pid=$!
    until grep -q '"eval_loss"' stopped/metrics.jsonl 2>/dev/null; do
        kill -0 $pid || { cat stopped.err; fail "the run ended by itself"; }
        sleep 0.01
    done
    kill -TERM $pid
    status=0
    wait $pid || status=$?
    [ $status -eq 75 ] || { cat stopped.err; fail "exit status $status"; }
    grep -E "^stopped by SIGTERM after step [0-9]+ of" stopped.out || fail "the stop is not told of"
    answered=$(wc -l <stopped/samples.jsonl)
    [ "$answered" -eq 0 ]
}
# Where this process is held up for as long as the answers take, it asks too late.
stop_while_answering || stop_while_answering || stop_while_answering || fail "$answered answers: the stop waits for all"
[ "$(newest_checkpoint stopped)" = stopped/checkpoint-10 ] || fail "newest checkpoint $(newest_checkpoint stopped)"
# A write that was torn leaves some of the step's rows, under a checkpoint that does not tell of any.
printf '%s\n' '{"step": 10, "prompt": "prompt 1", "completion": "x"}' '{"step": 10, "pro' >stopped/samples.jsonl
expect 0 "$QLORA_TRAIN" stopped.yaml
cmp whole/samples.jsonl stopped/samples.jsonl || fail "other samples after a stop"
same_training whole stopped

# ---- what is refused, before anything is written ------------------------------------------------------------------------

refuses() { # WHAT MESSAGE [ARGUMENT...]: with bad.txt as the prompts.
    local what=$1 message=$2
    shift 2
    expect 2 "$QLORA_TRAIN" whole.yaml training.output_dir="$PWD/bad" training.sample_prompts="$PWD/bad.txt" "$@"
    [ "$(complaints | wc -l)" -eq 1 ] || { cat err.txt; fail "$what: expected one line"; }
    grep -qE -- "$message" err.txt || { cat err.txt; fail "$what: not $message"; }
    [ ! -e bad ] || fail "$what: a run that is refused leaves something"
}
rm -f bad.txt
refuses "no file" 'command line: training\.sample_prompts: .*/bad\.txt: No such file or directory; expected'
: >bad.txt
refuses "an empty file" 'bad\.txt: no prompt; expected one a line'
printf '\n  \n\t\r\n' >bad.txt
refuses "empty lines" 'bad\.txt: no prompt; expected one a line'
printf 'fine\nb\xe4d\n' >bad.txt
refuses "Latin-1" 'bad\.txt:2: not a text; expected prompts in UTF-8'
printf 'fine\nnot \0 fine\n' >bad.txt
refuses "NUL" 'bad\.txt:2: not a text'
printf 'one\ntwo\none\n' >bad.txt
refuses "a prompt twice" 'bad\.txt:3: the prompt of line 1 again; expected each once'
seq 257 >bad.txt
refuses "too many" 'bad\.txt:257: more than 256 prompts'
head -c 2000000 /dev/zero | tr '\0' x >bad.txt
refuses "a file of data" 'bad\.txt: more than 1 MiB'
head -c 512 /dev/zero | tr '\0' x >bad.txt
refuses "a long prompt" 'bad\.txt:1: the prompt has 512 tokens, and the model 512 positions'
expect 2 "$QLORA_TRAIN" plan whole.yaml training.output_dir="$PWD/bad" training.sample_prompts="$PWD/bad.txt"
refuses "no evaluation" 'training\.sample_prompts: nothing would be answered; expected training\.eval_steps above 0' \
    training.eval_steps=0
echo fine >bad.txt
refuses "no tokenizer" 'training\.sample_prompts: .*tokenizer' model.path="$model"
head -c 511 /dev/zero | tr '\0' x >bad.txt
expect 0 "$QLORA_TRAIN" plan whole.yaml training.output_dir="$PWD/bad" training.sample_prompts="$PWD/bad.txt"
