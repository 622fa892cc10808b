"""Is tare slower than it was? Holds its costs against those of budgets.tsv, which
belong to the build that they were measured with: CPU time as a multiple of the
floor's, page faults, system calls. A machine that is busy, or not the one of the
file, shifts the multiples: only what is far over counts there.
"""

import os
import platform
import random
import re
import resource
import time
from pathlib import Path
from statistics import median
from typing import NamedTuple

import measure
import report

FILE = Path(__file__).with_name("budgets.tsv")
KIND, SUBJECT, FLOOR = "docker", "tare", "floor"
HEADER = ["test", "CPU x floor", "page faults", "system calls"]
TOLERANCE, WIDE_TOLERANCE = 0.05, 0.25
# More is sampled until the interval is narrow enough or this time is over.
LONGEST = 40
RESAMPLINGS, CONFIDENCE = 400, 0.98
# CPUs that are in use by others than the benchmark. Kernel threads that clear away its network namespaces take 0.2.
BUSY = 0.5
SKIPPED = 77  # as scripts/test has it


class Estimate(NamedTuple):
    """A multiple of the floor, and the interval that it is in for certain enough."""
    low: float
    middle: float
    high: float


class Verdict(NamedTuple):
    what: str
    measured: str
    budget: float
    word: str  # ok, OVER or unsure


class Cost(NamedTuple):
    """What is measured of one test."""
    ratio: Estimate
    faults: float
    calls: int | None
    failures: int


def machine():
    """What the multiples depend on: the kernel's version and the processor."""
    model = re.search(r"^model name\s*: (.*)", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return f"Linux {'.'.join(platform.release().split('.')[:2])}, {os.cpu_count()} x {model[1] if model else 'unknown'}"


def read(path=FILE):
    """Return the machine of the file, and {test: {column: value}}."""
    first, header, *lines = path.read_text().splitlines()
    columns = header.split("\t")
    rows = [dict(zip(columns, line.split("\t"))) for line in lines]
    return first.removeprefix("# "), {row.pop("test"): row for row in rows}


def write(costs, path=FILE):
    lines = [f"# {machine()}", "\t".join(HEADER)]
    for test, cost in costs.items():
        calls = "-" if cost.calls is None else str(cost.calls)
        lines.append("\t".join([test, f"{cost.ratio.middle:.2f}", f"{cost.faults:.0f}", calls]))
    path.write_text("\n".join(lines) + "\n")


def estimate(ours, floors):
    """The ratio of medians, with an interval from resampling whole repetitions."""
    chance = random.Random(1)
    pairs = list(zip(ours, floors))

    def ratio(some):
        return median(our for our, _ in some) / median(floor for _, floor in some)

    resampled = sorted(ratio(chance.choices(pairs, k=len(pairs))) for _ in range(RESAMPLINGS))
    outside = int(RESAMPLINGS * (1 - CONFIDENCE) / 2)
    return Estimate(resampled[outside], ratio(pairs), resampled[-1 - outside])


class Others:
    """Measures how many CPUs others use meanwhile."""

    def __init__(self):
        self.before = self.used()

    @staticmethod
    def used():
        """Seconds: of the clock, of all CPUs (guests of a hypervisor that holds them back too), of this program."""
        words = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
        user, nice, system, _, _, interrupts, soft, steal = (int(word) for word in words[:8])
        ours = sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        ticks = user + nice + system + interrupts + soft + steal
        return time.monotonic(), ticks / os.sysconf("SC_CLK_TCK"), ours

    def cpus(self):
        clock, every, ours = (after - before for after, before in zip(self.used(), self.before))
        return max(0.0, every - ours) / clock


def sample(bench, tests, repetitions, budgets):
    """Return {test: Cost} and how many CPUs others used. A test that cannot be judged yet is measured again."""
    others, limit = Others(), time.monotonic() + LONGEST
    samples = {test: {SUBJECT: [], FLOOR: []} for test in tests}
    wanted, estimates = list(tests), {}
    while wanted:
        for test, by_name in bench.sequence(KIND, wanted, repetitions).items():
            for name, more in by_name.items():
                samples[test][name] += more
            ours, floors = ([one.cpu_us for one in samples[test][name]] for name in (SUBJECT, FLOOR))
            estimates[test] = estimate(ours, floors)
        wanted = [test for test in wanted if unclear(estimates[test], budgets.get(test))] if time.monotonic() < limit else []
    counts = bench.counts(next(one for one in bench.runtimes if one.name == SUBJECT), KIND)
    return {test: cost(estimates[test], samples[test][SUBJECT], counts.get(test)) for test in tests}, others.cpus()


def cost(ratio, samples, counts):
    return Cost(ratio, median(sample.faults for sample in samples), counts.calls if counts else None,
                sum(int(sample.failures) for sample in samples))


def unclear(ratio, budget):
    """Is the interval wide, and not far above the budget as a whole?"""
    far = budget and ratio.low > float(budget["CPU x floor"]) * (1 + WIDE_TOLERANCE)
    return not far and ratio.high - ratio.low > TOLERANCE * ratio.middle


def judge_ratio(ratio, budget, tolerance):
    """`unsure` where it is over, but not for certain, or where it would count on a quiet machine of the same kind."""
    if ratio.low > budget * (1 + tolerance):
        return "OVER"
    return "unsure" if ratio.middle > budget * (1 + TOLERANCE) else "ok"


def verdicts(costs, budgets, tolerance, same_machine):
    for test, cost in costs.items():
        title, row = report.TEST_TITLES[test], budgets[test]
        budget = float(row["CPU x floor"])
        yield Verdict(f"{title}, CPU x floor", f"{cost.ratio.middle:.2f} ({cost.ratio.low:.2f} - {cost.ratio.high:.2f})",
                      budget, judge_ratio(cost.ratio, budget, tolerance))
        # What is counted does not depend on how busy a machine is; two are for a retry.
        much = TOLERANCE if same_machine else WIDE_TOLERANCE
        for what, count in (("page faults", cost.faults), ("system calls", cost.calls)):
            if count is not None:
                budget = float(row[what])
                yield Verdict(f"{title}, {what}", f"{count:.0f}", budget,
                              "OVER" if count > budget * (1 + much) + 2 else "ok")
        if cost.failures:
            yield Verdict(f"{title}, commands that failed", f"{cost.failures}", 0, "OVER")


def check(bench, repetitions):
    """Measure and judge; print a table, and return the exit code."""
    there, budgets = read()
    costs, others = sample(bench, measure.TESTS, repetitions, budgets)
    same, busy = there == machine(), others > BUSY
    tolerance = TOLERANCE if same and not busy else WIDE_TOLERANCE
    found = list(verdicts(costs, budgets, tolerance, same))
    rows = [[one.what, one.word, one.measured, f"{one.budget:g}"] for one in found]
    print(report.markdown(["cost", "", "measured", "budget"], rows))
    reasons = [f"{others:.1f} CPUs are busy with other work"] if busy else []
    reasons += [] if same else [f"the budgets are those of {there}, this is {machine()}"]
    print(f"tolerance {tolerance:.0%}; " + ("; ".join(reasons) or "quiet machine"))
    words = {one.word for one in found}
    if "OVER" in words:
        print("to accept the costs: scripts/bench --check --write")
        return 1
    if "unsure" in words:
        print("too unsure to judge: " + ("; ".join(reasons) or "the figures vary too much"))
        return SKIPPED
    return 0
