"""Commands that write a result, or answer: whole, or nothing under the final name."""
import os
import re
import shutil

from rig import ERRORS, INTERRUPTED, SHORT, number_of

# What is run in a place, and the result that it writes (None: it answers on standard output).
COMMANDS = {
    "merged": (["export", "run/checkpoint-3", "--merged", "deep/out"], "deep"),
    "adapter": (["export", "run/checkpoint-3", "--adapter", "deep/out"], "deep"),
    "gguf": (["export", "run/checkpoint-3", "--gguf", "deep/out.gguf"], "deep"),
    "gguf-lora": (["export", "run/checkpoint-3", "--gguf-lora", "deep/out.gguf"], "deep"),
    "quantize": (["quantize", "../model", "deep/out"], "deep"),
    "inspect model": (["inspect", "../model"], None),
    "inspect checkpoint": (["inspect", "run/checkpoint-3"], None),
    "inspect data": (["inspect", "texts.jsonl", "--model", "../model"], None),
    "eval": (["eval", "run.yaml", "--adapter", "run/adapter"], None),
    "tokenize": (["tokenize", "../model", "texts.jsonl"], None),
    "tokenize spm": (["tokenize", "../spm.model", "texts.jsonl"], None),
}

TEMPORARY = r"out(\.gguf)?\.[0-9a-f]{6}|Modelfile\.tmp"


def answer(r):
    """Standard output without what the machine was doing."""
    return re.sub(r"[0-9.]+ (s|GB/s|MiB.*)\b|limit .*", "", r.out)


def result(place, made):
    return {} if not os.path.exists(place.path(made)) else place.snapshot(made)


def prepare(rig, place):
    place.clear()
    r = place.run("run.yaml")
    rig.must(r.status == 0, r.show())
    place.write("texts.jsonl", '{"text": "Once upon a time, there was."}\n{"text": "The second row."}\n')


def run(rig):
    shutil.copy(os.path.join(rig.golden, "tokenizer/llama2-tokenizer.model"), os.path.join(rig.top, "spm.model"))
    for place in rig.every_place():
        prepare(rig, place)
    wanted, cases = {}, []
    for name, (arguments, made) in COMMANDS.items():
        place = rig.first
        count = place.counts(*arguments)
        r = place.run(*arguments) if not made else None
        wanted[name] = result(place, made) if made else answer(r)
        rig.must(wanted[name], f"{name}: nothing to compare with")
        if made:
            place.clear(name=made)
        for kind, errors in ERRORS.items():
            errors = errors.split()
            for at in rig.spread(count[kind], 6):
                chosen = errors if rig.everything else [errors[(at + rig.seed) % len(errors)]]
                cases += [(name, kind, e, at, always) for e in chosen for always in ("", "1")]
            # tokenize reads with stdio, and catches no signal that could interrupt it.
            if kind in INTERRUPTED and "tokenize" not in name:
                cases += [(name, kind, "EINTR", at, "") for at in rig.spread(count[kind], 3)]
            if kind in SHORT:
                cases += [(name, kind, "short", 1, "1")]
        cases += [(name, "alloc", "ENOMEM", at, always) for at in rig.spread(count["alloc"], 12, 200) for always in ("", "1")]
        if made:
            cases += [(name, "any", how, at, "") for how in ("before", "after", "torn")
                      for at in rig.spread(sum(v for k, v in count.items() if k != "alloc"), 25)]

    def check(place, name, kind, what, at, always):
        arguments, made = COMMANDS[name]
        if made:
            place.clear(name=made)
        killed = what in ("before", "after", "torn")
        r = place.run(*arguments, call=kind, at=at, do=number_of(what) if what[0] == "E" else what, always=always)
        if r.status == 0:
            now = result(place, made) if made else answer(r)
            if made and any("cannot" in warning for warning in r.warnings):  # remove what is temporary
                now = {k: v for k, v in now.items() if not re.search(TEMPORARY, k)}
            said = not made and what[0] == "E" and os.strerror(number_of(what)) in r.out  # "tokenizer   none (why)"
            rig.must(now == wanted[name] or killed or said, f"another result: {now if not made else sorted(now)}")
        elif killed:
            rig.must(r.status == -9, r.show())
        elif kind == "alloc":
            rig.must(r.status == 1 and re.search("memory|alloc", r.err), r.show())
        else:
            rig.must(what != "EINTR", "it is not invisible: " + r.show())
            rig.check_message(r, number_of(what), exact=kind != "stat")
        if made and r.status:
            now = result(place, made)
            final = {k: v for k, v in now.items() if not re.search(TEMPORARY, k)}
            rig.must(all(wanted[name].get(k) == v for k, v in final.items()), f"not whole: {sorted(final)}")
            rig.must("gguf" in name or len(final) in (0, len(wanted[name])), f"a half: {sorted(final)}")
            rig.must(killed or always or len(now) == len(final), f"left behind: {sorted(now)}")
            rig.must(killed or always or final or not os.path.exists(place.path(made)), "its directory is left behind")

    rig.each("commands", cases, check)
    for place in rig.every_place():
        place.clear()
        place.clear(name="deep")
