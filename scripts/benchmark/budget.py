"""What tare may cost. A budget is a promise: the benchmark fails when one is broken."""

from statistics import median

import report

SUBJECT, PEER = "tare", "crun"

# Multiples of the floor's CPU, docker bundle.
TIMES_FLOOR = {"run": 1.35, "life": 1.4, "exec": 1.5, "state": 1.5, "kill": 1.5}
PEAK_RSS_KB = 1800
FOREGROUND_KB = 120
CREATED_KB = 300
SYSTEM_CALLS = 260
# Throughput of parallel runs as a multiple of the peer's. A dynamically linked
# crun is an easy peer: name a static build with --runtime crun=PATH.
TIMES_PEER = 1.3


def budgets(results):
    """Yield (what, measured, allowed, kept)."""
    samples = results.samples["docker"]
    for test, allowed in TIMES_FLOOR.items():
        measured = report.ratio(samples[test], SUBJECT)
        yield f"{report.TEST_TITLES[test]}, CPU x floor", f"{measured:.2f}", f"{allowed}", measured <= allowed
    most = {
        "peak RSS of run, KB": (median(sample.rss_kb for sample in samples["run"][SUBJECT]), PEAK_RSS_KB),
        "private memory of a waiting run, KB": (results.memory[SUBJECT]["foreground"], FOREGROUND_KB),
        "private memory of a created init, KB": (results.memory[SUBJECT]["created"], CREATED_KB),
        "system calls of run": (results.counts[SUBJECT]["run"].calls, SYSTEM_CALLS),
        "commands that failed": (failed_commands(samples), 0),
    }
    for what, (measured, allowed) in most.items():
        yield what, f"{measured:.0f}", f"{allowed}", measured <= allowed
    yield from parallel_budgets(results)


def failed_commands(samples):
    return sum(int(sample.failures) for runtimes in samples.values() for sample in runtimes[SUBJECT])


def parallel_budgets(results):
    by_jobs = {}
    for name, result in results.parallel:
        by_jobs.setdefault(result.jobs, {})[name] = result
    for jobs, by_name in by_jobs.items():
        ours, peer = by_name[SUBJECT], by_name.get(PEER)
        yield f"{ours.count} runs, {jobs} at once: failed", f"{ours.failures}", "0", ours.failures == 0
        if peer:
            measured = ours.per_second / peer.per_second
            yield (f"{ours.count} runs, {jobs} at once: throughput x {PEER}", f"{measured:.2f}", f">= {TIMES_PEER}",
                   measured >= TIMES_PEER)


def judge(results):
    """Return the table and whether a budget is broken."""
    if SUBJECT not in results.memory:
        return f"there is no {SUBJECT} to hold against its budgets", True
    verdicts = list(budgets(results))
    rows = [[what, "ok" if kept else "OVER", measured, allowed] for what, measured, allowed, kept in verdicts]
    return report.markdown(["budget", "", "measured", "allowed"], rows), not all(kept for *_, kept in verdicts)
