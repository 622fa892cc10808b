"""Many lifecycles and many containers at once, with an inventory of the machine before and after.

usage: soak.py RUNTIME LIFECYCLES CONCURRENCY CONTAINERS SECONDS   (in a world of its own, see scripts/soak)
Prints the tables of docs/soak.md. Exit code: 0 when nothing failed and nothing grew.
"""

import ctypes
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time

LIBC = ctypes.CDLL(None, use_errno=True)
PR_SET_CHILD_SUBREAPER = 36
SYS_BPF = {"x86_64": 321, "aarch64": 280}[os.uname().machine]
BPF_PROG_GET_NEXT_ID = 11
CGROUPS = "/sys/fs/cgroup"
# Kernel objects of which a container has at least one.
SLABS = ["mnt_cache", "net_namespace", "pid_namespace", "kernfs_node_cache", "task_struct"]


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def bpf_programs():
    attribute, count = (ctypes.c_uint32 * 32)(), 0
    while LIBC.syscall(SYS_BPF, BPF_PROG_GET_NEXT_ID, attribute, ctypes.sizeof(attribute)) == 0:
        attribute[0], count = attribute[1], count + 1
    return count


def slabs():
    for name in SLABS:
        # Else freed objects that a processor keeps at hand are counted as in use, some hundred of them.
        try:
            with open(f"/sys/kernel/slab/{name}/shrink", "w", encoding="utf-8") as file:
                file.write("1")
        except OSError:
            pass  # no SLUB with sysfs here: the counts are coarser
    rows = (line.split() for line in read("/proc/slabinfo").splitlines())
    return {"slab " + row[0]: int(row[1]) for row in rows if row[0] in SLABS}


def inventory(root):
    """Counts; those below here are this world's own, and must be the same again."""
    own = {
        "processes": sum(name.isdigit() for name in os.listdir("/proc")),
        "cgroups": sum(1 for _ in os.walk(CGROUPS)),
        "mounts": len(read("/proc/self/mountinfo").splitlines()),
        "session keyrings of containers": read("/proc/keys").count("soak-"),
        "entries of the state root": len(os.listdir(root)) if os.path.isdir(root) else 0,
    }
    machine = {
        "open files": int(read("/proc/sys/fs/file-nr").split()[0]),
        "BPF programs": bpf_programs(),
        "dying cgroups": int(read(CGROUPS + "/cgroup.stat").split("nr_dying_descendants ")[1].split()[0]),
        "unreclaimable slab, MB": int(read("/proc/meminfo").split("SUnreclaim:")[1].split()[0]) // 1024,
        **slabs(),
    }
    return own, machine


def settled(before, root, lifecycles):
    """The inventory once it is as before, or after a minute: the kernel frees namespaces and programs behind our back."""
    deadline = time.monotonic() + 60
    while True:
        own, machine = inventory(root)
        grown = [name for name in own if own[name] > before[0][name]]
        # The machine is others' too; a leak shows with every container.
        grown += [name for name in machine if machine[name] > before[1][name] + max(lifecycles // 2, 50)]
        if not grown or time.monotonic() > deadline:
            return (own, machine), grown
        time.sleep(0.5)


class Soak:
    def __init__(self, runtime, directory):
        self.runtime, self.directory, self.root = runtime, directory, directory + "/state"
        self.times, self.failures, self.lock = {}, [], threading.Lock()
        self.done = 0

    def command(self, name, *words):
        began = time.monotonic()
        result = subprocess.run([self.runtime, "--root", self.root, name, *words], stdin=subprocess.DEVNULL,
                                stdout=subprocess.DEVNULL, stderr=self.errors(), cwd=self.directory, check=False)
        took = time.monotonic() - began
        with self.lock:
            self.times.setdefault(name, []).append(took)
            if result.returncode != 0:
                self.failures.append(f"{name} {' '.join(words)}: exit code {result.returncode}")
        return result.returncode == 0

    def errors(self):
        return open(self.directory + "/errors", "ab")  # noqa: SIM115 (closed with the interpreter's reference)

    def begin(self, name, bundle):
        pid_file = f"{self.directory}/{name}.pid"
        if not self.command("create", "--bundle", bundle, "--pid-file", pid_file, name):
            return None
        self.command("start", name)
        pid = int(read(pid_file))
        os.unlink(pid_file)
        return pid

    def end(self, name, pid, code):
        _, status = os.waitpid(pid, 0)
        if os.waitstatus_to_exitcode(status) != code:
            self.failures.append(f"{name}: exit code {os.waitstatus_to_exitcode(status)}, not {code}")
        self.command("delete", name)
        with self.lock:
            self.done += 1

    def lifecycle(self, name):
        pid = self.begin(name, "short")
        if pid is not None:
            self.end(name, pid, 7)

    def visit(self, names, deadline):
        while time.monotonic() < deadline:
            name = random.choice(names)
            self.command("exec", name, "/bin/true")
            self.command("state", name)


def parallel(count, work):
    threads = [threading.Thread(target=work, args=(n,)) for n in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def bundle(directory, name, args):
    rootfs = f"{directory}/{name}/rootfs"
    for below in ("bin", "dev", "proc", "sys", "tmp"):
        os.makedirs(f"{rootfs}/{below}")
    subprocess.run(["cp", "/bin/busybox", f"{rootfs}/bin"], check=True)
    for applet in ("sh", "true", "sleep"):
        os.symlink("busybox", f"{rootfs}/bin/{applet}")
    kinds = ("pid", "mount", "uts", "ipc", "network", "cgroup")
    config = {
        "ociVersion": "1.0.2",
        "process": {"user": {"uid": 0, "gid": 0}, "args": args, "env": ["PATH=/bin"], "cwd": "/"},
        "root": {"path": "rootfs"},
        "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"},
                   {"destination": "/dev", "type": "tmpfs", "source": "tmpfs"}],
        "linux": {"namespaces": [{"type": kind} for kind in kinds],
                  "resources": {"devices": [{"allow": False, "access": "rwm"}]}},
    }
    with open(f"{directory}/{name}/config.json", "w", encoding="utf-8") as file:
        json.dump(config, file)


def main():
    runtime, (lifecycles, concurrency, containers, seconds) = sys.argv[1], map(int, sys.argv[2:6])
    LIBC.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    with tempfile.TemporaryDirectory() as directory:
        soak = Soak(runtime, directory)
        bundle(directory, "short", ["/bin/sh", "-c", "exit 7"])
        bundle(directory, "long", ["/bin/sleep", "1000000"])
        soak.lifecycle("soak-warm")
        before, began = inventory(soak.root), time.monotonic()
        parallel(concurrency, lambda n: [soak.lifecycle(f"soak-{i}") for i in range(n, lifecycles, concurrency)])
        churned = time.monotonic() - began
        names = [f"soak-long-{n}" for n in range(containers)]
        pids = {}
        parallel(concurrency, lambda n: pids.update({name: soak.begin(name, "long") for name in names[n::concurrency]}))
        deadline = time.monotonic() + seconds
        living = [name for name in names if pids[name]]
        parallel(min(concurrency, 8), lambda _: soak.visit(living, deadline))

        def stop(n):
            for name in living[n::concurrency]:
                soak.command("kill", name, "KILL")
                soak.end(name, pids[name], -9)

        parallel(concurrency, stop)
        after, grown = settled(before, soak.root, lifecycles + containers)
        report(soak, before, after, grown, (lifecycles, concurrency, containers, seconds, churned))
        errors = read(directory + "/errors") if os.path.exists(directory + "/errors") else ""
        for line in soak.failures[:20] + errors.splitlines()[:20]:
            print(line, file=sys.stderr)
        sys.exit(1 if soak.failures or grown or errors else 0)


def report(soak, before, after, grown, sizes):
    lifecycles, concurrency, containers, seconds, churned = sizes
    print(f"{lifecycles} lifecycles, {concurrency} at a time, in {churned:.0f} s; then {containers} containers at once "
          f"for {seconds} s. {soak.done - 1} containers made and deleted, {len(soak.failures)} failures.\n")
    print("| | before | after | |\n|---|---|---|---|")
    for part in (0, 1):
        for name, count in before[part].items():
            print(f"| {name} | {count} | {after[part][name]} | {'GROWN' if name in grown else 'flat'} |")
    print("\n| command | times | median, ms | p99, ms | longest, ms |\n|---|---|---|---|---|")
    for name, times in soak.times.items():
        times = sorted(times)
        at = lambda share: 1000 * times[min(len(times) - 1, int(share * len(times)))]  # noqa: E731
        print(f"| {name} | {len(times)} | {at(0.5):.1f} | {at(0.99):.1f} | {at(1):.1f} |")


main()
