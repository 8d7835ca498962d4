#!/usr/bin/env python3
"""Does transformers load our merged model, and is it base + adapter?

    merged_load.py --model HF_DIR --adapter runs/quickstart/adapter --merged runs/quickstart/merged

The merged weights are rounded to BF16 once, hence the wider limits against the unmerged pair.
"""

import argparse
import sys

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

import common


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    common.add_arguments(parser)
    parser.add_argument("--model", required=True, help="the base model, a Hugging Face directory")
    parser.add_argument("--adapter", required=True)
    parser.add_argument("--merged", required=True)
    args = parser.parse_args()
    report = common.Report()

    merged, info = AutoModelForCausalLM.from_pretrained(args.merged, dtype=torch.float32, output_loading_info=True)
    merged.eval()
    report.holds("transformers finds every tensor, and no other",
                 not info["missing_keys"] and not info["unexpected_keys"] and not info["mismatched_keys"])
    rows = common.load_rows(args, merged.config.vocab_size)
    loss, logits = common.their_loss(merged, rows)
    base = AutoModelForCausalLM.from_pretrained(args.model, dtype=torch.float32).eval()
    report.holds("embeddings tied as in the base model",
                 bool(base.config.tie_word_embeddings) == bool(merged.config.tie_word_embeddings))
    base_loss, base_logits = common.their_loss(base, rows)
    pair_loss, pair_logits = common.their_loss(PeftModel.from_pretrained(base, args.adapter).eval(), rows)
    ours = common.our_loss(args.program, args.merged, rows)

    report.value("loss, base model (transformers)", base_loss)
    report.value("loss, base + adapter (PEFT)", pair_loss)
    report.value("loss, merged (transformers)", loss)
    report.value("loss, merged (qlora-train)", ours)
    report.holds("merging changed the loss", common.relative(loss, base_loss) > 2e-4)
    report.at_most("merged, qlora-train against transformers", common.relative(ours, loss), 2e-5)
    report.at_most("merged against base + adapter: loss", common.relative(loss, pair_loss), 1e-2)
    # What rounding to BF16 adds, as a part of what the adapter changes.
    error, change = (logits - pair_logits).norm().item(), (pair_logits - base_logits).norm().item()
    report.at_most("merged against base + adapter: logits", error / change, 1e-1)
    return report.exit_status()


if __name__ == "__main__":
    sys.exit(main())
