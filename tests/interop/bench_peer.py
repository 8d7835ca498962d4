#!/usr/bin/env python3
"""One run of QLoRA with transformers + PEFT + bitsandbytes on the CPU: the peer in scripts/bench_peer.sh.

NF4 with double quantization, fp32 computation, every linear layer, AdamW: what our run does. The last line is JSON:
tokens_per_second (median of the steps after the first), loss and grad_norm of every step, load_seconds, rss_gib.
"""

import argparse
import json
import resource
import statistics
import sys
import time

import torch
from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training
from transformers import AutoModelForCausalLM, BitsAndBytesConfig


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="a Hugging Face directory")
    parser.add_argument("--data", required=True, help='rows of {"input_ids": [...]}, all of one length')
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--gradient-checkpointing", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)

    rows = [json.loads(line)["input_ids"] for line in open(args.data, encoding="utf-8")]
    if len(rows) < args.batch * args.steps or len({len(r) for r in rows}) != 1:
        sys.exit(f"{args.data}: expected at least {args.batch * args.steps} rows of one length")

    started = time.perf_counter()
    model = AutoModelForCausalLM.from_pretrained(
        args.model, dtype=torch.float32, device_map={"": "cpu"},
        quantization_config=BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4",
                                               bnb_4bit_use_double_quant=True,
                                               bnb_4bit_compute_dtype=torch.float32))
    model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=args.gradient_checkpointing)
    model = get_peft_model(model, LoraConfig(r=args.rank, lora_alpha=16, lora_dropout=0.0,
                                             target_modules="all-linear", task_type="CAUSAL_LM"))
    model.train()
    load_seconds = time.perf_counter() - started
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=2e-4, weight_decay=0.0)

    seconds, losses, norms = [], [], []
    for step in range(args.steps):
        ids = torch.tensor(rows[step * args.batch:(step + 1) * args.batch])
        started = time.perf_counter()
        loss = model(input_ids=ids, labels=ids).loss
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(trained, 0.3)
        optimizer.step()
        optimizer.zero_grad()
        seconds.append(time.perf_counter() - started)
        losses.append(loss.item())
        norms.append(norm.item())
    print(json.dumps({
        "tokens_per_second": args.batch * len(rows[0]) / statistics.median(seconds[1:]),
        "loss": losses,
        "grad_norm": norms,
        "load_seconds": load_seconds,
        "rss_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
    }))


if __name__ == "__main__":
    main()
