"""Files of a run that somebody or a disk has changed, and things that lie where they do not belong."""
import json
import os
import random
import re
import shutil

FILES = ("adapter_config.json", "adapter_model.safetensors", "optimizer.safetensors", "trainer_state.json",
         "config.yaml", "checksums.json")


def cut(path, size):
    os.truncate(path, size)


def flip(path, bit):
    with open(path, "r+b") as f:
        f.seek(bit // 8)
        byte = f.read(1)[0]
        f.seek(bit // 8)
        f.write(bytes([byte ^ (1 << bit % 8)]))


def become(path, what):
    os.remove(path)
    if what == "a directory":
        os.mkdir(path)
    elif what == "a fifo":
        os.mkfifo(path)
    elif what == "a link to nowhere":
        os.symlink("nowhere", path)
    elif what == "a link to itself":
        os.symlink(os.path.basename(path), path)


def checkpoints(rig, template):
    """The newest checkpoint damaged: named, the one before it is used, and the end is the same."""
    newest = os.path.join(template, "checkpoint-2")
    cases = []
    for file in FILES:
        size = os.path.getsize(os.path.join(newest, file))
        cases += [(file, "cut", n) for n in sorted({0, 1, size // 2, size - 1})]
        bits = range(8 * size) if rig.everything and size < 500 else {rig.random.randrange(8 * size) for _ in range(25)}
        cases += [(file, "flip", bit) for bit in sorted(bits)]
        cases += [(file, "become", what) for what in ("nothing", "a directory", "a fifo", "a link to nowhere",
                                                     "a link to itself")]

    def check(place, file, how, what):
        place.clear(template)
        path = place.path("run/checkpoint-2", file)
        {"cut": cut, "flip": flip, "become": become}[how](path, what)
        r = place.run("run.yaml")
        rig.must(r.status == 0, r.show())
        named = any("checkpoint-2 is damaged" in w for w in r.warnings)
        if named:
            rig.must(os.path.isdir(place.path("run/checkpoint-2.damaged")), "it was not set aside")
            shutil.rmtree(place.path("run/checkpoint-2.damaged"))
        else:  # a bit of white space in checksums.json, say
            rig.must(file == "checksums.json" and (how == "flip" or what > 200), "the damage is not named: " + r.show())
            kept = place.path("run/checkpoint-2/checksums.json")
            shutil.copy(os.path.join(template, "checkpoint-2/checksums.json"), kept)
        rig.check_whole(place, "the run with a damaged checkpoint")

    rig.each("a damaged checkpoint", cases, check)

    def check_all(place, file):
        place.clear(template)
        for n in (1, 2):
            cut(place.path(f"run/checkpoint-{n}", file), 1)
        r = place.run("run.yaml")
        rig.must(r.status == 0 and "starts over" in r.err, r.show())
        for n in (1, 2):
            shutil.rmtree(place.path(f"run/checkpoint-{n}.damaged"))
        rig.check_whole(place)

    rig.each("every checkpoint damaged", [(f,) for f in FILES], check_all)


def run_json(rig, template):
    """What it says is believed or refused with the reason, never guessed."""
    with open(os.path.join(template, "run.json")) as f:
        size = len(f.read())
    cases = [("cut", n) for n in sorted({0, 1, size // 2, size - 3})]
    cases += [("flip", bit) for bit in sorted({rig.random.randrange(8 * size) for _ in range(60)})]
    cases += [("become", what) for what in ("nothing", "a directory", "a fifo", "a link to nowhere")]

    def check(place, how, what):
        place.clear(template)
        {"cut": cut, "flip": flip, "become": become}[how](place.path("run/run.json"), what)
        before = {k: v for k, v in place.snapshot().items() if k.startswith("checkpoint")} if how != "become" else None
        r = place.run("run.yaml")
        if r.status == 0:
            rig.must(how == "flip", "it goes on: " + r.show())
            shutil.copy(rig.first.path("whole.json"), place.path("run/run.json"))
            rig.check_whole(place)
        else:
            rig.must(r.status == 2 and len(r.complaints) == 1 and "run" in r.complaints[0], r.show())
            now = {k: v for k, v in place.snapshot().items() if k.startswith("checkpoint")} if before else None
            rig.must(before == now, "a run that was refused changed something")

    rig.each("a damaged run.json", cases, check)


def metrics(rig, template):
    """What is no row is removed, said, and the rest stays; the run is the same but for the rows that were lost."""
    row = json.dumps({"step": 1, "loss": 1.0})
    garbage = {
        "torn": b'{"step": 2, "lo',
        "zeros": b"\0" * 200,
        "not UTF-8": b"\xff\xfe\xfd\n",
        "no JSON": b"this is no row\n",
        "another kind": b"[1, 2]\n3\nnull\n\n",
        "no step": b'{"loss": 1}\n{"step": -1}\n{"step": "1"}\n',
        "a huge step": b'{"step": 99999999999999999999999}\n',
        "deep": b"[" * 100000 + b"\n",
        "later steps": (row.replace("1,", "7,") + "\n").encode(),
    }

    def check(place, what, where):
        place.clear(template)
        path = place.path("run/metrics.jsonl")
        with open(path, "rb") as f:
            lines = f.read().splitlines(keepends=True)[:-1]  # without the torn one
        if where == "at the end":
            lines.append(garbage[what])
        else:
            lines.insert(1, garbage[what] if garbage[what].endswith(b"\n") else garbage[what] + b"\n")
        with open(path, "wb") as f:
            f.write(b"".join(lines))
        r = place.run("run.yaml")
        said = any("metrics.jsonl" in w for w in r.warnings)
        whole_lines = where != "at the end" or garbage[what].endswith(b"\n")
        rig.must(r.status == 0 and said == (whole_lines and what != "later steps"), r.show())
        rig.check_whole(place)

    rig.each("damaged metrics", [(g, w) for g in garbage for w in ("at the end", "in the middle")], check)

    def become_other(place, what):
        place.clear(template)
        become(place.path("run/metrics.jsonl"), what)
        r = place.run("run.yaml")
        if what == "nothing":
            rig.must(r.status == 0, r.show())
        else:
            rig.must(r.status in (1, 2) and "metrics.jsonl" in r.err, r.show())

    rig.each("metrics that are something else", [(w,) for w in ("nothing", "a directory", "a fifo", "a link to itself")],
             become_other)


def links(rig, template):
    """Of a symbolic link under one of our names only the link is removed."""
    cases = ["adapter", ".tmp-adapter", ".tmp-checkpoint-1", ".tmp-checkpoint-3", "checkpoint-1"]

    def check(place, name):
        place.clear(template)
        outside = place.path("outside")
        os.makedirs(outside)
        with open(os.path.join(outside, "mine"), "w") as f:
            f.write("mine")
        shutil.rmtree(place.path("run", name), ignore_errors=True)
        os.symlink(outside, place.path("run", name))
        r = place.run("run.yaml")
        mine = os.listdir(outside)
        shutil.rmtree(outside)
        rig.must(mine == ["mine"], "what a link points to was touched: " + r.show())
        rig.must(r.status == 0, r.show())
        rig.check_whole(place)

    rig.each("links", [(c,) for c in cases], check)


def stray(rig, template):
    """What has such a name and is none of ours."""
    cases = ["checkpoint-7", "checkpoint-99999999999999999999999", "checkpoint-", "checkpoint-2.damaged",
             ".tmp-run.json", "metrics.jsonl.tmp", ".tmp-adapter", "checkpoint-007"]

    def check(place, name, kind):
        place.clear(template)
        path = place.path("run", name)
        if kind == "file":
            place.write(os.path.join("run", name), "something")
        else:
            os.makedirs(os.path.join(path, "deeper"))
        r = place.run("run.yaml")
        if r.status:
            rig.must(r.status == 1 and name in r.err, r.show())
            return
        for left in os.listdir(place.path("run")):
            if re.fullmatch(r"checkpoint-(\d*|\d+\.damaged)", left) and left not in ("checkpoint-2", "checkpoint-3"):
                full = place.path("run", left)
                shutil.rmtree(full) if os.path.isdir(full) else os.remove(full)
        rig.check_whole(place)

    rig.each("strays", [(c, k) for c in cases for k in ("file", "directory")], check)


def run(rig):
    rig.first.clear()
    rig.first.run("run.yaml")
    shutil.copy(rig.first.path("run/run.json"), rig.first.path("whole.json"))
    template = rig.starts["stopped"]
    checkpoints(rig, template)
    run_json(rig, template)
    metrics(rig, template)
    links(rig, template)
    stray(rig, template)
