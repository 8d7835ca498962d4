"""scripts/soak.sh PROGRAM [MINUTES]: one run after another, each killed and failed at random until it is done."""
import argparse
import collections
import random
import sys
import threading
import time

from rig import ERRORS, Broken, Place, Rig, differences, left_behind, number_of, without_left

STEPS = 40


def prepare(rig, name):
    place = Place(rig, name, steps=STEPS)
    with open(place.path("run.yaml")) as f:
        text = f.read().replace("save_steps: 1", "save_steps: 3").replace("eval_steps: 2", "eval_steps: 4")
    place.write("run.yaml", text)
    return place


def kill_later(place, seconds):
    """A kill by time, without the library that counts calls."""
    p = place.start("run.yaml")
    timer = threading.Timer(seconds, p.kill)
    timer.start()
    r = place.finish(p, 120)
    timer.cancel()
    return r


def one_start(place, draw, counts, n):
    """Starts the run once, with something that goes wrong; returns what came of it."""
    kind = draw.choice(("time", "time", "call", "call", "call", "alloc kill", "error", "error", "memory", "EINTR", "clock"))
    counts[kind] += 1
    if kind == "time":
        return kill_later(place, draw.random() * 0.3)
    if kind == "clock":
        return place.run("run.yaml", clock=f"random {draw.randrange(1 << 20)}")
    if kind == "alloc kill":
        return place.run("run.yaml", call="alloc", at=draw.randrange(1, n["alloc"]), do="before")
    if kind == "memory":
        return place.run("run.yaml", call="alloc", at=draw.randrange(1, n["alloc"]), do=number_of("ENOMEM"))
    files = sum(v for k, v in n.items() if k != "alloc")
    if kind == "call":
        return place.run("run.yaml", call="any", at=draw.randrange(1, files), do=draw.choice(("before", "after", "torn")))
    call = draw.choice([k for k in ERRORS if n[k]])
    if kind == "EINTR":
        call = draw.choice(("open", "read", "write", "sync", "close"))
        return place.run("run.yaml", call=call, at=draw.randrange(1, n[call]), do=number_of("EINTR"))
    error = number_of(draw.choice(ERRORS[call].split()))
    always = draw.choice(("", "", "1"))
    return place.run("run.yaml", call=call, at=draw.randrange(1, n[call] + 1), do=error, always=always)


def one_run(place, seed, whole, n, counts):
    draw = random.Random(seed)
    place.clear()
    for _ in range(400):
        r = one_start(place, draw, counts, n)
        left = left_behind(r.warnings)
        if r.status == 0:
            now = without_left(place.snapshot(), left)
            bad = differences(now, {k: v for k, v in whole.items() if k in now or not left})
            Rig.must(not bad, f"it ends otherwise: {bad}")
            return
        counts["killed" if r.status == -9 else "failed"] += 1
        Rig.must(r.status in (-9, 1, 2), "it crashed: " + r.show())
        Rig.must(r.status == -9 or len(r.complaints) == 1, "no reason is given: " + r.show())
        Rig.must(not any(k.endswith(".damaged/") for k in place.snapshot()), "a good checkpoint was set aside")
    raise Broken("400 starts, and it is not done")


def main():
    a = argparse.ArgumentParser()
    a.add_argument("program")
    a.add_argument("minutes", nargs="?", type=float, default=10)
    a.add_argument("--seed", type=int)
    a.add_argument("--workers", type=int)
    given = a.parse_args()
    rig = Rig(given.program, seed=given.seed, workers=given.workers)
    counts, lock, broken = collections.Counter(), threading.Lock(), []
    until = time.monotonic() + 60 * given.minutes
    try:
        first = prepare(rig, "soak")
        n = first.counts("run.yaml")
        whole = first.snapshot()
        print(f"seed {rig.seed}, {rig.n_workers} at a time, {given.minutes:g} minutes, in {rig.top}", flush=True)

        def work(place):
            while time.monotonic() < until and len(broken) < 5:
                with lock:
                    seed = rig.random.randrange(1 << 30)
                mine = collections.Counter()
                try:
                    one_run(place, seed, whole, n, mine)
                    mine["runs finished"] += 1
                except Broken as e:
                    broken.append(f"seed {seed}: {e}")
                    print("FAIL " + broken[-1], flush=True)
                with lock:
                    counts.update(mine)

        threads = [threading.Thread(target=work, args=(prepare(rig, f"soak{i}"),)) for i in range(rig.n_workers)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
    finally:
        rig.close()
    print(", ".join(f"{k} {v}" for k, v in sorted(counts.items())))
    print(f"{counts['runs finished']} runs finished with the bytes of an uninterrupted one, {rig.runs} starts, "
          f"{len(broken)} broken")
    return 1 if broken or not counts["runs finished"] else 0


sys.exit(main())
