#!/usr/bin/env bash
# rig.sh DIR: in DIR/place what the commands of the documentation find where they are run: a model of 0.4 M parameters by the name of the
# quick start's, with a tokenizer of bytes and a chat template, and the files of a checkout. QLORA_TRAIN, TESTS: as for tests/cli.
. "$TESTS/cli/lib.sh"
mkdir -p "$1/hf" "$1/place/models" "$1/bin"
cp "$model"/{config.json,generation_config.json,model.safetensors} "$1/hf/"
byte_tokenizer "$1/hf"
cat >"$1/hf/tokenizer_config.json" <<'END'
{"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<bos>", "eos_token": "<eos>", "add_bos_token": false,
 "chat_template": "{% for m in messages %}{{ m.role }}: {{ m.content }}{% if m.role == 'assistant' %}{{ eos_token }}{% endif %}\n{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}"}
END
echo '{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."}]}' >"$1/one.jsonl"
cat >"$1/one.yaml" <<'END'
model: {path: hf}
data: {train: one.jsonl}
training: {output_dir: one, max_steps: 1}
END
expect 0 "$QLORA_TRAIN" "$1/one.yaml"
expect 0 "$QLORA_TRAIN" export "$1/one/checkpoint-1" --gguf "$1/place/models/SmolLM2-135M-Instruct.Q4_1.gguf"
rm "$1/place/models/Modelfile"
ln -s "$QLORA_TRAIN" "$1/bin/qlora-train"
for name in configs data scripts; do cp -r "$TESTS/../$name" "$1/place/$name"; done
mkdir "$1/place/build"
ln -s "$QLORA_TRAIN" "$1/place/build/qlora-train"

# DIR/logged: a run that writes every member of every file.
echo "Hello there" >"$1/prompts.txt"
cat >"$1/logged.yaml" <<END
model: {path: hf}
data: {train: $TESTS/../data/demo/train.jsonl, eval: $TESTS/../data/demo/eval.jsonl}
training: {output_dir: logged, max_steps: 4, eval_steps: 2, save_steps: 2, load_best_model_at_end: true,
           sample_prompts: $1/prompts.txt}
END
expect 0 "$QLORA_TRAIN" "$1/logged.yaml"
