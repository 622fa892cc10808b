"""The command line of scripts/vm."""
import argparse
import os
import pathlib
import shlex
import signal
import sys

import image
from cache import HERE, Failure
from machine import Machine, running

LIFETIME = 12 * 3600


def parse(words):
    command = None
    if "--" in words:
        at = words.index("--")
        words, command = words[:at], words[at + 1:]
    parser = argparse.ArgumentParser(prog="scripts/vm", allow_abbrev=False)
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("build")
    verbs.add_parser("list")
    verbs.add_parser("path")
    run, start = verbs.add_parser("run"), verbs.add_parser("start")
    execute, copy = verbs.add_parser("exec"), verbs.add_parser("copy")
    stop, selftest = verbs.add_parser("stop"), verbs.add_parser("selftest")
    for verb in (start, execute, copy, stop):
        verb.add_argument("name")
    for verb in (run, start):
        verb.add_argument("--share", action="append", default=[], metavar="DIR[:GUESTDIR]")
        verb.add_argument("--boot", nargs="?", const="", metavar="KERNEL_ARGUMENTS")
    for verb in (run, execute):
        verb.add_argument("--timeout", type=float)
        verb.add_argument("--user")
        verb.add_argument("--tty", action="store_true")
        verb.add_argument("--stdin", action="store_true")
    copy.add_argument("source")
    copy.add_argument("target")
    selftest.add_argument("--runtime", metavar="BINARY")
    selftest.add_argument("--driver", choices=["systemd", "cgroupfs"], default="systemd")
    given = parser.parse_args(words)
    if given.verb in ("run", "exec") and not command:
        parser.error(f"{given.verb} needs -- COMMAND")
    # One word is a shell line; several are a program and its arguments.
    given.command = command[0] if command and len(command) == 1 else shlex.join(command or [])
    return given


def started(machine, share=(), boot=None, lifetime=None):
    """Starts a machine and hands the shares in; a snapshot unless `boot` is given."""
    directory = image.image()
    kind, snapshot = image.snapshot(directory)
    machine.claim()
    try:
        disk = machine.overlay(snapshot / "disk.qcow2")
        if boot is None:
            machine.start(directory, kind, disk, wake=snapshot, lifetime=lifetime)
            machine.set_clock()
        else:
            machine.start(directory, kind, disk, kernel_line=boot, lifetime=lifetime)
            image.wait_until_up(machine)
        for each in share:
            source, _, target = each.partition(":")
            machine.copy(source, target or "/root/share")
    except BaseException:
        machine.stop()
        raise
    return machine


def execute(machine, given):
    return machine.execute(given.command, user=given.user, tty=given.tty, stdin=given.stdin,
                           timeout=given.timeout)


def run(given):
    machine = started(Machine(f"run-{os.getpid()}"), given.share, given.boot)
    try:
        return execute(machine, given)
    finally:
        machine.stop()


def selftest(given):
    machine = started(Machine(f"selftest-{os.getpid()}"))
    try:
        runtime = "runc"
        if given.runtime:
            runtime = "tare"
            machine.copy(given.runtime, "/tmp/runtime")
            machine.demand("install /tmp/runtime/* /usr/local/bin/tare", 60, "install the runtime")
        machine.copy(str(HERE.parent / "selftest"), "/tmp")
        return machine.execute(f"/tmp/selftest {runtime} {given.driver}")
    finally:
        machine.stop()


def main(given):
    if given.verb == "build":
        image.snapshot(image.image())
    elif given.verb == "path":
        print(image.image())
    elif given.verb == "list":
        print(*running(), sep="\n")
    elif given.verb == "run":
        return run(given)
    elif given.verb == "start":
        started(Machine(given.name), given.share, given.boot, lifetime=LIFETIME)
    elif given.verb == "exec":
        return execute(Machine(given.name), given)
    elif given.verb == "copy":
        Machine(given.name).copy(os.path.abspath(given.source), given.target)
    elif given.verb == "stop":
        Machine(given.name).stop()
    else:
        return selftest(given)
    return 0


def on_signal(number, _):
    """Leaves through every `finally`, so that no qemu stays behind."""
    sys.exit(128 + number)


for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(each, on_signal)
try:
    sys.exit(main(parse(sys.argv[1:])))
except Failure as failure:
    sys.exit(f"vm: {failure}")
