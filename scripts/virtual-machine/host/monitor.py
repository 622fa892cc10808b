"""qemu's control socket (QMP), and what a snapshot needs of it."""
import json
import os
import shlex
import socket
import time

from cache import Failure, patience


def connect(directory, name):
    """Connects to a socket in `directory`, however long that path is."""
    client = socket.socket(socket.AF_UNIX)
    fd = os.open(directory, os.O_PATH | os.O_DIRECTORY)
    try:
        client.connect(f"/proc/self/fd/{fd}/{name}")
    except OSError:
        client.close()
        raise
    finally:
        os.close(fd)
    return client


class Monitor:
    def __init__(self, client):
        client.settimeout(patience(120))
        self.lines = client.makefile("rw", encoding="utf-8")
        self.lines.readline()
        self.tell("qmp_capabilities")

    def tell(self, command, **arguments):
        self.lines.write(json.dumps({"execute": command, "arguments": arguments}) + "\n")
        self.lines.flush()
        while True:
            try:
                line = self.lines.readline()
            except TimeoutError:
                raise Failure(f"qemu: {command}: no answer") from None
            if not line:
                raise Failure(f"qemu: {command}: ended")
            reply = json.loads(line)
            if "error" in reply:
                raise Failure(f"qemu: {command}: {reply['error']['desc']}")
            if "return" in reply:
                return reply["return"]

    def ignore_shared_memory(self):
        """The memory file is the memory's snapshot: it is not copied anywhere."""
        self.tell("migrate-set-capabilities",
                  capabilities=[{"capability": "x-ignore-shared", "state": True}])

    def save(self, state):
        self.tell("stop")
        self.ignore_shared_memory()
        self.tell("migrate", uri=f"exec:cat >{shlex.quote(str(state))}")
        self.wait_for_migration("take the snapshot")

    def restore(self, state):
        self.ignore_shared_memory()
        self.tell("migrate-incoming", uri=f"exec:cat {shlex.quote(str(state))}")
        self.wait_for_migration("load the snapshot")
        self.tell("cont")  # it was stopped when the snapshot was taken

    def wait_for_migration(self, what):
        limit = time.monotonic() + patience(120)
        while (status := self.tell("query-migrate").get("status")) != "completed":
            if status in ("failed", "cancelled") or time.monotonic() > limit:
                raise Failure(f"{what}: {status}")
            time.sleep(0.01)
