"""The growth of costs as tables: one of the curves, one of the goals that they are held against."""

import json
import os
import platform
from statistics import median

import report

SUBJECT, PEER = "tare", "crun"
PEERS = ("crun", "runc")
TITLES = {
    "host-mounts": ("run, mounts of the host", "mounts"),
    "mounts": ("run, mounts of the config", "mounts"),
    "devices": ("run, device rules of the config", "rules"),
    "environment": ("run, environment", "KB"),
    "life": ("create+start+wait+delete, other containers", "containers"),
    "state": ("state, other containers", "containers"),
    "list": ("list, containers", "containers"),
}
# A new mount namespace without a copy of the host's mounts: since this Linux.
EMPTY_NAMESPACES = (7, 0)
FLAT = 1.1
# What is dearer per item in the second half of a curve than in the first is more than linear.
LINEAR = 1.25
LIST_US = 5
THROUGHPUT = 1.5
TAIL = 3


def value(series, number, name):
    """Median milliseconds, or nothing where the command failed or was not measured."""
    samples = series.samples[number].get(name)
    return median(samples) / 1e3 if samples and not series.failures[number][name] else None


def curve(series, name):
    """Return [(number, ms)] of a runtime, as far as it works."""
    points = [(number, value(series, number, name)) for number in series.samples]
    return [(number, ms) for number, ms in points if ms is not None]


def names(series):
    return list(dict.fromkeys(name for by_name in series.samples.values() for name in by_name))


def each_us(points):
    """Microseconds for each item, from the first point to the last."""
    (first, low), (last, high) = points[0], points[-1]
    return (high - low) * 1e3 / (last - first)


def bend(points):
    """How much more an item costs in the second half of a curve than in the first: 1 is linear."""
    last = points[-1][0]
    middle = min(points, key=lambda point: abs(point[0] - last / 2))
    first, second = each_us([points[0], middle]), each_us([middle, points[-1]])
    return second / first if first > 0 else float("inf")


def curve_table(series_by_name):
    header = ["CPU ms", "runtime", "number: CPU ms", "µs each", "last / first"]
    rows = []
    for key, series in series_by_name.items():
        for name in names(series):
            points = curve(series, name)
            if len(points) < 2:
                rows.append([TITLES[key][0], name, "fails", "", ""])
                continue
            told = ", ".join(f"{number}: {ms:.2f}" for number, ms in points)
            broken = len(series.samples) - len(points)
            rows.append([TITLES[key][0], name, told + (f", fails at {broken} more" if broken else ""),
                         f"{each_us(points):.2f}", f"{points[-1][1] / points[0][1]:.2f}"])
    return report.markdown(header, rows)


def release():
    return tuple(int(part) for part in platform.release().split(".")[:2])


def host_mounts_goals(series):
    points = curve(series, SUBJECT)
    ratio = points[-1][1] / points[0][1]
    floor = curve(series, "floor")
    beside = f", floor {floor[-1][1] / floor[0][1]:.2f}" if len(floor) > 1 else ""
    # Before Linux 7.0 the kernel copies all mounts of the host for every mount namespace, and destroys them.
    kept = ratio <= FLAT if release() >= EMPTY_NAMESPACES else None
    yield f"run next to {points[-1][0]} mounts of the host / none", f"{ratio:.2f}{beside}", f"{FLAT} (Linux 7.0)", kept
    yield from below_peers(series, "host-mounts")


def below_peers(series, key):
    """Is the subject's curve below each peer's at every number?"""
    ours = dict(curve(series, SUBJECT))
    for peer in PEERS:
        theirs = dict(curve(series, peer))
        if common := ours.keys() & theirs.keys():
            worst = max(ours[number] / theirs[number] for number in common)
            yield f"{TITLES[key][0]}: CPU x {peer}, worst", f"{worst:.2f}", "< 1", worst < 1


def config_goals(series, key):
    points = curve(series, SUBJECT)
    yield f"{TITLES[key][0]}: second half / first half", f"{bend(points):.2f}", f"{LINEAR}", bend(points) <= LINEAR
    yield from below_peers(series, key)
    for peer in PEERS:
        if len(theirs := curve(series, peer)) > 1:
            ratio = each_us(points) / each_us(theirs)
            yield f"{TITLES[key][0]}: CPU of each x {peer}", f"{ratio:.2f}", "< 1", ratio < 1


def container_goals(series, key):
    points = curve(series, SUBJECT)
    if key == "list":
        yield "list, µs for each container", f"{each_us(points):.1f}", f"{LIST_US}", each_us(points) <= LIST_US
    else:
        # As a multiple of the floor's, so that what the kernel or a busy machine adds does not count.
        floor = dict(curve(series, "floor"))
        ratio = points[-1][1] / floor[points[-1][0]] / (points[0][1] / floor[points[0][0]])
        yield f"{TITLES[key][0]}: x floor, {points[-1][0]} / none", f"{ratio:.2f}", f"{FLAT}", ratio <= FLAT
    yield from below_peers(series, key)


def parallel_goals(parallel):
    by_jobs = {}
    for name, result in parallel:
        by_jobs.setdefault(result.jobs, {})[name] = result
    for jobs, by_name in by_jobs.items():
        ours, peer = by_name[SUBJECT], by_name.get(PEER)
        what = f"{ours.count} runs, {jobs} at once"
        yield f"{what}: failed", f"{ours.failures}", "0", ours.failures == 0
        if peer:
            ratio = ours.per_second / peer.per_second
            yield f"{what}: throughput x {PEER}", f"{ratio:.2f}", f">= {THROUGHPUT}", ratio >= THROUGHPUT
        tail = report.percentile(ours.latencies_ms, 0.99) / median(ours.latencies_ms)
        yield f"{what}: p99 / median", f"{tail:.1f}", f"{TAIL}", tail <= TAIL


def goals(series_by_name, parallel):
    """Yield (what, measured, goal, whether it is reached; None where it is not held against it)."""
    for key, series in series_by_name.items():
        if len(curve(series, SUBJECT)) < len(series.samples):
            yield f"{TITLES[key][0]}: commands that failed", "some", "0", False
        elif key == "host-mounts":
            yield from host_mounts_goals(series)
        elif key in ("mounts", "devices", "environment"):
            yield from config_goals(series, key)
        else:
            yield from container_goals(series, key)
    yield from parallel_goals(parallel)


def goal_table(series_by_name, parallel):
    words = {True: "reached", False: "MISSED", None: "not here"}
    rows = [[what, words[kept], measured, goal] for what, measured, goal, kept in goals(series_by_name, parallel)]
    return report.markdown(["goal", "", "measured", "goal"], rows)


def machine():
    load = "/".join(f"{average:.1f}" for average in os.getloadavg())
    return f"Linux {platform.release()}, {os.cpu_count()} CPUs, load {load}."


def as_json(series_by_name, parallel):
    return json.dumps({
        "machine": machine(),
        "series": {key: series._asdict() for key, series in series_by_name.items()},
        "parallel": [{"runtime": name, **result._asdict()} for name, result in parallel],
    }, indent=1)


def ratio_tables(series_by_name, parallel):
    """What holds on other machines too: not the curves' times."""
    return [*([report.parallel_table(parallel)] if parallel else []), goal_table(series_by_name, parallel)]


def text(series_by_name, parallel, repetitions):
    head = f"{machine()} Medians of {repetitions} alternated repetitions; CPU is user + system of the whole tree."
    curves = [curve_table(series_by_name)] if series_by_name else []
    return "\n\n".join([head, *curves, *ratio_tables(series_by_name, parallel)]) + "\n"
