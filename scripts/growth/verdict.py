"""What the mathematics says of the sweeps of scripts/bench_growth.sh, and where the measurements exceed it.

Time: a step's floating-point operations, attention's square of the length included, at one rate for all points of a
sweep. Memory: a fixed part and a part in proportion to what grows, which is what the plan of a run says to the byte.
"""

import math

SLACK = 1.15            # what noise may make of it
SLACK_BYTES = 96 << 20  # the executable, its libraries, stacks and tables, which no plan counts

# Column on the axis, and how it is called: with a number, and as the axis.
AXES = {
    "length": ("length", "tokens of a row", "tokens of a row (1 row)"),
    "rows": ("rows", "rows", "rows of 256 tokens"),
    "rank": ("rank", "rank", "rank of the adapters (4 x 256 tokens)"),
    "model": ("parameters", "parameters", "parameters of the model (256 tokens)"),
    "threads": ("threads", "threads", "threads (4 x 256 tokens)"),
}


def x_of(row):
    return float(row[AXES[row["sweep"]][0]])


def short(value):
    """128, 1k, 135M, 1.1B."""
    if value >= 1e5:
        scaled, unit = (value / 1e9, "B") if value >= 1e9 else (value / 1e6, "M")
        return f"{scaled:.3g}{unit}" if scaled < 10 and unit == "M" else f"{scaled:.1f}{unit}" if unit == "B" else \
            f"{scaled:.0f}{unit}"
    return f"{value / 1024:.0f}k" if value >= 1024 and value % 1024 == 0 else f"{value:.0f}"


def along(row):
    """Where a row is in its sweep, in words."""
    if row["sweep"] == "model":
        return row["model"]
    name = AXES[row["sweep"]][1]
    return f"{name} {x_of(row):.0f}" if name in ("rank", "threads") else f"{x_of(row):.0f} {name}"


def operations(row):
    """Of the thread that has the most to do."""
    flops = float(row["flops"])
    return flops / float(row["threads"]) if row["sweep"] == "threads" else flops


def expected_seconds(rows):
    """At the best rate of the sweep."""
    best = max(operations(r) / float(r["seconds"]) for r in rows)
    return [operations(r) / best for r in rows]


def slower(rows):
    """(row, factor): takes that much longer for an operation than the best point before it."""
    found = []
    for i, row in enumerate(rows[1:], 1):
        before = min(float(r["seconds"]) / operations(r) for r in rows[:i])
        factor = float(row["seconds"]) / operations(row) / before
        if factor > SLACK:
            found.append((row, factor))
    return found


def larger(rows):
    """(row, factor): has that much more memory than its plan says."""
    found = []
    for row in rows:
        factor = (float(row["rss_bytes"]) - SLACK_BYTES) / float(row["planned_bytes"])
        if factor > SLACK:
            found.append((row, factor))
    return found


def bent(rows):
    """(row, factor): the plan itself has that much more than a straight line through the two points before says."""
    found = []
    for a, b, c in zip(rows, rows[1:], rows[2:]):
        if a["sweep"] in ("model", "threads") or len({r["blocks_recomputed"] for r in (a, b, c)}) > 1:
            continue    # several sizes change at once; another plan
        slope = (float(b["planned_bytes"]) - float(a["planned_bytes"])) / (x_of(b) - x_of(a))
        factor = float(c["planned_bytes"]) / (float(b["planned_bytes"]) + slope * (x_of(c) - x_of(b)))
        if factor > SLACK:
            found.append((c, factor))
    return found


def exponent(rows, key):
    """Of the power of x that the last half of the sweep follows."""
    a, b = rows[(len(rows) - 1) // 2], rows[-1]
    return math.log(float(b[key]) / float(a[key])) / math.log(x_of(b) / x_of(a)) if len(rows) > 1 else 0.0


def report(sweep, rows):
    """Lines about a sweep."""
    lines = [f"{sweep}: at the large end time grows as {sweep}^{exponent(rows, 'seconds'):.2f}, operations as "
             f"{sweep}^{exponent(rows, 'flops'):.2f}, memory as {sweep}^{exponent(rows, 'rss_bytes'):.2f}"]
    lines += [f"  FASTER THAN THE MATHEMATICS: {along(r)}: {f:.2f} times the time of an operation"
              + (" and thread" if sweep == "threads" else "") for r, f in slower(rows)]
    lines += [f"  FASTER THAN THE MATHEMATICS: {along(r)}: {f:.2f} times the memory of its plan" for r, f in
              larger(rows)]
    lines += [f"  FASTER THAN THE MATHEMATICS: {along(r)}: its plan is {f:.2f} times what a straight line says"
              for r, f in bent(rows)]
    return lines
