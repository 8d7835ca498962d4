#!/usr/bin/env python3
"""QLoRA with transformers + PEFT + bitsandbytes on the CPU: the peer in scripts/bench_cpu.sh.

NF4 with double quantization, LoRA on every linear layer, AdamW: what our run does. Once loaded it waits for a line on
standard input, the number of steps or tokens, and answers with a line of JSON, so that rounds can alternate with
ours without loading again. Times are on the monotonic clock, which all processes share.
"""

import time

BEGUN = time.monotonic()

import argparse  # noqa: E402 (the imports are timed)
import itertools  # noqa: E402
import json  # noqa: E402
import os  # noqa: E402
import sys  # noqa: E402

import torch  # noqa: E402
from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training  # noqa: E402
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig  # noqa: E402
from transformers.generation.streamers import BaseStreamer  # noqa: E402

IMPORTED = time.monotonic()


def peak_rss():
    """Of this process alone: ru_maxrss would begin with the peak of the one that started it."""
    for line in open("/proc/self/status", encoding="ascii"):
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("/proc/self/status has no VmHWM")


def load(path, dtype):
    return AutoModelForCausalLM.from_pretrained(
        path, dtype=dtype, device_map={"": "cpu"},
        quantization_config=BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4",
                                               bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=dtype))


def adapt(model, throughout, rank, recompute):
    """As PEFT's guide has it (prepare_model_for_kbit_training): norms, embedding, head and adapters in fp32, the frozen
    layers in the type that is computed in. Or `throughout` in BF16, the adapters too: the fastest that there is. It loses
    more of the adapters' first small outputs in sums with large ones, so its losses fall slower or not at all at first."""
    if not throughout:
        model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=recompute)
    elif recompute:
        model.gradient_checkpointing_enable()
        model.enable_input_require_grads()
    model = get_peft_model(model, LoraConfig(r=rank, lora_alpha=rank, lora_dropout=0.0, target_modules="all-linear",
                                             task_type="CAUSAL_LM"),
                           autocast_adapter_dtype=not throughout)
    model.train()
    return model


def collate(rows):
    """Padded on the right to the longest row. A batch without padding needs no mask, and is faster without."""
    longest = max(len(r["input_ids"]) for r in rows)
    pad = [longest - len(r["input_ids"]) for r in rows]
    batch = {"input_ids": torch.tensor([r["input_ids"] + [0] * n for r, n in zip(rows, pad)]),
             "labels": torch.tensor([r.get("labels", r["input_ids"]) + [-100] * n for r, n in zip(rows, pad)])}
    if any(pad):
        batch["attention_mask"] = torch.tensor([[1] * (longest - n) + [0] * n for n in pad])
    return batch


class Training:
    def __init__(self, model, rows, batch):
        self.model = model
        self.batches = itertools.cycle([collate(rows[i:i + batch]) for i in range(0, len(rows), batch)])
        self.trained = [p for p in model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(self.trained, lr=2e-4, weight_decay=0.0)
        self.first_at = None

    def step(self):
        started = time.monotonic()
        loss = self.model(**next(self.batches)).loss
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.trained, 0.3)
        self.optimizer.step()
        self.optimizer.zero_grad()
        ended = time.monotonic()
        self.first_at = self.first_at or ended
        return {"seconds": ended - started, "loss": loss.item(), "grad_norm": norm.item()}

    def run(self, steps):
        return {"steps": [self.step() for _ in range(steps)], "first_at": self.first_at}


class TokenTimes(BaseStreamer):
    def __init__(self):
        self.at = []

    def put(self, value):
        self.at.append(time.monotonic())

    def end(self):
        pass


class Generation:
    def __init__(self, model, path, prompt):
        self.model = model.eval()
        self.tokenizer = AutoTokenizer.from_pretrained(path)
        self.prompt = self.tokenizer(prompt, return_tensors="pt")
        self.first_at = None

    def run(self, tokens):
        times = TokenTimes()
        with torch.no_grad():
            out = self.model.generate(**self.prompt, do_sample=False, max_new_tokens=tokens, streamer=times)
        made = times.at[1:]  # the first call brings the prompt
        self.first_at = self.first_at or made[0]
        text = self.tokenizer.decode(out[0, self.prompt["input_ids"].shape[1]:], skip_special_tokens=True)
        return {"tokens": len(made), "seconds": made[-1] - made[0], "first_at": self.first_at, "text": text}


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="a Hugging Face directory")
    parser.add_argument("--dtype", choices=["f32", "bf16", "bf16-throughout"], default="f32")
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--recompute", action="store_true", help="gradient checkpointing")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--rows", help='train: a line {"input_ids": [...], "labels": [...]} each')
    what.add_argument("--prompt", help="generate: what to go on from; the model has no adapter then")
    parser.add_argument("--batch", type=int, default=4)
    return parser.parse_args()


def main():
    args = parse()
    # The answers have standard output for themselves, whatever the libraries print.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    dtype = torch.float32 if args.dtype == "f32" else torch.bfloat16
    started = time.monotonic()
    model = load(args.model, dtype)
    loaded = time.monotonic() - started
    if args.rows:
        rows = [json.loads(line) for line in open(args.rows, encoding="utf-8")]
        work = Training(adapt(model, args.dtype == "bf16-throughout", args.rank, args.recompute), rows, args.batch)
    else:
        work = Generation(model, args.model, args.prompt)
    common = {"import_seconds": IMPORTED - BEGUN, "load_seconds": loaded}
    for line in sys.stdin:
        answer = work.run(int(line))
        answers.write(json.dumps(common | answer | {"peak_rss": peak_rss()}) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
