"""What must be there before anything can be measured: packages, the C programs
and the seccomp program, and a private world in which every runtime sees a pure cgroup v2 host.
"""

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import seccomp

HERE = Path(__file__).resolve().parent

# Set inside of the private world: the name of the cgroup that holds all of ours.
GROUP_VARIABLE = "BENCH_GROUP"

# What is looked for, and the Debian package that has it.
PREREQUISITES = {
    "gcc": "gcc",
    "musl-gcc": "musl-tools",
    "busybox": "busybox-static",
    "runc": "runc",
    "crun": "crun",
    "strace": "strace",
    "unshare": "util-linux",
}

# Packages that are only compared with.
PEERS = ("runc", "crun")

FLOOR_SOURCES = ["floor.c", "floor_child.c", "floor_plans.c"]

# The new mount namespace is private, so nothing of this reaches the host; the
# new pid namespace ends whatever a broken runtime leaves behind. The host's
# cgroup2 mount is bound, not mounted anew: a new mount from the first cgroup
# namespace would reset nsdelegate and its like for the whole host.
PRIVATE_WORLD = """
cgroup2=$(findmnt -nro TARGET -t cgroup2 | head -n 1)
[ -n "$cgroup2" ] || { echo "bench: no cgroup2 is mounted on this host" >&2; exit 1; }
mount -t tmpfs -o mode=755 tmpfs /run
mkdir /run/cgroup2
mount --bind "$cgroup2" /run/cgroup2
umount -R -l /sys/fs/cgroup
mount --move /run/cgroup2 /sys/fs/cgroup
rmdir /run/cgroup2
group=/sys/fs/cgroup/$BENCH_GROUP
mkdir "$group"
set +e
trap : INT TERM # an interrupted run is cleared away as well
"$@"
status=$?
echo 1 > "$group/cgroup.kill"
for try in 1 2 3 4 5; do
    find "$group" -depth -type d -exec rmdir {} + && break
    sleep 0.2 # until what was killed has been reaped
done 2> /dev/null
exit $status
"""


def install_prerequisites(peers=True):
    if platform.machine() != "x86_64":
        sys.exit("bench: the docker bundle's seccomp profile is that of x86_64")
    missing = [package for program, package in PREREQUISITES.items() if not shutil.which(program) and (peers or package not in PEERS)]
    if not missing:
        return
    print(f"installing {' '.join(missing)}", file=sys.stderr)
    quiet = {"stdout": subprocess.DEVNULL, "check": True}
    subprocess.run(["apt-get", "update", "-qq"], **quiet)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    subprocess.run(["apt-get", "install", "-y", "-qq", *missing], env=environment, **quiet)


def compile_program(target, sources):
    """Compile a static program, with musl where there is one: glibc's start-up
    alone costs 0.3 ms, which would be counted as the kernel's work."""
    newest = max((HERE / source).stat().st_mtime for source in [*sources, "floor.h"])
    if target.exists() and target.stat().st_mtime > newest:
        return target
    flags = ["-O2", "-static", "-Wall", "-Wextra"]
    compiler = "musl-gcc" if shutil.which("musl-gcc") else "gcc"
    if compiler == "musl-gcc":
        # The kernel's headers are not in musl's own path; searched last, so that the C library's are musl's.
        multiarch = subprocess.run(["gcc", "-print-multiarch"], capture_output=True, text=True, check=True).stdout.strip()
        flags += ["-idirafter", "/usr/include", "-idirafter", f"/usr/include/{multiarch}"]
    subprocess.run([compiler, *flags, "-o", target, *sources], cwd=HERE, check=True)
    return target


def build_tools(directory):
    """Return the paths of the floor, of its seccomp program and of the launcher."""
    program = seccomp.write_filter(directory / "docker-seccomp.bpf")
    floor = compile_program(directory / "floor", FLOOR_SOURCES)
    return floor, program, compile_program(directory / "launch", ["launch.c"])


def enter_private_world():
    """Run this program again in own mount and pid namespaces, unless it is there."""
    if GROUP_VARIABLE in os.environ:
        return
    if os.geteuid() != 0:
        sys.exit("bench: needs root, for namespaces and cgroups")
    environment = {**os.environ, GROUP_VARIABLE: f"tare-bench-{os.getpid()}"}
    unshare = ["unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child", "--mount-proc"]
    command = [*unshare, "bash", "-ec", PRIVATE_WORLD, "bench", sys.executable, *sys.argv]
    os.execvpe("unshare", command, environment)
