"""Calls that fail: each in turn, once or from then on."""
import os
import re

from rig import ERRORS, INTERRUPTED, SHORT, number_of


def failing_calls(rig, kind, n, starts, budget):
    errors = ERRORS[kind].split()
    cases = []
    for start, count in n.items():
        for at in rig.spread(count[kind], budget):
            chosen = errors if rig.everything else [errors[(at + rig.seed) % len(errors)]]
            cases += [(start, at, e, always) for e in chosen for always in ("", "1")]

    def check(place, start, at, error, always):
        place.clear(starts[start])
        r = place.run("run.yaml", call=kind, at=at, do=number_of(error), always=always)
        rig.check_pieces(place)
        if r.status == 0:
            rig.check_whole(place, "a run that met an error, and says that it is done,", r.warnings)
        else:
            rig.check_message(r, number_of(error), exact=kind != "stat")
        if not always and not r.warnings:
            left = [name for name in os.listdir(place.path("run")) if re.search(r"tmp", name)] if os.path.isdir(
                place.path("run")) else []
            known = os.listdir(starts[start]) if starts[start] else []
            rig.must(not set(left) - set(known), f"left behind: {left}")
        rig.check_goes_on(place, r.warnings)

    rig.each(f"{kind} fails", cases, check)


def invisible(rig, n, starts, budget):
    """A call that a signal cut short, or that took half: nobody sees it."""
    cases = []
    for start, count in n.items():
        for kind in INTERRUPTED:
            cases += [(start, kind, number_of("EINTR"), at) for at in rig.spread(count[kind], budget)]
        for kind in SHORT:
            cases += [(start, kind, "short", at) for at in rig.spread(count[kind], budget)]
            cases += [(start, kind, "short", 1, "1")]

    def check(place, start, kind, what, at, always=""):
        place.clear(starts[start])
        r = place.run("run.yaml", call=kind, at=at, do=what, always=always)
        rig.must(r.status == 0 and not r.complaints, "it is not invisible: " + r.show())
        rig.check_whole(place)

    rig.each("EINTR and short counts", cases, check)


def memory(rig, n, starts, budget):
    cases = []
    for start, count in n.items():
        cases += [(start, at, always) for at in rig.spread(count["alloc"], budget, 1500) for always in ("", "1")]

    def check(place, start, at, always):
        place.clear(starts[start])
        r = place.run("run.yaml", call="alloc", at=at, do=number_of("ENOMEM"), always=always)
        rig.check_pieces(place)
        if r.status == 0:
            rig.check_whole(place)
        else:
            rig.must(r.status == 1, "memory: " + r.show())
            rig.must(len(r.complaints) == 1 and re.search("memory", r.complaints[0], re.I), "memory: " + r.show())
        rig.check_goes_on(place)

    rig.each("memory runs out", cases, check)


def spill(rig):
    """Pages that leave for a file: its own calls fail."""
    first = rig.first
    first.clear()
    os.makedirs(first.path("pages"), exist_ok=True)
    r = first.run("run.yaml", "device.spill=pages", "device.memory_limit=64KiB")
    least = re.search(r"expected a limit of at least ([0-9.]+) MiB", r.err)
    rig.must(least, "no limit is named: " + r.show())
    given = ("run.yaml", "device.spill=pages", f"device.memory_limit={int(float(least[1]) * 1024) + 64}KiB")
    n = first.counts(*given)
    wanted = {k: v for k, v in first.snapshot().items() if k.startswith("adapter/")}
    cases = [(kind, e, at) for kind in ("open", "truncate", "mmap", "unlink", "close")
             for at in rig.spread(n[kind], 12) for e in (*ERRORS[kind].split(), "EINTR")]
    rig.must(n["truncate"] >= 1 and wanted, "nothing leaves for the file")

    def check(place, kind, error, at):
        place.clear()
        os.makedirs(place.path("pages"), exist_ok=True)
        r = place.run(*given, call=kind, at=at, do=number_of(error))
        rig.must(kind == "unlink" or not os.listdir(place.path("pages")), "its file is left behind")
        for name in os.listdir(place.path("pages")):
            os.remove(place.path("pages", name))
        if r.status:
            rig.must(error != "EINTR" or kind in ("mmap", "unlink"), "it is not invisible: " + r.show())
            rig.check_message(r, number_of(error))
            r = place.run(*given)
        now = {k: v for k, v in place.snapshot().items() if k.startswith("adapter/")}
        rig.must(r.status == 0 and now == wanted, "another adapter: " + r.show())

    rig.each("pages in a file", cases, check)
    first.clear()


def run(rig):
    starts, n = rig.starts, rig.counts
    print("calls of a new run: " + ", ".join(f"{k} {v}" for k, v in n["new"].items()))
    for kind in ERRORS:
        failing_calls(rig, kind, n, starts, 20)
    invisible(rig, n, starts, 12)
    memory(rig, n, starts, 60)
    spill(rig)
