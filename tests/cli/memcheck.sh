# Under valgrind's memcheck: training, resuming, exports, generation, tokenizing and a refused config read nothing that was
# not written, touch nothing that is not theirs, and free all they took, also what the end of the program would free.
. "$TESTS/cli/lib.sh"
[ "$backend" = cpu ] || skip "the emulated GPU's stacks are nothing for valgrind"
command -v valgrind >/dev/null || skip "no valgrind"
! grep -q '^QLORA_SANITIZE:.*=\(ON\|THREAD\)$' "$(dirname "$QLORA_TRAIN")/CMakeCache.txt" || skip "the program has a sanitizer"
export OMP_NUM_THREADS=1    # valgrind runs one thread at a time

under_valgrind=(valgrind --quiet --error-exitcode=99 --leak-check=full --show-leak-kinds=all --errors-for-leak-kinds=all
    --suppressions="$TESTS/valgrind.supp" --num-callers=20 "$QLORA_TRAIN")
# checked STATUS ARGUMENT...: the program under valgrind.
checked() { expect "$1" "${under_valgrind[@]}" "${@:2}"; }

checked 0 --version
# It shows a processor without AVX-512, whose instructions it does not know.
if grep -q ' avx2 ' /proc/cpuinfo; then grep -q 'own kernels, AVX2' out.txt || { cat out.txt; fail "other kernels than those of AVX2"; }; fi

cp -r "$model" model && chmod -R u+w model
byte_tokenizer model
echo '{"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<bos>", "eos_token": "<eos>", "add_bos_token": false}' \
    >model/tokenizer_config.json
token_rows 12 10 30 7 >train.jsonl
token_rows 2 10 30 8 >eval.jsonl
write_config run 3 1 | sed 's/threads: 2/threads: 1/; s/^model: .*/model: {path: model}/; s/max_length: 160/max_length: 32/' >config.yaml
"${under_valgrind[@]}" config.yaml >stopped.txt 2>&1 &
pid=$!
wait_for_steps $pid run 1 || { cat stopped.txt; fail "the run ended by itself"; }
kill -USR1 $pid
status=0
wait $pid || status=$?
[ $status -eq 75 ] || { cat stopped.txt; fail "exit status $status after SIGUSR1, expected 75"; }
checked 0 config.yaml
grep -q 'step 3/3' out.txt && ! grep -q 'step 1/3' out.txt || { cat out.txt; fail "the run was not resumed"; }
checked 0 export run/checkpoint-3 --merged merged
checked 0 export run/checkpoint-3 --gguf-lora lora.gguf
[ -s merged/model.safetensors ] && [ -s lora.gguf ] || fail "an export left nothing"
checked 0 generate config.yaml --adapter run/adapter --prompt ab --max-new-tokens 2 data.chat_template=none
echo '{"text": "grüß Gott"}' >text.jsonl
checked 0 tokenize model text.jsonl
grep -q '^{"input_ids":\[' out.txt || fail "no tokens"

printf '{"input_ids":[1,2],"labels":[1,' >train.jsonl
checked 2 config.yaml training.output_dir=other
sed -i 's/r: 16/r: sixteen/' config.yaml
checked 2 config.yaml
