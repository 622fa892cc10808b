"""The calls of CRI-O 1.37 to its monitor and its runtime, each made by a process of its own.

usage: crio.py CALL ID [ARGUMENT...]; the calls are the functions below whose names do not begin with an underscore.

A process knows only what the one before left on disk, as CRI-O does after a restart: the bundle, the record of the first
process, conmon's FIFO and socket, and the exit file. Environment: CRIO_HOME (all directories), CRIO_RUNTIME, CRIO_DRIVER.
"""
import fcntl, json, os, pty, select, signal, socket, struct, subprocess, sys, tempfile, termios, time

HOME, RUNTIME, DRIVER = (os.environ["CRIO_" + name] for name in ("HOME", "RUNTIME", "DRIVER"))
SYSTEMD = DRIVER == "systemd"
ROOT, EXITS, SOCKETS = HOME + "/state", HOME + "/exits", HOME + "/sockets"
GLOBALS = ["--root", ROOT] + ["--systemd-cgroup"] * SYSTEMD
# What runtimeCmd takes for "this process is gone", in the letters that it looks for.
GONE = ("no such process", "container not running", "invalid process")


def _bundle(name, *rest):
    return "/".join((HOME, name) + rest)


def _environment(pipes=False):
    environment = {"CRI_O_EXTERNAL": "1", "PATH": os.environ["PATH"]}
    return {**environment, "_OCI_SYNCPIPE": "3", "_OCI_STARTPIPE": "4"} if pipes else environment


def _read(path):
    with open(path) as file:
        return file.read()


def _start_time(pid):
    """The start time of a process that is there and no zombie, else None."""
    try:
        fields = _read(f"/proc/{pid}/stat").rsplit(") ", 1)[1].split()
    except OSError:
        return None
    return None if fields[0] in "XZ" else fields[19]


def _living(name):
    record = json.loads(_read(_bundle(name, "crio-state")))
    return _start_time(record["pid"]) == record["start"]


def _run(*words, stdin=None):
    """The runtime, as runtimeCmd runs it: its output, or the error that CRI-O would return."""
    done = subprocess.run([RUNTIME, *words], input=stdin, stdin=None if stdin else subprocess.DEVNULL,
                          capture_output=True, text=True, env=_environment())
    if done.returncode:
        known = " (gone)" if any(text in done.stderr for text in GONE) else ""
        sys.exit(f"{words[-1]}: failed{known}: {done.stderr.strip()} {done.stdout.strip()}")
    return done.stdout


def runtime(name, *words):
    """`runtime ID start`: the command, then the ID and what follows a comma."""
    at = words.index(",") if "," in words else len(words)
    print(_run(*GLOBALS, *words[:at], name, *words[at + 1:]), end="")


def _monitor(words, before=lambda pid: None, inside=None, **options):
    """conmon with its two pipes: what it says of the process, and how it ended."""
    sync, sync_child = socket.socketpair()
    start, start_child = socket.socketpair()

    def prepare():
        os.setpgid(0, 0)
        _enter(inside)
        copies = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in (sync_child, start_child)]
        os.dup2(copies[0], 3)
        os.dup2(copies[1], 4)

    process = subprocess.Popen(["/usr/bin/conmon", *words], env=_environment(True), preexec_fn=prepare, close_fds=False, **options)
    sync_child.close()
    start_child.close()
    before(process.pid)
    start.send(b"\0")
    code = process.wait()
    sync.settimeout(240)
    said = b""
    while part := sync.recv(65536):
        said += part
        try:
            return json.loads(said), code
        except ValueError:
            pass
    return {}, code


def _own_scope(name):
    """conmon outlives the engine's service: its scope has a signal that conmon ignores."""
    def move(pid):
        if SYSTEMD:
            subprocess.run(["busctl", "call", "org.freedesktop.systemd1", "/org/freedesktop/systemd1",
                            "org.freedesktop.systemd1.Manager", "StartTransientUnit", "ssa(sv)a(sa(sv))",
                            f"crio-conmon-{name}.scope", "replace", "6", "Slice", "s", "system.slice", "Delegate", "b", "true",
                            "DefaultDependencies", "b", "false",
                            "KillSignal", "i", "13", "After", "as", "1", "crio.service", "PIDs", "au", "1", str(pid), "0"],
                           check=True, stdout=subprocess.DEVNULL)
            while f"crio-conmon-{name}.scope" not in _read(f"/proc/{pid}/cgroup"):
                time.sleep(0.01)
    return move


def create(name, *words):
    """Options: terminal; stdin; stdin-once; restore DIRECTORY. Prints the first process."""
    bundle = _bundle(name)
    os.makedirs(bundle + "/persist", exist_ok=True)
    arguments = ["-b", bundle, "-c", name, "--exit-dir", EXITS, "-l", HOME + f"/logs/{name}.log", "--log-level", "info",
                 "-n", f"k8s_{name}", "-P", bundle + "/conmon-pidfile", "-p", bundle + "/pidfile", "--persist-dir",
                 bundle + "/persist", "-r", RUNTIME, "--runtime-arg", "--root=" + ROOT, "--socket-dir-path", SOCKETS,
                 "--syslog", "-u", name] + ["-s"] * SYSTEMD
    if "terminal" in words:
        arguments += ["-t"]
    elif "stdin" in words:
        arguments += ["--leave-stdin-open", "-i"]
    elif "stdin-once" in words:
        arguments += ["-i"]
    if "restore" in words:
        for left in ("attach", "ctl", "winsz"):
            if os.path.lexists(_bundle(name, left)):
                os.remove(_bundle(name, left))
        arguments += ["--restore", words[words.index("restore") + 1]]
    said, code = _monitor(arguments, _own_scope(name), cwd=bundle)
    pid = said.get("pid", 0)
    if pid <= 0:
        subprocess.run([RUNTIME, *GLOBALS, "delete", "--force", name], env=_environment(), check=True)
        sys.exit(f"container create failed: {code}: {said.get('message')}")
    with open(_bundle(name, "crio-state"), "w") as file:
        json.dump({"pid": pid, "start": _start_time(pid)}, file)
    print(pid)


def _process(name, command, terminal):
    with open(_bundle(name, "config.json")) as file:
        process = json.load(file)["process"]
    process.update(args=command, terminal=terminal)
    file = tempfile.NamedTemporaryFile("w", prefix="exec-process-", dir=HOME, delete=False)
    with file:
        json.dump(process, file)
    return file.name


def exec_sync(name, timeout, *command, inside=None, terminal=False):
    """Prints the exit code, and a line for each stream: what the kubelet's probes get."""
    log, pidfile = (tempfile.mkstemp(prefix=prefix, dir=HOME)[1] for prefix in ("crio-log-", "pidfile"))
    process = _process(name, command, terminal)
    words = ["-c", name, "-n", f"k8s_{name}", "-r", RUNTIME, "-p", pidfile, "-e", "-l", log, "--socket-dir-path", SOCKETS,
             "--log-level", "info", "--sync", "--log-global-size-max", "16777216"]
    words += ["-t"] * terminal + ["-T", timeout] * (timeout != "0") + ["-s"] * SYSTEMD
    words += ["--exec-process-spec", process, "--runtime-arg", "--root=" + ROOT]
    said, _ = _monitor(words, inside=inside, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    streams = {"stdout": "", "stderr": ""}
    for line in _read(log).splitlines():
        _, stream, kind, text = line.split(" ", 3)
        streams[stream] += text + "\n" * (kind == "F")
    for file in (log, pidfile, process):
        os.remove(file)
    print(said.get("exit_code"), said.get("message", ""), *streams.values(), sep="|", end="")


def exec_sync_terminal(name, *command):
    exec_sync(name, "0", *command, terminal=True)


def exec_sync_inside(name, cgroup, *command):
    """With exec CPU affinity CRI-O starts conmon in a cgroup of its own below the container's."""
    exec_sync(name, "0", *command, inside=cgroup)


def _enter(cgroup):
    if cgroup:
        with open(cgroup + "/cgroup.procs", "w") as file:
            file.write("0")


def exec(name, *command, inside=None):
    """Streams: standard input, output and error are the caller's; so is the exit code."""
    process = _process(name, command, False)
    done = subprocess.run([RUNTIME, *GLOBALS, "exec", "--process", process, name], preexec_fn=lambda: _enter(inside))
    os.remove(process)
    sys.exit(done.returncode)


def exec_inside(name, cgroup, *command):
    exec(name, *command, inside=cgroup)


def _size(fd, rows, columns):
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", int(rows), int(columns), 0, 0))


def exec_terminal(name, rows, columns, *command):
    """Streams with a terminal, whose size changes once the program has printed something."""
    process = _process(name, command, True)
    pid, master = pty.fork()
    if pid == 0:
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        os.execv(RUNTIME, [RUNTIME, *GLOBALS, "exec", "--process", process, name])
    resized = False
    while select.select([master], [], [], 120)[0]:
        try:
            part = os.read(master, 4096)
        except OSError:
            break
        sys.stdout.write(part.decode())
        if not resized:
            resized = not _size(master, rows, columns)
    os.remove(process)
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))


def _control(name, line):
    with open(_bundle(name, "ctl"), "w") as file:
        file.write(line + "\n")


def resize(name, rows, columns):
    _control(name, f"1 {rows} {columns}")


def reopen_log(name):
    _control(name, "2 0 0")


def attach(name, text, expected):
    """Sends the text, and prints what comes until it contains what is expected; "" expects the end."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    connection.settimeout(60)
    connection.connect(f"{SOCKETS}/{name}/attach")
    if text:
        connection.send(text.encode().decode("unicode_escape").encode())
    if not expected:
        connection.shutdown(socket.SHUT_WR)
    came = ""
    while (part := connection.recv(8193)) and (not expected or expected not in came):
        came += {2: "", 3: "stderr: "}[part[0]] + part[1:].decode()
        if expected and expected in came:
            break
    print(came.replace("\r", ""), end="")


def update(name, resources):
    print(_run("--root", ROOT, "update", "--resources", "-", name, stdin=resources), end="")


def status(name):
    """What CRI-O reports: a status, and for a container that has ended its exit code and whether memory ran out."""
    state = json.loads(_run(*GLOBALS, "state", name))
    if state["status"] != "stopped":
        return print(state["status"])
    for _ in range(50):
        if os.path.exists(EXITS + "/" + name):
            break
        time.sleep(0.1)
    code = _read(EXITS + "/" + name) if os.path.exists(EXITS + "/" + name) else "255"
    print("stopped", code + " OOMKilled" * os.path.exists(_bundle(name, "oom")))


def stop(name, seconds, signal_number="15"):
    """The stop signal, and SIGKILL until the process is gone when the time is over."""
    if json.loads(_run(*GLOBALS, "state", name))["status"] == "paused":
        _run(*GLOBALS, "resume", name)
    _run(*GLOBALS, "kill", name, signal_number)
    end = time.monotonic() + float(seconds)
    while _living(name) and time.monotonic() < end:
        time.sleep(0.1)
    print("killed" if _living(name) else "ended")
    while _living(name):
        subprocess.run([RUNTIME, *GLOBALS, "kill", name, "KILL"], env=_environment(), capture_output=True)
        time.sleep(0.02)


def checkpoint(name, images, work, *options):
    """Of a paused container, which is resumed afterwards when it stays."""
    _run(*GLOBALS, "pause", name)
    _run(*GLOBALS, "checkpoint", "--file-locks", "--image-path", images, "--work-path", work, *options, name)
    if options and json.loads(_run(*GLOBALS, "state", name))["status"] == "paused":
        _run(*GLOBALS, "resume", name)


def pin(name, mapping, *words):
    """As pinns does it: namespaces of a pod, kept by bind mounts; name=value words are its sysctls."""
    kinds = [word for word in words if "=" not in word]
    flags = {"ipc": os.CLONE_NEWIPC, "net": os.CLONE_NEWNET, "uts": os.CLONE_NEWUTS, "user": os.CLONE_NEWUSER}
    here, there = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        if mapping:
            os.unshare(os.CLONE_NEWUSER)
            there.send(b"0")
            there.recv(1)
            os.setresuid(0, 0, 0)
            os.setresgid(0, 0, 0)
        os.unshare(sum(flags[kind] for kind in kinds if kind != "user"))
        for key, value in (word.split("=", 1) for word in words if "=" in word):
            with open("/proc/sys/" + key.replace(".", "/"), "w") as file:
                file.write(value)
        there.send(b"0")
        signal.pause()
    if mapping:
        here.recv(1)
        for file in ("gid_map", "uid_map"):
            with open(f"/proc/{pid}/{file}", "w") as out:
                out.write(mapping)
        here.send(b"0")
    here.recv(1)
    for kind in kinds:
        path = f"{HOME}/{kind}ns/{name}"
        os.makedirs(os.path.dirname(path), exist_ok=True)
        open(path, "x").close()
        subprocess.run(["mount", "--bind", f"/proc/{pid}/ns/{kind}", path], check=True)
    os.kill(pid, signal.SIGKILL)


if __name__ == "__main__":
    globals()[sys.argv[1].replace("-", "_")](*sys.argv[2:])
