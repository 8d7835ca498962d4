#!/usr/bin/env bash
# Registers, spills and shared memory of every kernel, as ptxas reports them for sm_80 and sm_90, to
# docs/gpu/registers.txt. Exit status 1 if a kernel spills. Needs nvcc, no GPU; takes minutes.
set -euo pipefail
cd "$(dirname "$0")/.."
nvcc=${NVCC:-$(command -v nvcc || echo /usr/local/cuda/bin/nvcc)}
out=docs/gpu/registers.txt
log=$(mktemp)
trap 'rm -f "$log"' EXIT
nccl=yes    # its header is there; a build does without
echo '#include <nccl.h>' | "$nvcc" -x cu -E - >/dev/null 2>&1 || nccl=
mkdir -p docs/gpu

for arch in sm_80 sm_90; do
    for source in cuda/*.cu; do
        case $source in cuda/join.cu | cuda/nccl.cu) [ "$nccl" ] || continue ;; esac
        echo "source $source $arch" >>"$log"
        flags=
        [ "$source" = cuda/optimizer.cu ] && flags=-fmad=false    # as in cmake/cuda.cmake
        # shellcheck disable=SC2086
        "$nvcc" -std=c++17 -O3 -arch=$arch -I. -Xptxas -v -cubin -o /dev/null $flags "$source" 2>&1 |
            c++filt >>"$log" || { tail -n 20 "$log" >&2; exit 2; }
    done
done

awk '
    function flush() {
        if (kernel != "") printf "%-6s %-22s %4d %6d %6d %7d  %s\n", arch, source, regs, stores, loads, shared, kernel
        if (kernel != "" && stores + loads > 0) spilled++
        kernel = ""
    }
    $1 == "source"                 { flush(); source = $2; sub(/^cuda\//, "", source); arch = $3 }
    /Compiling entry function/     { flush(); kernel = $0; sub(/^[^'\'']*'\''/, "", kernel); sub(/'\''.*/, "", kernel)
                                     sub(/\(anonymous namespace\)::/, "", kernel); sub(/^void /, "", kernel)
                                     kernel = shorten(kernel); regs = stores = loads = shared = 0 }
    /bytes spill stores/           { stores = number_before("bytes spill stores"); loads = number_before("bytes spill loads") }
    /Used [0-9]+ registers/        { regs = $0; sub(/.*Used /, "", regs); shared = 0
                                     if (match($0, /[0-9]+ bytes smem/)) shared = substr($0, RSTART) + 0 }
    function number_before(what,    text) {
        text = substr($0, 1, index($0, what) - 1)
        sub(/ +$/, "", text); sub(/.*[ ,]/, "", text)
        return text + 0
    }
    # The name and its template arguments, without the parameters.
    function shorten(name,    i, depth, c) {
        for (i = 1; i <= length(name); i++) {
            c = substr(name, i, 1)
            if (c == "<") depth++
            if (c == ">") depth--
            if (c == "(" && depth == 0) return substr(name, 1, i - 1)
        }
        return name
    }
    BEGIN { printf "%-6s %-22s %4s %6s %6s %7s  %s\n", "arch", "file", "regs", "spill-", "spill+", "smem", "kernel" }
    END { flush(); print ""; print spilled + 0 " kernels spill"; exit spilled > 0 }' "$log" >"$out" || { cat "$out"; exit 1; }
echo "$out: $(grep -c '^sm_' "$out") kernels, $(tail -n 1 "$out")"
