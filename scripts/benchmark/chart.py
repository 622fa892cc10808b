"""Draws the bar chart: CPU per test and runtime, one panel a bundle.

Bars are linear within a test and every test has its own scale, since kill is a
hundred times cheaper than a run of the slowest runtime; each bar says its
milliseconds and its multiple of the floor.
"""

from xml.sax.saxutils import escape

import report

WIDTH, MARGIN = 880, 24
LABEL, VALUE = 74, 156  # left of the bars the runtime's name, right of them its figures
BAR, GAP, GROUP = 16, 5, 40  # heights: a bar, the space below it, the title of a test
PANEL = 44
TEXT, FAINT, LINE = "#24292f", "#6e7781", "#d0d7de"
COLOURS = {"tare": "#0b7a75", "crun": "#d97706", "runc": "#4f6bb5", "floor": "#9aa4ae"}
SPARE_COLOURS = ["#8b5fbf", "#b5485d", "#5b8c3a", "#2f8fb3"]


def text(x, y, words, size=12, fill=TEXT, anchor="start", weight="normal"):
    return (f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" fill="{fill}" text-anchor="{anchor}" '
            f'font-weight="{weight}">{escape(words)}</text>')


def colour(name, others):
    return COLOURS.get(name) or SPARE_COLOURS[others.index(name) % len(SPARE_COLOURS)]


def draw_test(y, title, runtimes, others):
    """Return the elements of one test and the y below them."""
    values = {name: report.cpu_ms(samples) for name, samples in runtimes.items()}
    left, room = MARGIN + LABEL, WIDTH - 2 * MARGIN - LABEL - VALUE
    parts = [text(MARGIN, y + 24, title, 13, weight="600")]
    y += GROUP - 6
    for name, value in values.items():
        length = max(1.5, room * value / max(values.values()))
        middle = y + BAR - 4
        times = "" if name == "floor" else f" ({value / values['floor']:.1f} x floor)"
        parts += [
            text(left - 8, middle, name, fill=FAINT, anchor="end"),
            f'<rect x="{left}" y="{y}" width="{length:.1f}" height="{BAR}" rx="2" fill="{colour(name, others)}"/>',
            text(left + length + 8, middle, f"{value:.2f} ms{times}"),
        ]
        y += BAR + GAP
    return parts, y


def draw(results):
    names = list(dict.fromkeys(name for tests in results.samples.values() for runtimes in tests.values()
                               for name in runtimes))
    others = [name for name in names if name not in COLOURS]
    y = MARGIN + 18
    parts = [text(MARGIN, y, "CPU time of one command, user + system of its whole tree", 17, weight="600")]
    y += 20
    parts.append(text(MARGIN, y, "Median; lower is better; the floor does only the kernel's work for the same bundle. "
                                 "Each test has its own scale.", fill=FAINT))
    for kind, tests in results.samples.items():
        y += PANEL
        parts += [text(MARGIN, y - 8, f"{kind} bundle", 14, FAINT, weight="600"),
                  f'<line x1="{MARGIN}" x2="{WIDTH - MARGIN}" y1="{y}" y2="{y}" stroke="{LINE}"/>']
        for test, runtimes in tests.items():
            drawn, y = draw_test(y, report.TEST_TITLES[test], runtimes, others)
            parts += drawn
    y += MARGIN
    parts.append(text(MARGIN, y, report.machine(results), 11, FAINT))
    height = y + MARGIN
    body = "\n".join(parts)
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" '
            f'viewBox="0 0 {WIDTH} {height}" font-family="system-ui, DejaVu Sans, sans-serif">\n'
            f'<rect width="100%" height="100%" fill="white"/>\n{body}\n</svg>\n')
