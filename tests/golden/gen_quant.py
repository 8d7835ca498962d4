"""Writes quant/bnb.safetensors: bitsandbytes' 4-bit quantization of a few tensors, on the CPU.

usage: gen_quant.py HF_MODEL_DIR     (SmolLM2-135M-Instruct in BF16; bitsandbytes 0.50.2, torch 2.15)

For each tensor X (BF16, `X.input`) and type nf4 or fp4: `.codes` and `.absmax`, and with double quantization
(`.dq`) `.absmax_q`, `.nested_absmax`, `.nested_offset`. `.dequant` only for the small ones. The tables too.
"""
import os
import sys

import bitsandbytes.functional as bnb
import torch
from safetensors.torch import load_file, save_file

FROM_MODEL = ("model.layers.0.self_attn.q_proj.weight", "model.layers.17.self_attn.k_proj.weight")
SEED = 20240229


def inputs(model_dir):
    g = torch.Generator().manual_seed(SEED)
    normal = lambda *shape: torch.randn(*shape, generator=g)
    outlier = torch.rand(128, 192, generator=g) < 0.002
    tensors = {
        "random_ragged_50x30": normal(50, 30) * 0.02,  # 1500 values: the last block has 28
        "outliers_128x192": torch.where(outlier, normal(128, 192) * 2, normal(128, 192) * 0.03),
        "zeros_block_64x64": torch.cat([torch.zeros(8, 64), normal(56, 64)]),
    }
    weights = load_file(os.path.join(model_dir, "model.safetensors"))
    tensors.update({name: weights[name].float() for name in FROM_MODEL})
    return {name: t.to(torch.bfloat16).contiguous() for name, t in tensors.items()}


def main():
    out = {
        "nf4_table": bnb.get_4bit_type("nf4", device="cpu"),
        "fp4_table": bnb.get_4bit_type("fp4", device="cpu"),
        "dynamic_map_256": bnb.create_dynamic_map().float(),
    }
    for name, x in inputs(sys.argv[1]).items():
        out[name + ".input"] = x
        for kind in ("nf4", "fp4"):
            for double in (False, True):
                codes, state = bnb.quantize_4bit(x.float(), blocksize=64, compress_statistics=double, quant_type=kind)
                prefix = f"{name}.{kind}" + (".dq" if double else "")
                if double:
                    out[prefix + ".absmax_q"] = state.absmax
                    out[prefix + ".nested_absmax"] = state.state2.absmax
                    out[prefix + ".nested_offset"] = state.offset.reshape(1)
                else:
                    out[prefix + ".codes"] = codes.flatten()
                    out[prefix + ".absmax"] = state.absmax
                if name not in FROM_MODEL:
                    out[prefix + ".dequant"] = bnb.dequantize_4bit(codes, state).float()
    here = os.path.dirname(os.path.abspath(__file__))
    save_file({k: v.contiguous() for k, v in out.items()}, os.path.join(here, "quant", "bnb.safetensors"))


if __name__ == "__main__":
    main()
