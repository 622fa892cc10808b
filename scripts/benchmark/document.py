"""Writes what was measured into docs/performance.md, README.md and the pictures
of docs/, between `<!-- NAME: begin -->` and `<!-- NAME: end -->`."""

import os
import platform
import re
import subprocess
from pathlib import Path
from statistics import median

import report

REPOSITORY = Path(__file__).resolve().parents[2]
PAGE, README = REPOSITORY / "docs/performance.md", REPOSITORY / "README.md"
NAMES = ("tare", "crun", "runc")


def put(path, name, text):
    begin, end = f"<!-- {name}: begin -->\n", f"<!-- {name}: end -->"
    before, rest = path.read_text().split(begin, 1)
    path.write_text(before + begin + text.rstrip("\n") + "\n" + end + rest.split(end, 1)[1])
    print(f"written: {path.relative_to(REPOSITORY)}, {name}")


def picture(name, text):
    (REPOSITORY / "docs" / name).write_text(text)
    print(f"written: docs/{name}")


def version(runtime):
    """The first number that `--version` prints, such as 1.28."""
    output = subprocess.run([runtime.path, "--version"], capture_output=True, text=True, check=False).stdout
    found = re.search(r"\d[\d.]*\d", output)
    return found[0] if found else ""


def where(repetitions):
    """What is said of every table: what it is of, and on which machine."""
    release = ".".join(platform.release().split(".")[:2])
    return f"Medians of {repetitions} alternated repetitions on {os.cpu_count()} processors with Linux {release}"


def with_versions(runtimes):
    """tare, crun 1.28, runc 1.3.6: those of them that were measured."""
    by_name = {runtime.name: runtime for runtime in runtimes}
    return [f"{name} {version(by_name[name])}" if name != "tare" else name for name in NAMES if name in by_name]


def plain(header, rows):
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [header, ["---"] * len(header), *rows])


def figures(results, runtimes, repetitions, drawn):
    """The table of the five tests in both documents, and the bar chart."""
    samples = results.samples["docker"]
    titles = with_versions(runtimes)
    names = [title.split()[0] for title in titles]
    full, short = [], []
    for test, by_name in samples.items():
        title = report.TEST_TITLES[test].replace("+", ", ")
        full.append([title, *(f"{times(report.ratio(by_name, name))} ({milliseconds(by_name[name])})" for name in names),
                     f"`scripts/bench --tests {test}`"])
        short.append([title, *(milliseconds(by_name[name]) for name in names)])
    rows = {
        "system calls of run": [f"{results.counts[name]['run'].calls}" for name in names],
        "peak memory of run, KB": [f"{median(one.rss_kb for one in samples['run'][name]):.0f}" for name in names],
        "private memory of a foreground run, KB": [f"{results.memory[name]['foreground']}" for name in names],
        "private memory of a created init, KB": [f"{results.memory[name]['created']}" for name in names],
    }
    full += [[what, *values, "`scripts/bench --tests run`"] for what, values in rows.items()]
    text = (f"CPU time for the bundle that Docker generates, as a multiple of the floor and, in parentheses, in ms.\n"
            f"{where(repetitions)}.\n\n{plain(['', *titles, 'command'], full)}\n\n"
            "![CPU time by test and runtime](figures.svg)")
    put(PAGE, "figures", text)
    put(README, "figures", plain(["", *titles], short))
    picture("figures.svg", drawn)


def times(ratio):
    return f"{ratio:.1f}" if ratio < 10 else f"{ratio:.0f}"


def milliseconds(samples):
    ms = report.cpu_ms(samples)
    return f"{ms:.2f}" if ms < 1 else f"{ms:.1f}" if ms < 20 else f"{ms:.0f}"


def growth(tables, runtimes, repetitions, drawn):
    head = f"{where(repetitions)}; {', '.join(with_versions(runtimes))}."
    put(PAGE, "growth", "\n\n".join([head, "![How the cost of a command grows](growth.svg)", *tables]))
    picture("growth.svg", drawn)


def section(name, text):
    put(PAGE, name, text)
