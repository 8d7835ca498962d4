#!/usr/bin/env bash
# A run of two processes on emulated GPUs, which add up among themselves by the emulator's NCCL: the numbers of one process,
# the bits of adding up in host memory, which GPU each takes, what is refused, and the end when one of them dies.
#
#   tests/cluster/cuda_ranks.sh build/tests/qlora-train-cudahost
#
# Skipped (exit status 77) without Open MPI's mpirun. Takes about half a minute.
[ $# -eq 1 ] || { echo "usage: $0 PROGRAM" >&2; exit 2; }
QLORA_TRAIN=$(realpath "$1")
TESTS=$(realpath "$(dirname "$0")/..")
export QLORA_TRAIN TESTS
work=$(mktemp -d)
cd "$work" || exit 1
export TMPDIR=$work    # for what the emulated GPUs share
. "$TESTS/cluster/lib.sh"
mpi_needed "ranks on GPUs"
[ -e "$(dirname "$QLORA_TRAIN")/qlora-mpi.so" ] || skip "ranks on GPUs: no qlora-mpi.so; it is built where CMake finds MPI"

trap 'end_all_in "$work"' EXIT

# config RUN STEPS >FILE
config() {
    cat <<END
model: {path: $model}
lora: {r: 4, lora_alpha: 8, lora_dropout: 0.1}
quantization: {compute_dtype: f32}
data: {train: train.jsonl, eval: eval.jsonl, format: tokens, max_length: 32}
training: {output_dir: $1, max_steps: $2, per_device_train_batch_size: 1, gradient_accumulation_steps: 4,
           learning_rate: 5e-3, eval_steps: 3}
device: {backend: cuda, threads: 1}
END
}
token_rows 60 12 32 7 >train.jsonl
token_rows 6 12 32 8 >eval.jsonl
for run in one two hosts; do config $run 3 >$run.yaml; done

# Each process sees the GPUs that are listed for it.
cat >seen_by.sh <<'END'
#!/bin/sh
# seen_by.sh LIST_OF_RANK_0 LIST_OF_RANK_1 COMMAND...
[ "$OMPI_COMM_WORLD_RANK" = 0 ] && CUDA_HOST_DEVICES=$1 || CUDA_HOST_DEVICES=$2
export CUDA_HOST_DEVICES
shift 2
exec "$@"
END
chmod +x seen_by.sh

# refused PATTERN COMMAND...: by rank 1 or 2, before anything is written.
refused() {
    local pattern=$1
    shift
    expect 2 "$@"
    grep -Eq "^rank [12] \([^)]*\): $pattern" err.txt || { cat err.txt; fail "expected: $pattern"; }
    [ ! -e two ] || fail "a run that is refused leaves something"
}

refused "on the GPU of rank 0 .*, GPU-[0-9a-f-]{36}; expected one for each process" \
    ranks 2 ./seen_by.sh 0 0 "$QLORA_TRAIN" two.yaml
refused "device.backend: cuda: process 2 of 3 on this host .* sees 2 GPUs; expected one for each: start 2 processes here" \
    ranks 3 ./seen_by.sh 0,1 0,1 "$QLORA_TRAIN" two.yaml
refused "runs on cpu, but rank 0 on cuda: no NVIDIA GPU here, .*; expected the same device.backend" \
    ranks 2 ./seen_by.sh 0 "" "$QLORA_TRAIN" two.yaml device.backend=auto
echo "ok: two on one GPU, too few GPUs, and a GPU for one of them only are refused"

expect 0 "$QLORA_TRAIN" one.yaml
expect 0 ranks 2 ./seen_by.sh 0,1 0,1 "$QLORA_TRAIN" two.yaml
grep -q "^ranks     2 on 1 host .*; gradients are added up by the devices; " out.txt || { cat out.txt; fail "not by the devices"; }
for key in loss grad_norm eval_loss; do
    for run in one two; do values $run/metrics.jsonl $key >$run.$key; done
    close_values one.$key two.$key "$(wc -l <one.$key)" 1e-6 || fail "$key of one process and of two differ"
done
[ "$(wc -l <one.loss)" -eq 3 ] && [ "$(wc -l <one.eval_loss)" -eq 1 ] || fail "steps are missing"
echo "ok: as one process"

# One GPU is all that a process sees, and NCCL is not there.
CUDA_HOST_NCCL=/nowhere/libnccl.so.2 expect 0 ranks 2 ./seen_by.sh 0 1 "$QLORA_TRAIN" hosts.yaml
grep -q "gradients are added up in host memory: NCCL cannot be loaded: /nowhere/libnccl.so.2: " out.txt ||
    { cat out.txt; fail "it is not said why the devices do not add up"; }
same_run two hosts
echo "ok: the bits of adding up in host memory"

config dies 100000 >dies.yaml
mpirun "${mpirun_options[@]}" -n 2 ./seen_by.sh 0,1 0,1 "$QLORA_TRAIN" dies.yaml </dev/null >dies.out 2>dies.err &
pid=$!
wait_for_steps $pid dies 2 || { cat dies.err; fail "ended by itself"; }
processes=$(pgrep -P $pid)
for process in $processes; do
    if grep -zqx "OMPI_COMM_WORLD_RANK=1" "/proc/$process/environ"; then kill -KILL "$process"; fi
done
# shellcheck disable=SC2086 # two
within 60 "the end of the other rank" ended $processes
within 30 "the end of mpirun" ended $pid
wait $pid && fail "mpirun ended with status 0"
grep -q "^rank 1 ([^)]*" dies.err || { cat dies.err; fail "the rank that was killed is not named"; }
echo "ok: the other one ends, and names the one that was killed"
