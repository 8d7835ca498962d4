#!/usr/bin/env python3
"""Perplexity of a GGUF model by transformers, unquantized and in NF4 with double quantization; then ours beside it.

    gemma_ppl.py --gguf gemma-3-270m-q4_k_m.gguf --text wiki.txt --out DIR [--program qlora-train]

The first call writes DIR/rows.jsonl (24 rows: BOS and 511 ids of the text by the model's own tokenizer) and
DIR/expected.json, on the CPU in fp32, from weights dequantized and rounded to BF16. With --program, the files that are
there are compared with `qlora-train eval`.
"""

import argparse
import json
import math
import pathlib
import sys
import tempfile

import torch
import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig

import common

NF4 = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True,
                         bnb_4bit_compute_dtype=torch.float32)
# Our names of the two, as overrides of the config.
MODES = {"bf16-weights": ["quantization.quant_type=none"],
         "nf4+dq": ["quantization.quant_type=nf4", "quantization.double_quant=true"]}


def text_rows(tokenizer, text, count, length):
    ids = tokenizer(text, add_special_tokens=False).input_ids
    if len(ids) < count * (length - 1):
        sys.exit(f"the text has {len(ids)} ids; expected at least {count * (length - 1)}")
    return [[tokenizer.bos_token_id] + ids[i * (length - 1):(i + 1) * (length - 1)] for i in range(count)]


def save_rounded(gguf, out):
    """The GGUF's weights in BF16 as a Hugging Face directory: what both modes start from."""
    loaded = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
    config = loaded.config.to_dict()
    config.pop("quantization_config", None)    # transformers does not save a model that it calls quantized
    plain = AutoModelForCausalLM.from_config(type(loaded.config).from_dict(config), dtype=torch.bfloat16)
    plain.load_state_dict(loaded.state_dict())
    plain.save_pretrained(out)


def perplexity(directory, quantization, rows):
    model = AutoModelForCausalLM.from_pretrained(directory, quantization_config=quantization, dtype=torch.float32,
                                                 device_map={"": "cpu"}).eval()
    common.dequantize_linears(model)
    loss, _ = common.their_loss(model, [(r, r) for r in rows])
    return math.exp(loss)


def write_expected(args):
    gguf = pathlib.Path(args.gguf)
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    rows = text_rows(tokenizer, pathlib.Path(args.text).read_text(encoding="utf-8"), args.rows, args.length)
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "rows.jsonl").write_text("".join(json.dumps({"input_ids": r}, separators=(",", ":")) + "\n"
                                                 for r in rows))
    with tempfile.TemporaryDirectory() as tmp:
        save_rounded(gguf, tmp)
        figures = {mode: perplexity(tmp, NF4 if mode.startswith("nf4") else None, rows) for mode in MODES}
    figures["versions"] = {"torch": torch.__version__, "transformers": transformers.__version__}
    (args.out / "expected.json").write_text(json.dumps(figures, indent=1) + "\n")


def compare(args):
    expected = json.loads((args.out / "expected.json").read_text())
    rows = [json.loads(line)["input_ids"] for line in open(args.out / "rows.jsonl", encoding="utf-8")]
    report = common.Report()
    for mode, overrides in MODES.items():
        ours = math.exp(common.our_loss(args.program, args.gguf, [(r, r) for r in rows], overrides=overrides))
        report.value(f"{mode}: perplexity (transformers)", expected[mode])
        report.value(f"{mode}: perplexity (qlora-train)", ours)
        report.at_most(f"{mode}: relative difference", common.relative(ours, expected[mode]), 2e-3)
    return report.exit_status()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gguf", required=True)
    parser.add_argument("--text", help="needed for the first call")
    parser.add_argument("--out", required=True, type=pathlib.Path)
    parser.add_argument("--program")
    parser.add_argument("--rows", type=int, default=24)
    parser.add_argument("--length", type=int, default=512)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if not (args.out / "expected.json").exists():
        write_expected(args)
    print((args.out / "expected.json").read_text(), end="")
    return compare(args) if args.program else 0


if __name__ == "__main__":
    sys.exit(main())
