#!/usr/bin/env python3
"""The fastest matrix products of PyTorch on this machine, for scripts/bench_cpu.sh: no training step can be faster than
its floating-point operations at that rate. For every line on standard input it measures again and answers with a line
of JSON: {"f32": FLOP/s, "bf16": FLOP/s}."""

import json
import sys
import time

import torch

# Rows, columns and inner size: two products of a small model's layers, and two that leave the caches' effects behind.
SIZES = [(1024, 1536, 576), (1024, 576, 1536), (2048, 2048, 2048), (4096, 4096, 4096)]
LONGEST_SECONDS = 2.0   # of a call; BF16 without instructions for it can be very slow


def best_rate(dtype):
    best = 0.0
    for m, n, k in SIZES:
        flops = 2.0 * m * n * k
        if best and flops / best > LONGEST_SECONDS:
            break
        a, b = torch.randn(m, k).to(dtype), torch.randn(k, n).to(dtype)
        for _ in range(2 if m > 2048 else 6):
            started = time.perf_counter()
            torch.mm(a, b)
            best = max(best, flops / (time.perf_counter() - started))
    return best


def main():
    torch.set_num_threads(int(sys.argv[1]))
    for _ in sys.stdin:
        print(json.dumps({"f32": best_rate(torch.float32), "bf16": best_rate(torch.bfloat16)}), flush=True)


if __name__ == "__main__":
    main()
