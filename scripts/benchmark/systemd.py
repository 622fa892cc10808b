"""What the systemd cgroup driver and a container without root cost, where systemd is init: `run` of one bundle by
every runtime with every driver, in turn. systemd's own time, and that of its message bus, is apart.

Run by itself as an ordinary user in a scope of the user's systemd, it takes that user's samples and prints them.
"""

import json
import os
import platform
import pwd
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import bundle
from measure import QUICK, WARM_UP

HERE = Path(__file__).resolve().parent
CGROUPS = Path("/sys/fs/cgroup")
USER = pwd.getpwuid(int(os.environ.get("BENCH_UID", "1000"))) if Path("/run/systemd/system").is_dir() else None

# The options of a runtime for each driver; `none` is what an ordinary login has: no cgroup of its own.
DRIVERS = {
    "file": lambda name: ["--cgroup-manager", "cgroupfs"] if name == "crun" else [],
    "systemd": lambda name: ["--systemd-cgroup"],
    "none": lambda name: ["--cgroup-manager", "disabled"] if name == "crun" else [],
}
ROOT, ORDINARY = "root", "without root"
WHO = {ROOT: ("file", "systemd"), ORDINARY: ("none", "systemd")}


def rootless(config, uid):
    """The config of an ordinary user: the range of /etc/subuid, no device nodes, no groups."""
    first = {"containerID": 0, "hostID": uid, "size": 1}

    def maps(file):
        start, size = next(line for line in Path(file).read_text().split("\n")
                           if line.startswith(USER.pw_name + ":")).split(":")[1:]
        return [first, {"containerID": 1, "hostID": int(start), "size": int(size)}]

    config["linux"]["namespaces"] = [*bundle.NAMESPACES, {"type": "user"}]
    config["linux"]["uidMappings"], config["linux"]["gidMappings"] = maps("/etc/subuid"), maps("/etc/subgid")
    config["linux"].pop("resources")
    return config


def make_bundle(path, who, driver, rootfs):
    name = path.name
    config = bundle.docker(str(rootfs)) if who == ROOT else rootless(bundle.spec(str(rootfs)), USER.pw_uid)
    config["process"]["args"] = QUICK
    # crun's systemd driver takes no denial after the first rule, which denies all and makes this one say nothing.
    rules = config["linux"].get("resources", {}).get("devices", [])
    rules[1:] = [rule for rule in rules[1:] if rule["allow"]]
    if driver == "systemd":
        above = "system.slice" if who == ROOT else "user.slice"
        config["linux"]["cgroupsPath"] = f"{above}:bench:{name}"
    elif driver == "file":
        config["linux"]["cgroupsPath"] = f"/bench/{name}"
    path.mkdir(parents=True)
    (path / "config.json").write_text(json.dumps(config))


def managers():
    """Microseconds of processor time that systemd, the user's systemd and their message buses have used."""
    user = f"user.slice/user-{USER.pw_uid}.slice/user@{USER.pw_uid}.service"
    places = ["init.scope", "system.slice/dbus.service", f"{user}/init.scope"]
    files = [CGROUPS / place / "cpu.stat" for place in places] + list((CGROUPS / user).glob("*/dbus.service/cpu.stat"))
    texts = (file.read_text() for file in files if file.exists())
    return sum(int(text.split("usage_usec ", 1)[1].split()[0]) for text in texts)


def settled():
    """As `managers`, when they have come to rest."""
    last, limit = managers(), time.monotonic() + 5
    while time.monotonic() < limit:
        time.sleep(0.05)
        now = managers()
        # What looks at a cgroup's statistics costs nothing there: less than this is a timer of theirs.
        if now - last < 100:
            return now
        last = now
    return last


def measure(who, runtimes, launcher, repetitions, work):
    """Return {driver: {runtime: [(cpu_us, manager_us), ...]}}; a runtime that cannot is left out, and it is said."""
    rootfs = work / "rootfs"
    bundle.make_rootfs(str(rootfs))
    environment = {**os.environ, "LAUNCH_ERRORS": str(work / "errors")}
    turns = []
    for driver in WHO[who]:
        for name, path in runtimes.items():
            place = work / f"{name}-{driver}"
            make_bundle(place, who, driver, rootfs)
            words = [path, "--root", str(work / "state" / name), *DRIVERS[driver](name), "run", "--bundle", str(place)]
            trial = subprocess.run([*words, place.name], env=environment, stdin=subprocess.DEVNULL,
                                   capture_output=True, text=True, check=False)
            if trial.returncode:
                print(f"bench: {name}, {driver}, {who}: left out: {trial.stderr.strip()}", file=sys.stderr)
            else:
                turns.append((driver, name, [*words, place.name]))
    samples = {driver: {name: [] for name in runtimes} for driver in WHO[who]}
    for repetition in range(-WARM_UP, repetitions):
        shift = repetition % len(turns)
        for driver, name, words in turns[shift:] + turns[:shift]:
            before = settled()
            output = subprocess.run([launcher, "run", *words], env=environment, stdout=subprocess.PIPE, text=True,
                                    check=True).stdout.split()
            if repetition >= 0:
                samples[driver][name].append((float(output[1]), settled() - before))
    return samples


def as_user(runtimes, launcher, repetitions):
    """The same by an ordinary user, from within the user's systemd, as rootless Podman calls."""
    uid = USER.pw_uid
    subprocess.run(["loginctl", "enable-linger", USER.pw_name], check=True)
    runtime_directory = f"/run/user/{uid}"
    limit = time.monotonic() + 120
    while not Path(f"{runtime_directory}/bus").exists() and time.monotonic() < limit:
        time.sleep(0.2)
    with tempfile.TemporaryDirectory(prefix="bench-") as work:
        shutil.copytree(HERE, f"{work}/scripts/benchmark")
        profile = f"{work}/tests/data"
        os.makedirs(profile)
        shutil.copy(bundle.SECCOMP_PROFILE, profile)
        paths = {}
        for name, path in {**runtimes, "launch": launcher}.items():
            paths[name] = shutil.copy(path, f"{work}/{name}")
        subprocess.run(["chown", "-R", f"{uid}:{USER.pw_gid}", work], check=True)
        launcher = paths.pop("launch")
        environment = {
            "PATH": os.environ["PATH"], "HOME": USER.pw_dir, "XDG_RUNTIME_DIR": runtime_directory,
            "DBUS_SESSION_BUS_ADDRESS": f"unix:path={runtime_directory}/bus", "BENCH_UID": str(uid),
        }
        request = json.dumps([paths, launcher, repetitions, f"{work}/work"])
        script = f"{work}/scripts/benchmark/systemd.py"
        output = subprocess.run(
            ["systemd-run", "--user", "--scope", "--quiet", "--property", "Delegate=yes", "--", sys.executable, script,
             request], cwd=work, env=environment, user=uid, group=USER.pw_gid, extra_groups=[], stdout=subprocess.PIPE,
            text=True, check=True).stdout
        return json.loads(output)


def row(who, driver, name, by_driver):
    samples, base = by_driver[driver].get(name), by_driver[WHO[who][0]].get(name)
    if not samples:
        return None
    cpu, tares = (median(cpu for cpu, _ in some) for some in (samples, by_driver[driver]["tare"]))
    above = f"{(cpu - median(cpu for cpu, _ in base)) / 1e3:+.2f}" if base and base is not samples else ""
    manager = median(manager for _, manager in samples)
    return [f"run, {who}", driver, name, f"{cpu / 1e3:.2f}", f"{cpu / tares:.1f}", above, f"{manager / 1e3:.2f}"]


def table(samples, repetitions):
    header = ["test", "driver", "runtime", "CPU ms", "x tare", "above no systemd, ms", "systemd's CPU ms"]
    rows = [row(who, driver, name, by_driver) for who, by_driver in samples.items() for driver in by_driver
            for name in by_driver[driver]]
    cells = [header, ["---"] * len(header), *filter(None, rows)]
    kind = subprocess.run(["systemd-detect-virt"], capture_output=True, text=True, check=False).stdout.strip()
    where = "systemd in a container" if "container" in kind else kind.replace("none", "no virtual machine")
    first = (f"Linux {platform.release()}, {os.cpu_count()} CPUs ({where}), load {os.getloadavg()[0]:.1f}; medians of "
             f"{repetitions} alternated repetitions.\n\n")
    return first + "\n".join("| " + " | ".join(line) + " |" for line in cells) + "\n"


def run(runtimes, launcher, repetitions, output):
    """All of it, on this host; writes systemd.md and systemd.json below `output`."""
    with tempfile.TemporaryDirectory(prefix="bench-") as work:
        samples = {ROOT: measure(ROOT, runtimes, str(launcher), repetitions, Path(work))}
    samples[ORDINARY] = as_user(runtimes, str(launcher), repetitions)
    text = table(samples, repetitions)
    (output / "systemd.md").write_text(text)
    (output / "systemd.json").write_text(json.dumps(samples, indent=1))
    print(text)


if __name__ == "__main__":
    paths, program, count, directory = json.loads(sys.argv[1])
    print(json.dumps(measure(ORDINARY, paths, program, count, Path(directory))))
