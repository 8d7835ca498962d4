#!/usr/bin/env python3
"""Does transformers with bitsandbytes load our quantized checkpoint without quantizing again, with the same result?

    qlora-train quantize HF_DIR nf4-model
    bnb_load.py --model HF_DIR --quantized nf4-model
"""

import argparse
import sys

import bitsandbytes
import torch
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

import common


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    common.add_arguments(parser)
    parser.add_argument("--model", required=True, help="the model that was quantized, a Hugging Face directory")
    parser.add_argument("--quantized", required=True)
    args = parser.parse_args()
    report = common.Report()

    # The compute type is the reader's choice, the rest is taken from the checkpoint.
    compute = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True,
                                 bnb_4bit_compute_dtype=torch.float32)
    loaded = AutoModelForCausalLM.from_pretrained(args.quantized, quantization_config=compute, dtype=torch.float32,
                                                  device_map={"": "cpu"}).eval()
    own = AutoModelForCausalLM.from_pretrained(args.model, quantization_config=compute, dtype=torch.float32,
                                               device_map={"": "cpu"}).eval()
    linears = {n: m for n, m in loaded.named_modules() if isinstance(m, bitsandbytes.nn.Linear4bit)}
    report.holds(f"{len(linears)} Linear4bit, seven a block", len(linears) == 7 * loaded.config.num_hidden_layers)
    differing = total = 0
    for name, theirs in own.named_modules():
        if isinstance(theirs, bitsandbytes.nn.Linear4bit):
            a, b = linears[name].weight.data.view(torch.uint8).flatten(), theirs.weight.data.view(torch.uint8).flatten()
            differing += int((a != b).sum())
            total += a.numel()
    print(f"{'bytes of codes that differ':48} {differing} of {total}")
    report.holds("same codes as bitsandbytes' own quantization", differing == 0)

    common.dequantize_linears(loaded)
    common.dequantize_linears(own)
    rows = common.load_rows(args, loaded.config.vocab_size)
    loss, _ = common.their_loss(loaded, rows)
    own_loss, _ = common.their_loss(own, rows)
    ours = common.our_loss(args.program, args.quantized, rows, overrides=["quantization.quant_type=nf4"])
    report.value("loss, checkpoint (transformers)", loss)
    report.value("loss, quantized by bitsandbytes", own_loss)
    report.value("loss, checkpoint (qlora-train)", ours)
    # A checkpoint's quant_state says bfloat16, so bitsandbytes rounds each dequantized weight of it to BF16; weights
    # quantized from fp32, and ours under compute_dtype f32, are not rounded again.
    report.at_most("qlora-train against bitsandbytes, both in fp32", common.relative(ours, own_loss), 2e-5)
    report.at_most("checkpoint (BF16 weights) against fp32", common.relative(loss, own_loss), 1e-3)
    return report.exit_status()


if __name__ == "__main__":
    sys.exit(main())
