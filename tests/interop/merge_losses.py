#!/usr/bin/env python3
"""Are the losses that an export prints those of transformers, PEFT and bitsandbytes?

    merge_losses.py build/qlora-train tests/golden/tiny/llama-gqa-tied-odd

Learns random rows by heart on the model in NF4 (LoRA, fp32), merges the adapter onto the original weights and onto the
dequantized ones, and compares every figure of the two tables: the base in NF4 and as it is, with the adapter, and the
merged models. One line a figure; the status is 1 if one differs by more than 2e-5, or if what was learnt is not clearly
less on the original weights (then nothing was tested).
"""

import argparse
import json
import os
import pathlib
import random
import subprocess
import sys
import tempfile

import torch
from transformers import AutoModelForCausalLM, BitsAndBytesConfig
from transformers.utils import logging

import common
from families_peft import load, load_adapter

LIMIT = 2e-5
NF4 = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True,
                         bnb_4bit_compute_dtype=torch.float32)


def write_run(tmp, model, steps):
    vocab = json.loads(pathlib.Path(model, "config.json").read_text())["vocab_size"]
    rng = random.Random(5)
    rows = [[rng.randrange(3, vocab) for _ in range(24)] for _ in range(24)]
    pathlib.Path(tmp, "rows.jsonl").write_text("".join(json.dumps({"input_ids": r}) + "\n" for r in rows))
    pathlib.Path(tmp, "c.yaml").write_text(
        f"model: {{path: {json.dumps(str(model))}}}\n"
        "quantization: {compute_dtype: f32}\n"
        "lora: {r: 8, lora_alpha: 16, dtype: f32}\n"
        "data: {train: rows.jsonl, format: tokens, packing: false}\n"
        f"training: {{output_dir: out, max_steps: {steps}, save_steps: 0, learning_rate: 3e-3, "
        "per_device_train_batch_size: 8, gradient_accumulation_steps: 1}\n"
        "device: {backend: cpu, threads: 1}\n")
    return [(r, r) for r in rows]


def table(program, checkpoint, out, base):
    """{row: its numbers}"""
    text = subprocess.run([program, "export", checkpoint, "--merged", out, "--base", base], stdout=subprocess.PIPE,
                          text=True, check=True).stdout
    names = ("quantized, as trained (nf4)", "original weights", f"merged onto the {base}")
    lines = {n: line for line in text.splitlines() for n in names if line.strip().startswith(n)}
    return {n: [float(x) for x in line.strip()[len(n):].split()] for n, line in lines.items()}


def load_nf4(model):
    base = AutoModelForCausalLM.from_pretrained(model, quantization_config=NF4, dtype=torch.float32,
                                                device_map={"": "cpu"}, attn_implementation="eager")
    common.dequantize_linears(base)
    return base.eval()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("--steps", type=int, default=100)
    args = parser.parse_args()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    torch.set_num_threads(1)
    program, model, report = os.path.abspath(args.program), args.model.resolve(), common.Report()
    with tempfile.TemporaryDirectory() as tmp:
        rows = write_run(tmp, model, args.steps)
        subprocess.run([program, "train", f"{tmp}/c.yaml"], stdout=subprocess.DEVNULL, check=True)
        checkpoint, adapter = f"{tmp}/out/checkpoint-{args.steps}", f"{tmp}/out/adapter"
        ours = {b: table(program, checkpoint, f"{tmp}/{b}", b) for b in ("original", "dequantized")}
        theirs = {}
        for name, base in (("quantized, as trained (nf4)", load_nf4(model)), ("original weights", load(model))):
            alone, _ = common.their_loss(base, rows)
            adapted, _ = common.their_loss(load_adapter(base, adapter), rows)
            theirs[name] = [alone, adapted]
        for base, got in ours.items():
            name = f"merged onto the {base}"
            want = {**theirs, name: [common.their_loss(load(f"{tmp}/{base}"), rows)[0]]}
            for row, values in want.items():
                for kind, a, b in zip(("base", "with adapter") if len(values) == 2 else ("",), got[row], values):
                    report.value(f"{row} {kind}", b)
                    report.at_most("  ours differs by", common.relative(a, b), LIMIT)
    report.holds("less is left on the original weights",
                 theirs["original weights"][1] > theirs["quantized, as trained (nf4)"][1] + 0.1)
    return report.exit_status()


if __name__ == "__main__":
    sys.exit(main())
