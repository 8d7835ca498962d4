"""Turns expected.safetensors and expected.json, as gen_smollm2.py writes them, into what the test reads: token
rows as JSONL and the expected figures as one small JSON. Needs safetensors and numpy.

    python convert.py EXPECTED_DIR .
"""
import json
import shutil
import sys
from pathlib import Path

from safetensors.numpy import load_file

src, out = Path(sys.argv[1]), Path(sys.argv[2])
tensors, figures = load_file(src / "expected.safetensors"), json.loads((src / "expected.json").read_text())

with open(out / "ppl.jsonl", "w") as f:
    for row in tensors["ppl.input_ids"].tolist():
        print(json.dumps({"input_ids": row}, separators=(",", ":")), file=f)

with open(out / "train.jsonl", "w") as f:
    for step in range(len(figures["train"]["loss"])):
        ids, labels = (tensors[f"train.{step:02d}.{x}"].tolist() for x in ("input_ids", "labels"))
        for x, y in zip(ids, labels):
            # Right-padding has id 2 without a label; the row itself ends with an untrained newline.
            n = max(i for i, label in enumerate(y) if label != -100) + 2
            n = min(n, len(x))
            print(json.dumps({"input_ids": x[:n], "labels": y[:n]}, separators=(",", ":")), file=f)

ppl = {k[4:]: v for k, v in figures.items() if k.startswith("ppl.")}
keep = {"perplexity": ppl, "loss": figures["train"]["loss"], "grad_norm": figures["train"]["grad_norm"],
        "label_tokens": figures["train"]["label_tokens"], "optimizer": figures["train"]["optimizer"],
        "versions": figures["versions"]}
(out / "expected.json").write_text(json.dumps(keep, indent=1) + "\n")
adapter = out / "init_adapter"
adapter.mkdir(exist_ok=True)
for name in ("adapter_config.json", "adapter_model.safetensors"):
    shutil.copyfile(src / "init_adapter" / name, adapter / name)
