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
    expect 2 timeout 60 "$QLORA_TRAIN" "$@"
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

# Device.
config "$model" "$data" '' 'device: {memory_limit: 100KiB}'
refuses "memory limit that cannot hold the model" 'memory|KiB|MiB' config.yaml
config "$model" "$data" '' 'device: {memory_limit: lots}'
refuses "memory limit that is no size" 'device\.memory_limit' config.yaml
