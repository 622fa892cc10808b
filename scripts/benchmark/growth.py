"""Measures how the cost of a command grows with a number: mounts of the host,
mounts, device rules and environment of a config, containers that exist, runs at
once. As in measure.py, all runtimes take their turn within every repetition.
"""

import ctypes
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import NamedTuple

import bundle
import measure

KIND = "docker"
HOST_MOUNTS = measure.WORK / "host-mounts"
CROWD = measure.WORK / "crowd"
MS_SHARED, MNT_DETACH = 1 << 20, 2
# Below MAX_ARG_STRLEN (128 KB) and like what Kubernetes writes for its services: many short variables.
VARIABLE_BYTES = 1024
PARALLEL_ROUNDS = 10
# A command that takes longer is measured once: a peer takes half a minute before it fails.
SLOW_US = 1e6
libc = ctypes.CDLL(None, use_errno=True)


class Series(NamedTuple):
    """One picture: CPU time in µs, {number: {runtime: [µs]}}, and how many commands failed, {number: {runtime: n}}."""
    samples: dict
    failures: dict


def call_libc(function, *arguments):
    if getattr(libc, function)(*arguments) < 0:
        raise OSError(ctypes.get_errno(), f"{function} {arguments[:2]}")


def add_host_mounts(number):
    """Mount file systems until `number` of them are there, each shared, as systemd leaves every mount of a host."""
    HOST_MOUNTS.mkdir(exist_ok=True)
    for index in range(sum(1 for _ in HOST_MOUNTS.iterdir()), number):
        target = str(HOST_MOUNTS / str(index)).encode()
        os.mkdir(target)
        call_libc("mount", b"tmpfs", target, b"tmpfs", 0, b"nr_inodes=2")
        call_libc("mount", None, target, None, MS_SHARED, None)


def remove_host_mounts():
    for directory in HOST_MOUNTS.iterdir():
        call_libc("umount2", str(directory).encode(), MNT_DETACH)
        directory.rmdir()
    HOST_MOUNTS.rmdir()


def add_mounts(config, number):
    """Bind mounts, as volumes are. Their targets exist: creating them is another matter."""
    source, targets = measure.WORK / "source", measure.ROOTFS / "mounts"
    source.mkdir(exist_ok=True)
    for index in range(number):
        (targets / str(index)).mkdir(parents=True, exist_ok=True)
        config["mounts"].append(bundle.mount(f"/mounts/{index}", "bind", "rbind,rprivate,ro", str(source)))


def add_device_rules(config, number):
    rules = config["linux"]["resources"]["devices"]
    rules += [bundle.device(True, numbers=(300 + index, index)) for index in range(number)]


def add_environment(config, kilobytes):
    for index in range(kilobytes):
        name = f"VARIABLE_{index}="
        config["process"]["env"].append(name + "x" * (VARIABLE_BYTES - 1 - len(name)))


# Of a config: what adds the number, and the numbers.
CONFIGS = {
    "mounts": (add_mounts, (0, 125, 250, 500, 1000)),
    "devices": (add_device_rules, (0, 125, 250, 500, 1000)),
    "environment": (add_environment, (0, 128, 256, 512, 1024)),
}
HOST_NUMBERS = (0, 250, 1000, 4000)
CROWD_NUMBERS = (0, 100, 1000, 5000)
CROWD_COMMANDS = ("life", "state", "list")
JOBS = (1, 8, 32)
SUBJECTS = ("host-mounts", *CONFIGS, "containers", "parallel")


class Growth:
    """The series of one run, by name."""

    def __init__(self, bench, repetitions):
        self.bench = bench
        self.repetitions = repetitions
        self.series = {}
        # The floor's plan is compiled in: it has no configs of other sizes, and no list.
        self.runtimes = [runtime for runtime in bench.runtimes if runtime.name != "floor"]

    def take(self, name, turns):
        """Alternate the turns, [(number, runtime, words of the launcher)], and add what they give to a series."""
        series = self.series.setdefault(name, Series({}, {}))
        turns = [turn for turn in turns if self.try_once(series, *turn)]
        for repetition in range(self.repetitions):
            shift = repetition % len(turns)
            for number, runtime, words in turns[shift:] + turns[:shift]:
                _, cpu_us, _, _, _, failed = self.bench.launch(KIND, words)
                series.samples[number][runtime.name].append(cpu_us)
                series.failures[number][runtime.name] += int(failed)

    def try_once(self, series, number, runtime, words):
        """Warm up with one command; return whether it is worth repeating: it works, and ends soon."""
        _, cpu_us, _, _, _, failed = self.bench.launch(KIND, words)
        slow = cpu_us > SLOW_US
        series.samples.setdefault(number, {})[runtime.name] = [cpu_us] if slow or failed else []
        series.failures.setdefault(number, {})[runtime.name] = int(failed)
        return not slow and not failed

    def run_words(self, runtime, path, name):
        return ["run", *self.bench.command(runtime, "run", "--bundle", path, name)]

    def host_mounts(self):
        for number in HOST_NUMBERS:
            add_host_mounts(number)
            turns = []
            for runtime in self.bench.runtimes:
                name = f"{runtime.name}-host"
                path = self.bench.bundle(KIND, name, measure.QUICK)
                turns.append((number, runtime, self.run_words(runtime, path, name)))
            self.take("host-mounts", turns)
        remove_host_mounts()

    def configs(self, name):
        add, numbers = CONFIGS[name]
        turns = []
        for number in numbers:
            for runtime in self.runtimes:
                identity = f"{runtime.name}-{name}-{number}"
                path = str(measure.WORK / "bundles" / identity)
                bundle.make_bundle(path, KIND, str(measure.ROOTFS), f"/{self.bench.group}/{identity}", measure.QUICK,
                                   lambda config, number=number: add(config, number))
                turns.append((number, runtime, self.run_words(runtime, path, identity)))
        self.take(name, turns)

    def beside_containers(self):
        """The containers are real: each is a process in namespaces and a cgroup of its own, made by the runtime."""
        for runtime in self.bench.runtimes:
            self.bench.bundle(KIND, f"{runtime.name}-{KIND}", measure.QUICK)
        lasting = {runtime: self.bench.start_lasting(runtime, KIND) for runtime in self.bench.runtimes}
        present = 0
        try:
            for number in CROWD_NUMBERS:
                self.add_containers(range(present, number))
                present = number
                for command in CROWD_COMMANDS:
                    runtimes = self.runtimes if command == "list" else self.bench.runtimes
                    self.take(command, [(number, runtime, self.beside_words(runtime, command, lasting[runtime]))
                                        for runtime in runtimes])
        finally:
            self.remove_containers(range(present))
            for runtime, name in lasting.items():
                self.bench.call(runtime, KIND, "delete", "--force", name)

    def beside_words(self, runtime, command, lasting):
        if command == "list":
            return ["run", *self.bench.command(runtime, "list")]
        return self.bench.words(runtime, KIND, command, lasting)

    def add_containers(self, numbers):
        def add(runtime, number):
            name = f"crowd-{number}"
            path = CROWD / runtime.name / name
            bundle.make_bundle(str(path), KIND, str(measure.ROOTFS), f"/{self.bench.group}/crowd-{runtime.name}/{name}",
                               ["/pause"], make_small)
            self.bench.call(runtime, KIND, "run", "--detach", "--bundle", str(path), name)

        self.for_each_container(add, numbers)

    def remove_containers(self, numbers):
        self.for_each_container(
            lambda runtime, number: self.bench.call(runtime, KIND, "delete", "--force", f"crowd-{number}"), numbers)
        shutil.rmtree(CROWD, ignore_errors=True)
        for runtime in self.runtimes if numbers else ():
            (measure.CGROUPS / self.bench.group / f"crowd-{runtime.name}").rmdir()

    def for_each_container(self, action, numbers):
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            done = [pool.submit(action, runtime, number) for number in numbers for runtime in self.runtimes]
            for each in done:
                each.result()

    def at_once(self, count):
        """Return [(runtime, jobs, Parallel)], the runs of a runtime in rounds that alternate with the others'."""
        results = []
        for jobs in JOBS:
            rounds = {runtime: [] for runtime in self.runtimes}
            for turn in range(PARALLEL_ROUNDS):
                shift = turn % len(self.runtimes)
                for runtime in self.runtimes[shift:] + self.runtimes[:shift]:
                    rounds[runtime].append(self.bench.parallel(runtime, KIND, count // PARALLEL_ROUNDS, jobs))
            results += [(runtime.name, joined(parts)) for runtime, parts in rounds.items()]
        return results


def make_small(config):
    """A container that only waits: five thousand of them should fit into the memory."""
    config["mounts"] = config["mounts"][:2]  # /proc and /dev
    linux = config["linux"]
    linux["namespaces"] = [{"type": kind} for kind in ("mount", "pid", "cgroup")]
    for key in ("seccomp", "sysctl", "maskedPaths", "readonlyPaths"):
        del linux[key]
    del config["hostname"]


def joined(parts):
    """Several rounds of parallel runs as one, with the throughput of the median one: other work comes in bursts."""
    count = sum(part.count for part in parts)
    per_second = median(part.per_second for part in parts)
    latencies = sorted(latency for part in parts for latency in part.latencies_ms)
    cpu_ms = sum(part.cpu_ms * part.count for part in parts) / count
    failures = sum(part.failures for part in parts)
    return measure.Parallel(parts[0].jobs, count, failures, per_second, cpu_ms, latencies)


def install_pause(program):
    shutil.copy(program, measure.ROOTFS / "pause")


def measure_all(bench, repetitions, count, wanted):
    """Measure the wanted subjects; return the series by name, and the parallel runs."""
    growth = Growth(bench, repetitions)
    if "host-mounts" in wanted:
        growth.host_mounts()
    for name in CONFIGS:
        if name in wanted:
            growth.configs(name)
    if "containers" in wanted:
        growth.beside_containers()
    return growth.series, growth.at_once(count) if "parallel" in wanted else []
