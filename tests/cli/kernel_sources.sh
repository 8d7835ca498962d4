# Kernel files reach the device through the wrappers of cuda/device.h only: what they spell out otherwise would not
# compile, or would not be checked, on the host.
cd "$TESTS/.."
files=$(find cuda -name '*.cu' -o -name '*.h' | grep -v '^cuda/device\.h$')
[ "$(echo "$files" | wc -l)" -ge 10 ] || { echo "FAIL: only these files: $files"; exit 1; }
# shellcheck disable=SC2086
if grep -nE '<<<|__shared__|asm[[:space:]]*(volatile)?[[:space:]]*\(|__CUDACC__|__CUDA_ARCH__|#include <cuda' $files |
    grep -vE ':#include <cublasLt\.h>'; then
    echo "FAIL: use LAUNCH, SHARED, DYN_SMEM and the functions of cuda/device.h"
    exit 1
fi
