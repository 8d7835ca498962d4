"""What a run was started with has changed when it goes on: refused with what differs, or told, or no matter."""
import json
import os
import shutil

from rig import Place, rows


def swap_lines(path):
    with open(path) as f:
        lines = f.readlines()
    lines[0], lines[1] = lines[1], lines[0]
    with open(path, "w") as f:
        f.writelines(lines)


def replace_in(path, old, new):
    with open(path) as f:
        text = f.read()
    assert old in text, (path, old)
    with open(path, "w") as f:
        f.write(text.replace(old, new, 1))


def one_token(path):
    with open(path) as f:
        lines = f.readlines()
    row = json.loads(lines[3])
    row["input_ids"][-1] = row["input_ids"][-1] % 300 + 4
    lines[3] = json.dumps(row) + "\n"
    with open(path, "w") as f:
        f.writelines(lines)


def one_weight(path):
    """The first byte of the last tensor: the file keeps its size."""
    with open(path, "r+b") as f:
        size = int.from_bytes(f.read(8), "little")
        header = json.loads(f.read(size))
        at = 8 + size + max(t["data_offsets"][0] for n, t in header.items() if n != "__metadata__")
        f.seek(at)
        byte = f.read(1)[0]
        f.seek(at)
        f.write(bytes([byte ^ 1]))


REFUSED = {
    "a token of the data": (lambda p: one_token(p.path("train.jsonl")), "other training data"),
    "the order of rows": (lambda p: swap_lines(p.path("train.jsonl")), "other training data"),
    "a row less": (lambda p: p.write("train.jsonl", rows(7, 23, 30)), "other training data"),
    "a weight": (lambda p: one_weight(p.path("model/model.safetensors")), "other model weights"),
    "RoPE": (lambda p: replace_in(p.path("model/config.json"), "10000.0", "10001.0"), "rope_parameters"),
    "epsilon": (lambda p: replace_in(p.path("model/config.json"), '"rms_norm_eps": 1e-05', '"rms_norm_eps": 1e-06'),
                "rms_norm_eps"),
    "rank": (lambda p: replace_in(p.path("run.yaml"), "r: 4", "r: 8"), "lora.r=8 (it was lora.r=4)"),
    "rate": (lambda p: replace_in(p.path("run.yaml"), "2e-3", "1e-3"), "training.learning_rate=0.001 (it was"),
    "steps": (lambda p: replace_in(p.path("run.yaml"), "max_steps: 3", "max_steps: 4"), "training.max_steps=4 (it was"),
    "the model is gone": (lambda p: shutil.rmtree(p.path("model")), "model"),
    "the data are gone": (lambda p: os.remove(p.path("train.jsonl")), "train.jsonl"),
    "evaluation data that choose the best": (lambda p: one_token(p.path("eval.jsonl")),
                                             "training.load_best_model_at_end: the evaluation data are other"),
}
TOLD = {
    "evaluation data": (lambda p: (replace_in(p.path("run.yaml"), "load_best_model_at_end: true", "load_best_model_at_end: false"),
                                   one_token(p.path("eval.jsonl"))), "evaluation data are other"),
}
NO_MATTER = {
    "white space of a row": lambda p: replace_in(p.path("train.jsonl"), ", ", ",  "),
    "another path of the model": lambda p: (os.rename(p.path("model"), p.path("moved")),
                                            replace_in(p.path("run.yaml"), p.path("model"), p.path("moved"))),
    "its comments": lambda p: replace_in(p.path("model/config.json"), "{", '{"comment": 1,'),
    "save_steps": lambda p: replace_in(p.path("run.yaml"), "save_steps: 1", "save_steps: 3"),
    "the order of keys": lambda p: replace_in(p.path("run.yaml"), "backend: cpu, threads: 1", "threads: 1, backend: cpu"),
}


def run(rig):
    def fresh(place):
        """A place of its own with its own model, stopped in the middle."""
        shutil.rmtree(os.path.join(rig.top, "changed-" + os.path.basename(place.dir)), ignore_errors=True)
        p = Place(rig, "changed-" + os.path.basename(place.dir), like=place)
        p.clear(rig.starts["stopped"])
        shutil.copytree(rig.model, p.path("model"))
        replace_in(p.path("run.yaml"), rig.model, p.path("model"))
        return p

    def refused(place, what):
        change, says = REFUSED[what]
        p = fresh(place)
        before = p.snapshot()
        change(p)
        r = p.run("run.yaml")
        rig.must(r.status == 2 and len(r.complaints) == 1 and says in r.complaints[0], r.show())
        rig.must(before == p.snapshot(), "a run that was refused changed something")

    def told(place, what):
        change, says = TOLD[what]
        p = fresh(place)
        change(p)
        r = p.run("run.yaml")
        rig.must(r.status == 0 and len(r.warnings) == 1 and says in r.warnings[0], r.show())

    def no_matter(place, what):
        p = fresh(place)
        NO_MATTER[what](p)
        r = p.run("run.yaml")
        rig.must(r.status == 0 and not r.warnings, r.show())
        adapter = {k: v for k, v in p.snapshot("run/adapter").items() if k.endswith(".safetensors")}
        rig.must(adapter and all(rig.whole["adapter/" + k] == v for k, v in adapter.items()), "another adapter")

    def tokenizer(place, _):
        """Other tokens of the same texts."""
        p = fresh(place)
        p.clear()
        p.write("texts.jsonl", "".join(json.dumps({"text": f"Text {i} of a few, and its end."}) + "\n" for i in range(20)))
        replace_in(p.path("run.yaml"), "train: train.jsonl, eval: eval.jsonl, format: tokens", "train: texts.jsonl")
        replace_in(p.path("run.yaml"), "eval_steps: 2", "eval_steps: 0")
        replace_in(p.path("run.yaml"), "load_best_model_at_end: true", "load_best_model_at_end: false")
        r = p.run("run.yaml", call="rename", at=5, do="before")
        rig.must(r.status == -9 and os.path.isdir(p.path("run/checkpoint-1")), r.show())
        path = p.path("model/tokenizer.json")
        with open(path) as f:
            t = json.load(f)
        vocab = t["model"]["vocab"]
        vocab["a"], vocab["b"] = vocab["b"], vocab["a"]
        with open(path, "w") as f:
            json.dump(t, f)
        r = p.run("run.yaml")
        rig.must(r.status == 2 and "other training data (or in another chat template)" in r.err, r.show())

    def init(place, what):
        """The adapter of lora.init counts at the start only; later the checkpoint has what became of it."""
        p = fresh(place)
        p.clear()
        shutil.copytree(rig.first.path("adapter-of-whole"), p.path("init"))
        replace_in(p.path("run.yaml"), "lora_dropout: 0.1", "lora_dropout: 0.1, init: init")
        whole = p.run("run.yaml")
        rig.must(whole.status == 0, whole.show())
        wanted = p.snapshot()
        p.clear()
        r = p.run("run.yaml", call="rename", at=6, do="before")
        rig.must(r.status == -9 and os.path.isdir(p.path("run/checkpoint-2")), r.show())
        one_weight(p.path("init/adapter_model.safetensors"))
        r = p.run("run.yaml")
        rig.must(r.status == 0 and p.snapshot() == wanted, r.show())

    rig.first.clear()
    rig.first.run("run.yaml")
    shutil.copytree(rig.first.path("run/adapter"), rig.first.path("adapter-of-whole"))
    rig.each("changed: the tokenizer", [("",)], tokenizer)
    rig.each("changed: the adapter of lora.init", [("",)], init)
    rig.each("changed: refused", [(w,) for w in REFUSED], refused)
    rig.each("changed: told", [(w,) for w in TOLD], told)
    rig.each("changed: no matter", [(w,) for w in NO_MATTER], no_matter)
