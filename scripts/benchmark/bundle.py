"""Bundles to measure with: one root filesystem and the two config.json files.

`docker` is what Docker writes for `docker run`: its capabilities, seccomp
profile, devices, masked paths and sysctls. `spec` is what `runc spec` writes,
without a terminal. floor.c carries the same two plans in C: a change here is a
change there, and check.py compares the two containers from inside.
"""

import json
import os
import shutil
from pathlib import Path

KINDS = ("docker", "spec")
SECCOMP_PROFILE = Path(__file__).resolve().parents[2] / "tests/data/docker-seccomp.json"

# Busybox gives every runtime the same payload: a static program that does
# nothing costs 0.2 ms and no library look-up.
APPLETS = ("sh", "true", "sleep", "cat", "hostname", "stat")

NAMESPACES = [{"type": t} for t in ("mount", "network", "uts", "pid", "ipc", "cgroup")]
SEARCH_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

DOCKER_CAPABILITIES = [
    "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FSETID", "CAP_FOWNER", "CAP_MKNOD", "CAP_NET_RAW", "CAP_SETGID",
    "CAP_SETUID", "CAP_SETFCAP", "CAP_SETPCAP", "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT", "CAP_KILL",
    "CAP_AUDIT_WRITE",
]
SPEC_CAPABILITIES = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]

MASKED = [
    "/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list",
    "/proc/timer_stats", "/proc/sched_debug", "/sys/firmware", "/proc/scsi",
]
DOCKER_MASKED = sorted([*MASKED, "/proc/interrupts", "/sys/devices/virtual/powercap"])
READONLY = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]


def make_rootfs(path):
    """Fill `path` with busybox and the directories that an image has."""
    for directory in ("bin", "dev", "proc", "sys", "tmp", "etc", "usr", "root", "var"):
        os.makedirs(f"{path}/{directory}")
    shutil.copy("/bin/busybox", f"{path}/bin/busybox")
    for applet in APPLETS:
        os.symlink("busybox", f"{path}/bin/{applet}")
    Path(f"{path}/etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    Path(f"{path}/etc/group").write_text("root:x:0:\n")


def mount(destination, kind, options, source=None):
    entry = {"destination": destination, "type": kind, "source": source or kind}
    return {**entry, "options": options.split(",")} if options else entry


def mounts(proc_options, shm_size):
    return [
        mount("/proc", "proc", proc_options),
        mount("/dev", "tmpfs", "nosuid,strictatime,mode=755,size=65536k"),
        mount("/dev/pts", "devpts", "nosuid,noexec,newinstance,ptmxmode=0666,mode=0620,gid=5"),
        mount("/dev/shm", "tmpfs", f"nosuid,noexec,nodev,mode=1777,size={shm_size}", "shm"),
        mount("/dev/mqueue", "mqueue", "nosuid,noexec,nodev"),
        mount("/sys", "sysfs", "nosuid,noexec,nodev,ro"),
        mount("/sys/fs/cgroup", "cgroup", "nosuid,noexec,nodev,ro"),
    ]


def device(allow, access="rwm", numbers=None):
    rule = {"allow": allow, "access": access}
    return {**rule, "type": "c", "major": numbers[0], "minor": numbers[1]} if numbers else rule


def capabilities(names):
    return {"bounding": names, "permitted": names, "effective": names}


def docker(rootfs):
    allowed = [(1, 5), (1, 3), (1, 9), (1, 8), (5, 0), (5, 1)]
    return {
        "ociVersion": "1.0.2",
        "process": {
            "user": {"uid": 0, "gid": 0, "additionalGids": [0, 10]},
            "cwd": "/",
            "env": [SEARCH_PATH, "HOSTNAME=0123456789ab"],
            "capabilities": capabilities(DOCKER_CAPABILITIES),
            "oomScoreAdj": 0,
        },
        "root": {"path": rootfs},
        "hostname": "0123456789ab",
        "mounts": mounts("nosuid,noexec,nodev", "67108864"),
        "linux": {
            "sysctl": {"net.ipv4.ip_unprivileged_port_start": "0", "net.ipv4.ping_group_range": "0 2147483647"},
            "resources": {
                "devices": [device(False), *(device(True, numbers=n) for n in allowed), device(False, numbers=(10, 229))]
            },
            "maskedPaths": DOCKER_MASKED,
            "readonlyPaths": READONLY,
            "namespaces": NAMESPACES,
            "seccomp": json.loads(SECCOMP_PROFILE.read_text()),
        },
    }


def spec(rootfs):
    return {
        "ociVersion": "1.0.2",
        "process": {
            "terminal": False,
            "user": {"uid": 0, "gid": 0},
            "cwd": "/",
            "env": [SEARCH_PATH, "TERM=xterm"],
            "capabilities": capabilities(SPEC_CAPABILITIES),
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
            "noNewPrivileges": True,
        },
        "root": {"path": rootfs, "readonly": True},
        "hostname": "runc",
        "mounts": mounts("", "65536k"),
        "linux": {
            "resources": {"devices": [device(False)]},
            "maskedPaths": MASKED,
            "readonlyPaths": READONLY,
            "namespaces": NAMESPACES,
        },
    }


def make_bundle(path, kind, rootfs, cgroup, arguments, change=None):
    """Write a bundle directory whose container runs `arguments` in `cgroup`; `change` may edit its config."""
    config = {"docker": docker, "spec": spec}[kind](rootfs)
    config["process"]["args"] = arguments
    config["linux"]["cgroupsPath"] = cgroup
    if change:
        change(config)
    os.makedirs(path, exist_ok=True)
    Path(f"{path}/config.json").write_text(json.dumps(config))
    return path
