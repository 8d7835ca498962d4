# What the command line tests share. Sourced; the working directory is the test's own and empty.
set -euo pipefail
export OMP_NUM_THREADS=2    # on any machine
export OMP_WAIT_POLICY=passive    # threads that spin starve each other on a busy machine

model=$TESTS/golden/tiny/llama-mha
backend=${QLORA_TEST_BACKEND:-cpu}    # cuda: the same on a GPU
[ -f "$model/model.safetensors" ] || { echo "FAIL: $model/model.safetensors is not there"; exit 1; }

# What a test draws at random follows from one number, which a test that failed shows: given again, it draws the same.
seed=${QLORA_TEST_SEED:-$RANDOM}
RANDOM=$seed
echo "QLORA_TEST_SEED=$seed"

fail() {
    echo "FAIL: $*"
    exit 1
}

skip() {
    echo "$*"
    exit 77
}

# expect STATUS COMMAND...: runs it with output in out.txt and err.txt.
expect() {
    local want=$1 got=0
    shift
    "$@" >out.txt 2>err.txt || got=$?
    [ "$got" -eq "$want" ] || { tail -n 30 out.txt err.txt; fail "exit status $got, expected $want: $*"; }
}

# What is in err.txt but for the warning of what keeps this processor from its best products: it is told of the machine,
# whatever the command.
complaints() {
    grep -v '^warning: this processor has ' err.txt || true
}

# token_rows ROWS SHORTEST LONGEST SEED: JSONL of rows that have something to learn (each id follows from the one
# before it, with some noise), the first quarter of each untrained. Ids from 3 to 319.
token_rows() {
    awk -v rows="$1" -v lo="$2" -v hi="$3" -v seed="$4" '
        function next_random(n) { state = (state * 1103 + 12345) % 1048576; return int(state / 8) % n }
        BEGIN {
            state = seed
            for (r = 0; r < rows; r++) {
                len = lo + next_random(hi - lo + 1)
                id = next_random(317)
                ids = ""; labels = ""
                for (t = 0; t < len; t++) {
                    id = next_random(5) ? (id * 3 + 7) % 317 : next_random(317)
                    sep = t ? "," : ""
                    ids = ids sep (id + 3)
                    labels = labels sep (t < len / 4 ? -100 : id + 3)
                }
                printf "{\"input_ids\":[%s],\"labels\":[%s]}\n", ids, labels
            }
        }'
}

# A tokenizer of single bytes for the tiny model: byte b is id b + 3. Bytes as byte-level BPE writes them: the printable
# ones as they are, the others from U+0100 on, in order.
byte_tokenizer() { # MODEL_DIR
    awk 'function entry(byte, code) { return sprintf(", \"\\u%04x\": %d", code, byte + 3) }
        BEGIN {
            print "{\"version\": \"1.0\", \"truncation\": null, \"padding\": null, \"normalizer\": null, \"post_processor\": null,"
            print "\"pre_tokenizer\": {\"type\": \"ByteLevel\", \"add_prefix_space\": false, \"trim_offsets\": true, \"use_regex\": true},"
            print "\"decoder\": {\"type\": \"ByteLevel\", \"add_prefix_space\": true, \"trim_offsets\": true, \"use_regex\": true},"
            printf "\"added_tokens\": ["
            split("<pad> <bos> <eos>", special, " ")
            for (i = 1; i <= 3; i++)
                printf "%s{\"id\": %d, \"content\": \"%s\", \"single_word\": false, \"lstrip\": false, \"rstrip\": false, " \
                       "\"normalized\": false, \"special\": true}", (i > 1 ? ", " : ""), i - 1, special[i]
            printf "],\n\"model\": {\"type\": \"BPE\", \"dropout\": null, \"unk_token\": null, \"merges\": [], "
            printf "\"vocab\": {\"<pad>\": 0, \"<bos>\": 1, \"<eos>\": 2"
            for (b = 0; b < 256; b++)
                printf "%s", entry(b, (b > 32 && b < 127) || (b > 160 && b != 173) ? b : 256 + others++)
            print "}}}"
        }' >"$1/tokenizer.json"
}

# write_config OUTPUT_DIR STEPS SAVE_STEPS >FILE: a run of the tiny model that has everything which could be lost on
# the way: dropout, shuffling, packing, accumulation, a schedule, evaluation.
write_config() {
    cat <<END
model: {path: $model}
lora: {r: 16, lora_alpha: 32, lora_dropout: 0.1}
data:
  train: train.jsonl
  eval: eval.jsonl
  format: tokens
  max_length: 160
  packing: true
training:
  output_dir: $1
  max_steps: $2
  per_device_train_batch_size: 4
  gradient_accumulation_steps: 2
  learning_rate: 2e-3
  lr_scheduler_type: cosine
  warmup_steps: 5
  eval_steps: 20
  save_steps: $3
device: {backend: $backend, threads: 2}
END
}

write_data() {
    token_rows 400 20 120 7 >train.jsonl
    token_rows 20 20 120 8 >eval.jsonl
}

# The metrics without what may differ between two runs of the same steps.
timeless() {
    sed -E 's/, *"(tokens_per_second|elapsed_seconds)": *[^,}]*//g; s/"(tokens_per_second|elapsed_seconds)": *[^,}]*, *//g' "$1"
}

# Both runs ended with the same adapter, byte for byte, and logged the same numbers.
same_run() { # RUN_DIR RUN_DIR
    cmp "$1/adapter/adapter_model.safetensors" "$2/adapter/adapter_model.safetensors" || fail "the adapters differ"
    [ -s "$1/metrics.jsonl" ] || fail "$1/metrics.jsonl is empty"
    timeless "$1/metrics.jsonl" >metrics.1
    timeless "$2/metrics.jsonl" >metrics.2
    diff metrics.1 metrics.2 >metrics.diff || { head -n 10 metrics.diff; fail "the metrics differ"; }
}

logged_steps() { # RUN_DIR
    if [ -f "$1/metrics.jsonl" ]; then grep -c '"loss"' "$1/metrics.jsonl" || true; else echo 0; fi
}

# Waits until a run has logged that many steps. 1: the process ended before.
wait_for_steps() { # PID RUN_DIR STEPS
    while [ "$(logged_steps "$2")" -lt "$3" ]; do
        kill -0 "$1" 2>/dev/null || return 1
        sleep 0.02
    done
}

newest_checkpoint() { # RUN_DIR
    find "$1" -maxdepth 1 -type d -name 'checkpoint-*' | grep -E 'checkpoint-[0-9]+$' | sort -V | tail -n 1
}

# Flips the lowest bit of the byte in the middle of a file.
flip_bit() {
    local at byte
    at=$(($(stat -c %s "$1") / 2))
    byte=$(od -An -tu1 -j "$at" -N 1 "$1")
    printf '%b' "\\x$(printf '%02x' $((byte ^ 1)))" | dd of="$1" bs=1 seek="$at" conv=notrunc status=none
}

# values FILE KEY: the numbers of a key in a JSONL file, one a line.
values() {
    sed -nE "s/.*\"$2\": *([-+0-9.eE]+).*/\1/p" "$1"
}

# Two lists of numbers agree to a relative tolerance; they must be as long as expected.
close_values() { # FILE FILE COUNT TOLERANCE
    paste "$1" "$2" | awk -v n="$3" -v tol="$4" '
        NF != 2 { print "lists of different length"; bad = 1; exit 1 }
        { d = $1 - $2; if (d < 0) d = -d; s = $1 < 0 ? -$1 : $1; if (!(d <= tol * s)) { print "line " NR ": " $1 " and " $2; bad = 1 } }
        END { if (NR != n) { print NR " values, expected " n; bad = 1 } exit bad }'
}
