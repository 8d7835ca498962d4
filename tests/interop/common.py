"""What the interoperability checks share: token rows, our program's loss on them, transformers' loss on them."""

import copy
import json
import pathlib
import random
import subprocess
import tempfile

import bitsandbytes
import torch


def add_arguments(parser):
    root = pathlib.Path(__file__).resolve().parents[2]
    parser.add_argument("--program", default=str(root / "build" / "qlora-train"))
    parser.add_argument("--data", help='rows of {"input_ids": [...], "labels": [...]}; default: random ids')
    parser.add_argument("--rows", type=int, default=8, help="random rows")
    parser.add_argument("--length", type=int, default=64, help="ids of a random row")


def load_rows(args, vocab):
    """[(input_ids, labels)]; labels as transformers has them, the first of a row never counted."""
    if args.data:
        rows = [json.loads(line) for line in open(args.data, encoding="utf-8")]
        return [(r["input_ids"], r.get("labels", r["input_ids"])) for r in rows]
    rng = random.Random(0)
    rows = [[rng.randrange(vocab) for _ in range(args.length)] for _ in range(args.rows)]
    return [(ids, ids) for ids in rows]


def config_text(model, eval_file, longest):
    return (
        f"model: {{path: {json.dumps(str(pathlib.Path(model).resolve()))}}}\n"
        "quantization: {quant_type: none, compute_dtype: f32}\n"
        f"data: {{eval: {json.dumps(str(eval_file))}, format: tokens, max_length: {longest}}}\n"
        "device: {backend: cpu}\n"
    )


def our_loss(program, model, rows, adapter=None, overrides=()):
    """Mean loss by `qlora-train eval`, base weights in BF16 and computation in fp32 unless overridden."""
    with tempfile.TemporaryDirectory() as tmp:
        data, config = pathlib.Path(tmp, "rows.jsonl"), pathlib.Path(tmp, "config.yaml")
        data.write_text("".join(json.dumps({"input_ids": i, "labels": l}) + "\n" for i, l in rows))
        config.write_text(config_text(model, data, max(len(i) for i, _ in rows)))
        command = [program, "eval", str(config), *(["--adapter", adapter] if adapter else []), *overrides]
        out = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    return json.loads(out.splitlines()[-1])["eval_loss"]


def their_loss(model, rows):
    """Mean loss over all labelled tokens of all rows, and the logits of the first row, by transformers."""
    total, count, first = 0.0, 0, None
    with torch.no_grad():
        for ids, labels in rows:
            logits = model(input_ids=torch.tensor([ids])).logits[0].float()
            if first is None:
                first = logits
            target = torch.tensor(labels[1:])
            total += torch.nn.functional.cross_entropy(logits[:-1], target, ignore_index=-100, reduction="sum").item()
            count += int((target != -100).sum())
    return total / count, first


def dequantize_linears(model):
    """Puts plain fp32 linears in the place of Linear4bit, with the weights bitsandbytes dequantizes. Its own forward
    rounds activations and constants to BF16 on some CPUs, which would hide what is compared here; and there its kernels
    take a block that crosses rows for another one, so a weight is dequantized as one row."""
    for name, module in list(model.named_modules()):
        if isinstance(module, bitsandbytes.nn.Linear4bit):
            state = copy.copy(module.weight.quant_state)
            shape, state.shape = state.shape, torch.Size([state.shape.numel()])
            weight = bitsandbytes.functional.dequantize_4bit(module.weight.data, state).float().view(shape)
            plain = torch.nn.Linear(shape[1], shape[0], bias=module.bias is not None)
            plain.weight.data = weight
            if module.bias is not None:
                plain.bias.data = module.bias.data.float()
            model.set_submodule(name, plain)
    for parameter in model.parameters():    # embeddings and norms (transformers refuses model.float() here)
        parameter.data = parameter.data.float()


class Report:
    """Prints each figure with its limit and remembers whether one was exceeded."""

    def __init__(self):
        self.failed = False

    def value(self, name, value):
        print(f"{name:48} {value:.7f}")

    def at_most(self, name, value, limit):
        ok = value <= limit
        self.failed |= not ok
        print(f"{name:48} {value:.3e}  (at most {limit:.0e})  {'ok' if ok else 'FAILED'}")

    def holds(self, name, ok):
        self.failed |= not ok
        print(f"{name:48} {'ok' if ok else 'FAILED'}")

    def exit_status(self):
        return 1 if self.failed else 0


def relative(a, b):
    return abs(a - b) / abs(b)
