#!/usr/bin/env python3
"""Does transformers load what we make of vision-language models as the whole model, with its other parts untouched?

    wrappers_load.py build/qlora-train tests/golden/arch/*-vl tests/golden/arch/gemma3-vl/bnb4
"""

import json
import pathlib
import subprocess
import sys
import tempfile

import bitsandbytes
import torch
from transformers import AutoModelForImageTextToText

import common

CONFIG = """model: {path: MODEL}
lora: {r: 4, lora_alpha: 8, dtype: f32}
data: {train: DATA, format: tokens, packing: false}
training: {output_dir: out, max_steps: 6, per_device_train_batch_size: 2, gradient_accumulation_steps: 1, learning_rate: 1e-2}
device: {backend: cpu}
"""


def run(*args):
    subprocess.run(args, check=True, stdout=subprocess.DEVNULL)


def load(path):
    """The model in fp32, and the names of its layers that were in 4 bits."""
    model = AutoModelForImageTextToText.from_pretrained(path, dtype=torch.float32, device_map={"": "cpu"},
                                                        attn_implementation="eager").eval()
    linears = {n: m for n, m in model.named_modules() if isinstance(m, bitsandbytes.nn.Linear4bit)}
    for module in linears.values():
        module.weight.quant_state.dtype = torch.float32    # exact, as we compute
    common.dequantize_linears(model)
    return model, set(linears)


def loss_of(model, rows):
    kwargs = {"token_type_ids": torch.zeros(1, len(rows[0][0]), dtype=torch.long)} if "gemma" in model.config.model_type else {}
    forward = model.forward
    model.forward = lambda **inputs: forward(**inputs, **kwargs)    # Gemma wants to know where images are
    return common.their_loss(model, rows)[0]


def check(program, source, report):
    plain = source if (source / "batch.jsonl").exists() else source.parent
    rows = [(r["input_ids"], r["labels"]) for r in map(json.loads, open(plain / "batch.jsonl", encoding="utf-8"))]
    base, in_4_bits = load(source)
    towers = {k: v for k, v in base.state_dict().items() if "language_model" not in k and "lm_head" not in k}
    of_towers = {n for n in in_4_bits if "language_model" not in n}
    quant = "quantization.quant_type=none"
    with tempfile.TemporaryDirectory() as tmp:
        config, out = pathlib.Path(tmp, "c.yaml"), pathlib.Path(tmp, "out")
        merged, quantized = pathlib.Path(tmp, "merged"), pathlib.Path(tmp, "quantized")
        config.write_text(CONFIG.replace("MODEL", str(source)).replace("DATA", str(plain / "batch.jsonl")))
        run(program, str(config))
        run(program, "export", str(out / "checkpoint-6"), "--merged", str(merged), "--base",
            "dequantized" if in_4_bits else "original")
        run(program, "quantize", str(source), str(quantized))
        for what, path, expected_4_bits in (("merged", merged, 0), ("quantized", quantized, 14)):
            model, linears = load(path)
            name = f"{source.name} {what}"
            report.holds(f"{name}: {type(model).__name__}", type(model) is type(base))
            values = model.state_dict()
            report.holds(f"{name}: {len(towers)} other tensors", all(torch.equal(values[k], v) for k, v in towers.items()))
            report.holds(f"{name}: 4 bits where they belong", len(linears - of_towers) == expected_4_bits
                         and {n for n in linears if "language_model" not in n} == of_towers)
            ours = common.our_loss(program, path, rows, overrides=[quant])
            report.at_most(f"{name}: loss against qlora-train", common.relative(loss_of(model, rows), ours), 2e-6)


def main():
    report = common.Report()
    for path in sys.argv[2:]:
        check(str(pathlib.Path(sys.argv[1]).resolve()), pathlib.Path(path).resolve(), report)
    return report.exit_status()


if __name__ == "__main__":
    sys.exit(main())
