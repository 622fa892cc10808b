"""Runs in the virtual machine: what an engine's user waits for, with each
runtime in turn. Prints JSON, a line when a part is done: wall times of each
engine's command, the part of the time in which a command of the runtime ran, and
the times of many at once.
usage: engines_guest.py REPETITIONS PARALLEL TIMED
"""

import contextlib
import itertools
import json
import os
import subprocess
import sys
import time
from pathlib import Path

PATHS = {"tare": "/usr/local/bin/tare", "crun": "/usr/bin/crun", "runc": "/usr/sbin/runc"}
RUNTIMES = list(PATHS)
IMAGE = "docker.io/library/busybox:local"
LOG = Path("/run/bench-timed")  # of timed.c
WARM_UP = 1
QUIET = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL}
numbers = itertools.count()


def docker(runtime):
    return ["docker", "run", "--rm", "--runtime", runtime, "busybox:local", "true"]


def commands(runtime):
    """The commands of one runtime, by what the table calls them."""
    ctr = ["ctr", "run", "--rm", "--runc-binary", PATHS[runtime], IMAGE, f"bench-{next(numbers)}", "true"]
    podman = ["podman", "--runtime", PATHS[runtime], "run", "--rm", "busybox:local", "true"]
    return {"ctr run --rm": ctr, "docker run --rm": docker(runtime), "podman run --rm": podman}


def timed(command):
    begin = time.monotonic()
    subprocess.run(command, check=True, **QUIET)
    return begin, time.monotonic()


class Cri:
    """A kubelet's connection to containerd, with the requests of cri-client."""

    def __init__(self):
        source = Path("/usr/local/bin/cri-client").read_text().rsplit("\nmain()", 1)[0]
        self.client = {"__name__": "cri-client"}
        exec(compile(source, "cri-client", "exec"), self.client)  # pylint: disable=exec-used
        self.channel = self.client["grpc"].insecure_channel("unix:///run/containerd/containerd.sock")

    def call(self, method, **fields):
        request = getattr(self.client["api"], f"{method}Request")(**fields)
        return self.client["call"](self.channel, "RuntimeService", method, request)

    def pod(self, handler):
        """Start a pod with one container and remove it; return the times between which its user waits."""
        api, name = self.client["api"], f"bench-{next(numbers)}"
        namespaces = api.NamespaceOption(network=api.POD)
        config = self.client["pod_config"](name, namespaces, "kubepods.slice")
        security = api.LinuxContainerSecurityContext(namespace_options=namespaces)
        container = api.ContainerConfig(
            metadata=api.ContainerMetadata(name="inner"), image=api.ImageSpec(image=IMAGE),
            command=["sleep", "1000"], log_path="inner.log",
            linux=api.LinuxContainerConfig(security_context=security))
        begin = time.monotonic()
        pod = self.call("RunPodSandbox", config=config, runtime_handler=handler).pod_sandbox_id
        inner = self.call("CreateContainer", pod_sandbox_id=pod, config=container, sandbox_config=config).container_id
        self.call("StartContainer", container_id=inner)
        end = time.monotonic()
        self.call("StopPodSandbox", pod_sandbox_id=pod)
        self.call("RemovePodSandbox", pod_sandbox_id=pod)
        return begin, end


def turns(cri, runtime):
    """Return {what: a call that gives its beginning and end}."""
    found = {what: lambda command=command: timed(command) for what, command in commands(runtime).items()}
    return {**found, "CRI pod": lambda: cri.pod(runtime)}


def measure(cri, repetitions, value):
    """Return {what: {runtime: [value(begin, end)]}}; a runtime's turn comes right after the other's, engine by engine."""
    results = {what: {runtime: [] for runtime in RUNTIMES} for what in turns(cri, RUNTIMES[0])}
    for repetition in range(-WARM_UP, repetitions):
        shift = repetition % len(RUNTIMES)
        ready = {runtime: turns(cri, runtime) for runtime in RUNTIMES[shift:] + RUNTIMES[:shift]}
        for what, by_name in results.items():
            for runtime, run in ready.items():
                begin, end = run[what]()
                if repetition >= 0:
                    by_name[runtime].append(value(begin, end))
        print(f"engines: {repetition + 1} of {repetitions}", file=sys.stderr, flush=True)
    return results


def at_once(runtime, count):
    """Return seconds for all, how many failed, and the seconds of each."""
    begin, waiting, latencies, failed = time.monotonic(), [], [], 0
    for _ in range(count):
        waiting.append((time.monotonic(), subprocess.Popen(docker(runtime), stderr=subprocess.DEVNULL, **QUIET)))
    starts = {process.pid: start for start, process in waiting}
    while starts:
        pid, status = os.wait()
        if pid in starts:
            latencies.append(time.monotonic() - starts.pop(pid))
            failed += status != 0
    return time.monotonic() - begin, failed, latencies


def parallel(count):
    """One round: fifty at once take minutes under emulation, which evens out what else happens."""
    results = {}
    for runtime in RUNTIMES:
        results[runtime] = at_once(runtime, count)
        print(f"engines: {count} at once with {runtime}", file=sys.stderr, flush=True)
    return results


def part_of_runtime(begin, end):
    """The part of the time between in which a command of the runtime ran; of one that is not over at its end, that part."""
    time.sleep(0.5)  # until the last command has written its line
    lines = [line.split() for line in LOG.read_text().splitlines()] if LOG.exists() else []
    spans = [(int(start) / 1e6, (int(start) + int(wall)) / 1e6) for start, wall in lines]
    return sum(max(0.0, min(over, end) - max(start, begin)) for start, over in spans) / (end - begin)


@contextlib.contextmanager
def stand_in(program):
    """Put timed.c's program into the place of every runtime, for a while."""
    for path in PATHS.values():
        os.rename(path, f"{path}.real")
        subprocess.run(["install", program, path], check=True)
    yield
    for path in PATHS.values():
        os.rename(f"{path}.real", path)


def tell(part, results):
    print(json.dumps({part: results}), flush=True)


def main():
    repetitions, count, program = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    cri = Cri()
    tell("wall", measure(cri, repetitions, lambda begin, end: end - begin))
    with stand_in(program):
        tell("part", measure(cri, max(2, repetitions // 3), part_of_runtime))
    tell("parallel", parallel(count))


main()
