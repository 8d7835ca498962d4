# Whatever is wrong with what the user gives: exit status 2, one line on standard error that names the place, and
# nothing written where the run would have gone.
. "$TESTS/cli/lib.sh"

token_rows 8 10 20 1 >good.jsonl
cp -r "$model" broken && chmod -R u+w broken

config() { # writes config.yaml from sections: MODEL DATA TRAINING [EXTRA]
    cat >config.yaml <<END
model: {path: $1}
data: {$2}
training: {output_dir: run, max_steps: 2$3}
${4:-}
END
}
data='train: good.jsonl, format: tokens'

# refuses NAME PATTERN ARGUMENT...: PATTERN (extended, case-insensitive) must match the error line.
refuses() {
    local name=$1 pattern=$2
    shift 2
    expect 2 timeout 300 "$QLORA_TRAIN" "$@"
    [ "$(complaints | wc -l)" -eq 1 ] || { cat err.txt; fail "$name: expected one line of error"; }
    grep -Eiq -- "$pattern" err.txt || { cat err.txt; fail "$name: the error does not match /$pattern/"; }
    [ -z "$(ls -A run 2>/dev/null)" ] || fail "$name: wrote $(ls -A run)"
    echo "ok: $name: $(cat err.txt)"
}

# The same inputs, not broken, are fine: otherwise every test below could pass for another reason.
config "$model" "$data" ''
expect 0 "$QLORA_TRAIN" plan config.yaml
[ -z "$(ls -A run 2>/dev/null)" ] || fail "plan wrote $(ls -A run)"

# Usage.
refuses "no arguments" 'usage|expected'
refuses "unknown option" 'adaptor.*adapter' eval config.yaml --adaptor x
refuses "configuration not there" 'nowhere\.yaml' nowhere.yaml
truncate -s 1T large    # as a model given for a configuration: refused without a look at it
refuses "configuration too large" 'large: 1099511627776 bytes; expected a YAML config' plan large
rm large
refuses "checkpoint not there" 'nowhere' export nowhere --merged out
refuses "model not there to inspect" 'nowhere' inspect nowhere
refuses "generate without a prompt" 'prompt' generate config.yaml

# Configuration.
config "$model" "$data" ', learning_rat: 1e-4'
refuses "misspelt key" '^config\.yaml:[0-9]+:[0-9]+: .*learning_rat.*did you mean.*learning_rate' config.yaml
config "$model" "$data" '' 'trainig: {seed: 1}'
refuses "misspelt section" '^config\.yaml:[0-9]+:[0-9]+: .*trainig.*training' config.yaml
config "$model" "$data" ', learning_rate: -1'
refuses "value out of range" 'config\.yaml:[0-9]+:[0-9]+: training\.learning_rate: .*expected' config.yaml
config "$model" "$data" ', per_device_train_batch_size: four'
refuses "wrong type" 'config\.yaml:[0-9]+:[0-9]+: training\.per_device_train_batch_size: .*expected' config.yaml
config "$model" "$data" ', save_steps: 10.5'
refuses "fraction for a whole number" 'training\.save_steps: .*expected' config.yaml
config "$model" "$data" ', lr_scheduler_type: cosin'
refuses "unknown choice" 'training\.lr_scheduler_type: .*cosine' config.yaml
config "$model" "$data" ', seed: 1, seed: 2'
refuses "key given twice" 'training\.seed' config.yaml
config "$model" "$data" '' 'lora: {target_modules: [q_proj, z_proj]}'
refuses "unknown target module" 'lora\.target_modules.*z_proj' config.yaml
config "$model" "$data" '' 'lora: [16]'
refuses "list for a section" 'lora' config.yaml
config "$model" "$data" '' 'lora: {r: 16'
refuses "not YAML" 'config\.yaml:[0-9]+' config.yaml
config "$model" "$data" ''
refuses "misspelt override" 'lora\.alpha.*lora_alpha|lora_alpha' config.yaml lora.alph=3
refuses "override out of range" 'lora\.r: .*expected' config.yaml lora.r=0
refuses "override without a value" 'lora\.r' config.yaml lora.r
echo "model: {path: $model}" >config.yaml
refuses "missing key" 'data\.train' config.yaml

# Model.
config nowhere "$data" ''
refuses "model not there" 'nowhere' config.yaml
config broken "$data" ''
truncate -s 400000 broken/model.safetensors
refuses "truncated safetensors" 'model\.safetensors' config.yaml
truncate -s 5 broken/model.safetensors
refuses "safetensors of five bytes" 'model\.safetensors' config.yaml
printf '\377\377\377\377\377\377\377\177{}' >broken/model.safetensors
refuses "safetensors with a huge header" 'model\.safetensors' config.yaml
rm broken/model.safetensors
refuses "model directory without weights" 'broken.*safetensors' config.yaml
cp "$model/model.safetensors" broken/ && chmod u+w broken/model.safetensors
sed -i 's/"hidden_size": 128/"hidden_size": 192/' broken/config.json
refuses "shapes that do not fit config.json" 'broken|expected' config.yaml
sed -i 's/"hidden_size": 192/"hidden_size": "x"/' broken/config.json
refuses "text for a number in config.json" 'config\.json.*hidden_size' config.yaml
echo '{"model_type": "llama", ' >broken/config.json
refuses "config.json cut off" 'config\.json' config.yaml
sed 's/"LlamaForCausalLM"/"GPT2LMHeadModel"/; s/"model_type": "llama"/"model_type": "gpt2"/' "$model/config.json" >broken/config.json
refuses "unsupported architecture" 'gpt2' config.yaml
printf 'GGUF\003\000\000\000\377\377\377\377\377\377\377\177\001\000\000\000\000\000\000\000' >broken.gguf
config broken.gguf "$data" ''
refuses "GGUF with a huge count" 'broken\.gguf' config.yaml
head -c 6 broken.gguf >short.gguf
config short.gguf "$data" ''
refuses "GGUF of six bytes" 'short\.gguf' config.yaml

# Data. The broken line is the third.
bad_row() { # NAME PATTERN LINE
    { head -n 2 good.jsonl; printf '%b\n' "$3"; tail -n 2 good.jsonl; } >bad.jsonl
    config "$model" 'train: bad.jsonl, format: tokens' ''
    refuses "$1" "$2" config.yaml
}
bad_row "invalid UTF-8" 'bad\.jsonl:3' '{"input_ids":[3,4],"note":"\xff\xfe"}'
bad_row "row that is not JSON" 'bad\.jsonl:3' '{"input_ids":[3,4'
bad_row "row that is no object" 'bad\.jsonl:3' '[3,4]'
bad_row "row without input_ids" 'bad\.jsonl:3.*input_ids' '{"ids":[3,4]}'
bad_row "id outside the vocabulary" 'bad\.jsonl:3.*320' '{"input_ids":[3,320,4]}'
bad_row "negative id" 'bad\.jsonl:3' '{"input_ids":[3,-1,4]}'
bad_row "fraction as an id" 'bad\.jsonl:3' '{"input_ids":[3,4.5]}'
bad_row "labels of another length" 'bad\.jsonl:3.*labels' '{"input_ids":[3,4,5],"labels":[3,4]}'
: >empty.jsonl
config "$model" 'train: empty.jsonl, format: tokens' ''
refuses "empty file" 'empty\.jsonl' config.yaml
echo '{"input_ids":[3,4,5],"labels":[-100,-100,-100]}' >untrained.jsonl
config "$model" 'train: untrained.jsonl, format: tokens' ''
refuses "nothing to train" 'untrained\.jsonl|no trained|label' config.yaml
config "$model" 'train: nowhere.jsonl, format: tokens' ''
refuses "data not there" 'nowhere\.jsonl' config.yaml
echo '{"messages":[{"role":"user","content":"x"},{"role":"assistant","content":"y"}]}' >chat.jsonl
config "$model" 'train: chat.jsonl, format: messages' ''
refuses "conversations without a tokenizer" 'tokenizer' config.yaml


# Rows, as they are inspected with a tokenizer; the broken one is the second.
tokenizer=$TESTS/golden/tokenizer/tokenizer.json
refuses_row() { # NAME PATTERN LINE [LINE before]
    printf '%s\n' "${4:-{\"messages\":[{\"role\":\"user\",\"content\":\"x\"\},{\"role\":\"assistant\",\"content\":\"y\"\}]\}}" "$3" >rows.jsonl
    expect 2 timeout 300 "$QLORA_TRAIN" inspect rows.jsonl --model "$tokenizer" --chat-template chatml
    [ "$(complaints | wc -l)" -eq 1 ] || { cat err.txt; fail "$1: expected one line of error"; }
    grep -Eiq -- "rows\.jsonl:2: $2" err.txt || { cat err.txt; fail "$1: the error does not match /$2/"; }
    echo "ok: $1: $(cat err.txt)"
}
answer() { # KEYS of an assistant's message
    printf '{"messages":[{"role":"user","content":"x"},{"role":"assistant",%s}]}' "$1"
}
echo '{"messages":[{"role":"user","content":"x"},{"role":"assistant","content":"y"}]}' >rows.jsonl
truncate -s 1T large.jinja
refuses "template too large" '1099511627776 bytes; expected a chat template' \
    inspect rows.jsonl --model "$tokenizer" --chat-template large.jinja
rm large.jinja
refuses_row "unknown role" 'messages\[0\]: .*role "usr".*expected' '{"messages":[{"role":"usr","content":"x"}]}'
refuses_row "weight between 0 and 1" 'messages\[1\]: weight: .*expected 0, 1' "$(answer '"content":"y","weight":0.5')"
refuses_row "image" 'messages\[0\]: content: part 1 is image_url' \
    '{"messages":[{"role":"user","content":[{"type":"image_url","image_url":"u"}]}]}'
refuses_row "images of a row" 'images: only text' '{"messages":[],"images":["a.png"]}'
refuses_row "arguments that are no JSON" 'messages\[1\]: tool_calls\[0\]: arguments: not valid JSON' \
    "$(answer '"tool_calls":[{"name":"f","arguments":"x=1"}]')"
refuses_row "number beyond 64 bits in a message" 'messages\[1\]: 123456789012345678901: expected' \
    "$(answer '"content":"y","tool_calls":[{"name":"f","arguments":{"n":123456789012345678901}}]')"
refuses_row "preference data" 'chosen: this is preference data' '{"messages":[],"chosen":"a","rejected":"b"}'
refuses_row "verdict on an answer" 'label: this is preference data' '{"prompt":"a","completion":"b","label":true}' \
    '{"prompt":"a","completion":"b"}'
refuses_row "positions of tokens" 'position_ids: not supported' '{"input_ids":[3,4],"position_ids":[0,1]}' \
    '{"input_ids":[3,4,5]}'
refuses_row "hole in the attention" 'attention_mask: has zeros between' '{"input_ids":[3,4,5],"attention_mask":[1,0,1]}' \
    '{"input_ids":[3,4,5]}'

# Kinds of files.
head -c 10 good.jsonl >rows.parquet
config "$model" 'train: rows.parquet' ''
refuses "parquet" 'rows\.parquet: \.parquet is not read; expected JSONL.*pandas\.read_parquet' config.yaml
gzip -c good.jsonl | head -c 100 >cut.jsonl.gz
config "$model" 'train: cut.jsonl.gz' ''
refuses "gzip that is cut off" 'cut\.jsonl\.gz: .*cut off' config.yaml
cp good.jsonl plain.jsonl.zst
config "$model" 'train: plain.jsonl.zst' ''
refuses "file that is not compressed" 'plain\.jsonl\.zst: not valid Zstandard data' config.yaml
gzip -c good.jsonl >good.jsonl.gz
config "$model" 'train: good.jsonl.gz' ''
expect 0 "$QLORA_TRAIN" plan config.yaml

# Templates.
config "$model" "$data, chat_template: chatmll" ''
refuses "misspelt template" 'data\.chat_template: got "chatmll"; expected auto, .*did you mean chatml\?' config.yaml
config "$model" "$data, chat_template: my/own.jinja" ''
refuses "template not there" 'data\.chat_template: .*my/own\.jinja: No such file' config.yaml
config "$model" "$data, chat_template_date: 2024-02-30" ''
refuses "no date" 'data\.chat_template_date: got "2024-02-30"; expected null or a date' config.yaml
config "$model" "$data, eval_split: 1.5" ''
refuses "neither share nor number" 'data\.eval_split: got 1\.5; expected' config.yaml
config "$model" "$data, eval: good.jsonl, eval_split: 2" ''
refuses "eval and eval_split" 'data\.eval_split: data\.eval is given too' config.yaml

# Device.
config "$model" "$data" '' 'device: {memory_limit: 100KiB}'
refuses "memory limit that cannot hold the model" 'memory|KiB|MiB' config.yaml
config "$model" "$data" '' 'device: {memory_limit: lots}'
refuses "memory limit that is no size" 'device\.memory_limit' config.yaml
