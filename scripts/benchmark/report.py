"""The results of one run of the benchmark, as tables in Markdown and as JSON."""

import json
import os
import platform
from dataclasses import dataclass, field
from statistics import median

TEST_TITLES = {
    "run": "run",
    "life": "create+start+wait+delete",
    "exec": "exec",
    "state": "state",
    "kill": "kill",
}


@dataclass
class Results:
    load_before: tuple
    samples: dict = field(default_factory=dict)  # kind -> test -> runtime -> [Sample]
    counts: dict = field(default_factory=dict)  # runtime -> test -> Counts
    memory: dict = field(default_factory=dict)  # runtime -> {"foreground", "created"} -> KB
    parallel: list = field(default_factory=list)  # (runtime, Parallel)


def percentile(values, part):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * part))]


def cpu_ms(samples):
    return median(sample.cpu_us for sample in samples) / 1e3


def ratio(samples, runtime):
    """Median CPU of a runtime as a multiple of the floor's, for one test."""
    return cpu_ms(samples[runtime]) / cpu_ms(samples["floor"])


def markdown(header, rows):
    """Lay out a table so that it also reads well as plain text."""
    cells = [header, *[[str(cell) for cell in row] for row in rows]]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]

    def line(row):
        # Words to the left, numbers to the right.
        padded = [cell.ljust(width) if column < 2 else cell.rjust(width)
                  for column, (cell, width) in enumerate(zip(row, widths))]
        return "| " + " | ".join(padded) + " |"

    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([line(header), rule, *map(line, cells[1:])])


def time_table(kinds):
    header = ["test", "runtime", "CPU x floor", "CPU ms", "CPU min", "wall ms", "wall p95", "peak RSS KB", "faults",
              "switches", "failed"]
    rows = []
    for kind, tests in kinds.items():
        for test, runtimes in tests.items():
            for name, samples in runtimes.items():
                wall = [sample.wall_us / 1e3 for sample in samples]
                rows.append([
                    f"{kind} {TEST_TITLES[test]}", name, f"{ratio(runtimes, name):.2f}", f"{cpu_ms(samples):.2f}",
                    f"{min(sample.cpu_us for sample in samples) / 1e3:.2f}", f"{median(wall):.2f}",
                    f"{percentile(wall, 0.95):.2f}", *(
                        f"{median(getattr(sample, key) for sample in samples):.0f}"
                        for key in ("rss_kb", "faults", "switches")
                    ), sum(int(sample.failures) for sample in samples),
                ])
    return markdown(header, rows)


def count_table(counts):
    header = ["test", "runtime", "system calls", "forks", "execs"]
    tests = next(iter(counts.values())).keys()
    return markdown(header, [[test, name, *by_test[test]] for test in tests for name, by_test in counts.items()])


def memory_table(memory):
    header = ["private memory, KB", "runtime", "waiting foreground run", "created init"]
    return markdown(header, [["", name, values["foreground"], values["created"]] for name, values in memory.items()])


def parallel_table(parallel):
    header = ["runs at once", "runtime", "runs/s", "failed", "of", "p50 ms", "p99 ms", "CPU ms each"]
    rows = []
    for name, result in parallel:
        latencies = result.latencies_ms
        rows.append([
            result.jobs, name, f"{result.per_second:.0f}", result.failures, result.count,
            f"{percentile(latencies, 0.5):.1f}", f"{percentile(latencies, 0.99):.1f}", f"{result.cpu_ms:.2f}",
        ])
    return markdown(header, rows)


def machine(results):
    def load(averages):
        return "/".join(f"{average:.1f}" for average in averages)

    return (f"Linux {platform.release()}, {os.cpu_count()} CPUs, "
            f"load {load(results.load_before)} before and {load(os.getloadavg())} after.")


def table(results):
    repetitions = max(len(samples) for tests in results.samples.values() for runtimes in tests.values()
                      for samples in runtimes.values())
    parts = [
        machine(results) + f" {repetitions} repetitions; medians; CPU is user + system of the whole tree.",
        time_table(results.samples),
        count_table(results.counts),
        memory_table(results.memory),
    ]
    if results.parallel:
        parts.append(parallel_table(results.parallel))
    return "\n\n".join(parts) + "\n"


def as_json(results):
    def plain(samples):
        return [sample._asdict() for sample in samples]

    return json.dumps({
        "machine": machine(results),
        "samples": {kind: {test: {name: plain(samples) for name, samples in runtimes.items()}
                           for test, runtimes in tests.items()} for kind, tests in results.samples.items()},
        "counts": {name: {test: counts._asdict() for test, counts in tests.items()}
                   for name, tests in results.counts.items()},
        "memory": results.memory,
        "parallel": [{"runtime": name, **result._asdict()} for name, result in results.parallel],
    }, indent=1)
