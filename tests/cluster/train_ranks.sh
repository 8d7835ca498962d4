#!/usr/bin/env bash
# A training as several processes, on this machine: the numbers of one process, the same bytes for the same number of
# ranks, another number of ranks after a stop, requests to stop and kills of any of them, and what is refused.
#
#   tests/cluster/train_ranks.sh PROGRAM [short]
#
# Without Open MPI's mpirun it is skipped (exit status 77). short: for sanitizers, one of each kind.
[ $# -ge 1 ] || { echo "usage: $0 PROGRAM [short]" >&2; exit 2; }
QLORA_TRAIN=$(realpath "$1")
TESTS=$(realpath "$(dirname "$0")/..")
export QLORA_TRAIN TESTS
short=${2:-}
. "$TESTS/cluster/lib.sh"
mpi_needed train_ranks
[ -e "$(dirname "$QLORA_TRAIN")/qlora-mpi.so" ] || skip "train_ranks: the build has no qlora-mpi.so"
export OMP_NUM_THREADS=1
export OMPI_MCA_orte_execute_quiet=1             # mpirun's own words about a status that is not 0
export OMPI_MCA_odls_base_sigkill_timeout=0      # and it kills the others at once, whatever they have left to do

work=$(mktemp -d)
cd "$work"
pid=
trap 'test_status=$?; [ -z "$pid" ] || kill -KILL $pid 2>/dev/null || true; hosts_down; rm -rf "$work"; exit $test_status' EXIT
host=$(hostname -s)
[ -z "$short" ] || export ASAN_OPTIONS=${ASAN_OPTIONS:+$ASAN_OPTIONS:}detect_leaks=0    # Open MPI frees little of its own

part() {
    echo "$(printf '%3d s' $SECONDS)  $1"
}

# config RUN STEPS ACCUMULATION >FILE
config() {
    cat <<END
model: {path: $model}
lora: {r: 8, lora_alpha: 16, lora_dropout: 0.1}
data: {train: train.jsonl, eval: eval.jsonl, format: tokens, max_length: 160}
training:
  output_dir: $1
  max_steps: $2
  per_device_train_batch_size: 2
  gradient_accumulation_steps: $3
  learning_rate: 2e-3
  lr_scheduler_type: cosine
  warmup_steps: 5
  eval_steps: 10
  save_steps: 15
device: {backend: cpu, threads: 1}
END
}

# train RANKS STATUS CONFIG ARGUMENT...: to its end, in out.txt and err.txt.
train() {
    local n=$1 status=$2
    shift 2
    expect "$status" ranks "$n" timeout -k 5 120 "$QLORA_TRAIN" "$@"
}

# start RANKS CONFIG ARGUMENT...: in the background. Without ranks of its own a process is started by itself.
start() {
    local n=$1
    shift
    if [ "$n" -eq 1 ]; then "$QLORA_TRAIN" "$@" >"$1.out" 2>"$1.err" &
    else mpirun "${mpirun_options[@]}" -n "$n" "$QLORA_TRAIN" "$@" </dev/null >"$1.out" 2>"$1.err" &
    fi
    pid=$!
}

# The processes of the ranks given, of the run that was started last.
processes() { # RANK...
    local process rank
    for process in $(pgrep -P $pid); do
        for rank in "$@"; do
            if grep -zqx "OMPI_COMM_WORLD_RANK=$rank" "/proc/$process/environ" 2>/dev/null; then echo "$process"; fi
        done
    done
}

still_there() { # PROCESS...
    tail -n 5 ./*.yaml.out ./*.yaml.err
    ps -o pid,ppid,stat,wchan:24,etimes,args -p "$pid" $(printf -- '-p %s ' "$@") || true
}

# all_end STATUS WHAT: the run that was started last has ended so, within a minute.
all_end() {
    local status=0 until=$((SECONDS + 60)) processes
    processes=$(pgrep -P $pid || true)
    while kill -0 $pid 2>/dev/null; do
        [ $SECONDS -lt $until ] || { still_there $processes; fail "$2: still there after a minute"; }
        sleep 0.02
    done
    wait $pid || status=$?
    pid=
    [ "$1" = any ] || [ $status -eq "$1" ] || fail "$2: exit status $status, expected $1"
    within 10 "the processes to end" ended $processes
}

# One error was written, once. mpirun's library of events has words of its own.
one_error() { # PATTERN
    [ "$(complaints | grep -Evc '^warning: |^\[warn\] Epoll ')" -eq 1 ] || { cat err.txt; fail "expected one line of error"; }
    grep -Eq "$1" err.txt || { cat err.txt; fail "the error is not: $1"; }
}

same_values() { # KEY RUN RUN
    values "$2/metrics.jsonl" "$1" >values.1
    values "$3/metrics.jsonl" "$1" >values.2
    cmp values.1 values.2 || fail "$1 of $2 and $3 differ"
}

# The numbers of one process, but for the order in which gradients are added up.
near() { # RUN RUN STEPS
    local key
    for key in loss grad_norm; do
        values "$1/metrics.jsonl" $key >values.1
        values "$2/metrics.jsonl" $key >values.2
        close_values values.1 values.2 "$3" "$([ $key = loss ] && echo 1e-6 || echo 1e-5)" || fail "$key of $1 and $2 differ"
    done
    values "$1/metrics.jsonl" eval_loss >values.1
    values "$2/metrics.jsonl" eval_loss >values.2
    close_values values.1 values.2 $(($3 / 10)) 1e-6 || fail "evaluations of $1 and $2 differ"
    for key in step epoch learning_rate tokens label_tokens peak_device_bytes paged_bytes; do same_values $key "$1" "$2"; done
}

# All that two runs wrote, but for their times and names.
same_files() { # RUN RUN
    local state
    same_run "$1" "$2"
    diff -rq -x '*.jsonl' -x run.json -x config.yaml -x trainer_state.json -x checksums.json "$1" "$2" ||
        fail "files of $1 and $2 differ"
    for state in "$1"/checkpoint-*/trainer_state.json; do
        diff <(sed '/elapsed_seconds/d' "$state") <(sed '/elapsed_seconds/d' "$2${state#"$1"}") || fail "$state differs"
    done
}

# In which all but the given rank of two run what the others do: a wrapper that adds arguments.
only_rank() { # RANK ARGUMENT... >FILE
    local rank=$1
    shift
    echo '#!/bin/sh'
    echo "[ \"\$OMPI_COMM_WORLD_RANK\" != $rank ] || exec \"$QLORA_TRAIN\" \"\$@\" $*"
    echo "exec \"$QLORA_TRAIN\" \"\$@\""
}

write_data
steps=40
exact=(quantization.compute_dtype=f32 lora.dtype=f32)

part "the numbers of one process"
for n in 1 2 3 4; do config n$n $steps 4 >n$n.yaml; done
expect 0 "$QLORA_TRAIN" n1.yaml "${exact[@]}"
# The last step of an epoch is shorter, and one of its ranks has less to do.
values n1/metrics.jsonl label_tokens | sort -n | awk 'NR == 1 { least = $1 } END { exit !(least < 0.7 * $1) }' ||
    fail "no step is shorter than the others"
for n in 2 3 4; do
    [ -z "$short" ] || [ $n -eq 2 ] || continue
    train $n 0 n$n.yaml "${exact[@]}"
    [ -z "$(complaints)" ] || { cat err.txt; fail "a complaint"; }
    grep -Eq "^ranks     $n on 1 host \(Open MPI" out.txt || { head -n 40 out.txt; fail "the ranks are not told"; }
    [ "$(grep -c "^model  " out.txt)" -eq 1 ] || fail "not one rank speaks"
    near n1 n$n $steps
    head -n 1 n1/metrics.jsonl | grep -o '"loss": [^,]*' >loss.1
    head -n 1 n$n/metrics.jsonl | grep -o '"loss": [^,]*' >loss.2
    cmp loss.1 loss.2 || fail "the first loss differs"
done

part "what is refused"
cat >refusals <<END
data.train=other.jsonl|other training data
data.eval=other.jsonl|other evaluation data
quantization.compute_dtype=f32|quantization.compute_dtype=f32, but rank 0 has quantization.compute_dtype=auto
lora.r=4|lora.r=4, but rank 0 has lora.r=8
training.eval_steps=7|training.eval_steps=7, but rank 0 has 10
training.early_stopping_patience=7|training.early_stopping_patience=7, but rank 0 has 0
training.load_best_model_at_end=true|training.load_best_model_at_end=1, but rank 0 has 0
data.train=nowhere.jsonl|command line: data.train
device.memory_limit=1MiB|
END
[ -z "$short" ] || sed -i '2,$d' refusals
for word in model.path=x lora.q=1; do
    train 2 2 n2.yaml $word
    one_error "command line: "
done
train 2 2 plan n2.yaml
one_error "plan runs as one process, but 2 were started"
token_rows 100 20 120 9 >other.jsonl
config refused 20 4 >refused.yaml
while IFS='|' read -r arguments pattern; do
    only_rank 1 "$arguments" >wrapper.sh
    expect 2 ranks 2 sh wrapper.sh refused.yaml
    one_error "^rank 1 \($host\): $pattern"
    [ ! -e refused ] || fail "a run that is refused leaves something"
done <refusals
only_rank 0 device.memory_limit=1MiB >wrapper.sh
expect 2 ranks 2 sh wrapper.sh refused.yaml
one_error "MiB"
[ ! -e refused ] || fail "a run that does not fit leaves something"

if [ -z "$short" ]; then
part "fewer micro-batches than ranks"
for n in 1 2; do config idle$n 12 1 >idle$n.yaml; done
expect 0 "$QLORA_TRAIN" idle1.yaml
train 2 0 idle2.yaml
grep -q "^warning: a step of 1 micro-batch leaves 1 of 2 ranks nothing to do: raise training.gradient_accumulation_steps" err.txt ||
    { cat err.txt; fail "nothing is said of ranks that have nothing to do"; }
[ "$(grep -c '^warning: a step' err.txt)" -eq 1 ] || fail "it is said more than once"
same_files idle1 idle2
fi

part "a run that diverges"
config bad 40 4 >bad.yaml
train 2 1 bad.yaml training.learning_rate=10 lora.lora_alpha=1e6 "${exact[@]}"
one_error "^step [0-9]+: 10 steps in a row had a gradient that is zero or not finite"
# Builds that add up in another order may come to gradients of zero instead.
if [ -z "$short" ]; then
    [ "$(grep -c 'the step is skipped' err.txt)" -eq 10 ] || { cat err.txt; fail "not ten steps are said to be skipped"; }
    [ "$(grep -c '"loss": null' bad/metrics.jsonl)" -eq 10 ] || fail "not ten steps were skipped"
    grep -q "rows .* no finite loss" err.txt || { cat err.txt; fail "no cause was looked for"; }
fi
[ ! -e bad/adapter ] || fail "an adapter that computes nothing"

part "copies"
driver=$(dirname "$QLORA_TRAIN")/tests/replicas_driver
[ -x "$driver" ] || driver=$(dirname "$QLORA_TRAIN")/replicas_driver
expect 0 ranks 3 "$driver"
grep -qx "as expected" out.txt || fail "the driver says nothing"
[ -z "$short" ] || { part "done"; exit 0; }

part "the same bytes for the same number of ranks"
config twice 30 4 >twice.yaml
config again 30 4 >again.yaml
train 2 0 twice.yaml
train 2 0 again.yaml
same_files twice again

part "a run that stops early, and keeps its best, also when a rank is killed"
early=(training.early_stopping_patience=6 training.load_best_model_at_end=true training.eval_steps=2 training.save_steps=3
    training.learning_rate=5e-2 training.warmup_steps=0 data.train=few.jsonl)
head -n 4 train.jsonl >few.jsonl
for run in early killed; do config $run 40 4 >$run.yaml; done
train 2 0 early.yaml "${early[@]}"
grep -q "^stopped early after step" out.txt || { tail -n 5 out.txt; fail "it did not stop early"; }
ended_at=$(logged_steps early)
# Where it was done before the signal came it begins anew.
killed_at() { # STEPS
    local tries victim
    for tries in 1 2 3 4 5; do
        start 2 killed.yaml "${early[@]}"
        victim=
        if wait_for_steps $pid killed "$1"; then victim=$(processes 1); fi
        if [ -n "$victim" ] && kill -KILL "$victim"; then
            all_end any "a killed rank"
            [ -e killed/adapter ] || return 0
        else
            all_end any "a run that was done"
        fi
        rm -rf killed
    done
    fail "it always ended by itself ($tries times)"
}
for from in 2 8; do killed_at $from; done
train 2 0 killed.yaml "${early[@]}"
same_run early killed
[ "$(logged_steps killed)" -eq "$ended_at" ] || fail "it stopped elsewhere"
for state in early/checkpoint-*/trainer_state.json; do
    diff <(sed '/elapsed_seconds/d' "$state") <(sed '/elapsed_seconds/d; s#/killed/#/early/#' "killed${state#early}") || fail "$state differs"
done

part "the same bytes on one host and on two"
if hosts_up 2; then
    for run in one two; do config $run 12 4 >$run.yaml; done
    train 4 0 one.yaml
    expect 0 hosts_ranks 2 2 "$QLORA_TRAIN" "$PWD/two.yaml"
    grep -q "^ranks     4 on 2 hosts" out.txt || { grep "^ranks" out.txt; fail "the hosts are not told"; }
    same_files one two
else
    echo "       left out: $hosts_missing"
fi
hosts_down

part "the same bytes of emulated GPUs, which add up by themselves, and of their processes"
emulated=$(dirname "$QLORA_TRAIN")/tests/qlora-train-cudahost
if [ -x "$emulated" ]; then
    export CUDA_HOST_DEVICES=0,1
    for run in devices host; do config $run 2 2 >$run.yaml; done
    expect 0 ranks 2 "$emulated" devices.yaml device.backend=cuda
    grep -q "^ranks .* gradients are added up by the devices" out.txt || { grep "^ranks" out.txt; fail "not by the devices"; }
    CUDA_HOST_NCCL=libnone.so expect 0 ranks 2 "$emulated" host.yaml device.backend=cuda
    grep -q "^ranks .* gradients are added up in host memory" out.txt || { grep "^ranks" out.txt; fail "not in host memory"; }
    same_run devices host
else
    echo "       left out: there is no $emulated"
fi

part "another number of ranks"
config other 40 4 >other.yaml
for n in 1 2 4; do
    start $n other.yaml "${exact[@]}"
    wait_for_steps $pid other $(($(logged_steps other) + 6)) || { cat other.yaml.err; fail "$n ranks: ended by itself"; }
    kill -USR1 $pid    # which mpirun hands on to all
    all_end 75 "SIGUSR1 to $n ranks"
    [ "$(newest_checkpoint other)" = other/checkpoint-"$(logged_steps other)" ] || fail "$n ranks: no checkpoint of the last step"
done
[ "$(logged_steps other)" -lt 40 ] || fail "the signals came too late to stop anything"
expect 0 "$QLORA_TRAIN" other.yaml "${exact[@]}"
near n1 other 40

# Each takes up what the one before has left; at the end are the bytes of the run that nothing happened to.
steps=400
config whole $steps 4 >whole.yaml
train 3 0 whole.yaml
config cut $steps 4 >cut.yaml
begin() {
    start 3 cut.yaml
    wait_for_steps $pid cut $(($(logged_steps cut) + 2 + RANDOM % 5)) || { cat cut.yaml.err; fail "ended by itself"; }
}
stopped() { # WHO SAYS
    all_end 75 "$1"
    logged=$(logged_steps cut)
    [ "$(newest_checkpoint cut)" = cut/checkpoint-"$logged" ] ||
        fail "$1: newest checkpoint $(newest_checkpoint cut), $logged steps logged"
    [ "$(grep -c "^stopped by " cut.yaml.out)" -eq 1 ] || { tail -n 3 cut.yaml.out; fail "$1: not said once"; }
    grep -Eq "^stopped by $2 after step $logged of $steps; .*, [0-9.]+ s after the request" cut.yaml.out ||
        { tail -n 3 cut.yaml.out; fail "$1: not said that it was $2"; }
    [ ! -e cut/adapter ] || fail "$1: a stopped run has its final adapter"
}

part "requests to stop"
while read -r signal to says; do
    begin
    case $to in
        mpirun) kill -"$signal" $pid ;;
        *) kill -"$signal" $(processes ${to//,/ }) ;;
    esac
    stopped "SIG$signal to $to" "$says"
done <<END
TERM 0 SIGTERM
USR1 1 SIGUSR1 to rank 1 \($host\)
INT 2 SIGINT to rank 2 \($host\)
TERM 0,1,2 SIGTERM
USR1 mpirun SIGUSR1
END
# Asked several times, at different ranks.
begin
for k in 2 1 0 2; do kill -TERM $(processes $k) 2>/dev/null || true; done
stopped "SIGTERM to one after another" "SIGTERM( to rank [12] \($host\))?"
# mpirun that is asked to end kills what it has started.
begin
kill -TERM $pid
all_end any "SIGTERM to mpirun"

part "requests to stop while it loads"
for k in 0 1 2; do
    start 3 cut.yaml
    within 10 "three processes" eval "[ \"\$(processes 0 1 2 | wc -l)\" -eq 3 ]"
    sleep 0.$((15 + RANDOM % 40))
    kill -TERM $(processes $k)
    all_end 75 "SIGTERM to rank $k at the start"
    [ "$(grep -c "^stopped by SIGTERM" cut.yaml.out)" -eq 1 ] || { cat cut.yaml.out; fail "not said once"; }
done

part "requests to stop in an evaluation"
for i in $(seq 10); do cat train.jsonl; done >evals.jsonl
long=(data.eval=evals.jsonl training.eval_steps=3)
for run in seen unseen; do config $run 6 4 >$run.yaml; done
train 2 0 seen.yaml "${long[@]}"
for step in 3 6; do
    start 2 unseen.yaml "${long[@]}"
    wait_for_steps $pid unseen $step || { cat unseen.yaml.err; fail "ended by itself"; }
    sleep 0.1
    kill -TERM $(processes 1)
    all_end 75 "SIGTERM in the evaluation after step $step"
    [ "$(newest_checkpoint unseen)" = unseen/checkpoint-$step ] || fail "newest checkpoint $(newest_checkpoint unseen)"
    [ "$(grep -c eval_loss unseen/metrics.jsonl)" -eq $((step / 3 - 1)) ] || fail "the evaluation was done all the same"
done
train 2 0 unseen.yaml "${long[@]}"
same_run seen unseen

part "kills"
# mpirun's own time between asking the others to end and killing them: with none it may be faster than their last words.
export OMPI_MCA_odls_base_sigkill_timeout=1
for k in 0 1 2; do
    begin
    sleep 0.0$((RANDOM % 10))
    victim=$(processes $k)
    kill -KILL $victim
    killed=$SECONDS
    all_end any "SIGKILL of rank $k"
    grep -q "^rank $k ($host" cut.yaml.err || { cat cut.yaml.err; fail "the rank that was killed is not named"; }
    [ ! -e cut/adapter ] || fail "a killed run has its final adapter"
    echo "       rank $k killed after step $(logged_steps cut): all ended within $((SECONDS - killed + 1)) s"
done
export OMPI_MCA_odls_base_sigkill_timeout=0
[ "$(logged_steps cut)" -lt $steps ] || fail "the kills came too late"
train 3 0 cut.yaml
same_run whole cut

part "a full disk"
config full $steps 4 >full.yaml
half=$(($(stat -c %s "$(newest_checkpoint whole)/optimizer.safetensors") / 2048))
cat >full.sh <<END
#!/bin/bash
[ "\$OMPI_COMM_WORLD_RANK" != 0 ] || ulimit -f $half
exec "$QLORA_TRAIN" full.yaml
END
expect 1 ranks 3 timeout -k 5 60 bash full.sh
one_error "optimizer.safetensors: .*([Ff]ile too large|cannot write)"
[ "$(logged_steps full)" -eq 15 ] || fail "$(logged_steps full) steps before the first checkpoint, expected 15"
[ -z "$(newest_checkpoint full)" ] || fail "a checkpoint that is not whole"
train 3 0 full.yaml
same_run whole full
part "done"
