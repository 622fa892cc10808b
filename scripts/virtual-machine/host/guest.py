"""Host side of the guest agent: runs one command in a machine."""
import base64
import contextlib
import fcntl
import json
import os
import select
import sys
import termios
import time
import tty as terminal

import hardware
from cache import Failure, patience
from monitor import connect

TIMED_OUT = 124


@contextlib.contextmanager
def free_port(machine):
    """Takes a port of the agent that no other command uses; waits for one."""
    limit = time.monotonic() + patience(600)
    while True:
        for port in range(hardware.PORTS):
            with open(machine.directory / f"agent{port}.lock", "w", encoding="utf-8") as lock:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    continue
                with connect(machine.directory, f"agent{port}.sock") as client:
                    yield client
                return
        if time.monotonic() > limit:
            raise Failure(f"machine {machine.name}: all {hardware.PORTS} command ports are busy")
        time.sleep(0.05)


@contextlib.contextmanager
def raw_terminal(wanted):
    if not wanted:
        yield
        return
    saved = termios.tcgetattr(0)
    terminal.setraw(0)
    try:
        yield
    finally:
        termios.tcsetattr(0, termios.TCSADRAIN, saved)


def print_output(stream, data):
    file = sys.stdout.buffer if stream == "out" else sys.stderr.buffer
    file.write(data)
    file.flush()


def execute(machine, command, user=None, tty=False, stdin=False, timeout=None, on_output=print_output):
    """Runs a shell command in the guest and returns its exit code."""
    # An id that no earlier command had: late lines of one that died are ignored.
    request = {"id": f"{os.getpid()}-{time.monotonic_ns()}", "command": command, "user": user,
               "tty": tty, "term": os.environ.get("TERM")}
    at_terminal = tty and os.isatty(0)
    if at_terminal:
        request["size"] = termios.tcgetwinsize(0)
    deadline = time.monotonic() + timeout if timeout else None
    with free_port(machine) as client, raw_terminal(at_terminal):
        # The line break ends what a predecessor may have left unfinished.
        client.sendall(b"\n" + json.dumps(request).encode() + b"\n")
        if not tty and not stdin:
            send_input(client, request["id"], b"")
        return relay(machine, client, request["id"], stdin or at_terminal, deadline, on_output)


def send_input(client, command_id, data):
    encoded = base64.b64encode(data).decode() if data else None
    client.sendall(json.dumps({"id": command_id, "input": encoded}).encode() + b"\n")


def relay(machine, client, command_id, forward_input, deadline, on_output):
    sources, buffer = [client, 0] if forward_input else [client], b""
    while True:
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        ready, _, _ = select.select(sources, [], [], left)
        if not ready:
            print("vm: time limit: the command was ended", file=sys.stderr)
            return TIMED_OUT
        if 0 in ready:
            data = os.read(0, 1 << 15)
            send_input(client, command_id, data)
            if not data:
                sources.remove(0)
        if client in ready:
            try:
                data = client.recv(1 << 18)
            except ConnectionResetError:
                data = b""
            if not data:
                raise Failure(f"machine {machine.name} ended during the command: {machine.last_words()}")
            *lines, buffer = (buffer + data).split(b"\n")
            for message in map(parsed, lines):
                if message.get("id") != command_id:
                    continue
                if "exit" in message:
                    return message["exit"]
                for stream in ("out", "err"):
                    if stream in message:
                        on_output(stream, base64.b64decode(message[stream]))


def parsed(line):
    try:
        message = json.loads(line)
    except ValueError:
        return {}
    return message if isinstance(message, dict) else {}
