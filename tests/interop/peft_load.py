#!/usr/bin/env python3
"""Does PEFT load our adapter as it is, and compute what we compute?

    peft_load.py --model HF_DIR --adapter runs/quickstart/adapter [--data rows.jsonl] [--prompt TEXT ...]

Compares the loss on token rows with `qlora-train eval`, and, for each --prompt (the model directory then needs its
tokenizer), the greedy answer with `qlora-train generate`.
"""

import argparse
import pathlib
import subprocess
import sys
import tempfile
import warnings

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

import common


def our_answer(args, prompt, tokens):
    with tempfile.TemporaryDirectory() as tmp:
        config = pathlib.Path(tmp, "config.yaml")
        config.write_text(common.config_text(args.model, pathlib.Path(tmp, "unused.jsonl"), 1024))
        command = [args.program, "generate", str(config), "--adapter", args.adapter, "--prompt", prompt,
                   "--max-new-tokens", str(tokens)]
        return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.rstrip()


def their_answer(model, tokenizer, prompt, tokens):
    text = tokenizer.apply_chat_template([{"role": "user", "content": prompt}], add_generation_prompt=True,
                                         tokenize=False)
    ids = tokenizer(text, return_tensors="pt", add_special_tokens=False).input_ids
    with torch.no_grad():
        out = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=tokens,
                             do_sample=False)
    return tokenizer.decode(out[0, ids.shape[1]:], skip_special_tokens=True).rstrip()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    common.add_arguments(parser)
    parser.add_argument("--model", required=True, help="the base model, a Hugging Face directory")
    parser.add_argument("--adapter", required=True)
    parser.add_argument("--prompt", action="append", default=[])
    parser.add_argument("--tokens", type=int, default=64, help="length of an answer")
    args = parser.parse_args()
    report = common.Report()

    base = AutoModelForCausalLM.from_pretrained(args.model, dtype=torch.float32).eval()
    rows = common.load_rows(args, base.config.vocab_size)
    base_loss, _ = common.their_loss(base, rows)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = PeftModel.from_pretrained(base, args.adapter).eval()
    # A wrong tensor name only warns, and the base model would run unadapted.
    report.holds("PEFT loads the adapter without missing keys", not any("missing" in str(w.message) for w in caught))
    loss, _ = common.their_loss(model, rows)
    ours = common.our_loss(args.program, args.model, rows, args.adapter)
    report.value("loss, base model (transformers)", base_loss)
    report.value("loss, with adapter (PEFT)", loss)
    report.value("loss, with adapter (qlora-train)", ours)
    report.holds("the adapter changes the loss", common.relative(loss, base_loss) > 2e-4)
    report.at_most("relative difference of the losses", common.relative(ours, loss), 2e-5)

    if args.prompt:
        tokenizer = AutoTokenizer.from_pretrained(args.model)
    for prompt in args.prompt:
        theirs, mine = their_answer(model, tokenizer, prompt, args.tokens), our_answer(args, prompt, args.tokens)
        same = mine.endswith(theirs)
        report.holds(f"greedy answer to {prompt[:28]!r}", same)
        if not same:
            print(f"  PEFT:        {theirs!r}\n  qlora-train: {mine[-len(theirs) - 80:]!r}")
    return report.exit_status()


if __name__ == "__main__":
    sys.exit(main())
