#!/usr/bin/env python3
"""Do PEFT and transformers compute what we compute, for every family?

    families_peft.py build/qlora-train tests/golden/arch/*

Each directory is a model with a batch.jsonl of tokens. Trains a few steps on it (plain LoRA, fp32), then compares the loss
on the batch: with the adapter, by `qlora-train eval` and by PEFT; with the adapter as PEFT saves it again, as `lora.init`; of
`export --merged`, by `qlora-train eval` and by transformers. One line a model; the status is 1 if one differs by more than 2e-5 or has missing or additional tensors.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import warnings

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoModelForImageTextToText
from transformers.utils import logging

import common

LIMIT = 2e-5


def train_config(model, rows, out, steps):
    longest = max(len(json.loads(line)["input_ids"]) for line in open(rows, encoding="utf-8"))
    return (
        f"model: {{path: {json.dumps(str(model))}}}\n"
        "quantization: {quant_type: none, compute_dtype: f32}\n"
        "lora: {r: 4, lora_alpha: 8, dtype: f32}\n"
        f"data: {{train: {json.dumps(str(rows))}, format: tokens, max_length: {longest}, packing: false}}\n"
        f"training: {{output_dir: {json.dumps(str(out))}, max_steps: {steps}, per_device_train_batch_size: 2, "
        "gradient_accumulation_steps: 1, learning_rate: 5e-3, save_steps: 0}\n"
        "device: {backend: cpu, threads: 1}\n"
    )


def run(*command):
    result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if result.returncode:
        lines = result.stderr.strip().splitlines() or ["(no message)"]
        raise RuntimeError(f"{command[1]}: status {result.returncode}: {lines[-1]}")


def load(directory):
    """The model in fp32, refused if a tensor is missing or left over."""
    wrapped = "text_config" in json.loads(pathlib.Path(directory, "config.json").read_text())
    auto = AutoModelForImageTextToText if wrapped else AutoModelForCausalLM
    model, info = auto.from_pretrained(directory, dtype=torch.float32, attn_implementation="eager",
                                       output_loading_info=True)
    if info["missing_keys"] or info["unexpected_keys"] or info["mismatched_keys"]:
        raise RuntimeError(f"transformers: {info}")
    return model.eval()


def load_adapter(base, adapter):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = PeftModel.from_pretrained(base, adapter).eval()
    missing = [str(w.message) for w in caught if "missing" in str(w.message)]
    if missing:
        raise RuntimeError(f"PEFT: {missing[0][:200]}")
    return model


def init_loss(program, config, rows_file, adapter):
    command = [program, "eval", str(config), f"data.eval={rows_file}", f"lora.init={adapter}"]
    result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if result.returncode:
        raise RuntimeError(f"eval with lora.init: {result.stderr.strip().splitlines()[-1]}")
    return json.loads(result.stdout.strip().splitlines()[-1])["eval_loss"]


def compare(program, directory, steps, tmp):
    """(ours, PEFT), (PEFT, ours with what PEFT saved), (ours merged, transformers merged)"""
    model, rows_file, out = directory.resolve(), (directory / "batch.jsonl").resolve(), tmp / "run"
    config, merged = tmp / "config.yaml", tmp / "merged"
    config.write_text(train_config(model, rows_file, out, steps))
    run(program, "train", str(config))
    checkpoint = max(out.glob("checkpoint-*"), key=lambda p: int(p.name.split("-")[1]))
    run(program, "export", str(checkpoint), "--merged", str(merged))
    rows = [(r["input_ids"], r["labels"]) for r in map(json.loads, open(rows_file, encoding="utf-8"))]

    ours = common.our_loss(program, model, rows, str(out / "adapter"))
    base = load(model)
    base_loss, _ = common.their_loss(base, rows)
    adapted = load_adapter(base, out / "adapter")
    theirs, _ = common.their_loss(adapted, rows)
    adapted.save_pretrained(tmp / "saved")
    back = init_loss(program, config, rows_file, tmp / "saved")
    if common.relative(theirs, base_loss) < 1e-3:
        raise RuntimeError("the adapter changes nothing")
    merged_theirs, _ = common.their_loss(load(merged), rows)
    return (ours, theirs), (theirs, back), (common.our_loss(program, merged, rows), merged_theirs)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("models", nargs="+", type=pathlib.Path)
    parser.add_argument("--steps", type=int, default=4)
    args = parser.parse_args()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    torch.set_num_threads(1)
    program, failed = os.path.abspath(args.program), 0
    print(f"{'':30} {'ours':>10} {'PEFT':>10} {'':>8} {'PEFT':>10} {'init':>10} {'':>8} {'merged':>10} {'transf.':>10}")
    for directory in args.models:
        try:
            with tempfile.TemporaryDirectory() as tmp:
                pairs = compare(program, directory, args.steps, pathlib.Path(tmp))
        except (RuntimeError, subprocess.CalledProcessError) as error:
            failed += 1
            print(f"{directory.name:30} FAILED {error}", flush=True)
            continue
        bad = any(common.relative(a, b) > LIMIT for a, b in pairs)
        failed += bad
        figures = " ".join(f"{a:10.6f} {b:10.6f} {common.relative(a, b):8.1e}" for a, b in pairs)
        print(f"{directory.name:30} {figures}{'  FAILED' if bad else ''}", flush=True)
    print(f"{len(args.models) - failed} of {len(args.models)} agree")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
