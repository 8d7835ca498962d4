# A signal in the middle of an export or a quantization leaves nothing behind, and ends the program as it ends others.
. "$TESTS/cli/lib.sh"

# A model that takes about a second to quantize: 240 M weights, all of them zero, so that its file takes no space.
layers=12 hidden=1024 ffn=5120 vocab=320
mkdir big
cat >big/config.json <<END
{"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": $hidden, "intermediate_size": $ffn,
 "num_hidden_layers": $layers, "num_attention_heads": 8, "num_key_value_heads": 8, "vocab_size": $vocab,
 "max_position_embeddings": 512, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "hidden_act": "silu",
 "tie_word_embeddings": true, "torch_dtype": "bfloat16"}
END
shapes() {
    local layer kind
    echo "model.embed_tokens $vocab $hidden"
    echo "model.norm $hidden"
    for ((layer = 0; layer < layers; layer++)); do
        for kind in q k v o; do echo "model.layers.$layer.self_attn.${kind}_proj $hidden $hidden"; done
        for kind in gate up; do echo "model.layers.$layer.mlp.${kind}_proj $ffn $hidden"; done
        echo "model.layers.$layer.mlp.down_proj $hidden $ffn"
        for kind in input post_attention; do echo "model.layers.$layer.${kind}_layernorm $hidden"; done
    done
}
header=$(shapes | awk '
    { bytes = 2 * $2 * (NF == 3 ? $3 : 1)
      printf "%s\"%s.weight\":{\"dtype\":\"BF16\",\"shape\":[%s],\"data_offsets\":[%d,%d]}", NR == 1 ? "{" : ",", $1,
             NF == 3 ? $2 "," $3 : $2, at, at + bytes
      at += bytes }
    END { print "}" }')
data=$(shapes | awk '{ sum += 2 * $2 * (NF == 3 ? $3 : 1) } END { print sum }')
length=${#header}
{
    for ((i = 0; i < 8; i++)); do printf '%b' "\\x$(printf '%02x' $((length >> 8 * i & 255)))"; done
    printf '%s' "$header"
} >big/model.safetensors
truncate -s $((8 + length + data)) big/model.safetensors

token_rows 4 10 20 1 >train.jsonl
for name in big small; do
    path=$model
    [ $name = small ] || path=big
    cat >$name.yaml <<END
model: {path: $path}
data: {train: train.jsonl, format: tokens, max_length: 32}
training: {output_dir: run-$name, max_steps: 1}
device: {backend: cpu, threads: 2}
END
    expect 0 "$QLORA_TRAIN" $name.yaml
done

# Bash starts background programs with SIGINT ignored.
start() {
    env --default-signal=INT,HUP "$QLORA_TRAIN" "$@" >out.txt 2>err.txt &
    pid=$!
}

nothing_left() { # WHAT
    [ -z "$(compgen -G 'out.*/' || true)" ] || fail "$1 left behind: $(compgen -G 'out.*/')"
}

# Waits until the temporary directory of the program is there. 1: the program ended before it was seen.
wait_for_directory() { # NAME
    until compgen -G "$1.*/" >/dev/null; do
        kill -0 $pid 2>/dev/null || return 1
        sleep 0.01
    done
}

# stopped SIGNAL STATUS COMMAND...: the signal comes while the temporary directory is there. On a slow machine the
# program may be done by then: the result is whole, and the next try gives it less time.
stopped() {
    local signal=$1 want=$2 delay status hundredths
    shift 2
    for hundredths in $((RANDOM % 10)) 2 1 0 0 0 0 0 0 0; do
        delay=0.0$hundredths status=0
        start "$@"
        wait_for_directory out || true
        sleep $delay
        kill -"$signal" $pid 2>/dev/null || true
        wait $pid || status=$?
        echo "$1: status $status, SIG$signal $delay s after its directory was there"
        nothing_left "$1, SIG$signal:"
        if [ -e out ]; then
            [ -f out/config.json ] || "$QLORA_TRAIN" inspect out >inspected.txt || fail "$1: half a result"
            case $status in 0 | "$want") ;; *) fail "$1: exit status $status after SIG$signal, expected $want" ;; esac
            rm -rf out Modelfile
        else
            [ $status -eq "$want" ] || { cat out.txt err.txt; fail "$1: exit status $status, expected $want"; }
            [ -z "$(complaints | grep -v ': has no tokenizer' || true)" ] || { cat err.txt; fail "$1: an error after SIG$signal"; }
            return
        fi
    done
    fail "$1 was never stopped on its way by SIG$signal"
}

for signal in INT:130 TERM:143 HUP:129; do
    stopped "${signal%:*}" "${signal#*:}" quantize big out
    stopped "${signal%:*}" "${signal#*:}" export run-big/checkpoint-1 --merged out
    stopped "${signal%:*}" "${signal#*:}" export run-big/checkpoint-1 --gguf out
done

# The directories that were made for it go too; one that was there stays.
mkdir there
for place in made/deep there/deep; do
    start quantize big $place/out
    wait_for_directory $place/out || fail "the program ended before it was stopped"
    kill -TERM $pid 2>/dev/null || true
    status=0
    wait $pid || status=$?
    [ $status -eq 143 ] || { cat err.txt; fail "exit status $status, expected 143"; }
done
[ ! -e made ] && [ -d there ] && [ ! -e there/deep ] || fail "left behind: $(find made there)"

# At any moment of a short one: the whole result, or nothing.
for ((i = 0; i < 20; i++)); do
    start export run-small/checkpoint-1 --adapter out
    delay=0.0$((RANDOM % 8))
    sleep $delay
    kill -TERM $pid 2>/dev/null || true
    status=0
    wait $pid || status=$?
    echo "export --adapter: status $status, SIGTERM after $delay s"
    case $status in 0 | 143) ;; *) cat err.txt; fail "exit status $status" ;; esac
    nothing_left "export --adapter"
    if [ -e out ]; then
        cmp out/adapter_model.safetensors run-small/adapter/adapter_model.safetensors || fail "half an adapter"
        rm -r out
    else
        [ $status -ne 0 ] || fail "status 0 without a result"
    fi
done

# What is to be ignored is ignored: nohup.
env --ignore-signal=HUP "$QLORA_TRAIN" quantize big out-nohup >out.txt 2>err.txt &
pid=$!
wait_for_directory out-nohup || true
kill -HUP $pid 2>/dev/null || echo "SIGHUP came too late to be ignored"
wait $pid || fail "a signal that was to be ignored ended the program"
[ -f out-nohup/model.safetensors ] || fail "no result"
