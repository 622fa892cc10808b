"""Where images and machines live, and who may build them: outside the repository."""
import contextlib
import fcntl
import hashlib
import itertools
import os
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
ARCHITECTURE = os.environ.get("TARE_VM_ARCH", "amd64")
# The recipe of another processor adds to that of amd64.
RECIPES = [HERE.parent / "image"]
HARDWARE = [HERE / "hardware.py"]
if ARCHITECTURE != "amd64":
    RECIPES.append(HERE.parent / f"image-{ARCHITECTURE}")
    HARDWARE.append(HERE / f"hardware_{ARCHITECTURE}.py")
# As does that of the kernel of another Debian; without one, it is the suite's own.
KERNEL = os.environ.get("TARE_VM_KERNEL", "")
if KERNEL:
    RECIPES.append(HERE.parent / "image-kernel")


class Failure(Exception):
    """Ends the command with one line on stderr."""


def cache():
    named = os.environ.get("TARE_CACHE")
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    directory = pathlib.Path(named or os.path.join(base, "tare")).absolute()
    directory.mkdir(parents=True, exist_ok=True)
    return directory


def image_directory():
    """Named by what decides the image's content, so that it is never stale."""
    digest = hashlib.sha256()
    files = [sorted(recipe.rglob("*")) for recipe in RECIPES]
    for file in itertools.chain(HARDWARE, *files):
        if file.is_file():
            mode = file.stat().st_mode & 0o111
            content = hashlib.sha256(file.read_bytes()).hexdigest()
            digest.update(f"{file.relative_to(HERE.parent)} {mode} {content}\n".encode())
    digest.update(KERNEL.encode())
    kind = "" if ARCHITECTURE == "amd64" else f"{ARCHITECTURE}-"
    kind += f"linux-{KERNEL}-" if KERNEL else ""
    return cache() / f"vm-{kind}{digest.hexdigest()[:12]}"


def patience(seconds):
    """A time limit for this machine as it is now: a busy one gets more."""
    load = os.getloadavg()[0] / (os.cpu_count() or 1)
    return seconds * max(1.0, load) * float(os.environ.get("TARE_VM_PATIENCE", "1"))


@contextlib.contextmanager
def locked(path, what=None):
    """Holds an exclusive lock on `path`; says what it waits for."""
    with open(path, "a", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if what:
                print(f"vm: waiting for {what}", file=sys.stderr)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield file


def is_locked(path):
    try:
        with open(path, encoding="utf-8") as file:
            # Shared, so that two who ask do not take each other for the owner.
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except BlockingIOError:
        return True
    return False
