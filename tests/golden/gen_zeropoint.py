"""Blocks of INT8_ZEROPOINT by the formula of model/formats/quant.h, computed with numpy: zeropoint.safetensors.

    gen_zeropoint.py OUT_FILE

`x` float32 in blocks of 64 (the last has 41), `codes` uint8, `values` float32: what the codes stand for. The blocks: normal
values; the same moved up, then down, so that 0 is at the end of the range; zeros; tiny values; outliers."""
import sys

import numpy as np
from safetensors.numpy import save_file

BLOCK = 64
f32 = np.float32


def block(x):
    low, high = min(f32(0), x.min()), max(f32(0), x.max())
    # The scale has 16 bits of its fraction: rounded up, so that 255 steps are never too short.
    fraction, exponent = np.frexp(f32(high - low) / f32(255))
    scale = f32(np.ldexp(np.ceil(np.float64(fraction) * 2 ** 16) / 2 ** 16, exponent))
    step = scale if scale > 0 else f32(1)
    zero = np.rint(-low / step)
    codes = np.clip(np.rint(x / step) + zero, 0, 255)
    return codes.astype(np.uint8), (codes - zero).astype(f32) * scale


rng = np.random.default_rng(7)
normal = rng.standard_normal((6, BLOCK)).astype(f32) * f32(0.05)
normal[1] += f32(1)
normal[2] -= f32(0.2)
normal[3] = 0
normal[4] *= f32(1e-30)
normal[5, ::9] *= f32(40)
x = normal.reshape(-1)[:5 * BLOCK + 41]
parts = [block(x[i:i + BLOCK]) for i in range(0, len(x), BLOCK)]
save_file({'x': x, 'codes': np.concatenate([p[0] for p in parts]), 'values': np.concatenate([p[1] for p in parts])},
          sys.argv[1])
