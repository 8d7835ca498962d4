#!/usr/bin/env python3
"""Writes docs/paper.md: findings of the QLoRA paper beside what this program gives.

    scripts/paper.py [--model MODEL] [--text FILE] [--train FILE --eval FILE] [--seeds 1,2,3] [--steps 70] [--work DIR]
                     [--out FILE] [--only train]

Needs nothing but Python and build/qlora-train. Trainings that are finished in the work directory are not run again;
`--only train` runs them and stops there. The default takes about half an hour on one core.
"""
import argparse
import json
import pathlib
import statistics
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
PROGRAM = ROOT / "build" / "qlora-train"

# ---- runs ----------------------------------------------------------------------------------------------------------

ATTENTION = "[q_proj, k_proj, v_proj, o_proj]"
VARIANTS = [
    ("16-bit, all-linear", "bf16-all", ["quantization.quant_type=none", "lora.target_modules=all-linear"]),
    ("NF4 + double quantization, all-linear", "nf4-all",
     ["quantization.quant_type=nf4", "lora.target_modules=all-linear"]),
    ("NF4 + double quantization, attention alone", "nf4-attention",
     ["quantization.quant_type=nf4", f"lora.target_modules={ATTENTION}"]),
]


def run(args, *command):
    """Standard output of a command of the program; its errors go through."""
    done = subprocess.run([str(args.program), *map(str, command)], stdout=subprocess.PIPE, text=True)
    if done.returncode:
        print(done.stdout, file=sys.stderr)
        sys.exit(f"paper.py: qlora-train {command[0]} ended with status {done.returncode}")
    return done.stdout


def config(args):
    """One file for all runs; what differs is given on the command line."""
    path = args.work / "paper.yaml"
    path.write_text(f"""model: {{path: "{args.model}"}}
lora: {{r: 16, lora_alpha: 16}}
data: {{train: "{args.train}", eval: "{args.eval}", max_length: 256, packing: false}}
training:
  output_dir: "{args.work}/unused"
  max_steps: {args.steps}
  per_device_train_batch_size: 4
  gradient_accumulation_steps: 1
  learning_rate: 1e-3
  lr_scheduler_type: linear
  eval_steps: {args.steps}
  save_steps: {args.steps}
  save_total_limit: 1
device: {{backend: cpu, threads: 1}}
""")
    return path


def train(args, name, seed, keys):
    """The rows of a run's metrics.jsonl; a finished run is left as it is by the program."""
    out = args.work / f"{name}-{seed}"
    run(args, config(args), *keys, f"training.seed={seed}", f"training.output_dir={out}")
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def final_eval(rows):
    return [r["eval_loss"] for r in rows if "eval_loss" in r][-1]


def trainings(args):
    losses = {}
    for _, name, keys in VARIANTS:
        losses[name] = [final_eval(train(args, name, seed, keys)) for seed in args.seeds]
    return losses


def options():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--model", type=pathlib.Path, default=ROOT / "models/SmolLM2-135M-Instruct.Q4_1.gguf")
    p.add_argument("--text", type=pathlib.Path, default=ROOT / "docs/decisions.md")
    p.add_argument("--train", type=pathlib.Path, default=ROOT / "data/demo/train.jsonl")
    p.add_argument("--eval", type=pathlib.Path, default=ROOT / "data/demo/eval.jsonl")
    p.add_argument("--seeds", type=lambda s: [int(x) for x in s.split(",")], default=[1, 2, 3])
    p.add_argument("--steps", type=int, default=70)
    p.add_argument("--work", type=pathlib.Path, default=ROOT / "runs/paper")
    p.add_argument("--out", type=pathlib.Path, default=ROOT / "docs/paper.md")
    p.add_argument("--program", type=pathlib.Path, default=PROGRAM)
    p.add_argument("--only", choices=["train"])
    args = p.parse_args()
    args.work = args.work.resolve()
    args.work.mkdir(parents=True, exist_ok=True)
    return args


def main():
    args = options()
    losses = trainings(args)
    if args.only == "train":
        return


if __name__ == "__main__":
    main()
