# SPDX-License-Identifier: Apache-2.0
"""What was measured, as text: a table for the terminal and for docs/performance.md, and the plot beside it."""
import statistics
from math import floor, log10

BEGIN, END = "<!-- written by ./dev bench: begin -->", "<!-- written by ./dev bench: end -->"


class Result:
    """One row of the table: the sides' samples, and what they are held against."""

    def __init__(self, title):
        self.title, self.sides, self.goals, self.notes = title, {}, [], []

    def add(self, side, sample):
        self.sides.setdefault(side, []).append(sample)

    def ratio_goal(self, other, limit, field="wall"):
        """The median of the paired ratios of FIELD, wall or cpu."""
        if other in self.sides:
            ratios = self.ratios(other, field)
            self.goal(f"× {other}" + (", CPU" if field == "cpu" else ""), statistics.median(ratios), limit, spread=(min(ratios), max(ratios)))

    def price_goal(self, other, field, limit):
        """How much more FIELD, wall or cpu, it takes than OTHER: the median of the pairs, in percent."""
        more = [100 * (ratio - 1) for ratio in self.ratios(other, field)]
        self.goal(f"more {field} than {other}", statistics.median(more), limit, " %", (min(more), max(more)))

    def ratios(self, other, field):
        return [getattr(ours, field) / getattr(theirs, field) for ours, theirs in zip(self.sides["imaged"], self.sides[other])]

    def goal(self, what, value, limit, unit="", spread=None):
        """LIMIT may be None: nothing is asked, the figure is only told."""
        self.goals.append((what, value, limit, unit, spread))

    def missed(self):
        return [goal for goal in self.goals if goal[2] is not None and goal[1] > goal[2]]


def number(value):
    if value < 0:
        return "-" + number(-value)
    if value >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}" if value >= 0.1 else f"{value:.3f}"


def median(samples, field):
    values = [getattr(sample, field) for sample in samples if getattr(sample, field) is not None]
    return statistics.median(values) if values else None


def spread(samples):
    walls = [sample.wall for sample in samples]
    return f"{number(min(walls))} to {number(max(walls))}"


def cell(value, unit=""):
    return "" if value is None else number(value) + unit


def side_lines(results):
    yield ["work", "side", "runs", "wall s, median", "wall s, spread", "CPU s", "peak MiB"]
    for result in results:
        for name, samples in result.sides.items():
            yield [result.title, name, str(len(samples)), cell(median(samples, "wall")), spread(samples), cell(median(samples, "cpu")),
                   cell(median(samples, "peak"))]


def goal_lines(results):
    yield ["work", "imaged", "measured", "spread", "goal", ""]
    for result in results:
        for what, value, limit, unit, span in result.goals:
            yield [result.title, what, number(value) + unit, f"{number(span[0])} to {number(span[1])}" if span else "",
                   "" if limit is None else f"≤ {number(limit)}{unit}",
                   "" if limit is None else "met" if value <= limit else "missed"]


def aligned(lines):
    lines = list(lines)
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join("  ".join(text.ljust(width) for text, width in zip(line, widths)).rstrip() for line in lines)


def markdown(lines):
    lines = list(lines)
    rows = ["| " + " | ".join(line) + " |" for line in lines]
    rows.insert(1, "|" + " --- |" * len(lines[0]))
    return "\n".join(rows)


def text(results):
    parts = [aligned(side_lines(results))] if any(result.sides for result in results) else []
    parts += [aligned(goal_lines(results))]
    parts += [f"{result.title}: {note}" for result in results for note in result.notes]
    return "\n\n".join(parts)


def write_into(path, results, conditions):
    """Replaces what an earlier run wrote between the two marks of a Markdown page."""
    with open(path, encoding="utf-8") as file:
        page = file.read()
    before, rest = page.split(BEGIN, 1)
    after = rest.split(END, 1)[1]
    lines = [BEGIN, "", *("- " + line for line in conditions), "", markdown(goal_lines(results)), "", markdown(side_lines(results)), ""]
    notes = [f"- {result.title}: {note}" for result in results for note in result.notes]
    lines += notes + [""] if notes else []
    with open(path, "w", encoding="utf-8") as file:
        file.write(before + "\n".join(lines) + END + after)


def plot(points, path):
    """An SVG of (files, seconds, MiB) points: time and memory against the number of files, both axes logarithmic."""
    width, height, left, bottom, top, right = 640, 400, 70, 50, 30, 70
    span_x, span_y = width - left - right, height - top - bottom
    low = min(count for count, _, _ in points)
    decades_x = max(1, round(log10(max(count for count, _, _ in points) / low)))
    first = floor(log10(min(seconds for _, seconds, _ in points)))
    decades_y = max(1, floor(log10(max(seconds for _, seconds, _ in points))) + 1 - first)
    x = lambda count: left + span_x * log10(count / low) / decades_x
    y = lambda seconds: top + span_y * (1 - (log10(seconds) - first) / decades_y)
    memory_top = 80
    m = lambda mebibytes: top + span_y * (1 - mebibytes / memory_top)
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12">',
           f'<rect width="{width}" height="{height}" fill="white"/>',
           f'<rect x="{left}" y="{top}" width="{span_x}" height="{span_y}" fill="none" stroke="#888"/>']
    for decade in range(decades_y + 1):
        at = y(10.0 ** (first + decade))
        out.append(f'<line x1="{left}" x2="{left + span_x}" y1="{at:.1f}" y2="{at:.1f}" stroke="#ddd"/>'
                   f'<text x="{left - 8}" y="{at + 4:.1f}" text-anchor="end">{10.0 ** (first + decade):g} s</text>')
    for count, _, _ in points:
        out.append(f'<line x1="{x(count):.1f}" x2="{x(count):.1f}" y1="{top}" y2="{top + span_y}" stroke="#ddd"/>'
                   f'<text x="{x(count):.1f}" y="{height - bottom + 18}" text-anchor="middle">{count:,}</text>')
    for mebibytes in range(0, memory_top + 1, 16):
        out.append(f'<text x="{left + span_x + 8}" y="{m(mebibytes) + 4:.1f}" fill="#b50">{mebibytes} MiB</text>')
    seconds_a_file = points[0][1] / points[0][0]
    linear = [(count, seconds_a_file * count) for count, _, _ in points]
    line = lambda pairs, style: f'<polyline fill="none" {style} points="{" ".join(f"{a:.1f},{b:.1f}" for a, b in pairs)}"/>'
    out.append(line([(x(count), y(seconds)) for count, seconds in linear], 'stroke="#888" stroke-dasharray="4 4"'))
    out.append(line([(x(count), y(seconds)) for count, seconds, _ in points], 'stroke="#06c" stroke-width="2"'))
    out.append(line([(x(count), m(mebibytes)) for count, _, mebibytes in points], 'stroke="#b50" stroke-width="2"'))
    for count, seconds, mebibytes in points:
        out.append(f'<circle cx="{x(count):.1f}" cy="{y(seconds):.1f}" r="4" fill="#06c"><title>{count:,} files: {seconds:.2f} s</title></circle>'
                   f'<circle cx="{x(count):.1f}" cy="{m(mebibytes):.1f}" r="4" fill="#b50"><title>{mebibytes:.0f} MiB</title></circle>')
    out.append(f'<text x="{left + span_x / 2}" y="{height - 10}" text-anchor="middle">files in one image</text>'
               f'<text x="{left}" y="{top - 10}" fill="#06c">seconds of a pull (dashed: linear)</text>'
               f'<text x="{left + span_x}" y="{top - 10}" text-anchor="end" fill="#b50">peak memory of the worker</text></svg>')
    with open(path, "w", encoding="utf-8") as file:
        file.write("\n".join(out) + "\n")
