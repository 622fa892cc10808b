"""Where the time of `run` goes: the steps that tare itself measures (--timings),
and its system calls next to the floor's.
"""

import json
import re
from statistics import quantiles

import measure
import report

KIND, SUBJECT, FLOOR = "docker", "tare", "floor"
# Steps that only hold others, or wait for the child.
HOLDERS = ("prepare", "answer init until it is ready")
# Steps of one kind are one row.
KINDS = ("resolve the mount destination", "mount ", "create the device", "create the link", "make the path read-only",
         "mask the path", "set the rlimit", "set the sysctl")


def kind_of(name):
    for kind in KINDS:
        if name.startswith(kind):
            return kind.strip()
    return re.sub(r" \([^)]*\)$", "", re.sub(r" /\S+", "", name))


def steps_of(path):
    """Return {(process, step): [times, µs]} of one trace, in its order."""
    found = {}
    for event in json.loads(path.read_text())["traceEvents"]:
        if event["ph"] == "X" and event["cat"] in ("parent", "child") and event["name"] not in HOLDERS:
            entry = found.setdefault((event["cat"], kind_of(event["name"])), [0, 0.0])
            entry[0] += 1
            entry[1] += event["dur"]
    return found


def take_steps(bench, runtime, repetitions):
    """Return [(process, step, times, µs)]: of each step the lower quartile, since a busy machine only adds."""
    name, file = f"{runtime.name}-steps", measure.WORK / "steps.json"
    path = bench.bundle(KIND, name, measure.QUICK)
    traces = []
    for _ in range(repetitions):
        bench.call(runtime, KIND, "--timings", str(file), "run", "--bundle", path, name, arguments=measure.QUICK)
        traces.append(steps_of(file))
    rows = []
    for process, step in traces[0]:
        times = traces[0][process, step][0]
        rows.append((process, step, times, quantiles([trace[process, step][1] for trace in traces], n=4)[0]))
    return rows


def take_calls(bench, runtimes):
    """Return {runtime: {system call: number}} of `run`."""
    found = {}
    for runtime in runtimes:
        name = f"{runtime.name}-calls"
        path = bench.bundle(KIND, name, measure.QUICK)
        found[runtime.name] = measure.calls_by_name(bench.trace(runtime, KIND, ["run", "--bundle", path, name]))
    return found


def step_table(rows):
    return report.markdown(["process", "step", "times", "µs"],
                           [[process, step, times, f"{us:.0f}"] for process, step, times, us in rows])


def call_table(calls):
    ours, floors = calls[SUBJECT], calls[FLOOR]
    names = sorted(ours | floors, key=lambda name: (floors[name] - ours[name], name))
    rows = [[name, "", ours[name], floors[name], f"{ours[name] - floors[name]:+d}"] for name in names]
    rows.append(["all", "", ours.total(), floors.total(), f"{ours.total() - floors.total():+d}"])
    return report.markdown(["system calls of run", "", SUBJECT, FLOOR, "more"], rows)


def tables(bench, repetitions):
    """Measure; return the tables as text."""
    pair = [next(one for one in bench.runtimes if one.name == name) for name in (SUBJECT, FLOOR)]
    rows = take_steps(bench, pair[0], repetitions)
    return f"{step_table(rows)}\n\n{call_table(take_calls(bench, pair))}\n"
