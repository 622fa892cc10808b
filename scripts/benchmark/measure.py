"""Takes the samples. Runtimes alternate within every repetition, and the first
of each round changes, so that drift of the machine falls on all of them alike.
"""

import collections
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import NamedTuple

import bundle

WORK = Path("/run/bench")  # on the private world's own tmpfs
CGROUPS = Path("/sys/fs/cgroup")
ROOTFS = WORK / "rootfs"
WARM_UP = 2
# Memory is measured with several containers at once: with one alone the pages
# of the program's file would count as its own.
INSTANCES = 3
TESTS = ("run", "life", "exec", "state", "kill")

QUICK = ["/bin/true"]
LASTING = ["/bin/sleep", "100000"]


class Runtime(NamedTuple):
    name: str
    path: str


class Sample(NamedTuple):
    wall_us: float
    cpu_us: float
    rss_kb: float
    faults: float
    switches: float
    failures: float


class Counts(NamedTuple):
    calls: int
    forks: int
    execs: int


class Parallel(NamedTuple):
    jobs: int
    count: int
    failures: int
    per_second: float
    cpu_ms: float
    latencies_ms: list


class Bench:
    """One private world with its bundles, in which runtimes are measured."""

    def __init__(self, runtimes, launcher, program, group, errors):
        self.runtimes = runtimes
        self.launcher = launcher
        self.program = program  # the floor's seccomp filter
        self.group = group
        self.errors = errors
        bundle.make_rootfs(ROOTFS)
        for runtime in runtimes:
            os.makedirs(self.state_root(runtime))

    def environment(self, kind, arguments):
        return {
            "PATH": os.environ["PATH"],
            "LAUNCH_ERRORS": str(self.errors),
            "FLOOR_PLAN": kind,
            "FLOOR_ROOTFS": str(ROOTFS),
            "FLOOR_CGROUP": f"{CGROUPS}/{self.group}",
            "FLOOR_ARGS": " ".join(arguments),
            "FLOOR_FILTER": str(self.program),
        }

    def bundle(self, kind, name, arguments, directory=None):
        path = directory or WORK / "bundles" / name
        return bundle.make_bundle(str(path), kind, str(ROOTFS), f"/{self.group}/{name}", arguments)

    def state_root(self, runtime):
        return str(WORK / "state" / runtime.name)

    def command(self, runtime, *words):
        return [runtime.path, "--root", self.state_root(runtime), *words]

    def attempt(self, runtime, kind, *words, arguments=LASTING):
        """Run one command of a runtime, unmeasured; return its exit status and what it printed."""
        command, environment = self.command(runtime, *words), self.environment(kind, arguments)
        # A file, since a pipe would be held open by the container that `create` leaves.
        with tempfile.TemporaryFile("w+") as output:
            status = subprocess.run(
                command, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
            ).returncode
            output.seek(0)
            return status, output.read()

    def call(self, runtime, kind, *words, arguments=LASTING):
        """Run one command of a runtime, unmeasured, and return what it printed; its failure ends the benchmark."""
        status, output = self.attempt(runtime, kind, *words, arguments=arguments)
        if status:
            sys.exit(f"bench: {runtime.name} {' '.join(words)}: exit {status}\n{output}")
        return output

    def keep_usable(self, kind):
        """Leave out what cannot run the bundle on this machine (an old crun without CAP_SYS_RESOURCE), and say so."""
        for runtime in list(self.runtimes):
            name = f"{runtime.name}-{kind}-trial"
            path = self.bundle(kind, name, QUICK)
            status, output = self.attempt(runtime, kind, "run", "--bundle", path, name, arguments=QUICK)
            if status:
                print(f"bench: {runtime.name} cannot run the {kind} bundle and is left out: {output.strip()}",
                      file=sys.stderr)
                self.runtimes.remove(runtime)

    def launch(self, kind, words):
        result = subprocess.run(
            [self.launcher, *words], env=self.environment(kind, QUICK), stdout=subprocess.PIPE, text=True, check=True
        )
        return [float(word) for word in result.stdout.split()]

    def start_lasting(self, runtime, kind):
        name = f"{runtime.name}-{kind}-lasting"
        path = self.bundle(kind, name, LASTING)
        self.call(runtime, kind, "create", "--bundle", path, name)
        self.call(runtime, kind, "start", name)
        return name

    def words(self, runtime, kind, test, lasting):
        """The launcher's arguments for one test."""
        name = f"{runtime.name}-{kind}"
        path = str(WORK / "bundles" / name)
        return {
            "run": ["run", *self.command(runtime, "run", "--bundle", path, name)],
            "life": ["life", runtime.path, self.state_root(runtime), path, name, str(WORK / "init.pid")],
            "exec": ["run", *self.command(runtime, "exec", lasting, *QUICK)],
            "state": ["run", *self.command(runtime, "state", lasting)],
            "kill": ["run", *self.command(runtime, "kill", lasting, "CONT")],
        }[test]

    def sample(self, runtime, kind, test, lasting):
        return Sample(*self.launch(kind, self.words(runtime, kind, test, lasting)))

    def sequence(self, kind, tests, repetitions):
        """Return {test: {runtime name: [Sample]}}."""
        samples = {test: {runtime.name: [] for runtime in self.runtimes} for test in tests}
        lasting = {}
        try:
            for runtime in self.runtimes:
                self.bundle(kind, f"{runtime.name}-{kind}", QUICK)
                lasting[runtime] = self.start_lasting(runtime, kind)
            for repetition in range(-WARM_UP, repetitions):
                shift = repetition % len(self.runtimes)
                for test in tests:
                    for runtime in self.runtimes[shift:] + self.runtimes[:shift]:
                        sample = self.sample(runtime, kind, test, lasting[runtime])
                        if repetition >= 0:
                            samples[test][runtime.name].append(sample)
        finally:
            for runtime, name in lasting.items():
                self.call(runtime, kind, "delete", "--force", name)
        return samples

    def parallel(self, runtime, kind, count, jobs):
        directory = WORK / "parallel" / runtime.name
        for index in range(count):
            self.bundle(kind, f"{runtime.name}{index}", QUICK, directory / str(index))
        words = ["parallel", str(jobs), str(count), runtime.path, self.state_root(runtime), str(directory), runtime.name]
        wall_us, cpu_us, _, _, _, failures, *latencies = self.launch(kind, words)
        shutil.rmtree(directory)
        left = [entry.name for entry in (CGROUPS / self.group).glob(f"{runtime.name}*/")]
        # A cgroup left behind is a failure, though the run said otherwise.
        return Parallel(
            jobs, count, int(failures) + len(left), count / wall_us * 1e6, cpu_us / count / 1e3,
            sorted(latency / 1e3 for latency in latencies),
        )

    def memory(self, runtime, kind):
        """Private memory (KB) of a waiting foreground run, and of a created, waiting init."""
        return {"foreground": self.foreground_memory(runtime, kind), "created": self.created_memory(runtime, kind)}

    def foreground_memory(self, runtime, kind):
        names = [f"{runtime.name}-{kind}-foreground{index}" for index in range(INSTANCES)]
        processes = []
        for name in names:
            path = self.bundle(kind, name, LASTING)
            processes.append(subprocess.Popen(
                self.command(runtime, "run", "--bundle", path, name), env=self.environment(kind, LASTING),
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            ))
        time.sleep(2)  # until the containers run and the runtimes have come to rest
        try:
            return median(private_memory(process.pid) for process in processes)
        finally:
            for name, process in zip(names, processes):
                # By the cgroup: the floor keeps no state of a foreground run.
                (CGROUPS / self.group / name / "cgroup.kill").write_text("1")
                process.wait()

    def created_memory(self, runtime, kind):
        names = [f"{runtime.name}-{kind}-created{index}" for index in range(INSTANCES)]
        pid_files = [WORK / f"{name}.pid" for name in names]
        for name, pid_file in zip(names, pid_files):
            path = self.bundle(kind, name, LASTING)
            self.call(runtime, kind, "create", "--bundle", path, "--pid-file", str(pid_file), name)
        try:
            return median(private_memory(int(pid_file.read_text())) for pid_file in pid_files)
        finally:
            for name in names:
                self.call(runtime, kind, "delete", "--force", name)

    def counts(self, runtime, kind):
        """Return {test: Counts}, the payload's own included."""
        name = f"{runtime.name}-{kind}"
        path = self.bundle(kind, name, QUICK)
        lasting = self.start_lasting(runtime, kind)
        commands = {
            "run": ["run", "--bundle", path, name],
            "exec": ["exec", lasting, *QUICK],
            "state": ["state", lasting],
            "kill": ["kill", lasting, "CONT"],
        }
        try:
            return {test: count_calls(self.trace(runtime, kind, words)) for test, words in commands.items()}
        finally:
            self.call(runtime, kind, "delete", "--force", lasting)

    def trace(self, runtime, kind, words):
        """Return what strace writes of one command and all that it starts."""
        log = WORK / "strace.log"
        command = ["strace", "-f", "-qq", "-o", str(log), *self.command(runtime, *words)]
        subprocess.run(
            command, env=self.environment(kind, QUICK), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, check=True,
        )
        return log.read_text(errors="replace")


def calls_by_name(log):
    """Count the calls of an strace log; `<... resumed>` lines belong to calls already seen."""
    return collections.Counter(re.findall(r"^\d+ +(\w+)\(", log, re.MULTILINE))


def count_calls(log):
    calls = calls_by_name(log)
    threads = len(re.findall(r"^\d+ +clone3?\(.*CLONE_THREAD", log, re.MULTILINE))
    forks = sum(calls[name] for name in ("clone", "clone3", "fork", "vfork")) - threads
    return Counts(sum(calls.values()), forks, calls["execve"] + calls["execveat"])


def private_memory(pid):
    """KB that would be free if the process ended."""
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return sum(int(size) for size in re.findall(r"^Private_(?:Clean|Dirty): +(\d+)", rollup, re.MULTILINE))
