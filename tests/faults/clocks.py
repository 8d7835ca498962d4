"""Clocks that jump or stand still: only times may differ, and none of them is absurd."""
import json
import os
import re


def run(rig):
    n = 60
    cases = [(f"{at} {jump}",) for at in (1, 5, 9, 20) for jump in (3600, -3600, 86400 * 400, -86400 * 400, 0)]
    cases += [(f"random {rig.random.randrange(10000)}",) for _ in range(n if rig.everything else 10)]

    def check(place, clock):
        place.clear()
        r = place.run("run.yaml", clock=clock)
        rig.must(r.status == 0 and all("a request to stop" in w for w in r.warnings), r.show())
        rig.check_whole(place)
        with open(place.path("run/metrics.jsonl")) as f:
            steps = [row for row in map(json.loads, f) if "loss" in row]
        past = 0
        for row in steps:
            rig.must(row["tokens_per_second"] is not None and row["tokens_per_second"] >= 0, f"speed: {row}")
            rig.must(row["elapsed_seconds"] is not None and row["elapsed_seconds"] >= past, f"elapsed: {steps}")
            past = row["elapsed_seconds"]
        times = re.findall(r"eta (\S+)", r.out)
        rig.must(len(times) == len(steps), "no eta")
        rig.must(all(re.fullmatch(r"\?|\d+s|\d+m\d\ds|\d+h\d\dm|\d+d\d\dh", t) for t in times), f"eta: {times}")
        rig.must(not re.search(r"\b(inf|nan)\b|in -|-\d+(\.\d+)? s", r.out), r.show())

    rig.each("clocks", cases, check)
