# The job files of configs/ and docs/cluster.md stay in step with the program: they are read, and name keys, files and an
# exit status that there are; an array's task takes its own config.
. "$TESTS/cli/lib.sh"
root=$(realpath "$TESTS/..")
files=("$root"/configs/{slurm.sbatch,kubernetes.yaml,skypilot.yaml} "$root/docs/cluster.md")

# The program's reader of YAML takes each document; what it then misses is a section of its own.
bash -n "$root/configs/slurm.sbatch"
awk '/^---$/ { n++; next } { print >("document-" n + 0 ".yaml") }' "$root/configs/kubernetes.yaml"
cp "$root/configs/skypilot.yaml" document-sky.yaml
for document in document-*.yaml; do
    expect 2 "$QLORA_TRAIN" plan "$document"
    grep -q ': unknown section; ' err.txt || { cat err.txt; fail "$document is not read as YAML"; }
done

# Every section.key=value in them is one that the program takes.
grep -ohE '\b(model|quantization|lora|data|training|device)\.[a-z_0-9]+=[^ `"]+' "${files[@]}" | sort -u >overrides
[ "$(wc -l <overrides)" -ge 2 ] || fail "no override was found"
while IFS= read -r override; do
    "$QLORA_TRAIN" plan "$root/configs/llama-2-7b-guanaco.yaml" "$override" >out.txt 2>err.txt ||
        ! grep -q '^command line: ' err.txt || { cat err.txt; fail "$override"; }
done <overrides

# The files that they name are there.
grep -ohE '\b(configs|scripts|docs|tests)/[a-z0-9_./-]+\.(yaml|sbatch|sh|md)' "${files[@]}" | sort -u >named
while IFS= read -r file; do
    [ -f "$root/$file" ] || fail "$file is named, but not there"
done <named

# The status that asks for another try is the one that the program ends with unless told otherwise.
default=$(sed -nE 's/^\| `preempted_exit_status` \| [^|]* \| `([0-9]+)` .*/\1/p' "$root/docs/config.md")
grep -q "values: \[$default\]" "$root/configs/kubernetes.yaml" || fail "kubernetes.yaml: another status than $default"
grep -q "recover_on_exit_codes: \[$default\]" "$root/configs/skypilot.yaml" || fail "skypilot.yaml: another status"
grep -q "training.preempted_exit_status=$default " "$root/configs/slurm.sbatch" || fail "slurm.sbatch: another status"

# The script's choice of a config. What it would run is shown instead.
printf '#!/bin/sh\necho "run: $*"\n' >program
chmod +x program
# job STATUS OUTPUT VARIABLE... -- ARGUMENT...
job() {
    local want=$1 output=$2 variables=(SLURM_JOB_ID=7 QLORA_TRAIN=./program)
    shift 2
    while [ "$1" != -- ]; do
        variables+=("$1")
        shift
    done
    shift
    expect "$want" env -u SLURM_ARRAY_TASK_ID -u SLURM_NTASKS -u SLURM_JOB_NUM_NODES "${variables[@]}" bash "$root/configs/slurm.sbatch" "$@"
    grep -qF -- "$output" out.txt err.txt || { cat out.txt err.txt; fail "expected: $output"; }
}
task=(SLURM_ARRAY_JOB_ID=5)
job 0 "run: a.yaml training.preempted_exit_status=75" -- a.yaml
job 0 "run: a.yaml lora.r=8 training.preempted_exit_status=75" -- a.yaml lora.r=8
job 0 "run: b.yaml data.train=c.yaml training.preempted_exit_status=75" "${task[@]}" SLURM_ARRAY_TASK_ID=2 -- \
    a.yaml b.yaml data.train=c.yaml
job 2 "task 3 of the array, but configs 1 to 2" "${task[@]}" SLURM_ARRAY_TASK_ID=3 -- a.yaml b.yaml
job 2 "task 0 of the array, but configs 1 to 2" "${task[@]}" SLURM_ARRAY_TASK_ID=0 -- a.yaml b.yaml
job 2 "2 configs are an array; expected --array=1-2" -- a.yaml b.yaml
job 2 "no config" -- lora.r=8
job 2 "no config" --
