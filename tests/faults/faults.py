"""tests/faults/run.sh PROGRAM [--all] [--seed N] [PART...]"""
import argparse
import importlib
import sys
import time

from rig import Rig

PARTS = ["calls", "kills", "exports", "damage", "environment", "clocks", "changes"]


def main():
    a = argparse.ArgumentParser()
    a.add_argument("program")
    a.add_argument("parts", nargs="*", metavar="PART", default=PARTS, help=", ".join(PARTS))
    a.add_argument("--all", action="store_true", help="every call instead of some")
    a.add_argument("--seed", type=int)
    a.add_argument("--workers", type=int)
    given = a.parse_intermixed_args()
    rig = Rig(given.program, given.all, given.seed, given.workers)
    print(f"seed {rig.seed}, {rig.n_workers} at a time, in {rig.top}")
    started = time.monotonic()
    try:
        for part in given.parts:
            importlib.import_module(part).run(rig)
    finally:
        rig.close()
    print(f"{rig.cases} cases, {rig.runs} runs of the program, {len(rig.broken)} broken, "
          f"{time.monotonic() - started:.0f} s")
    print(f"{rig.passed} passed, {rig.failed} failed, {rig.skipped} skipped")
    return 1 if rig.failed or not rig.passed else 0


sys.exit(main())
