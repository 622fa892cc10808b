"""What the users of engines wait for, with each runtime: measured in the virtual
machine of scripts/vm by engines_guest.py. Emulation makes everything slow, the
runtime more than the waiting of an engine: quote the ratios.
"""

import json
import os
import shutil
import subprocess
import tempfile
from statistics import median

import prepare
import report

REPOSITORY = prepare.HERE.parents[1]
SUBJECT = "tare"
LIMIT = 5400  # seconds for all of it


def in_machine(tare, timed, repetitions, count):
    """Return what the guest's part prints."""
    vm, machine = str(REPOSITORY / "scripts/vm"), f"bench-{os.getpid()}"
    with tempfile.TemporaryDirectory() as share:
        for path in (tare, timed, prepare.HERE / "engines_guest.py"):
            shutil.copy(path, share)
        shutil.copy(tare, f"{share}/tare")
        command = ("set -e; install /root/share/tare /usr/local/bin/; use-runtime tare systemd --restart; "
                   f"exec python3 /root/share/engines_guest.py {repetitions} {count} /root/share/timed")
        subprocess.run([vm, "start", machine, "--share", share], check=True)
        try:
            output = subprocess.run([vm, "exec", machine, "--timeout", str(LIMIT), "--", command],
                                    stdout=subprocess.PIPE, text=True, check=True).stdout
        finally:
            subprocess.run([vm, "stop", machine], check=False)
    return json.loads(output.splitlines()[-1])


def rows(results):
    for what, by_name in results["wall"].items():
        base = median(by_name[SUBJECT])
        for name, walls in by_name.items():
            share = median(results["part"][what][name])
            yield [what, name, f"{median(walls) / base:.2f}", f"{share:.0%}", f"{median(walls):.2f}",
                   f"{median(walls) * share:.2f}"]
    for name, rounds in results["parallel"].items():
        base = median(seconds for seconds, _, _ in results["parallel"][SUBJECT])
        latencies = [latency for _, _, some in rounds for latency in some]
        seconds, failed = median(seconds for seconds, _, _ in rounds), sum(failed for _, failed, _ in rounds)
        yield [f"{len(rounds[0][2])} x docker run --rm at once", name, f"{seconds / base:.2f}", "",
               f"{seconds:.2f} (each: p50 {median(latencies):.1f}, p99 {report.percentile(latencies, 0.99):.1f}, "
               f"failed {failed})", ""]


def table(results, repetitions):
    header = ["command", "runtime", "x tare", "part of the runtime", "wall s", "of it the runtime s"]
    return (f"{results['machine']} Medians of {repetitions} alternated repetitions.\n\n"
            + report.markdown(header, list(rows(results))) + "\n")


def run(tare, repetitions, count, output):
    """All of it; writes engines.md and engines.json below `output`, and returns the table."""
    timed = prepare.compile_program(output / "timed", ["timed.c"])
    results = in_machine(tare, timed, repetitions, count)
    results["machine"] = f"Virtual machine of scripts/vm, load of the host {os.getloadavg()[0]:.1f}."
    text = table(results, repetitions)
    (output / "engines.md").write_text(text)
    (output / "engines.json").write_text(json.dumps(results, indent=1))
    return text
