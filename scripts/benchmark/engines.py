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


def in_machine(tare, timed, repetitions, count, lines):
    """Run the guest's part; what it prints goes to the file `lines`, so that what ends early is not lost."""
    vm, machine = str(REPOSITORY / "scripts/vm"), f"bench-{os.getpid()}"
    with tempfile.TemporaryDirectory() as share:
        for path in (tare, timed, prepare.HERE / "engines_guest.py"):
            shutil.copy(path, share)
        shutil.copy(tare, f"{share}/tare")
        command = ("set -e; install /root/share/tare /usr/local/bin/; use-runtime tare systemd --restart; "
                   f"exec python3 /root/share/engines_guest.py {repetitions} {count} /root/share/timed")
        subprocess.run([vm, "start", machine, "--share", share], check=True)
        try:
            with open(lines, "w", encoding="utf-8") as output:
                subprocess.run([vm, "exec", machine, "--timeout", str(LIMIT), "--", command], stdout=output, check=False)
        finally:
            subprocess.run([vm, "stop", machine], check=False)


def parts(lines):
    """Return {part: results} of the lines that are JSON."""
    found = [json.loads(line) for line in lines.read_text().splitlines() if line.startswith("{")]
    return {part: results for one in found for part, results in one.items()}


def rows(results):
    for what, by_name in results["wall"].items():
        for name, walls in by_name.items():
            # Pairs of one repetition: what else the machine does lasts longer than one.
            ratio = median(wall / ours for wall, ours in zip(walls, by_name[SUBJECT]))
            parts = results.get("part", {}).get(what, {})
            share, derived = (f"{median(parts[name]):.0%}", f"{engine_part(parts[SUBJECT]) / engine_part(parts[name]):.2f}"
                              ) if parts else ("", "")
            yield [what, name, f"{ratio:.2f}", share, derived]


def engine_part(parts):
    return 1 - median(parts)


def parallel_rows(results):
    for name, (seconds, failed, latencies) in results["parallel"].items():
        p50, p99 = (report.percentile(latencies, part) for part in (0.5, 0.99))
        yield [f"{len(latencies)} x docker run --rm", name, f"{seconds / results['parallel'][SUBJECT][0]:.2f}",
               f"{seconds:.0f}", f"{p50:.0f}", f"{p99:.0f}", failed]


def table(results, repetitions):
    header = ["command", "runtime", "x tare", "part of the runtime", "x tare by the parts"]
    found = [f"{results['machine']} Medians of {repetitions} alternated repetitions.",
             report.markdown(header, list(rows(results)))]
    if "parallel" in results:
        header = ["at once", "runtime", "x tare", "seconds", "p50 of one", "p99 of one", "failed"]
        found.append(report.markdown(header, list(parallel_rows(results))))
    return "\n\n".join(found) + "\n"


def run(tare, repetitions, count, output):
    """All of it; writes engines.md and engines.json below `output`, and returns the table."""
    timed = prepare.compile_program(output / "timed", ["timed.c"])
    lines = output / "engines.lines"
    in_machine(tare, timed, repetitions, count, lines)
    results = parts(lines)
    results["machine"] = "In the virtual machine of scripts/vm, with the systemd driver."
    text = table(results, repetitions)
    (output / "engines.md").write_text(text)
    (output / "engines.json").write_text(json.dumps(results, indent=1))
    return text
