"""The tables of scripts/bench_cpu.sh, in Markdown."""

import dataclasses
import statistics


def number(value):
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def seconds(value):
    return "-" if value is None else f"{number(value)} s"


def table(head, rows):
    return "\n".join("| " + " | ".join(row) + " |" for row in [head, ["---"] * len(head), *rows])


def median(rounds, key):
    values = [getattr(r, key) for r in rounds if getattr(r, key) is not None]
    return statistics.median(values) if values else None


@dataclasses.dataclass
class Report:
    machine: str
    ours: list          # sides: each has a name and a dtype
    peers: list
    cases: list         # (Case, {name of the side: [Round]})
    skipped: list
    best: dict          # FLOP/s by dtype

    def fastest(self, sides, results):
        return max(sides, key=lambda side: median(results[side.name], "rate"))

    def of_limit(self, case, results, side):
        if not case.flops:
            return "-"
        return f"{100 * median(results[side.name], 'rate') * case.flops / self.best[side.dtype]:.0f}%"

    def of_peer(self, results, side):
        peer = self.fastest(self.peers, results)
        return f"{median(results[side.name], 'rate') / median(results[peer.name], 'rate'):.2f}"

    def summary(self):
        rows = []
        for case, results in self.cases:
            ours, peer = self.fastest(self.ours, results), self.fastest(self.peers, results)
            rows.append([case.name, *(f"{number(median(results[s.name], 'rate'))} ({s.dtype})" for s in (ours, peer)),
                         case.unit + "/s", self.of_peer(results, ours), self.of_limit(case, results, ours),
                         *(f"{median(results[s.name], 'peak_rss') / 1e9:.2f} GB" for s in (ours, peer))])
        return table(["case", "qlora-train", "peer", "", "ratio", "of the limit", "peak memory", "the peer's"], rows)

    def details(self, case, results):
        rows = []
        for side in [*self.ours, *self.peers]:
            rounds = results[side.name]
            rates = [r.rate for r in rounds]
            load, first, imports = (median(rounds, key) for key in ("load", "first", "imports"))
            without = f" ({seconds(first - imports)} without imports)" if imports else ""
            rows.append([side.name, number(statistics.median(rates)),
                         f"{number(min(rates))} to {number(max(rates))}, {len(rates)}", self.of_peer(results, side),
                         self.of_limit(case, results, side), f"{median(rounds, 'peak_rss') / 1e9:.2f} GB",
                         seconds(load), seconds(first) + without, *self.outcome(case, rounds[0])])
        what = ["tokens made"] if case.prompt else ["loss, first to last", "gradient norm"]
        head = ["", f"{case.unit}/s", "range, rounds", "to the peer", "of the limit", "peak memory",
                "load and quantize", "first token after" if case.prompt else "first step after", *what]
        return f"**{case.name}**: {case.title}.\n\n" + table(head, rows)

    @staticmethod
    def outcome(case, first):
        """What a speed is worth: losses that fall, or tokens that were made."""
        if case.prompt:
            return [str(first.made)]
        return [f"{first.losses[0]:.4f} to {first.losses[-1]:.4f}", f"{first.norms[0]:.3f} to {first.norms[-1]:.3f}"]

    def text(self):
        limit = ", ".join(f"{1e-9 * rate:.0f} GFLOP/s in {dtype}" for dtype, rate in self.best.items())
        parts = [self.machine, f"Limit: the best matrix product of the run, {limit}, over a token's operations.",
                 self.summary(), *(self.details(case, results) for case, results in self.cases), *self.skipped]
        return "\n\n".join(parts)
