"""Draws the growth of costs: a panel for each number that grows, a line for each runtime."""

import math
from statistics import median

import chart
import growth_report
import report

WIDTH, MARGIN, COLUMNS = 960, 24, 2
PANEL_WIDTH, PANEL_HEIGHT, GAP = 444, 236, 24
LEFT, RIGHT, TOP, BOTTOM = 46, 58, 34, 34  # of the plot in its panel
HEAD = 66


def step_of(highest, most):
    """The round distance of lines on an axis that has at most `most` of them."""
    rough = highest / most
    unit = 10 ** math.floor(math.log10(rough))
    return next(unit * factor for factor in (1, 2, 5, 10) if unit * factor >= rough)


class Panel:
    """One plot: linear axes that begin at zero."""

    def __init__(self, place, title, unit, lines):
        column, row = place % COLUMNS, place // COLUMNS
        self.x = MARGIN + column * (PANEL_WIDTH + GAP)
        self.y = HEAD + row * (PANEL_HEIGHT + GAP)
        self.title, self.unit, self.lines = title, unit, lines
        self.right = max(number for points in lines.values() for number, _ in points) or 1
        self.high = max(value for points in lines.values() for _, value in points) * 1.05

    def at(self, number, value):
        width, height = PANEL_WIDTH - LEFT - RIGHT, PANEL_HEIGHT - TOP - BOTTOM
        return (self.x + LEFT + width * number / self.right, self.y + TOP + height * (1 - value / self.high))

    def axes(self):
        yield chart.text(self.x, self.y + 14, self.title, 13, weight="600")
        step = step_of(self.high, 5)
        for index in range(int(self.high / step) + 1):
            (left, y), (right, _) = self.at(0, index * step), self.at(self.right, 0)
            yield f'<line x1="{left:.1f}" x2="{right:.1f}" y1="{y:.1f}" y2="{y:.1f}" stroke="{chart.LINE}"/>'
            yield chart.text(left - 6, y + 4, f"{index * step:g}", 10, chart.FAINT, "end")
        yield chart.text(self.x + LEFT - 6, self.y + TOP - 8, "ms", 10, chart.FAINT, "end")
        step = step_of(self.right, 5)
        for index in range(int(self.right / step) + 1):
            x, y = self.at(index * step, 0)
            unit = f" {self.unit}" if (index + 1) * step > self.right else ""
            yield chart.text(x, y + 16, f"{index * step:g}{unit}", 10, chart.FAINT, "middle")

    def draw(self, others):
        yield from self.axes()
        taken = []
        # From the highest line down, so that a label that makes room goes below.
        for name, points in sorted(self.lines.items(), key=lambda line: -line[1][-1][1]):
            shade = chart.colour(name, others)
            places = " ".join("{:.1f},{:.1f}".format(*self.at(*point)) for point in points)
            yield f'<polyline points="{places}" fill="none" stroke="{shade}" stroke-width="2"/>'
            for point in points:
                x, y = self.at(*point)
                yield f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.5" fill="{shade}"/>'
            y = max([y + 4, *(other + 12 for other in taken)])
            taken.append(y)
            # A line that ends early is that of a runtime that fails from there on.
            label = f"{name}, then fails" if points[-1][0] < self.right else name
            yield chart.text(x + 7, y, label, 11, shade, weight="600")


def parallel_lines(parallel, value):
    lines = {}
    for name, result in parallel:
        lines.setdefault(name, []).append((result.jobs, value(result)))
    return lines


def panels(series_by_name, parallel):
    found = []
    for key, series in series_by_name.items():
        lines = {name: growth_report.curve(series, name) for name in growth_report.names(series)}
        title, unit = growth_report.TITLES[key]
        found.append((title, unit, {name: points for name, points in lines.items() if points}))
    if parallel:
        found += [
            ("wall time per run (1 / throughput), runs at once", "at once",
             parallel_lines(parallel, lambda result: 1e3 / result.per_second)),
            ("latency of a run, median, runs at once", "at once",
             parallel_lines(parallel, lambda result: median(result.latencies_ms))),
            ("latency of a run, p99, runs at once", "at once",
             parallel_lines(parallel, lambda result: report.percentile(result.latencies_ms, 0.99))),
        ]
    return [Panel(place, *one) for place, one in enumerate(found)]


def draw(series_by_name, parallel, machine):
    drawn = panels(series_by_name, parallel)
    others = sorted({name for panel in drawn for name in panel.lines} - chart.COLOURS.keys())
    rows = -(-len(drawn) // COLUMNS)
    height = HEAD + rows * (PANEL_HEIGHT + GAP) + MARGIN
    body = [
        chart.text(MARGIN, MARGIN + 10, "How the cost of a command grows", 17, weight="600"),
        chart.text(MARGIN, MARGIN + 28, "CPU time, user + system of the whole tree, where nothing else is said. "
                                        "Lower is better.", fill=chart.FAINT),
        *(part for panel in drawn for part in panel.draw(others)),
        chart.text(MARGIN, height - 12, machine, 11, chart.FAINT),
    ]
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" '
            f'viewBox="0 0 {WIDTH} {height}" font-family="system-ui, DejaVu Sans, sans-serif">\n'
            '<rect width="100%" height="100%" fill="white"/>\n' + "\n".join(body) + "\n</svg>\n")
