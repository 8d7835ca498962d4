"""Draws docs/growth.csv as docs/growth.svg, with nothing but the standard library, and prints where a curve grows
faster than the mathematics says: plot.py CSV SVG."""

import csv
import html
import math
import sys

import verdict

PANEL_W, PANEL_H, GAP_X, GAP_Y = 196, 180, 64, 86
LEFT, TOP = 64, 92
PAPER, INK, SOFT, GRID = "#fcfcfa", "#22262b", "#646b73", "#e4e5e1"
MEASURED, EXPECTED, TOO_FAST = "#1f6fb2", "#9a9fa5", "#d1532b"
LABEL_GAP = 27      # pixels that two labels of the axis need


class Svg:
    def __init__(self, width, height):
        self.parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
                      f'height="{height}" font-family="Helvetica, Arial, sans-serif">',
                      f'<rect width="{width}" height="{height}" fill="{PAPER}"/>']

    def text(self, x, y, words, size=12, anchor="start", fill=INK, weight="normal"):
        self.parts.append(f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" fill="{fill}" '
                          f'font-weight="{weight}">{html.escape(words)}</text>')

    def line(self, x1, y1, x2, y2, stroke=GRID, width=1.0):
        self.parts.append(f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{stroke}" '
                          f'stroke-width="{width}"/>')

    def path(self, points, stroke, width, dashes=""):
        steps = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        dash = f' stroke-dasharray="{dashes}"' if dashes else ""
        self.parts.append(f'<polyline points="{steps}" fill="none" stroke="{stroke}" stroke-width="{width}" '
                          f'stroke-linejoin="round"{dash}/>')

    def dot(self, x, y, fill, words=""):
        title = f"<title>{html.escape(words)}</title>" if words else ""
        self.parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.6" fill="{fill}" stroke="{PAPER}" '
                          f'stroke-width="1.2">{title}</circle>')

    def whole(self):
        return "\n".join([*self.parts, "</svg>\n"])


def scale(values, start, end, span=1.0):
    """Logarithmic, from a little below the least to a little above the greatest, and over at least a factor of span:
    noise is not to look like growth."""
    low, high = math.log(min(values)), math.log(max(values))
    margin = max(0.07 * (high - low), (math.log(span) - (high - low)) / 2, 0.12)
    low, high = low - margin, high + margin
    return lambda v: start + (math.log(v) - low) / (high - low) * (end - start), math.exp(low), math.exp(high)


def y_ticks(low, high):
    """Of 1, 2 and 5 times powers of ten, what there is room for."""
    every = [m * 10.0**e for e in range(-6, 7) for m in (1, 2, 5) if low <= m * 10.0**e <= high]
    tens = [v for v in every if math.isclose(math.log10(v), round(math.log10(v)), abs_tol=1e-9)]
    return tens if len(every) > 7 and len(tens) > 2 else every


def draw_axes(svg, left, top, rows, to_x, to_y, low, high):
    bottom = top + PANEL_H
    labelled = -math.inf
    for row in rows:
        x = to_x(verdict.x_of(row))
        svg.line(x, top, x, bottom)
        if x - labelled >= LABEL_GAP:
            svg.text(x, bottom + 16, verdict.short(verdict.x_of(row)), 11, "middle", SOFT)
            labelled = x
    for value in y_ticks(low, high):
        svg.line(left, to_y(value), left + PANEL_W, to_y(value))
        svg.text(left - 7, to_y(value) + 4, f"{value:g}", 11, "end", SOFT)
    svg.line(left, bottom, left + PANEL_W, bottom, SOFT)
    svg.line(left, top, left, bottom, SOFT)


def draw_panel(svg, left, top, rows, measured, expected, exceeding, unit):
    to_x, _, _ = scale([verdict.x_of(r) for r in rows], left, left + PANEL_W)
    to_y, low, high = scale([*measured, *expected], top + PANEL_H, top, 6.0)
    draw_axes(svg, left, top, rows, to_x, to_y, low, high)
    xs = [to_x(verdict.x_of(r)) for r in rows]
    svg.path([(x, to_y(v)) for x, v in zip(xs, expected)], EXPECTED, 1.6, "5 4")
    svg.path([(x, to_y(v)) for x, v in zip(xs, measured)], MEASURED, 2)
    for row, x, value in zip(rows, xs, measured):
        fill = TOO_FAST if any(row is r for r, _ in exceeding) else MEASURED
        svg.dot(x, to_y(value), fill, f"{verdict.along(row)}: {value:.3g} {unit}")
    svg.text(left + PANEL_W / 2, top + PANEL_H + 36, verdict.AXES[rows[0]["sweep"]][2], 12, "middle")


def draw_legend(svg, y):
    x = LEFT
    for stroke, dashes, words, step in [
            (MEASURED, "", "measured", 110),
            (EXPECTED, "5 4", "time: the operations at the best rate of the sweep; memory: the plan", 470),
            (TOO_FAST, None, f"more than {verdict.SLACK - 1:.0%} above what the mathematics says", 0)]:
        if dashes is not None:
            svg.path([(x, y), (x + 26, y)], stroke, 2, dashes)
        if dashes != "5 4":
            svg.dot(x + 13, y, stroke)
        svg.text(x + 33, y + 4, words, 12, fill=SOFT)
        x += step


def draw(groups):
    first = next(iter(groups.values()))[0]
    columns = len(groups)
    svg = Svg(LEFT + columns * (PANEL_W + GAP_X) - GAP_X + 24, TOP + 2 * (PANEL_H + GAP_Y) + 12)
    svg.text(LEFT - 44, 32, "How a training step grows", 19, weight="bold")
    svg.text(LEFT - 44, 53, "SmolLM2-135M in NF4, rank 16, where nothing else is said; "
             f"{first['compute_dtype']} on {first['device']}; logarithmic axes", 12.5, fill=SOFT)
    for i, rows in enumerate(groups.values()):
        left = LEFT + i * (PANEL_W + GAP_X)
        svg.text(left, TOP - 10, "seconds a step", 12, fill=SOFT)
        draw_panel(svg, left, TOP, rows, [float(r["seconds"]) for r in rows], verdict.expected_seconds(rows),
                   verdict.slower(rows), "s")
        top = TOP + PANEL_H + GAP_Y
        svg.text(left, top - 10, "peak memory, GB", 12, fill=SOFT)
        draw_panel(svg, left, top, rows, [float(r["rss_bytes"]) / 1e9 for r in rows],
                   [float(r["planned_bytes"]) / 1e9 for r in rows],
                   [*verdict.larger(rows), *verdict.bent(rows)], "GB")
    draw_legend(svg, TOP + 2 * (PANEL_H + GAP_Y) - 16)
    return svg.whole()


def main(table, picture):
    groups = {}
    with open(table, encoding="utf-8", newline="") as f:
        for row in csv.DictReader(f):
            groups.setdefault(row["sweep"], []).append(row)
    for rows in groups.values():
        rows.sort(key=verdict.x_of)
    for sweep, rows in groups.items():
        print("\n".join(verdict.report(sweep, rows)))
    with open(picture, "w", encoding="utf-8") as f:
        f.write(draw(groups))


if __name__ == "__main__":
    main(*sys.argv[1:3])
