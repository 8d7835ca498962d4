"""Runs the sweeps of scripts/bench_growth.sh and writes their table; see there."""

import argparse
import csv
import json
import os
import pathlib
import subprocess
import sys
import tempfile

import plot
import verdict

ROOT = pathlib.Path(__file__).resolve().parents[2]
COLUMNS = ["sweep", "model", "parameters", "layers", "rows", "length", "rank", "threads", "compute_dtype",
           "blocks_recomputed", "seconds", "flops", "planned_bytes", "rss_bytes", "device"]
SMALL = {"model": "smollm2-135m", "rows": 4, "length": 256, "rank": 16}
MODELS = ["smollm2-135m", "smollm2-360m", "qwen2.5-0.5b", "tinyllama-1.1b", "smollm2-1.7b", "falcon3-3b"]


def doubled(first, last):
    """first, twice that, ..., and last itself."""
    values = []
    while first < last:
        values.append(first)
        first *= 2
    return [*values, last]


def sweeps(args, threads):
    """[(sweep, [what differs from SMALL])]; a try has two small points each."""
    full = [("length", [{"rows": 1, "length": n} for n in doubled(128, 8192)]),
            ("rows", [{"rows": n} for n in doubled(1, 16)]),
            ("rank", [{"rank": n} for n in doubled(4, 64)]),
            ("model", [{"model": m, "rows": 1} for m in MODELS]),
            ("threads", [{"threads": n} for n in doubled(1, threads)])]
    if args.sweeps:
        full = [(name, points) for name, points in full if name in args.sweeps.split(",")]
    if args.try_:
        full = [(name, [dict(p, layers=4) for p in points[:3]]) for name, points in full]
    return full


def run(args, point):
    """A row of the table. The peak of memory is the process's own, from the kernel."""
    with tempfile.TemporaryDirectory() as tmp:
        out = pathlib.Path(tmp, "bench.json")
        command = [args.program, "bench", point["model"], "--backend", "cpu", "--what", "step", "--batch",
                   str(point["rows"]), "--length", str(point["length"]), "--rank", str(point["rank"]), "--threads",
                   str(point["threads"]), "--steps", str(args.steps), "--json", str(out)]
        if "layers" in point:
            command += ["--layers", str(point["layers"])]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            sys.exit(f"{' '.join(command)}: status {process.returncode}")
        whole = json.loads(out.read_text())
    found = whole["runs"][0]
    step = found["step"]
    return {"sweep": point["sweep"], "model": point["model"], "parameters": found["parameters"],
            "layers": found["layers"], "rows": point["rows"], "length": point["length"], "rank": point["rank"],
            "threads": whole["threads"], "compute_dtype": whole["compute_dtype"],
            "blocks_recomputed": step["blocks_recomputed"], "seconds": f"{step['seconds']:.6g}",
            "flops": f"{1e12 * step['tflops'] * step['seconds']:.6g}", "planned_bytes": step["planned_bytes"],
            "rss_bytes": usage.ru_maxrss * 1024, "device": whole["device"]}


def measure(args):
    threads = len(os.sched_getaffinity(0))
    table = []
    for sweep, points in sweeps(args, threads):
        for differs in points:
            point = {**SMALL, "threads": threads, "sweep": sweep, **differs}
            table.append(run(args, point))
            print(f"{sweep}: {verdict.along(table[-1])}, {table[-1]['seconds']} s", file=sys.stderr, flush=True)
    return table


def parse():
    parser = argparse.ArgumentParser(prog="bench_growth.sh", description="Growth of a step's time and memory.")
    parser.add_argument("--program", default=str(ROOT / "build/qlora-train"), help="(build/qlora-train)")
    parser.add_argument("--out", default=str(ROOT / "docs"), help="directory of growth.csv and growth.svg (docs)")
    parser.add_argument("--steps", type=int, default=3,
                        help="timed steps of a point, after one that is not (%(default)s)")
    parser.add_argument("--sweeps", help="some of length,rows,rank,model,threads (all)")
    parser.add_argument("--try", dest="try_", action="store_true", help="three points a sweep, of 4 layers")
    return parser.parse_args()


def main():
    args = parse()
    args.program = str(pathlib.Path(args.program).resolve())
    table = measure(args)
    out = pathlib.Path(args.out)
    with open(out / "growth.csv", "w", encoding="utf-8", newline="") as f:
        writer = csv.DictWriter(f, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(table)
    plot.main(out / "growth.csv", out / "growth.svg")


if __name__ == "__main__":
    main()
