"""Event files of `training.report_to: [jsonl, tensorboard]`, read by TensorBoard itself: the same steps and values as
metrics.jsonl, each once, also of runs that were killed and went on.

    python3 -m venv venv && venv/bin/pip install tensorboard
    venv/bin/python tests/interop/tensorboard.py RUN_DIR...
"""
import json
import math
import os
import struct
import sys

sys.path.pop(0)  # this file's own folder, where "tensorboard" would be this file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

TAGS = {
    "loss": "train/loss", "grad_norm": "train/grad_norm", "learning_rate": "train/learning_rate",
    "epoch": "train/epoch", "tokens_per_second": "train/tokens_per_second",
    "peak_device_bytes": "memory/peak_device_bytes", "paged_bytes": "memory/paged_bytes",
    "eval_loss": "eval/loss", "eval_perplexity": "eval/perplexity",
}


def as_float(v):
    return math.nan if v is None else struct.unpack("<f", struct.pack("<f", v))[0]


def same(a, b):
    return a == b or (a != a and b != b) or abs(a - b) <= 2e-7 * abs(b)


def check(run):
    with open(os.path.join(run, "metrics.jsonl")) as f:
        rows = [json.loads(line) for line in f]
    events = EventAccumulator(os.path.join(run, "tensorboard"), size_guidance={"scalars": 0})
    events.Reload()
    assert sorted(events.Tags()["scalars"]) == sorted(t for k, t in TAGS.items() if any(k in r for r in rows))
    for key, tag in TAGS.items():
        want = [(r["step"], as_float(r[key])) for r in rows if key in r]
        got = [(e.step, e.value) for e in events.Scalars(tag)] if want else []
        assert [s for s, _ in got] == [s for s, _ in want], f"{tag}: steps {got} for {want}"
        assert all(same(a, b) for (_, a), (_, b) in zip(got, want)), f"{tag}: other values"
    files = len(os.listdir(os.path.join(run, "tensorboard")))
    print(f"{run}: {len(rows)} rows, {files} event files, equal")


if len(sys.argv) < 2:
    sys.exit(__doc__)
for run in sys.argv[1:]:
    check(run)
