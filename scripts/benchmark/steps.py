"""Where the time of `run` goes: the steps that tare itself measures (--timings),
and its system calls next to the floor's.
"""

import json
import re
from statistics import quantiles

import document
import measure
import report

KIND, SUBJECT, FLOOR = "docker", "tare", "floor"
# Steps that only hold others, or wait for the child.
HOLDERS = ("prepare", "answer init until it is ready")
# Steps of one kind are one row.
KINDS = ("resolve the mount destination", "mount ", "create the device", "create the link", "make the path read-only",
         "mask the path", "set the rlimit", "set the sysctl")
# What the floor does not do, and why tare does it. Every other step is the kernel's work for the bundle.
REASONS = {
    "execute tare from a read-only image": "no container can write the program that runs with root's rights",
    "read the command line": "the floor knows its few words",
    "read config.json": "the floor's plan is compiled in",
    "parse config.json": "the same",
    "gather facts about the host": "the plan depends on the kernel, the cgroups and the security modules",
    "plan": "everything is decided and checked before anything is changed",
    "create the state directory": "`state`, `kill`, `exec` and `delete` find the container",
    "write the record and the config": "the same",
    "record that the container is created": "the same",
    "open the rootfs and the sources of mounts": "no symlink leads elsewhere later",
    "look up HOME": "as Docker and Podman expect",
    "join a session keyring": "the container has no keys of the host",
    "bring up the loopback interface": "as runc and crun do",
    "resolve the mount destination": "no symlink of the image leads outside",
    "open a private procfs": "no mount of the container hides what is written or masked",
    "change the owner of stdio": "a process that is not root can open /dev/stdout",
    "close the inherited descriptors": "no descriptor of the host reaches the container",
    "verify the credentials": "the process has what was asked for and no more",
    "report that the process is ready": "an error has its place and its words",
}
# Steps and differences below these go into one row.
LEAST_US, LEAST_CALLS = 10, 4


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
    cells = [[process, step, str(times), f"{us:.0f}", REASONS.get(step, "")] for process, step, times, us in rows
             if us >= LEAST_US]
    small = [us for *_, us in rows if us < LEAST_US]
    cells.append(["both", f"{len(small)} more", "", f"{sum(small):.0f}", ""])
    return document.plain(["process", "step", "times", "µs", "not in the floor, because"], cells)


def call_table(calls):
    ours, floors = calls[SUBJECT], calls[FLOOR]
    more = {name: ours[name] - floors[name] for name in ours | floors}
    shown = sorted((name for name in more if abs(more[name]) >= LEAST_CALLS), key=lambda name: (-more[name], name))
    rows = [[name, "", ours[name], floors[name], f"{more[name]:+d}"] for name in shown]
    rest = [name for name in more if name not in shown]
    for title, names in ((f"{len(rest)} more", rest), ("all", list(more))):
        rows.append([title, "", *(sum(by_name[name] for name in names) for by_name in (ours, floors)),
                     f"{sum(more[name] for name in names):+d}"])
    return report.markdown(["system calls of run", "", SUBJECT, FLOOR, "more"], rows)


def tables(bench, repetitions):
    """Measure; return the tables as text."""
    pair = [next(one for one in bench.runtimes if one.name == name) for name in (SUBJECT, FLOOR)]
    rows = take_steps(bench, pair[0], repetitions)
    return f"{step_table(rows)}\n\n{call_table(take_calls(bench, pair))}\n"
