# `init` writes a config that plans and trains as it is, asks on a terminal only, and leaves nothing after a mistake.
. "$TESTS/cli/lib.sh"
token_rows 240 20 60 7 >train.jsonl
token_rows 20 20 60 8 >eval.jsonl
nothing_written() { [ -z "$(find . -name '*.yaml*')" ] || fail "left behind: $(find . -name '*.yaml*')"; }

# Mistakes: one line, exit 2, no file.
expect 2 "$QLORA_TRAIN" init </dev/null
grep -q '^init: expected --model PATH, as there is no terminal' err.txt || fail "$(cat err.txt)"
expect 2 "$QLORA_TRAIN" init --model "$model" </dev/null
grep -q '^init: expected --train FILE' err.txt || fail "$(cat err.txt)"
expect 2 "$QLORA_TRAIN" init --model /nowhere --train train.jsonl
expect 2 "$QLORA_TRAIN" init --model "$model" --train /nowhere.jsonl
expect 2 "$QLORA_TRAIN" init --model "$model" --train train.jsonl lora.r=0
grep -q '^command line: lora.r: got "0"' err.txt || fail "$(cat err.txt)"
expect 2 "$QLORA_TRAIN" init --model "$model" --train train.jsonl --eval /nowhere.jsonl
grep -q '^data.eval: /nowhere.jsonl: No such file' err.txt || fail "$(cat err.txt)"
echo '{"prompt": "a", "completion": "b"}' >text.jsonl
expect 2 "$QLORA_TRAIN" init --model "$model" --train text.jsonl
grep -q 'the model has no tokenizer' err.txt || fail "$(cat err.txt)"
nothing_written

# What is written plans and trains; of 240 rows some are held out, and what was set on the command line is in it.
expect 0 "$QLORA_TRAIN" init --model "$model" --train train.jsonl training.max_steps=3 device.threads=2 data.max_length=64
grep -q '^  eval_split: 0.05$' qlora.yaml && grep -q '^  max_steps: 3$' qlora.yaml || { cat qlora.yaml; fail "qlora.yaml"; }
grep -q '^  # Rank of the adapters' qlora.yaml || fail "no comments"
grep -q '^  packing: false$' qlora.yaml && grep -q '^  gradient_accumulation_steps: 1$' qlora.yaml || fail "few rows are packed"
expect 0 "$QLORA_TRAIN" plan qlora.yaml
expect 0 "$QLORA_TRAIN" qlora.yaml
[ "$(logged_steps runs/first)" -eq 3 ] || fail "not three steps"

# Of enough rows, or of text, packed rows make steps enough. Who says otherwise is asked no questions.
token_rows 1000 20 22 7 >many.jsonl
expect 0 "$QLORA_TRAIN" init many.yaml --model "$model" --train many.jsonl
! grep -q 'packing:' many.yaml && grep -q '^  gradient_accumulation_steps: 4$' many.yaml || { cat many.yaml; fail "1000 rows"; }
expect 0 "$QLORA_TRAIN" init own.yaml --model "$model" --train train.jsonl data.packing=true
grep -q '^  packing: true$' own.yaml || { cat own.yaml; fail "data.packing=true"; }

# It is replaced only on demand; where it lies elsewhere, paths are in full.
cp qlora.yaml before.yaml
expect 2 "$QLORA_TRAIN" init --model "$model" --train train.jsonl
cmp before.yaml qlora.yaml || fail "an existing file was changed"
expect 0 "$QLORA_TRAIN" init --force --model "$model" --train train.jsonl --eval eval.jsonl
! grep -q eval_split qlora.yaml || fail "a split beside data.eval"
mkdir sub
expect 0 "$QLORA_TRAIN" init sub/c.yaml --model "$model" --train train.jsonl --output-dir runs/second
expect 0 "$QLORA_TRAIN" plan sub/c.yaml
[ "$(find . -name '*.part*')" = "" ] || fail "a temporary file is left"

# Conversations for a model without a chat template of its own.
mkdir chat
cp "$model/config.json" "$model/model.safetensors" chat/
byte_tokenizer chat
rm -f chat/chat_template.jinja
echo '{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."}]}' >chat.jsonl
expect 2 "$QLORA_TRAIN" init chat.yaml --model chat --train chat.jsonl
grep -q 'expected data.chat_template=FILE.jinja' err.txt || fail "$(cat err.txt)"
echo '{"eos_token": "<eos>"}' >chat/tokenizer_config.json
expect 0 "$QLORA_TRAIN" init chat.yaml --model chat --train chat.jsonl --output-dir runs/chat
grep -q 'no chat template of its own' out.txt || fail "$(cat out.txt)"
grep -q '^  chat_template: ' chat.yaml || { cat chat.yaml; fail "no template was chosen"; }
! grep -q eval_split chat.yaml || fail "a split of one row"
expect 0 "$QLORA_TRAIN" plan chat.yaml

# On a terminal: a wrong answer is asked again; an end of input, or Ctrl-C, leaves nothing.
command -v python3 >/dev/null || exit 0
cat >terminal.py <<'END'
import os, pty, select, sys, time
program, answers, want = sys.argv[1], sys.argv[2].encode().decode("unicode_escape").encode(), int(sys.argv[3])
pid, fd = pty.fork()
if pid == 0:
    os.execv(program, [program, "init", "asked.yaml"])
shown = b""
for answer in answers.split(b"|"):
    end = time.time() + 60
    while not shown.endswith(b": ") and time.time() < end:  # the question
        if select.select([fd], [], [], 1)[0]:
            shown += os.read(fd, 4096)
    shown += b"\n"
    os.write(fd, answer)
try:
    while data := os.read(fd, 4096):
        shown += data
except OSError:
    pass
status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
print(shown.decode())
sys.exit(status != want)
END
expect 0 python3 terminal.py "$QLORA_TRAIN" '\x04' 2
expect 0 python3 terminal.py "$QLORA_TRAIN" '\x03' -2
expect 0 python3 terminal.py "$QLORA_TRAIN" "$model\\n|\\x03" -2
[ ! -e asked.yaml ] || fail "written without answers"
expect 0 python3 terminal.py "$QLORA_TRAIN" "/nowhere\\n|$model\\n|train.jsonl\\n|runs/asked\\n" 0
grep -q '/nowhere' out.txt || fail "$(cat out.txt)"
expect 0 "$QLORA_TRAIN" plan asked.yaml
