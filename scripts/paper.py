#!/usr/bin/env python3
"""Writes docs/paper.md: findings of the QLoRA paper beside what this program gives.

    scripts/paper.py [--model MODEL] [--text FILE] [--train FILE --eval FILE] [--seeds 1,2,3] [--steps 70,210] [--work DIR]
                     [--out FILE] [--only train|paging]

Needs nothing but Python and build/qlora-train (scripts/fetch_model.sh gets the model). What is finished in the work directory
is not run again, and a training that was stopped goes on; of another build of the program nothing is taken. `--only` runs one
part and stops there: `paging` should have the machine to itself, since it measures speed. The whole takes about half an hour.
"""
import argparse
import hashlib
import json
import pathlib
import re
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
  per_device_train_batch_size: 4
  gradient_accumulation_steps: 1
  learning_rate: 1e-3
  lr_scheduler_type: linear
  save_total_limit: 1
device: {{backend: cpu, threads: 1}}
""")
    return path


def train(args, name, steps, seed, keys):
    """The rows of a run's metrics.jsonl; a finished run is left as it is by the program."""
    out = args.work / f"{name}-{steps}-{seed}"
    run(args, config(args), *keys, f"training.seed={seed}", f"training.output_dir={out}",
        *(f"training.{key}={steps}" for key in ["max_steps", "eval_steps", "save_steps"]))
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def final_eval(rows):
    return [r["eval_loss"] for r in rows if "eval_loss" in r][-1]


def trainings(args):
    return {steps: {name: [final_eval(train(args, name, steps, seed, keys)) for seed in args.seeds]
                    for _, name, keys in VARIANTS} for steps in args.steps}


# ---- data types ----------------------------------------------------------------------------------------------------

# The beginning of docs/decisions.md at commit 5f1bd87, which stays as it is: figures of two releases are then of one text.
TEXT = ROOT / "data/demo/prose.txt"
TEXT_SUM = "1f9edab49812037544ec211c1bc92fae37da853cf37176d65fa2394335542676"


def data_types(args):
    """{type: {bits, rmse, snr, perplexity}} and the number of tokens, from quant-report."""
    text = args.text.read_bytes()
    if args.text == TEXT and hashlib.sha256(text).hexdigest() != TEXT_SUM:
        sys.exit(f"paper.py: {TEXT} is not the text that was committed (SHA-256 {TEXT_SUM})")
    asked = hashlib.sha256(text + str(args.model).encode()).hexdigest()[:16]
    kept = args.work / f"quant-report-{asked}.txt"
    if not kept.exists():
        out = run(args, "quant-report", args.model, "--text", args.text)
        kept.write_text(out)
    out = kept.read_text()
    row = re.compile(r"^(\S.*?)  +([\d.]+)  +(\S+)  +(\S+)  +(exact|[\d.]+) .* ([\d.]+)$", re.M)
    types = {name: {"bits": float(bits), "rmse": float(rmse), "snr": snr, "perplexity": float(perplexity)}
             for name, bits, rmse, _, snr, perplexity in row.findall(out)}
    if len(types) != 7:
        sys.exit("paper.py: quant-report: its table was not understood")
    return types, int(re.search(r"(\d+) tokens", out)[1])


# ---- paging --------------------------------------------------------------------------------------------------------

PAGING_STEPS = 12


def paging(args):
    """For a run with all in its memory and one that pages: total memory, bytes paged, speed, checksum of the adapter."""
    result = []
    for name, limit in [("unpaged", "auto"), ("paged", args.limit)]:
        out = args.work / f"paging-{name}"
        seen = json.loads((out / "seen.json").read_text()) if (out / "seen.json").exists() else None
        if not seen:
            run(args, config(args), f"training.output_dir={out}", f"training.max_steps={PAGING_STEPS}",
                "training.gradient_checkpointing=true", f"device.memory_limit={limit}",
                "training.seed=1")
            rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
            adapter = (out / "adapter" / "adapter_model.safetensors").read_bytes()
            seen = {"peak": max(r["peak_device_bytes"] for r in rows), "paged": max(r["paged_bytes"] for r in rows),
                    "speed": statistics.median(r["tokens_per_second"] for r in rows),
                    "adapter": hashlib.sha256(adapter).hexdigest(), "losses": [r["loss"] for r in rows]}
            (out / "seen.json").write_text(json.dumps(seen))
        result.append(seen)
    return result


# ---- memory --------------------------------------------------------------------------------------------------------

SIZES = [("7B", "Llama-2-7b-hf"), ("13B", "Llama-2-13b-hf"), ("34B (for the paper's 33B)", "Yi-34B"),
         ("70B (for the paper's 65B)", "Llama-2-70b-hf")]
GPU = re.compile(r"^  (24|48) GB \(.*?\)\s+(.*)$", re.M)


def memory(args):
    rows = []
    for size, name in SIZES:
        out = run(args, "plan", config(args), f"model.path=/nowhere/{name}", "lora.r=64", "data.max_length=512",
                  "training.per_device_train_batch_size=1", "training.gradient_accumulation_steps=16",
                  "device.threads=auto")
        entry = {k: int(v) for k, v in re.findall(r"^  (\S.*?)  +(\d+) bytes", out, re.M)}
        entry["all"] = float(re.search(r"all: ([\d.]+) MiB", out)[1]) * 2**20
        rows.append((size, name, entry, dict(GPU.findall(out))))
    return rows


# ---- the document --------------------------------------------------------------------------------------------------

def spread(values):
    mean = statistics.mean(values)
    return f"{mean:.4f} ± {statistics.stdev(values):.4f}" if len(values) > 1 else f"{mean:.4f}"


def says(holds, figures):
    return f"**{'Shows here' if holds else 'Does not show here'}:** {figures}\n"


def of_types(types, tokens, text):
    nf4, fp4, int4, double = (types[k]["perplexity"] for k in ["nf4", "fp4", "int4", "nf4 + double quantization"])
    lines = ["## 1. NF4 is better than FP4, and FP4 than Int4\n",
             "Paper, table 2, mean perplexity of OPT, LLaMA and Pythia of 125M to 13B: Int4 34.34, FP4 (E2M1) 31.07, NF4 with "
             "double quantization 27.41.\n",
             f"Here, on {tokens} tokens (`{text}`), each row of at most 1024 tokens by "
             "itself, computed in f32 (`qlora-train quant-report`):\n",
             "| type | bits a parameter | RMSE | signal to noise, dB | perplexity |", "|---|---|---|---|---|"]
    for name, t in types.items():
        lines.append(f"| {name} | {t['bits']:.4f} | {t['rmse']:.3e} | {t['snr']} | {t['perplexity']:.4f} |")
    lines.append("")
    lines.append(says(nf4 < fp4 < int4, f"NF4 {nf4:.2f}, FP4 {fp4:.2f}, Int4 {int4:.2f}."))
    if (types["fp4"]["rmse"] < types["int4"]["rmse"]) != (fp4 < int4):
        lines.append("The root mean square error orders FP4 and Int4 the other way round: it does not decide alone.\n")
    base = types["bf16"]["perplexity"]
    lines.append(f"Against {base:.2f} in bf16 NF4 is {nf4 / base - 1:+.1%}, before any training.\n")
    saved = types["nf4"]["bits"] - types["nf4 + double quantization"]["bits"]
    change = double / nf4 - 1
    lines += ["## 2. Double quantization saves 0.373 bits a parameter and costs nothing\n",
              "Paper, sections 2 and 3: 0.5 - 0.127 = 0.373 bits; no loss of performance.\n",
              says(abs(change) < 0.005 and abs(saved - 0.373) < 0.001,
                   f"{saved:.4f} bits saved; perplexity {nf4:.4f} without and {double:.4f} with it ({change:+.3%}).")]
    return lines


def of_length(steps, losses):
    lines = [f"After {steps} steps:\n", "| variant | evaluation loss | by seed |", "|---|---|---|"]
    for title, name, _ in VARIANTS:
        lines.append(f"| {title} | {spread(losses[name])} | {', '.join(f'{x:.4f}' for x in losses[name])} |")
    full, nf4, attention = (statistics.mean(losses[name]) for _, name, _ in VARIANTS)
    best, worst = min(losses["nf4-all"]), max(losses["bf16-all"])
    lines += ["", says(best <= worst, f"NF4 against 16 bits, both with all linear layers: {nf4 - full:+.4f} of {full:.4f} "
                       f"between the means; the best seed of NF4 ({best:.4f}) is {'not ' if best <= worst else ''}above the "
                       f"worst of 16 bits ({worst:.4f})."),
              says(min(losses["nf4-attention"]) > max(losses["nf4-all"]),
                   f"attention alone: {attention - nf4:+.4f} against all linear layers, both over NF4.")]
    return lines


def of_trainings(args, losses):
    lines = ["## 3. NF4 reaches 16-bit LoRA, if all linear layers have adapters\n",
             "Paper, section 4 and figure 2: LoRA on attention alone does not reach full 16-bit fine-tuning, LoRA on all linear "
             "layers does, also over an NF4 base.\n",
             f"Here: steps of 4 rows of `{shown(args.train)}`, rank 16, seeds {', '.join(map(str, args.seeds))}, a linear "
             f"schedule over the steps given; loss on `{shown(args.eval)}` after the last step, mean ± standard deviation over "
             "the seeds. At one rank attention alone has fewer parameters; the paper made up for that with rank, which is not "
             "done here.\n"]
    for steps in args.steps:
        lines += of_length(steps, losses[steps])
    return lines


def of_paging(pair):
    plain, paged = pair
    same = plain["adapter"] == paged["adapter"] and plain["losses"] == paged["losses"]
    return ["## 4. Paged optimizers change nothing but where the state lies\n",
            "Paper, section 4: the same speed as an ordinary optimizer at batch size 16 (65B, 48 GB); results are not compared.\n",
            f"Here: {PAGING_STEPS} steps on one CPU thread, blocks recomputed in both, the memory limit simulating a device.\n",
            "| | peak of the device's memory | paged a step, at most | tokens a second, median |", "|---|---|---|---|",
            *(f"| {name} | {r['peak'] / 2**20:.1f} MiB | {r['paged'] / 2**20:.1f} MiB | {r['speed']:.0f} |"
              for name, r in [("unpaged", plain), ("paged", paged)]), "",
            says(same and paged["paged"] > 0,
                 f"{PAGING_STEPS} losses and the adapter are {'the same to the byte' if same else 'not the same'}; speed "
                 f"{paged['speed'] / plain['speed'] - 1:+.1%}. Memory of a CPU is no link to a GPU: what the copies of a real "
                 "one cost this does not say.")]


def of_memory(rows):
    lines = ["## 5. Memory: 65B on one GPU of 48 GB\n",
             "Paper, section 1: from more than 780 GB (16-bit full fine-tuning of 65B) to less than 48 GB. Here "
             "`qlora-train plan` (the layout of the run itself, to the byte), rank 64 on all linear layers, one row of 512 "
             "tokens at a time. The paper's 33B and 65B are not among the shapes that it knows; Yi 34B and Llama 2 70B stand "
             "for them.\n",
             "| size | model | weights in NF4 with constants | adapters, gradients, optimizer | all, every block recomputed, "
             "nothing paged |", "|---|---|---|---|---|"]
    gib = lambda n: f"{n / 2**30:.1f} GiB"
    for size, name, e, _ in rows:
        weights = e["quantized weights"] + e["quantization constants"]
        adapters = e["adapters"] + e["gradients"] + e["optimizer state"]
        lines.append(f"| {size} | {name} | {gib(weights)} | {gib(adapters)} | {gib(e['all'])} |")
    lines.append("")
    for size, name, _, gpus in rows:
        lines += [f"- {size}, {memory} GB: {plan}" for memory, plan in gpus.items()]
    largest = rows[-1][3].get("48", "")
    return lines + ["", says(largest.startswith("fits"), "the largest fits into 48 GB by the plan; it was not run.")]


def shown(path):
    path = path.resolve()
    return path.relative_to(ROOT) if path.is_relative_to(ROOT) else path.name


def of_base(args):
    lines = [f"Base: `{args.model.name}`. "]
    if args.model.suffix == ".gguf":
        lines = [f"Base: `{args.model.name}`, a GGUF: its linear layers were quantized before, to blocks of 4 bits in the case "
                 "of the default (Q4_1: 32 values, 16 steps between a block's least and greatest), and \"16-bit\" and `bf16` "
                 "mean what these decode to. So 16 bits here are not the model that was trained in 16 bits but one that has "
                 "already lost something; all types are compared against that. Values that lie on few steps are also less "
                 "like a normal distribution, for which NF4 was made, than original weights.\n"]
    return lines + [f"A model of 135M parameters and {max(args.steps)} steps are small: the paper's own models have 125M to 65B. "
                    "A difference that shows here need not at another size, and the other way round.\n"
                    if "135M" in args.model.name else ""]


def write(args, types, tokens, losses, pair, rows):
    lines = ["# The paper's findings, and what shows here\n",
             "Findings of QLoRA (Dettmers et al. 2023, arXiv:2305.14314) beside what this program gives. Written by "
             "`scripts/paper.py`, which runs everything again: do not edit.\n", *of_base(args),
             *of_types(types, tokens, shown(args.text)), *of_trainings(args, losses), *of_paging(pair), *of_memory(rows)]
    args.out.write_text("\n".join(lines).rstrip() + "\n")


def options():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--model", type=pathlib.Path, default=ROOT / "models/SmolLM2-135M-Instruct.Q4_1.gguf")
    p.add_argument("--text", type=pathlib.Path, default=TEXT)
    p.add_argument("--train", type=pathlib.Path, default=ROOT / "data/demo/train.jsonl")
    p.add_argument("--eval", type=pathlib.Path, default=ROOT / "data/demo/eval.jsonl")
    p.add_argument("--seeds", type=lambda s: [int(x) for x in s.split(",")], default=[1, 2, 3])
    p.add_argument("--steps", type=lambda s: [int(x) for x in s.split(",")], default=[70, 210])
    p.add_argument("--work", type=pathlib.Path, default=ROOT / "runs/paper")
    p.add_argument("--out", type=pathlib.Path, default=ROOT / "docs/paper.md")
    p.add_argument("--program", type=pathlib.Path, default=PROGRAM)
    p.add_argument("--limit", default="215MiB", help="device.memory_limit of the paged run")
    p.add_argument("--only", choices=["train", "paging"])
    args = p.parse_args()
    args.work = args.work.resolve()
    args.work.mkdir(parents=True, exist_ok=True)
    return args


def of_this_build(args):
    """Figures of two builds must not stand side by side in one document."""
    program = hashlib.sha256(args.program.read_bytes()).hexdigest()
    kept = args.work / "program.sha256"
    if kept.exists() and kept.read_text() != program:
        sys.exit(f"paper.py: {args.work} holds runs of another build of {args.program}: remove it, or give another --work")
    kept.write_text(program)


def main():
    args = options()
    of_this_build(args)
    if args.only == "train":
        trainings(args)
    elif args.only == "paging":
        paging(args)
    else:
        write(args, *data_types(args), trainings(args), paging(args), memory(args))


if __name__ == "__main__":
    main()
