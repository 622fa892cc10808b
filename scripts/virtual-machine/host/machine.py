"""One virtual machine: a directory, a qemu process that locks it, its monitor."""
import ctypes
import fcntl
import os
import shlex
import shutil
import signal
import subprocess
import time

import guest
from cache import Failure, cache, is_locked, locked, patience
from emulator import PROGRAM, hardware
from monitor import Monitor, connect


def machines():
    directory = cache() / "machines"
    directory.mkdir(exist_ok=True)
    return directory


def running():
    return sorted(each.name for each in machines().iterdir() if is_locked(each / "alive"))


def sweep():
    """Removes what machines that died left behind."""
    for each in machines().iterdir():
        if each.is_dir() and not is_locked(each / "alive"):
            shutil.rmtree(each, ignore_errors=True)


class Machine:
    def __init__(self, name):
        if not name or "/" in name or name.startswith("."):
            raise Failure(f"'{name}' is no name for a machine")
        self.name, self.directory = name, machines() / name
        self.process = self.alive = None

    def is_running(self):
        return is_locked(self.directory / "alive")

    def claim(self):
        """Makes the directory and holds its lock, until qemu holds it."""
        with locked(machines() / "lock"):
            sweep()
            try:
                self.directory.mkdir()
            except FileExistsError:
                raise Failure(f"machine {self.name} is running already") from None
            self.alive = open(self.directory / "alive", "w", encoding="utf-8")
            fcntl.flock(self.alive, fcntl.LOCK_EX)
        with open(self.directory / "share.raw", "wb") as share:
            share.truncate(hardware.SHARE_BYTES)
        return self

    def overlay(self, base):
        """A disk of our own on top of one that stays as it is."""
        disk = self.directory / "disk.qcow2"
        create_overlay(disk, base, "qcow2")
        return disk

    def start(self, image, accelerator, disk, disk_format="qcow2", wake=None,
              record_memory=None, kernel_line="", lifetime=None):
        """Starts qemu in a claimed directory: by waking the snapshot `wake`, or by
        a boot. Without a `lifetime` it dies with this process; with one, it stays
        for so many seconds at most."""
        line = f"{hardware.KERNEL_LINE} {kernel_line}"
        command = [PROGRAM, "-name", f"tare-{self.name}",
                   *hardware.arguments(accelerator, image, disk, disk_format, line)]
        if wake:
            command += [*hardware.memory(wake / "memory", shared=False), "-incoming", "defer"]
        else:
            command += hardware.memory(record_memory, shared=True)
        if lifetime is not None:
            command = ["timeout", "--kill-after=5", str(lifetime), *command]
        self.process = spawn(command, self.directory, self.alive, dies_with_us=lifetime is None)
        self.alive.close()
        monitor = self.monitor()  # answers once every socket is there
        if wake:
            monitor.restore(wake / "state")

    def monitor(self):
        limit = time.monotonic() + patience(30)
        while True:
            try:
                return Monitor(connect(self.directory, "qmp.sock"))
            except OSError:
                self.check_alive("start")
                if time.monotonic() > limit:
                    raise Failure("qemu does not answer") from None
                time.sleep(0.01)

    def check_alive(self, doing):
        if self.process and self.process.poll() is not None or not self.is_running():
            raise Failure(f"{doing}: machine {self.name} ended: {self.last_words()}")

    def last_words(self):
        for log in ("qemu.log", "console.log"):
            try:
                text = (self.directory / log).read_text(errors="replace").strip()
            except OSError:
                continue
            if text:
                return text.splitlines()[-1]
        return "no reason given"

    def execute(self, command, **options):
        if not self.is_running():
            raise Failure(f"machine {self.name} is not running")
        return guest.execute(self, command, **options)

    def demand(self, command, seconds, what):
        """Runs a command of our own that has to work."""
        output = []
        code = self.execute(command, timeout=patience(seconds), on_output=lambda _, data: output.append(data))
        text = b"".join(output).decode(errors="replace").strip()
        if code != 0:
            last = text.splitlines()[-1] if text else self.last_words()
            raise Failure(f"{what}: exit code {code}: {last}")
        return text

    def set_clock(self):
        """A snapshot wakes up with the time at which it was taken."""
        self.demand(f"date -u -s @{time.time():.3f}", 300, "set the clock")

    def copy(self, source, target):
        """Unpacks a directory's content, or one file, in the guest's `target`."""
        parent, member = (source, ".") if os.path.isdir(source) else os.path.split(source)
        with locked(self.directory / "share.lock"):
            with open(self.directory / "share.raw", "r+b") as share:
                done = subprocess.run(["tar", "-C", parent or ".", "-cf", "-", member],
                                      stdout=share, check=False)
            if done.returncode != 0:
                raise Failure(f"copy {source}: tar failed")
            target = shlex.quote(target)
            self.demand(f"blockdev --flushbufs /dev/vdb && mkdir -p {target} && "
                        f"tar -C {target} --numeric-owner -xf /dev/vdb", 300, f"copy {source}")

    def stop(self):
        """Ends this machine's qemu only, and removes its directory."""
        try:
            if self.alive:
                self.alive.close()
            if self.is_running():
                self.end_process()
        finally:
            shutil.rmtree(self.directory, ignore_errors=True)

    def end_process(self):
        # The lock is held by qemu and its wrapper alone, so the id is theirs.
        pid = int((self.directory / "pid").read_text())
        for number, seconds in ((signal.SIGTERM, 5), (signal.SIGKILL, 10)):
            try:
                os.killpg(pid, number)
            except ProcessLookupError:
                return
            limit = time.monotonic() + patience(seconds)
            while time.monotonic() < limit:
                if self.process and self.process.poll() is not None or not self.is_running():
                    return
                time.sleep(0.02)
        raise Failure(f"machine {self.name} cannot be ended")


def create_overlay(disk, base, base_format):
    done = subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-F", base_format,
                           "-b", base, disk], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Failure(f"create {disk}: {done.stderr.strip()}")


def spawn(command, directory, alive, dies_with_us):
    """Starts qemu as leader of its own process group, holding the lock `alive`."""
    set_parent_death_signal = ctypes.CDLL(None).prctl

    def in_child():
        if dies_with_us:
            set_parent_death_signal(1, signal.SIGKILL)  # PR_SET_PDEATHSIG

    with open(directory / "qemu.log", "wb") as log:
        try:
            process = subprocess.Popen(command, cwd=directory, stdin=subprocess.DEVNULL,
                                       stdout=log, stderr=log, pass_fds=[alive.fileno()],
                                       start_new_session=True, preexec_fn=in_child)
        except OSError as error:
            raise Failure(f"start qemu: {error}") from None
    (directory / "pid").write_text(str(process.pid))
    return process
