#!/usr/bin/env bash
# Everything that only a GPU can say, in one call of under nine minutes: builds for the card that is here, tests the
# CUDA backend on it (op table, goldens, paging, compute-sanitizer), trains short synthetic runs, and measures.
#
#   scripts/gpu_check.sh [OUT_DIR]      (docs/gpu)
#
# Writes OUT_DIR/gpu_check.txt (what is printed) and OUT_DIR/gpu_check.json. Ends with "N passed, N failed, N skipped";
# exit status 1 if anything failed, 2 where there is no GPU or no toolkit. A stage that fails or runs out of time does not
# stop the others, and one that cannot end in the time that is left is named and not begun; what matters most comes first:
# QLORA_GPU_SECONDS=200 is enough for the build, the op table, the goldens and Llama-3-8B with and without recomputation
# and dropout.
#
# QLORA_GPU_SECONDS   limit of the whole (530)
# QLORA_GPU_BUILD     build directory (build-gpu)
# QLORA_DEBS          for a machine without a network: a directory of Debian packages that `scripts/deps.sh --download DIR`
#                     filled elsewhere (gpu-debs, if it is there; git ignores it)
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
out=$(realpath -m "${1:-docs/gpu}")
build=${QLORA_GPU_BUILD:-build-gpu}
debs=${QLORA_DEBS:-gpu-debs}
deadline=$((SECONDS + ${QLORA_GPU_SECONDS:-530}))
program=$build/qlora-train
tiny=tests/golden/tiny/llama-mha
mkdir -p "$out" && work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT

# ---- what is here ----

no_gpu() {
    echo "gpu_check.sh: $*" >&2
    exit 2
}

command -v nvidia-smi >/dev/null || no_gpu "no GPU here (no nvidia-smi); run this on a machine with an NVIDIA GPU"
gpu=$(timeout 60 nvidia-smi --query-gpu=name,driver_version,memory.total,compute_cap --format=csv,noheader) ||
    no_gpu "no GPU here (nvidia-smi: $gpu); run this on a machine with an NVIDIA GPU"
gpu=${gpu%%$'\n'*}
arch=$(sed -E 's/.*, *([0-9]+)\.([0-9]+)$/\1\2/' <<<"$gpu")
case $arch in *[!0-9]* | '') no_gpu "cannot read the compute capability from: $gpu" ;; esac
[ "$arch" -ge 80 ] || no_gpu "$gpu: compute capability 8.0 or newer is needed"

for dir in "${CUDA_HOME:-}" /usr/local/cuda /usr/local/cuda-*; do
    [ -x "$dir/bin/nvcc" ] && PATH=$PATH:$dir/bin && break
done
nvcc=$(command -v nvcc) || no_gpu "no CUDA toolkit here: nvcc is neither on the PATH nor in /usr/local/cuda/bin"
toolkit=$(dirname "$(dirname "$(realpath "$nvcc")")")

# Toolkits come in parts, also as Python packages (PyTorch's wheels bring nvidia/*/include and lib): cuBLASLt's header may be
# anywhere near, and its library, which must have the header's major version, somewhere else.
python_packages() {
    python3 -c 'import site, sysconfig; print(sysconfig.get_path("purelib"), site.getusersitepackages(),
        *site.getsitepackages(), sep="\n")' 2>/dev/null
}
mapfile -t places < <({ echo "$toolkit"; printf '%s\n' /usr/local /usr/lib /usr/include /opt; python_packages; } | sort -u |
    while read -r place; do [ ! -d "$place" ] || echo "$place"; done)
places=("$toolkit" "${places[@]}")
find_file() { # NAME: its path
    find "${places[@]}" -name "$1" -not -path '*/stubs/*' -print -quit 2>/dev/null
}
header=$(find_file cublasLt.h)
cublas_header=${header%/*}
cublas_major=$(sed -nE 's/^#define CUBLAS_VER_MAJOR ([0-9]+).*/\1/p' "$cublas_header/cublas_api.h" 2>/dev/null || true)
cublas_library=$(find_file "libcublasLt.so.${cublas_major:-[0-9]*}")
# Behind what was there: libraries that a user chose come first.
[ -z "$cublas_library" ] || export LD_LIBRARY_PATH=${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}${cublas_library%/*}
for dir in "$toolkit"/compute-sanitizer "$toolkit"/extras/compute-sanitizer; do
    [ -x "$dir/compute-sanitizer" ] && PATH=$PATH:$dir
done

# ---- stages ----

json_string() { # TEXT: as JSON
    printf '"%s"' "$(tr -d '\000-\037' <<<"$1" | sed 's/[\\"]/\\&/g')"
}

# stage NAME NEEDS SECONDS COMMAND...: runs it within so many seconds and what is left of the whole. It is not begun where
# less is left than it needs.
stage() {
    local name=$1 needs=$2 limit=$3 left=$((deadline - SECONDS)) started=$SECONDS status=0 result=passed
    shift 3
    printf '\n=== %s ===\n' "$name"
    [ "$left" -lt "$limit" ] && limit=$left
    if [ "$left" -lt "$needs" ]; then
        status=75
        echo "not begun: it needs some $needs s, and $((left > 0 ? left : 0)) s are left"
    else
        run_within "$limit" "$@" || status=$?
    fi
    case $status in
        0) ;;
        75) result="not begun" ;;
        77) result=skipped ;;
        124 | 137 | 143) result="out of time" ;;
        *) result=failed ;;
    esac
    echo "--- $name: $result ($((SECONDS - started)) s)"
    printf '%s{"stage": %s, "result": "%s", "seconds": %d}' "$([ -s "$work/stages" ] && echo ', ')" \
        "$(json_string "$name")" "$result" $((SECONDS - started)) >>"$work/stages"
}

# In a session of its own, with the functions below exported to it: tests set time limits too, and so make process
# groups that a signal to the first one would not reach.
run_within() { # SECONDS COMMAND...
    local end=$((SECONDS + $1)) pid status=0
    shift
    setsid bash -c 'set -euo pipefail; "$@"' stage "$@" 2>&1 &
    pid=$!
    while kill -0 $pid 2>/dev/null && [ $SECONDS -lt $end ]; do sleep 0.1; done
    if kill -0 $pid 2>/dev/null; then
        end_session TERM $pid
        sleep 1
    fi
    end_session KILL $pid
    wait $pid || status=$?
    return $status
}

end_session() { # SIGNAL ID
    pkill "-$1" -s "$2" || kill "-$1" -- "-$2" 2>/dev/null || true
}

# bench NAME ARGUMENT...: also keeps what it measured for the JSON report.
bench() {
    local name=$1
    shift
    "$program" bench "$@" --backend cuda --json "$work/bench-$name.json"
}

build_for_the_card() {
    cmake -S . -B "$build" -DCMAKE_BUILD_TYPE=Release -DQLORA_CUDA=ON -DQLORA_TESTS=ON -DCMAKE_CUDA_COMPILER="$nvcc" \
        -DCUDAToolkit_ROOT="$toolkit" -DCMAKE_CUDA_ARCHITECTURES="$arch-real" \
        ${cublas_header:+-DCUBLASLT_INCLUDE_DIR="$cublas_header"} \
        ${cublas_library:+-DCUBLASLT_LIBRARY="$cublas_library"} >"$work/cmake.log" ||
        { cat "$work/cmake.log"; return 1; }
    cmake --build "$build" -j "$(nproc)" --target qlora-train test_cuda_ops_device test_cuda_join_device \
        >"$work/build.log" 2>&1 ||
        { grep -E -B 2 -A 10 'error|Error' "$work/build.log" | head -n 80; return 1; }
    "$program" --version
}

op_table() {
    "$build/tests/test_cuda_ops_device" 2>&1 | tee "$work/ops.log"
    ! grep -q SKIPPED "$work/ops.log"    # it finds no GPU: not passed here
}

# Takes two GPUs or more, and NCCL.
sums_of_ranks() {
    "$build/tests/test_cuda_join_device" 2>&1 | tee "$work/join.log"
    ! grep -q SKIPPED "$work/join.log" || return 77
}

command_line() {
    local tests=(cuda accumulation optim8 paging resume)
    QLORA_TEST_BACKEND=cuda tests/cli/run.sh "$program" "${tests[@]}" | tee "$work/cli.log"
    grep -q "^${#tests[@]} passed, 0 failed" "$work/cli.log"    # skipped is not passed here
}

# An error of the sanitizer, or a run that fails, is exit status 1; 77 where the machine does not let it near the GPU.
sanitize() { # TOOL COMMAND...
    local tool=$1 status=0
    shift
    command -v compute-sanitizer >/dev/null || { echo "no compute-sanitizer in $toolkit"; return 77; }
    compute-sanitizer --tool "$tool" --error-exitcode 1 "$@" >"$work/sanitizer.log" 2>&1 || status=$?
    # What it found comes before its last line, which is the sum.
    grep -E '^=========' "$work/sanitizer.log" | head -n 60
    tail -n 3 "$work/sanitizer.log"
    ! grep -q "Device not supported" "$work/sanitizer.log" || return 77
    return $status
}

# Tells of the races that it finds, by kernel and line, and does not fail for them: the tool does not know every order that
# a kernel may count on, so what it reports is to be read. A program that fails does, and a tool that ends without a sum.
races() {
    local status=0
    command -v compute-sanitizer >/dev/null || { echo "no compute-sanitizer in $toolkit"; return 77; }
    compute-sanitizer --tool racecheck --racecheck-report analysis --show-backtrace no "$@" >"$work/racecheck.log" 2>&1 ||
        status=$?
    ! grep -q "Device not supported" "$work/racecheck.log" || return 77
    [ $status -eq 0 ] || { tail -n 30 "$work/racecheck.log"; return $status; }
    grep -q 'RACECHECK SUMMARY' "$work/racecheck.log" || { echo "racecheck wrote no summary"; return 1; }
    scripts/races.awk "$work/racecheck.log" >"$work/races"
    cat "$work/races"
}

export -f build_for_the_card op_table sums_of_ranks command_line sanitize races bench
export build work arch nvcc toolkit cublas_header cublas_library program tiny PATH

# ---- libraries ----

modules=(yaml-0.1 jansson libpcre2-8 libutf8proc sentencepiece libxxhash zlib libzstd cmocka)
missing_libraries() {
    command -v pkg-config >/dev/null || { echo pkg-config; return; }
    local m
    for m in "${modules[@]}"; do pkg-config --exists "$m" || printf '%s ' "$m"; done
}

# Packages without installing them: unpacked, and found there by pkg-config, the linker and the loader.
use_debs() { # DIR
    local root=$PWD/$build/debs deb
    mkdir -p "$root"
    for deb in "$1"/*.deb; do dpkg -x "$deb" "$root" || return; done
    export PKG_CONFIG_SYSROOT_DIR=$root PKG_CONFIG_LIBDIR LD_LIBRARY_PATH LIBRARY_PATH
    PKG_CONFIG_LIBDIR=$(printf '%s:' "$root"/usr/lib/*/pkgconfig)
    LIBRARY_PATH=$(printf '%s:' "$root"/usr/lib/*-linux-gnu)
    LD_LIBRARY_PATH=$LIBRARY_PATH${LD_LIBRARY_PATH:-}
    PATH=$PATH:$root/usr/bin
}

main() {
    echo "GPU       $gpu"
    echo "toolkit   $("$nvcc" --version | tail -n 2 | head -n 1) in $toolkit"
    echo "cuBLASLt  ${header:-no header found}, ${cublas_library:-no library found}"
    [ ! -d "$debs" ] || use_debs "$debs"
    if [ -n "$(missing_libraries)" ]; then
        echo "missing here: $(missing_libraries); scripts/deps.sh installs them"
        timeout 60 scripts/deps.sh
        [ -z "$(missing_libraries)" ] ||
            echo "still missing: $(missing_libraries); without a network: gpu-debs, see the top of $0"
    fi

    # Seconds that a stage needs are guesses until a card was met; those of a step are mostly for filling the model.
    local llama3=(llama-3-8b --length 4096 --tokens 8192 --steps 3)
    stage "build for sm_$arch" 20 240 build_for_the_card
    stage "op table against the CPU's reference" 10 60 op_table
    stage "goldens, accumulation, paging, resumption" 10 90 command_line
    stage "Llama-3-8B, 2 x 4096" 15 60 bench llama-3-8b-4096 "${llama3[@]}" --what step,profile
    stage "Llama-3-8B, 2 x 4096, all blocks recomputed" 15 40 bench llama-3-8b-recomputed "${llama3[@]}" --what step \
        --checkpointing true
    stage "Llama-3-8B, 2 x 4096, dropout 0.05" 15 40 bench llama-3-8b-dropout "${llama3[@]}" --what step,profile \
        --dropout 0.05
    stage "Llama-3-8B, 2 x 4096, weights decoded for each product" 15 30 bench llama-3-8b-decoding "${llama3[@]}" \
        --what step,profile --cache-weights off
    stage "sums of several processes" 10 60 sums_of_ranks
    # What must fit: a 70B shape on a card of 48 GB and, its weights paged, of 24 GB; an 8B shape on one of 8 GB.
    stage "Llama-3-8B, 1 x 2048, under 7 GiB" 10 30 bench llama-3-8b-7gib llama-3-8b --length 2048 --batch 1 \
        --memory-limit 7GiB --steps 3 --what step
    stage "Llama-2-70B, 1 x 2048, r 64, under 46 GiB" 20 50 bench llama-2-70b-46gib llama-2-70b --length 2048 --batch 1 \
        --rank 64 --memory-limit 46GiB --steps 1 --what step
    stage "Llama-2-70B, 1 x 2048, r 64, under 22 GiB" 20 50 bench llama-2-70b-22gib llama-2-70b --length 2048 --batch 1 \
        --rank 64 --memory-limit 22GiB --steps 1 --what step
    stage "compute-sanitizer memcheck, a tiny run" 15 40 sanitize memcheck "$program" bench "$tiny" --backend cuda \
        --what step --steps 1 --length 96 --batch 2
    stage "Llama-3-8B, its ops one by one" 20 60 bench llama-3-8b-ops llama-3-8b --length 4096 --tokens 8192 \
        --what copy,dequant,gemm,linear,attention,paging
    stage "Llama-2-70B, 1 x 4096" 25 80 bench llama-2-70b-4096 llama-2-70b --length 4096 --tokens 4096 --steps 2 \
        --what copy,dequant,gemm,attention,step,profile
    stage "Llama-3-8B, loaded from the page cache" 10 30 bench llama-3-8b-load llama-3-8b --what load
    stage "compute-sanitizer racecheck, kernels with shared memory" 20 60 races \
        "$build/tests/test_cuda_ops_device" attn_fwd attn_bwd adapter_fwd adapter_bwd adapter_grad rmsnorm_bwd ce_loss \
        sumsq adamw_8bit
    stage "short training, SmolLM2-135M" 10 30 bench smollm2 smollm2-135m --what step,profile --steps 20 --length 1024
    stage "short training, SmolLM2-135M, each op by itself" 10 30 bench smollm2-no-graphs smollm2-135m --what step \
        --steps 20 --length 1024 --no-graphs
    stage "Llama-3-8B, 4 x 2048" 15 30 bench llama-3-8b-2048 llama-3-8b --length 2048 --tokens 8192 --steps 5 \
        --what attention,step,profile
    stage "Llama-2-7B, 8192 tokens" 20 60 bench llama-2-7b llama-2-7b --length 4096,2048 --tokens 8192 --steps 3 \
        --what gemm,attention,step,profile
    stage "Llama-2-13B, 8192 tokens" 20 60 bench llama-2-13b llama-2-13b --length 4096,2048 --tokens 8192 --steps 3 \
        --what gemm,attention,step,profile
    stage "Llama-2-70B, 2 x 2048" 20 60 bench llama-2-70b-2048 llama-2-70b --length 2048 --tokens 4096 --steps 2 \
        --what attention,step,profile
}

# What racecheck told, a string a line; null where it did not run.
json_races() {
    local line separator=
    [ -e "$work/races" ] || { printf null; return; }
    while IFS= read -r line; do
        printf '%s%s' "$separator" "$(json_string "$line")"
        separator=', '
    done <"$work/races"
}

# One JSON: the stages, and what each call of bench found.
write_json() {
    local f first=1
    {
        printf '{\n"date": "%s",\n"commit": %s,\n"gpu": %s,\n"stages": [%s],\n"races": [%s],\n"bench": {' "$(date -u +%FT%TZ)" \
            "$(json_string "$(git rev-parse --short HEAD 2>/dev/null || echo unknown)")" "$(json_string "$gpu")" \
            "$(cat "$work/stages")" "$(json_races)"
        for f in "$work"/bench-*.json; do
            [ -s "$f" ] || continue
            [ $first -eq 1 ] || printf ','
            first=0
            printf '\n%s: ' "$(json_string "$(basename "${f#*bench-}" .json)")"
            cat "$f"
        done
        printf '}\n}\n'
    } >"$out/gpu_check.json"
}

main 2>&1 | tee "$work/report"
write_json
passed=$(grep -o '"result": "passed"' "$work/stages" | wc -l)
skipped=$(grep -oE '"result": "(skipped|not begun)"' "$work/stages" | wc -l)
failed=$(($(grep -o '"result": "' "$work/stages" | wc -l) - passed - skipped))
[ ! -s "$work/races" ] || { echo "racecheck:"; sed 's/^/  /' "$work/races"; } | tee -a "$work/report"
echo "$passed passed, $failed failed, $skipped skipped" | tee -a "$work/report"
cp "$work/report" "$out/gpu_check.txt"
[ "$failed" -eq 0 ]
