"""SIGKILL at any call: the same command goes on from there, to the same bytes. And what a loss of power could take."""
import os

HOWS = ("before", "after", "torn")


def log_of(place, template):
    """Every call of a run, in order: the lines of its log."""
    place.clear(template)
    file = place.path("log")
    place.run("run.yaml", log=file)
    with open(file) as f:
        lines = f.read().splitlines()
    os.remove(file)
    return lines


def hows(line):
    return HOWS if line.startswith("write") else HOWS[:2]


def points(rig, lines, budget):
    """(the how-manieth call, how): all that change something in output_dir, and some of the others."""
    changes = ("create", "write", "sync", "truncate", "rename", "unlink", "rmdir", "mkdir")
    chosen = [i for i, line in enumerate(lines, 1) if line.split("\t")[0] in changes and "/run" in line]
    others = [i for i in range(1, len(lines) + 1) if i not in set(chosen)]
    chosen = [chosen[i - 1] for i in rig.spread(len(chosen), budget)]
    chosen += [others[i - 1] for i in rig.spread(len(others), budget // 4)]
    for at in chosen:
        for how in hows(lines[at - 1]):
            yield at, how


def kills(rig, starts, budget):
    cases = [(start, at, how) for start, t in starts.items() for at, how in points(rig, log_of(rig.first, t), budget)]

    def check(place, start, at, how):
        place.clear(starts[start])
        r = place.run("run.yaml", call="any", at=at, do=how)
        rig.must(r.status == -9, "it was not killed: " + r.show())
        rig.check_pieces(place)
        rig.check_goes_on(place)

    rig.each("killed at a call", cases, check)


def kills_in_a_row(rig, starts, n):
    """Killed, killed while it resumes, and again."""
    most = len(log_of(rig.first, None))
    cases = [(start, i) for start in starts for i in range(n * 10 if rig.everything else n)]
    draws = {case: [(rig.random.randrange(1, most), rig.random.choice(HOWS)) for _ in range(4)] for case in cases}

    def check(place, start, i):
        place.clear(starts[start])
        for at, how in draws[start, i]:
            r = place.run("run.yaml", call="any", at=at, do=how)
            if r.status == 0:
                break
            rig.must(r.status == -9, "it was not killed: " + r.show())
            rig.check_pieces(place)
        rig.check_goes_on(place)

    rig.each("killed again and again", cases, check)


def kills_in_memory(rig, starts, n, budget):
    """Between calls of files: at allocations, of which there are many more."""
    cases = [(start, at) for start, count in n.items() for at in rig.spread(count["alloc"], budget, 1500)]

    def check(place, start, at):
        place.clear(starts[start])
        r = place.run("run.yaml", call="alloc", at=at, do="before")
        rig.must(r.status == -9, "it was not killed: " + r.show())
        rig.check_pieces(place)
        rig.check_goes_on(place)

    rig.each("killed at an allocation", cases, check)


# ---- power ------------------------------------------------------------------------------------------------------


def check_order(lines, run):
    """What a disk may have after a loss of power: only what was synced, in the order of syncs. So whatever gets a final
    name (rename) was synced before, with every file below it and each directory, and metrics.jsonl; and its parent is synced after it
    before anything else is given a name or is removed. Returns what does not hold."""
    dirty, unsynced, bad = set(), {}, []  # files and directories with unsynced content; renames whose parent is not
    for line in lines:
        what, *paths = line.split("\t")
        path = paths[0]
        parent = os.path.dirname(path)
        if what == "sync":
            dirty.discard(path)
            unsynced = {k: v for k, v in unsynced.items() if v != path}
        elif not path.startswith(run):
            continue
        elif what in ("create", "write", "truncate"):
            dirty.add(path)
            if what == "create":
                dirty.add(parent)
        elif what == "mkdir":
            dirty.update((path, parent))
        elif what == "rename":
            to = paths[1]
            relied_on = (path, os.path.dirname(run), os.path.join(run, "metrics.jsonl"))
            below = sorted(d for d in dirty if d in relied_on or d.startswith(path + "/"))
            if not os.path.basename(to).startswith(".tmp-"):
                bad += [f"{to}: {d} was not synced before" for d in below]
                bad += [f"{to}: {u} has its name, and its parent is not synced" for u in unsynced]
                unsynced[to] = os.path.dirname(to)
            dirty = {d for d in dirty if d not in below}
        elif what in ("unlink", "rmdir"):
            dirty.discard(path)
            if not path.startswith(os.path.join(run, ".tmp-")):
                bad.append(f"{path} is removed under its final name")
            bad += [f"{path} is removed while {u} may not have its name yet" for u in unsynced]
    return bad + [f"{u} may not have its name at the end" for u in unsynced]


def power(rig, starts):
    def check(place, start):
        lines = log_of(place, starts[start])
        run = place.path("run")
        bad = check_order(lines, run)
        rig.must(not bad, "; ".join(bad))
        # The checker itself: without any one of the syncs that it is about something must be missing.
        syncs = [i for i, line in enumerate(lines) if line.startswith("sync\t") and line.split("\t")[1].startswith(run)]
        needless = [i for i in syncs if not check_order(lines[:i] + lines[i + 1:], run)]
        # A removal under its temporary name syncs too, and an evaluation may come last or before a checkpoint.
        rig.must(all(lines[i].endswith(("/run", "/metrics.jsonl")) for i in needless) and len(needless) < 5,
                 f"nobody needs {[lines[i] for i in needless]}")
        rig.must(len(syncs) - len(needless) >= 15, "too few syncs were checked")

    rig.each("synced before it is named", [(s,) for s in starts], check)


def run(rig):
    starts, n = rig.starts, rig.counts
    power(rig, starts)
    kills(rig, starts, 140)
    kills_in_a_row(rig, starts, 40)
    kills_in_memory(rig, starts, n, 40)
