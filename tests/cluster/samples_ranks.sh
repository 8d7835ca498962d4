#!/usr/bin/env bash
# training.sample_prompts in a run of several processes, on this machine: each answers some of the prompts, and the file is
# the one that a single process writes; a stop while they answer; prompts that are not the same for all.
#
#   tests/cluster/samples_ranks.sh PROGRAM
#
# Without Open MPI's mpirun it is skipped (exit status 77).
[ $# -eq 1 ] || { echo "usage: $0 PROGRAM" >&2; exit 2; }
QLORA_TRAIN=$(realpath "$1")
TESTS=$(realpath "$(dirname "$0")/..")
export QLORA_TRAIN TESTS
. "$TESTS/cluster/lib.sh"
mpi_needed samples_ranks
[ -e "$(dirname "$QLORA_TRAIN")/qlora-mpi.so" ] || skip "samples_ranks: the build has no qlora-mpi.so"
export OMP_NUM_THREADS=1
export OMPI_MCA_orte_execute_quiet=1

work=$(mktemp -d)
cd "$work"
trap 'test_status=$?; jobs -p | xargs -r kill -KILL 2>/dev/null || true; rm -rf "$work"; exit $test_status' EXIT

cp -r "$model" model && chmod -R u+w model
byte_tokenizer model
token_rows 60 20 60 7 >train.jsonl
token_rows 4 20 60 8 >eval.jsonl
for i in $(seq 7); do echo "prompt $i"; done >prompts.txt
cat >config.yaml <<END
model: {path: model}
lora: {r: 8, lora_alpha: 16, lora_dropout: 0.1}
data: {train: train.jsonl, eval: eval.jsonl, format: tokens, max_length: 64}
training: {output_dir: run, max_steps: 12, per_device_train_batch_size: 2, gradient_accumulation_steps: 4,
           learning_rate: 2e-3, eval_steps: 5, save_steps: 0, sample_prompts: prompts.txt}
device: {backend: cpu, threads: 1}
END

# The model as it is, so that all have the same to say: one, as many as there are prompts, and more.
for n in 1 2 3 8; do
    expect 0 ranks $n "$QLORA_TRAIN" config.yaml training.output_dir="$PWD/same$n" training.learning_rate=0 training.max_steps=2 \
        training.eval_steps=2
    cmp same1/samples.jsonl same$n/samples.jsonl || fail "other answers of $n ranks"
done
[ "$(wc -l <same1/samples.jsonl)" -eq 7 ] || fail "$(wc -l <same1/samples.jsonl) answers"

expect 0 ranks 2 "$QLORA_TRAIN" config.yaml training.output_dir="$PWD/whole"
expect 0 ranks 2 "$QLORA_TRAIN" config.yaml training.output_dir="$PWD/plain" training.sample_prompts=none
[ "$(wc -l <whole/samples.jsonl)" -eq 21 ] || fail "$(wc -l <whole/samples.jsonl) answers"
cmp whole/adapter/adapter_model.safetensors plain/adapter/adapter_model.safetensors || fail "answers change the training"

# Rank 1 is asked to stop while both answer: none of the step's answers is there before the run goes on.
for i in $(seq 200); do echo "question $i"; done >many.txt
stop_while_answering() {
    rm -rf stopped
    mpirun "${mpirun_options[@]}" -n 2 "$QLORA_TRAIN" config.yaml training.output_dir="$PWD/stopped" \
        training.sample_prompts="$PWD/many.txt" </dev/null >stopped.out 2>stopped.err &
    pid=$!
    until grep -q '"eval_loss"' stopped/metrics.jsonl 2>/dev/null; do
        kill -0 $pid || { cat stopped.err; fail "the run ended by itself"; }
        sleep 0.01
    done
    for process in $(pgrep -P $pid); do
        if grep -zqx OMPI_COMM_WORLD_RANK=1 "/proc/$process/environ" 2>/dev/null; then kill -TERM "$process"; fi
    done
    status=0
    wait $pid || status=$?
    [ $status -eq 75 ] || { cat stopped.out stopped.err; fail "exit status $status"; }
    grep -E "^stopped by SIGTERM to rank 1 .* after step [0-9]+ of" stopped.out || { cat stopped.out; fail "who was asked"; }
    answered=$(wc -l <stopped/samples.jsonl)
    [ "$answered" -eq 0 ]
}
stop_while_answering || stop_while_answering || stop_while_answering || fail "$answered answers: the stop waits for all"
expect 0 ranks 2 "$QLORA_TRAIN" config.yaml training.output_dir="$PWD/stopped"
cmp whole/samples.jsonl stopped/samples.jsonl || fail "other answers after a stop"
cmp whole/adapter/adapter_model.safetensors stopped/adapter/adapter_model.safetensors || fail "the adapters differ"

# shellcheck disable=SC2016
printf '#!/bin/sh\n[ "$OMPI_COMM_WORLD_RANK" != 1 ] || set -- "$@" training.sample_prompts="%s"\nexec "$QLORA_TRAIN" "$@"\n' \
    "$PWD/many.txt" >wrapper.sh
expect 2 ranks 2 sh wrapper.sh config.yaml training.output_dir="$PWD/refused"
grep -q "other prompts (training.sample_prompts) than rank 0; expected the same files for all ranks" err.txt || { cat err.txt; fail "the error"; }
[ ! -e refused ] || fail "a run that is refused leaves something"
echo "passed"
