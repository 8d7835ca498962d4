"""Writes optim8/adamw8bit.safetensors: six steps of bitsandbytes' AdamW8bit on two tensors, on the CPU.

usage: gen_optim8.py     (bitsandbytes 0.50.2, torch 2.15)

`signed_map`, `unsigned_map`: the two dynamic maps. For each tensor X: `X.start` before the first step and `X.gradN` (BF16,
exact), the codes `X.mN`, `X.vN` and constants `X.m_absmaxN`, `X.v_absmaxN` after step N, and `X.after1`, `X.after6`.
bitsandbytes keeps tensors of fewer than 4,096 elements in fp32, so there is none; the second ends in a block of 3. The first
block of each has no gradient before step 3 (as a LoRA A while B is zero), and a tenth of the others' elements never.
"""
import os

import bitsandbytes as bnb
import bitsandbytes.functional as functional
import torch
from safetensors.torch import save_file

SEED = 20221008
SIZES = {"even": 4096, "odd": 4099}
SETTINGS = {"lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.01}


def gradient(n, step, sparse, generator):
    # The sizes spread over four decades, so that many codes of the maps occur.
    g = torch.randn(n, generator=generator) * 10 ** (-4 * torch.rand(n, generator=generator)) * 0.01
    g[sparse] = 0
    if step < 3:
        g[:256] = 0
    return g.to(torch.bfloat16)


def main():
    generator = torch.Generator().manual_seed(SEED)
    out = {
        "signed_map": functional.create_dynamic_map(signed=True),
        "unsigned_map": functional.create_dynamic_map(signed=False),
    }
    params, sparse = {}, {}
    for name, n in SIZES.items():
        out[f"{name}.start"] = (torch.randn(n, generator=generator) * 0.02).to(torch.bfloat16)
        params[name] = torch.nn.Parameter(out[f"{name}.start"].float())
        sparse[name] = torch.rand(n, generator=generator) < 0.1
    optimizer = bnb.optim.AdamW8bit(list(params.values()), **SETTINGS)
    for step in range(1, 7):
        for name, p in params.items():
            out[f"{name}.grad{step}"] = gradient(p.numel(), step, sparse[name], generator)
            p.grad = out[f"{name}.grad{step}"].float()
        optimizer.step()
        for name, p in params.items():
            state = optimizer.state[p]
            out[f"{name}.m{step}"] = state["state1"].clone()
            out[f"{name}.v{step}"] = state["state2"].clone()
            out[f"{name}.m_absmax{step}"] = state["absmax1"].clone()
            out[f"{name}.v_absmax{step}"] = state["absmax2"].clone()
            if step in (1, 6):
                out[f"{name}.after{step}"] = p.detach().clone()
    here = os.path.dirname(os.path.abspath(__file__))
    save_file(out, os.path.join(here, "optim8", "adamw8bit.safetensors"))


if __name__ == "__main__":
    main()
