# `import` turns configs of Axolotl and LLaMA-Factory into ones that plan and train: keys, defaults that are not ours, what
# is not carried over, what is refused. The configs have the shape of the examples of both projects.
. "$TESTS/cli/lib.sh"

# values FILE: section and key with the value, without comments.
values_of() { sed -E '/^ *#/d; s/  # .*//; /^$/d' "$1"; }
# same FILE: the values of qlora.yaml are those of standard input.
same() {
    values_of "$1" >got.txt
    cat >want.txt
    diff want.txt got.txt || fail "$1 has other values"
}
# imports FILE: written as qlora.yaml.
imports() {
    rm -f qlora.yaml
    expect 0 "$QLORA_TRAIN" import "$1"
}
# noted TEXT: a warning says it, and the config does too.
noted() {
    grep -qF "warning: $1" err.txt || fail "no warning \"$1\": $(cat err.txt)"
    grep -qF "# - $1" qlora.yaml || fail "not in the config: $1"
}
# refused FILE MESSAGE: exit 2, one line that begins so, nothing written.
refused() {
    rm -f qlora.yaml
    expect 2 "$QLORA_TRAIN" import "$1"
    [ "$(complaints | wc -l)" -eq 1 ] && grep -qF "$2" err.txt || fail "expected \"$2\": $(cat err.txt)"
    [ -z "$(find . -name 'qlora.yaml*')" ] || fail "left behind: $(find . -name 'qlora.yaml*')"
}

mkdir chat data
cp "$model/config.json" "$model/model.safetensors" chat/
byte_tokenizer chat
rm -f chat/chat_template.jinja
echo '{"eos_token": "<eos>"}' >chat/tokenizer_config.json
for i in 1 2 3 4 5 6 7 8; do
    echo "{\"instruction\": \"Say $i\", \"input\": \"\", \"output\": \"It is $i.\"}"
done >data/alpaca.jsonl
for i in 1 2 3 4 5 6 7 8; do
    echo "{\"conversations\": [{\"from\": \"human\", \"value\": \"$i?\"}, {\"from\": \"gpt\", \"value\": \"$i.\"}]}"
done >data/chat.jsonl
echo '{"text": "Some text to go on with, and more of it."}' >data/text.jsonl

# ---- Axolotl ----

cat >axolotl.yml <<'END'
base_model: chat
model_type: AutoModelForCausalLM
tokenizer_type: AutoTokenizer
load_in_8bit: false
load_in_4bit: true
strict: false

datasets:
  - path: data/alpaca.jsonl
    type: alpaca
dataset_prepared_path:
val_set_size: 0.25
output_dir: ./outputs/qlora-out

adapter: qlora
lora_model_dir:
sequence_len: 256
sample_packing: yes
pad_to_sequence_len: true
lora_r: 8
lora_alpha: 16
lora_dropout: 0.05
lora_target_modules:
  - q_proj
  - v_proj
lora_target_linear:
lora_fan_in_fan_out:

wandb_project: mine
gradient_accumulation_steps: 2
micro_batch_size: 2
num_epochs: 4
max_steps: 3
optimizer: adamw_bnb_8bit
lr_scheduler: cosine
learning_rate: "2e-4"
train_on_inputs: false
group_by_length: false
bf16: auto
fp16:
tf32: false
gradient_checkpointing: true
early_stopping_patience:
resume_from_checkpoint:
local_rank:
logging_steps: 1
flash_attention: true
warmup_steps: 10
evals_per_epoch: 4
saves_per_epoch: 1
deepspeed:
weight_decay: 0.01
fsdp:
special_tokens:
  pad_token: "<|end_of_text|>"
END
imports axolotl.yml
same qlora.yaml <<'END'
model:
  path: "chat"
quantization:
  quant_type: nf4
lora:
  r: 8
  lora_alpha: 16
  lora_dropout: 0.05
  target_modules: ["q_proj", "v_proj"]
data:
  train: "data/alpaca.jsonl"
  format: alpaca
  chat_template: alpaca
  max_length: 256
  train_on: completion
  eval_split: 0.25
  packing: true
  group_by_length: false
training:
  output_dir: "./outputs/qlora-out"
  num_train_epochs: 4
  max_steps: 3
  per_device_train_batch_size: 2
  gradient_accumulation_steps: 2
  learning_rate: 0.0002
  lr_scheduler_type: cosine
  warmup_steps: 10
  weight_decay: 0.01
  max_grad_norm: 1
  optim: adamw_8bit
  logging_steps: 1
  eval_steps: 50
END
grep -q '^  r: 8  # lora_r, line 20$' qlora.yaml && grep -q "^  max_grad_norm: 1  # Axolotl's default" qlora.yaml ||
    fail "comments: $(cat qlora.yaml)"
noted 'axolotl.yml:49:1: evals_per_epoch: '
[ "$(complaints | wc -l)" -eq 1 ] || fail "more than one warning: $(cat err.txt)"
sed -n '/^# These change nothing/,$p' qlora.yaml >idle.txt
grep -q wandb_project idle.txt && grep -q flash_attention idle.txt && grep -q special_tokens.pad_token idle.txt ||
    fail "what changes nothing is not listed"
! grep -qE 'deepspeed|fsdp|local_rank' qlora.yaml || fail "keys without a value are listed"
expect 0 "$QLORA_TRAIN" plan qlora.yaml
expect 0 "$QLORA_TRAIN" qlora.yaml
[ "$(logged_steps outputs/qlora-out)" -eq 3 ] || fail "not three steps"

# An existing config is replaced on demand only. Elsewhere, paths are in full.
cp qlora.yaml before.yaml
expect 2 "$QLORA_TRAIN" import axolotl.yml
grep -q '^qlora.yaml: is there already' err.txt && cmp before.yaml qlora.yaml || fail "an existing config"
expect 0 "$QLORA_TRAIN" import axolotl.yml --force
mkdir there
expect 0 "$QLORA_TRAIN" import axolotl.yml --output there/c.yaml
expect 0 "$QLORA_TRAIN" plan there/c.yaml
grep -qF "output_dir: \"$PWD/" there/c.yaml || fail "output_dir in there/: $(grep output_dir there/c.yaml)"

# LoRA over 16 bits, conversations, rows for evaluation, what is not carried over, a share of steps, and the hub.
cat >chat.yml <<'END'
base_model: HuggingFaceTB/SmolLM2-135M
tokenizer_config: other/tokenizer
adapter: lora
lora_r: 16
lora_alpha: 32
lora_target_linear: true
lora_modules_to_save: [embed_tokens, lm_head]
chat_template: gemma
datasets:
  - path: data/chat.jsonl
    type: chat_template
    field_messages: conversations
    message_property_mappings:
      role: from
      content: value
    roles_to_train: [assistant]
    train_on_eos: all
  - path: org/conversations
    type: chat_template
    field_messages: conversations
    split: train[:10%]
test_datasets:
  - path: data/chat.jsonl
    split: test
    type: chat_template
    field_messages: conversations
sequence_len: 2048
micro_batch_size: 1
batch_size: 8
learning_rate: 0.0001
lr_scheduler: cosine_with_min_lr
warmup_steps: 0.1
fp16: true
bf16: false
eval_steps: 20
save_steps: 0.25
early_stopping_patience: 3
load_best_model_at_end: true
use_tensorboard: true
rope_scaling: {type: yarn, factor: 2.0}
special_tokens: {eos_token: "<|im_end|>"}
sequnce_len: 4
output_dir: out
END
imports chat.yml
same qlora.yaml <<'END'
model:
  path: "HuggingFaceTB/SmolLM2-135M"
quantization:
  quant_type: none
lora:
  r: 16
  lora_alpha: 32
  target_modules: all-linear
data:
  train: ["data/chat.jsonl", "org/conversations"]
  eval: "data/chat.jsonl"
  format: sharegpt
  chat_template: auto
  max_length: 2048
  packing: false
training:
  output_dir: "out"
  per_device_train_batch_size: 1
  gradient_accumulation_steps: 8
  learning_rate: 0.0001
  lr_scheduler_type: cosine
  warmup_ratio: 0.1
  max_grad_norm: 1
  optim: adamw_32bit
  eval_steps: 20
  early_stopping_patience: 3
  load_best_model_at_end: true
  report_to: [jsonl, tensorboard]
END
grep -q '^  path: .*put the directory of the downloaded model' qlora.yaml || fail "no word on the hub's model"
grep -q 'model or data are not here' out.txt || fail "$(cat out.txt)"
noted 'chat.yml:2:1: tokenizer_config: '
noted 'chat.yml:7:1: lora_modules_to_save: '
noted 'chat.yml:8:1: chat_template: gemma is the model'
noted 'chat.yml:17:5: train_on_eos: all is not read; call it turn'
noted 'chat.yml:18:5: path: org/conversations is not here'
noted 'chat.yml:21:5: split: train[:10%]: all rows'
noted 'chat.yml:31:1: lr_scheduler: the schedule cosine_with_min_lr is not there; cosine is written'
noted 'chat.yml:33:1: fp16: computed in bf16'
noted 'chat.yml:36:1: save_steps: a share of all steps'
noted 'chat.yml:40:1: rope_scaling: '
noted 'chat.yml:41:18: special_tokens: eos_token is the model'
noted 'chat.yml:42:1: sequnce_len: is not known here; did you mean sequence_len?'
[ "$(complaints | wc -l)" -eq 12 ] || fail "other warnings than these: $(cat err.txt)"

# As little as Axolotl asks for: what it takes where a key is missing is written. Rows of tokens have no type.
token_rows 20 20 60 7 >tokens.jsonl
cat >least.yml <<END
base_model: $model
load_in_4bit: true
adapter: qlora
datasets: [{path: tokens.jsonl}]
lora_r: 8
lora_alpha: 16
micro_batch_size: 2
gradient_accumulation_steps: 1
learning_rate: 0.001
bf16: false
END
imports least.yml
same qlora.yaml <<END
model:
  path: "$model"
quantization:
  quant_type: nf4
  compute_dtype: f32
lora:
  r: 8
  lora_alpha: 16
  target_modules: all-linear
data:
  train: "tokens.jsonl"
  max_length: 512
  packing: false
training:
  output_dir: "./model-out"
  per_device_train_batch_size: 2
  gradient_accumulation_steps: 1
  learning_rate: 0.001
  lr_scheduler_type: cosine
  warmup_ratio: 0.03
  max_grad_norm: 1
  optim: adamw_32bit
END
expect 0 "$QLORA_TRAIN" plan qlora.yaml

# Older keys and rarer ones: files of a directory, a template by the name of a conversation, quantization by its own
# mapping, plugins, an explicit lack of warm-up, an adapter to go on from.
mkdir old
echo '{}' >old/adapter_config.json
cat >older.yml <<'END'
base_model: chat
load_in_4bit: true
adapter: lora
bnb_config_kwargs:
  bnb_4bit_quant_type: fp4
  bnb_4bit_use_double_quant: false
lora_model_dir: old
lora_r: 8
lora_alpha: 16
lora_target_modules: all-linear
peft_use_rslora: true
peft_layers_to_transform: [0, 1]
loraplus_lr_ratio: 16
datasets:
  - path: data
    data_files: [chat.jsonl, more.parquet]
    type: sharegpt
    conversation: chatml
    roles: {user: [human], assistant: [gpt, model]}
chat_template_kwargs: {enable_thinking: false, days: 3}
train_on_inputs: true
shuffle_merged_datasets: false
sequence_len: 64
micro_batch_size: 4
gradient_accumulation_steps: 2
learning_rate: 1e-4
lr_scheduler: constant
warmup_steps: 0
adam_beta2: 0.95
noisy_embedding_alpha: 5
save_strategy: "no"
metric_for_best_model: accuracy
resume_from_checkpoint: runs/checkpoint-3
plugins:
  - axolotl.integrations.liger.LigerPlugin
  - axolotl.integrations.spectrum.SpectrumPlugin
seed: 7
END
imports older.yml
same qlora.yaml <<'END'
model:
  path: "chat"
quantization:
  quant_type: fp4
  double_quant: false
lora:
  r: 8
  lora_alpha: 16
  target_modules: all-linear
  layers_to_transform: [0, 1]
  loraplus_lr_ratio: 16
  use_rslora: true
  init: "old"
data:
  train: ["data/chat.jsonl", "data/more.parquet"]
  format: sharegpt
  chat_template: chatml
  chat_template_kwargs: {"enable_thinking": false, "days": 3}
  max_length: 64
  train_on: all
  packing: false
  shuffle: false
training:
  output_dir: "./model-out"
  per_device_train_batch_size: 4
  gradient_accumulation_steps: 2
  learning_rate: 0.0001
  lr_scheduler_type: constant
  max_grad_norm: 1
  seed: 7
  optim: adamw_32bit
  adam_beta2: 0.95
  neftune_noise_alpha: 5
  save_steps: 0
END
noted 'older.yml:16:30: data_files: data/more.parquet is not here'
noted 'older.yml:16:30: data_files: .parquet is not read'
noted 'older.yml:19:45: roles: model is not known as assistant'
noted 'older.yml:32:1: metric_for_best_model: accuracy'
noted 'older.yml:33:1: resume_from_checkpoint: '
noted 'older.yml:36:5: plugins: axolotl.integrations.spectrum.SpectrumPlugin'
[ "$(complaints | wc -l)" -eq 6 ] || fail "other warnings than these: $(cat err.txt)"

# ---- LLaMA-Factory ----

cat >data/dataset_info.json <<'END'
{"alpaca_demo": {"file_name": "alpaca.jsonl"},
 "chat_demo": {"file_name": "chat.jsonl", "formatting": "sharegpt",
   "columns": {"messages": "conversations", "system": "system", "tools": "tools"}},
 "wiki_demo": {"file_name": "text.jsonl", "columns": {"prompt": "text"}},
 "odd": {"file_name": "alpaca.jsonl", "columns": {"prompt": "question", "response": "output"}, "num_samples": 5},
 "pairs": {"file_name": "alpaca.jsonl", "ranking": true},
 "seen": {"file_name": "chat.jsonl", "formatting": "sharegpt", "columns": {"messages": "messages", "images": "images"}}}
END
cat >sft.yaml <<'END'
### model
model_name_or_path: chat
quantization_bit: 4
quantization_method: bitsandbytes
trust_remote_code: true

### method
stage: sft
do_train: true
finetuning_type: lora
lora_rank: 8
lora_target: all

### dataset
dataset: alpaca_demo
template: alpaca
cutoff_len: 256
max_samples: 1000
overwrite_cache: true
preprocessing_num_workers: 16

### output
output_dir: saves/sft
logging_steps: 1
save_steps: 500
plot_loss: true
overwrite_output_dir: true
report_to: none

### train
per_device_train_batch_size: 1
gradient_accumulation_steps: 2
learning_rate: 1.0e-4
num_train_epochs: 3.0
max_steps: 2
lr_scheduler_type: cosine
warmup_ratio: 0.1
bf16: true
ddp_timeout: 180000000
resume_from_checkpoint: null

### eval
val_size: 0.25
per_device_eval_batch_size: 1
eval_strategy: steps
eval_steps: 2
END
imports sft.yaml
same qlora.yaml <<'END'
model:
  path: "chat"
quantization:
  quant_type: nf4
lora:
  r: 8
  lora_alpha: 16
  target_modules: all-linear
data:
  train: "data/alpaca.jsonl"
  format: alpaca
  chat_template: alpaca
  max_length: 256
  eval_split: 0.25
  packing: false
training:
  output_dir: "saves/sft"
  num_train_epochs: 3
  max_steps: 2
  per_device_train_batch_size: 1
  gradient_accumulation_steps: 2
  learning_rate: 0.0001
  lr_scheduler_type: cosine
  warmup_ratio: 0.1
  max_grad_norm: 1
  optim: adamw_32bit
  logging_steps: 1
  eval_steps: 2
  save_steps: 500
END
noted 'sft.yaml:18:1: max_samples: '
[ "$(complaints | wc -l)" -eq 1 ] || fail "more than one warning: $(cat err.txt)"
expect 0 "$QLORA_TRAIN" qlora.yaml
[ "$(logged_steps saves/sft)" -eq 2 ] || fail "not two steps"

# Conversations, 16 bits, and nearly nothing given.
cat >mini.yaml <<'END'
model_name_or_path: meta-llama/Llama-3.2-1B
lora_target: q_proj, v_proj
dataset: chat_demo
template: qwen
mask_history: true
packing: true
eval_dataset: chat_demo
eval_strategy: epoch
optim: paged_adamw_8bit
END
imports mini.yaml
same qlora.yaml <<'END'
model:
  path: "meta-llama/Llama-3.2-1B"
quantization:
  quant_type: none
lora:
  r: 8
  lora_alpha: 16
  target_modules: ["q_proj", "v_proj"]
data:
  train: "data/chat.jsonl"
  eval: "data/chat.jsonl"
  format: sharegpt
  chat_template: auto
  max_length: 2048
  train_on: last
  packing: true
training:
  output_dir: "saves/out"
  num_train_epochs: 3
  per_device_train_batch_size: 8
  gradient_accumulation_steps: 1
  learning_rate: 5e-5
  lr_scheduler_type: linear
  max_grad_norm: 1
  optim: paged_adamw_8bit
  eval_steps: 50
END
noted 'mini.yaml:4:1: template: qwen is the model'
noted 'mini.yaml:6:1: packing: samples of a row see each other there'
noted 'mini.yaml:8:1: eval_strategy: only a plan tells how many steps'

# Pre-training; data by a directory of their own.
cat >pt.yaml <<'END'
model_name_or_path: chat
stage: pt
do_train: true
finetuning_type: lora
lora_rank: 4
lora_alpha: 4
lora_target: all
dataset: wiki_demo
dataset_dir: ../data
cutoff_len: 64
per_device_train_batch_size: 1
learning_rate: 1.0e-4
output_dir: saves/pt
END
mkdir runs
cp pt.yaml runs/
imports runs/pt.yaml
grep -qF "train: \"$PWD/runs/../data/text.jsonl\"" qlora.yaml || fail "paths beside the file: $(grep train: qlora.yaml)"
values_of qlora.yaml | grep -qx '  format: text' && values_of qlora.yaml | grep -qx '  packing: true' &&
    values_of qlora.yaml | grep -qx '  lora_alpha: 4' || fail "$(cat qlora.yaml)"
! grep -q 'chat_template' qlora.yaml || fail "a template for texts"
expect 0 "$QLORA_TRAIN" plan qlora.yaml

sed -e 's/^dataset: .*/dataset: odd/' sft.yaml >odd.yaml
imports odd.yaml
noted 'odd.yaml:15:1: dataset: odd: the column question is not read; call it instruction in the rows'
noted 'odd.yaml:15:1: dataset: odd: num_samples: all rows'

# ---- what makes another training ----

# with FILE LINE: with.yml is the file with this key, whatever it had before.
with() {
    local key=${2%%:*}
    awk -v key="$key:" '{ if (/^[^ ]/) gone = index($0, key) == 1 } !gone' "$1" >with.yml
    echo "$2" >>with.yml
}
# at KEY: the line where it stands in with.yml.
at() { echo "with.yml:$(grep -n "^$1:" with.yml | cut -d: -f1)"; }
while read -r line; do
    with axolotl.yml "$line"
    refused with.yml "$(at "${line%%:*}"):"
done <<'END'
load_in_8bit: true
rl: dpo
adapter: llama-adapter
gptq: true
optimizer: lion_pytorch
peft_use_dora: true
relora: true
processor_type: AutoProcessor
reward_model: true
END
with axolotl.yml 'adapter:'
refused with.yml 'with.yml: no adapter: full fine-tuning'
grep -v '^lora_r:' axolotl.yml >with.yml
refused with.yml 'with.yml: lora_r is missing'
while read -r line; do
    with sft.yaml "$line"
    refused with.yml "$(at "${line%%:*}"):"
done <<'END'
stage: dpo
finetuning_type: full
quantization_bit: 8
quantization_method: hqq
optim: adafactor
use_galore: true
use_dora: true
image_max_pixels: 262144
do_train: false
dataset: pairs
dataset: seen
dataset: nowhere
END

# ---- what is broken ----

while IFS='|' read -r line message; do
    with axolotl.yml "$line"
    refused with.yml "$(at "${line%%:*}"):$message"
done <<'END'
lora_r: [8, 16]|9: lora_r
lora_r: many|9: lora_r: lora.r: got "many"
lora_r: 0|9: lora_r: lora.r: got "0"
learning_rate: fast|16: learning_rate
sample_packing: perhaps|17: sample_packing: got "perhaps"; expected true or false
optimizer: {name: adamw}|12: optimizer: not a single value
datasets: 3|11: datasets: expected a mapping with path and type
datasets: []|11: datasets: an empty list
datasets: [{type: alpaca}]|12: datasets: path is missing
base_model: {a: 1}|13: base_model: not a single value
val_set_size: -1|15: val_set_size
output_dir: [a]|13: output_dir
special_tokens: x|17: special_tokens: expected a mapping
bf16: [1]|7: bf16
END
{ cat axolotl.yml; echo 'lora_r: 4'; } >with.yml
refused with.yml "with.yml:$(wc -l <with.yml):1: lora_r: the key is there twice"
{ cat axolotl.yml; echo 'seed: &a 4'; } >with.yml
refused with.yml "with.yml:$(wc -l <with.yml):7: anchors (&)"
printf 'base_model: [a\nb: c' >with.yml
refused with.yml 'with.yml:2:'
printf 'base_model: a\n\tx: 1\n' >with.yml
refused with.yml 'with.yml:2:'
: >with.yml
refused with.yml 'with.yml:1:1: the file is empty'
echo '- base_model' >with.yml
refused with.yml 'with.yml:1:1: not a mapping'
echo 'model: x' >with.yml
refused with.yml 'expected the key base_model (Axolotl) or model_name_or_path (LLaMA-Factory)'
cp before.yaml with.yml
refused with.yml 'with.yml: is a config of qlora-train already'
printf 'base_model: a\nmodel_name_or_path: b\n' >with.yml
refused with.yml 'base_model and model_name_or_path are both there'
refused nowhere.yml 'nowhere.yml: '
echo '{"alpaca_demo": 3' >data/dataset_info.json
refused sft.yaml 'data/dataset_info.json:2:'

# The documentation has the tables of the program.
docs=$TESTS/../docs/import.md
expect 0 "$QLORA_TRAIN" import --keys
sed -n '/^## Keys of Axolotl$/,$p' "$docs" | diff out.txt - || fail "docs/import.md is not what import --keys prints"
