#!/usr/bin/env python3
"""QLoRA on this machine's processor, qlora-train and transformers + PEFT + bitsandbytes in turns.

Both train from the same Hugging Face directory on the same ids: NF4 with double quantization, LoRA on every linear
layer, AdamW. Each case is run in rounds, and the figures are the medians over them. qlora-train is started anew for
every round; the peer, whose start takes longer than a round, once for every case and type. The peer is measured in
fp32, in BF16 as PEFT's guide has it, and in BF16 throughout, adapters too; the fastest is compared with, and a type is
left out of further rounds when the first two show it far behind. The limit is the best rate of matrix products seen in the whole run, PyTorch's and ours, over the
floating-point operations of a token.

HF_DIR is a Hugging Face directory of a SmolLM2-135M or of another small model, with safetensors and a tokenizer; left
out, it is the one that scripts/quickstart.sh exports. Case 1.1b makes a model of its own, of 2.2 GB in TMPDIR for as
long as it takes. Case alpaca needs a file of rows with instruction, input and output; speed there is rows of an epoch a
second, as one side packs rows and the other pads them.
"""

import argparse
import importlib.metadata
import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import tempfile

import bench_report
from bench_sides import Case, Ours, Peer, Products, bench, tokenize

ROOT = pathlib.Path(__file__).resolve().parents[2]
FAR_BEHIND = 0.4    # of the faster type's rate, both at their best of the first two rounds
SHAPES = {"4x256": (4, 256), "1x1024": (1, 1024), "8x128": (8, 128)}
CASES = [*SHAPES, "recompute", "alpaca", "1.1b", "generate"]
STEPS = 3
PROMPT = "The history of the steam engine begins"
NEW_TOKENS = 128
ALPACA = ("Below is an instruction that describes a task{paired}. Write a response that appropriately completes the "
          "request.\n\n### Instruction:\n{instruction}\n\n{input}### Response:\n")


def say(text):
    print(text, file=sys.stderr, flush=True)


# ---- cases ----


def config_of(model):
    return json.loads(pathlib.Path(model, "config.json").read_text())


def write_rows(path, rows):
    with open(path, "w", encoding="utf-8") as f:
        f.writelines(json.dumps(row) + "\n" for row in rows)
    return str(path)


class Work:
    """The floating-point operations of a row, as `qlora-train bench` counts them: that is tokens * (a + b * tokens) and
    the head's for every label, so the counts of two lengths say those of all."""

    def __init__(self, program, model, threads, tmp):
        config = config_of(model)
        self.head = 4.0 * config["vocab_size"] * config["hidden_size"]
        short, long = 32, 64
        runs = [bench(program, model, threads, tmp, "--what", "step", "--batch", "1", "--length", str(n), "--steps",
                      "1") for n in (short, long)]
        self.auto = runs[0]["compute_dtype"]
        self.model = f"{config['model_type']} of {1e-6 * runs[0]['runs'][0]['parameters']:.0f}M parameters"
        counts = [r["runs"][0]["step"]["flops_per_token"] - self.head * (n - 1) / n
                  for r, n in zip(runs, (short, long))]
        self.b = (counts[1] - counts[0]) / (long - short)
        self.a = counts[0] - self.b * short

    def of_row(self, tokens, labels):
        return tokens * (self.a + self.b * tokens) + self.head * labels


def shape_case(name, title, model, work, shape, tmp, steps=STEPS, **more):
    batch, length = shape
    rng = random.Random(1)
    vocab = config_of(model)["vocab_size"]
    rows = [{"input_ids": [rng.randrange(vocab) for _ in range(length)]} for _ in range(batch * steps)]
    return Case(name, title, model, batch, length, steps, rows=write_rows(pathlib.Path(tmp, f"{name}.jsonl"), rows),
                flops=work.of_row(length, length - 1) / length, **more)


def alpaca_rows(program, model, path, count):
    """Rows evenly from the file as ids, the output and EOS labelled; both sides read these very ids."""
    rows = json.loads(pathlib.Path(path).read_text(encoding="utf-8"))
    count = min(count, len(rows))
    rows = [rows[i * len(rows) // count] for i in range(count)]
    config = config_of(model)
    eos = config["eos_token_id"]
    eos = eos[0] if isinstance(eos, list) else eos
    prompts = tokenize(program, model, [
        ALPACA.format(paired=", paired with an input that provides further context" if r.get("input") else "",
                      instruction=r["instruction"], input=f"### Input:\n{r['input']}\n\n" if r.get("input") else "")
        for r in rows])
    outputs = tokenize(program, model, [r["output"] for r in rows])
    made = []
    for prompt, output in zip(prompts, outputs):
        if output and output[0] == config.get("bos_token_id"):
            output = output[1:]
        made.append({"input_ids": prompt + output + [eos], "labels": [-100] * len(prompt) + output + [eos]})
    return made


def alpaca_case(args, work, tmp):
    rows = alpaca_rows(args.program, args.model, args.alpaca, args.rows)
    batch, lengths = 4, [len(r["input_ids"]) for r in rows]
    labels = sum(label != -100 for r in rows for label in r["labels"])
    batches = [lengths[i:i + batch] for i in range(0, len(rows), batch)]
    padded = sum(max(part) * len(part) for part in batches)
    flops = sum(work.of_row(n, sum(label != -100 for label in r["labels"])) for n, r in zip(lengths, rows))
    title = (f"{work.model}, {len(rows)} Alpaca rows of {min(lengths)} to {max(lengths)} tokens, {sum(lengths)} in "
             f"all, {labels} of them labelled: packed by qlora-train into micro-batches of up to {batch} x "
             f"{max(lengths)}, by the peer {batch} rows a step padded to the longest ({padded} positions)")
    return Case("alpaca", title, args.model, batch, max(lengths), epoch=len(rows),
                rows=write_rows(pathlib.Path(tmp, "alpaca.jsonl"), rows), flops=flops / len(rows))


def random_model(tmp):
    path = pathlib.Path(tmp, "random-1.1b")
    say("writing a random model of 1.1B parameters (2.2 GB)")
    subprocess.run([sys.executable, str(ROOT / "tests/interop/random_llama.py"), str(path)], check=True,
                   stderr=subprocess.DEVNULL)
    return str(path)


def make_case(name, args, work, tmp):
    """The case, or why there is none."""
    if name in SHAPES:
        rows, length = SHAPES[name]
        return shape_case(name, f"{work.model}, {rows} x {length} tokens, all labelled", args.model, work,
                          (rows, length), tmp)
    if name == "recompute":
        return shape_case(name, f"{work.model}, 4 x 256 tokens, every block recomputed (gradient checkpointing)",
                          args.model, work, (4, 256), tmp, recompute=True)
    if name == "alpaca":
        return alpaca_case(args, work, tmp) if args.alpaca else "no --alpaca FILE"
    if name == "1.1b":
        big = random_model(tmp)
        work = Work(args.program, big, args.threads, tmp)
        return shape_case(name, f"{work.model} (TinyLlama's shape, random weights), 1 x 512 tokens", big, work,
                          (1, 512), tmp, steps=2)
    return Case(name, f"{work.model}, generating up to {NEW_TOKENS} tokens greedily, without an adapter", args.model,
                prompt=PROMPT, tokens=NEW_TOKENS)


# ---- rounds ----


def drop_slow(results, peers):
    """What is far behind so far is not measured again."""
    best = {peer.name: max(r.rate for r in results[peer.name]) for peer in peers}
    for peer in list(peers):
        if best[peer.name] < FAR_BEHIND * max(best.values()):
            say(f"  {peer.name}: left out of further rounds")
            peer.close()
            peers.remove(peer)


def run_case(case, ours, peers, products, rounds):
    results = {side.name: [] for side in [*ours, *peers]}
    peers = list(peers)
    try:
        for i in range(rounds):
            products.measure()
            sides = [*ours, *peers]
            for side in sides if i % 2 == 0 else reversed(sides):
                results[side.name].append(side.round(case))
            say(f"  {case.name}, round {i + 1} of {rounds}: " + "; ".join(
                f"{s.name} {results[s.name][-1].rate:.4g} {case.unit}/s" for s in sides))
            if i == 1:
                drop_slow(results, peers)
    finally:
        for peer in peers:
            peer.close()
    return results


def make_sides(args, auto, tmp):
    ours = [Ours(args.program, args.threads, args.rank, "f32", "qlora-train, f32", tmp)]
    if auto != "f32":
        ours.insert(0, Ours(args.program, args.threads, args.rank, "auto", f"qlora-train, auto ({auto})", tmp))
        ours[0].dtype = auto
    return ours, [Peer(args.threads, args.rank, dtype, tmp) for dtype in ("f32", "bf16", "bf16-throughout")]


def measure(args, tmp):
    head = machine(args)
    work = Work(args.program, args.model, args.threads, tmp)
    ours, peers = make_sides(args, work.auto, tmp)
    products = Products(args.program, args.threads, tmp)
    done, skipped = [], []
    try:
        products.measure_ours()
        for name in args.cases:
            case = make_case(name, args, work, tmp)
            if isinstance(case, str):
                say(f"{name}: skipped, {case}")
                skipped.append(f"{name}: skipped, {case}")
                continue
            say(case.title)
            done.append((case, run_case(case, ours, peers, products, args.rounds)))
        products.measure_ours()
    finally:
        products.close()
    return bench_report.Report(head, ours, peers, done, skipped, products.best)


# ---- the machine ----


def machine(args):
    info = {}
    for line in open("/proc/cpuinfo", encoding="utf-8"):
        key, _, value = line.partition(":")
        info.setdefault(key.strip(), value.strip())
    flags = set(info.get("flags", "").split())
    has = [name for name, flag in [("AVX2", "avx2"), ("AVX-512", "avx512f"), ("AVX512-BF16", "avx512_bf16"),
                                   ("AMX", "amx_bf16")] if flag in flags]
    commit = subprocess.run(["git", "-C", str(ROOT), "describe", "--always", "--dirty"], stdout=subprocess.PIPE,
                            stderr=subprocess.DEVNULL, text=True, check=False).stdout.strip() or "unknown"
    versions = ", ".join(f"{p} {importlib.metadata.version(p)}" for p in ("torch", "transformers", "peft",
                                                                         "bitsandbytes"))
    processor = f"{info.get('model name', 'unknown processor')} (family {info.get('cpu family')}, model " \
                f"{info.get('model')})"
    return (f"{processor}, {' '.join(has) or 'SSE2'}, {args.threads} threads, load before {os.getloadavg()[0]:.1f}; "
            f"{versions}; qlora-train at commit {commit}")


def parse():
    parser = argparse.ArgumentParser(prog="bench_cpu.sh", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", metavar="HF_DIR", nargs="?", default=str(ROOT / "runs/quickstart/merged"),
                        help="the model of all cases but 1.1b (runs/quickstart/merged)")
    parser.add_argument("--alpaca", metavar="FILE", help="a .json of Alpaca rows; without it that case is skipped")
    parser.add_argument("--rows", type=int, default=24, help="of that file, taken evenly (%(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="of every case (%(default)s)")
    parser.add_argument("--cases", default=",".join(CASES), help="some of %(default)s (all)")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)),
                        help="of both sides (%(default)s)")
    parser.add_argument("--rank", type=int, default=16, help="of the adapters (%(default)s)")
    parser.add_argument("--out", metavar="FILE", help="writes the tables there, too")
    parser.add_argument("--program", default=str(ROOT / "build/qlora-train"), help="(build/qlora-train)")
    args = parser.parse_args()
    args.cases = args.cases.split(",")
    args.model = str(pathlib.Path(args.model).resolve())
    for name in args.cases:
        if name not in CASES:
            parser.error(f"--cases: {name}; expected some of {','.join(CASES)}")
    for path, what in [(pathlib.Path(args.model, "config.json"), "a Hugging Face directory with config.json"),
                       (pathlib.Path(args.program), "the built program"),
                       (pathlib.Path(args.alpaca or args.program), "a file of Alpaca rows")]:
        if not path.is_file():
            parser.error(f"{path}: not there; expected {what}")
    if min(args.rounds, args.rows, args.threads, args.rank) < 1:
        parser.error("--rounds, --rows, --threads and --rank: expected 1 or more")
    return args


def main():
    args = parse()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))     # so that the directory goes
    with tempfile.TemporaryDirectory(prefix="qlora-bench-") as tmp:
        text = measure(args, tmp).text()
    print(text)
    if args.out:
        pathlib.Path(args.out).write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
