"""Builds the image and its snapshot once, and finds them again."""
import contextlib
import os
import pathlib
import platform
import re
import select
import shutil
import subprocess
import sys
import time

from cache import RECIPES, Failure, cache, image_directory, locked, patience
from emulator import PROGRAM, hardware
from machine import Machine, create_overlay

SUITES = ("forky", "trixie")
KEEP_UNUSED_DAYS = 7


def say(text):
    print(f"vm: {text}", file=sys.stderr, flush=True)


def image():
    """The image's directory; builds it when it is not there."""
    directory = image_directory()
    if not directory.exists():
        with locked(cache() / "build.lock", "another build"):
            if not directory.exists():
                build(directory)
    os.utime(directory)
    return directory


def build(directory):
    started = time.monotonic()
    work = cache() / "building"
    log = cache() / "build.log"
    for suite in os.environ.get("TARE_VM_SUITE", " ".join(SUITES)).split():
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
        say(f"building the {suite} image, log in {log}")
        with open(log, "wb") as output:
            done = subprocess.run([RECIPES[-1] / "build", suite, work], stdin=subprocess.DEVNULL,
                                  stdout=output, stderr=output, check=False)
        if done.returncode == 0:
            break
        say(f"{suite}: {log.read_text(errors='replace').strip().splitlines()[-1]}")
    else:
        raise Failure(f"no image could be built: see {log}")
    (work / "suite").write_text(suite)
    say(f"built in {time.monotonic() - started:.0f} s; importing container images")
    import_images(work)
    os.rename(work, directory)
    say(f"image ready after {time.monotonic() - started:.0f} s")
    remove_unused(keep=directory)


def import_images(work):
    """First boot, on the base disk itself."""
    machine = Machine(f"build-{os.getpid()}").claim()
    try:
        machine.start(work, accelerator(work), work / "base.raw", disk_format="raw")
        wait_until_up(machine)
        machine.demand("import-images", 600, "import images")
        # The agent may be gone before it can answer; the end of qemu is the answer.
        with contextlib.suppress(Failure):
            machine.execute("systemctl --no-block poweroff", timeout=patience(60))
        machine.process.wait(patience(180))
    except subprocess.TimeoutExpired:
        raise Failure("the first boot does not power off") from None
    finally:
        machine.stop()


def wait_until_up(machine):
    """A degraded system is up too; selftest names its failed units."""
    machine.demand("systemctl is-system-running --wait >/dev/null; systemctl is-system-running | "
                   "grep -qE 'running|degraded'", 600, "wait for systemd")


def snapshot(directory):
    """The snapshot for this accelerator and this qemu; takes it when it is not there."""
    kind = accelerator(directory)
    # The machine type's details, and so the snapshot's layout, change with qemu.
    text = subprocess.run([PROGRAM, "--version"], check=True, capture_output=True, text=True)
    found = directory / f"snapshot-{kind}-{re.search('[0-9.]+', text.stdout)[0]}"
    if not found.exists():
        with locked(cache() / "build.lock", "another build"):
            if not found.exists():
                take_snapshot(directory, kind, found)
    return kind, found


def take_snapshot(directory, kind, target):
    started = time.monotonic()
    say(f"booting once under {kind} for the snapshot")
    work = directory / "snapshot.building"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    # Relative, so that the cache can move as a whole.
    create_overlay(work / "disk.qcow2", "../base.raw", "raw")
    machine = Machine(f"build-{os.getpid()}").claim()
    try:
        machine.start(directory, kind, work / "disk.qcow2", record_memory=work / "memory")
        wait_until_up(machine)
        say(f"up after {time.monotonic() - started:.0f} s")
        machine.demand("systemctl stop 'systemd-tmpfiles-*.timer'; sync; "
                       "echo 3 >/proc/sys/vm/drop_caches; sleep 1", 60, "settle")
        monitor = machine.monitor()
        monitor.save(work / "state")
        monitor.tell("quit")
        machine.process.wait(patience(60))
    except subprocess.TimeoutExpired:
        raise Failure("qemu does not end after the snapshot") from None
    finally:
        machine.stop()
    subprocess.run(["fallocate", "--dig-holes", work / "memory"], check=True)
    os.rename(work, target)
    say(f"snapshot ready after {time.monotonic() - started:.0f} s")


def accelerator(directory):
    """kvm where it runs this kernel, else tcg; asked once for each host kernel."""
    answer = directory / f"accelerator-{platform.release()}"
    if not answer.exists():
        answer.write_text("kvm" if kvm_works(directory) else "tcg")
    return answer.read_text()


def kvm_works(directory):
    """A KVM that is there need not run a stock kernel, so let it try."""
    if "kvm" not in hardware.ACCELERATOR or not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return False
    command = [PROGRAM, "-nodefaults", "-no-user-config", "-display", "none",
               "-no-reboot", "-accel", hardware.ACCELERATOR["kvm"], "-cpu", hardware.CPU["kvm"],
               "-machine", "pc", "-m", "512M", "-serial", "stdio",
               "-kernel", directory / "kernel", "-initrd", directory / "initrd",
               "-append", "console=ttyS0 quiet probe-accelerator"]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL) as process:
        limit, seen = time.monotonic() + patience(5), b""
        while time.monotonic() < limit and b"accelerator-works" not in seen:
            if select.select([process.stdout], [], [], 0.1)[0]:
                data = os.read(process.stdout.fileno(), 4096)
                if not data:
                    break
                seen += data
        process.kill()
    return b"accelerator-works" in seen


def remove_unused(keep):
    for each in cache().glob("vm-*"):
        old = time.time() - each.stat().st_mtime > KEEP_UNUSED_DAYS * 86400
        if pathlib.Path(each) != keep and old:
            shutil.rmtree(each, ignore_errors=True)
