"""Is the floor honest? Compares its container with a real runtime's from inside.

The price of the kernel's work is only worth something if it is the same work.
What may differ is left out: mount ids, sources' names, options other than ro,
and a device link that runtimes add unasked.
"""

import measure

# busybox alone is in the container; each line of what it prints is one fact.
LOOK = """
while read id parent device root target options rest; do
    system=${rest##*- }
    echo "mount $target ${options%%,*} ${system%% *}"
done < /proc/self/mountinfo
while read key value; do case $key in Cap*|NoNewPrivs:|Seccomp:|Groups:) echo "status $key $value";; esac; done < /proc/self/status
for node in /dev/*; do stat -c 'dev %N %A %t:%T' $node; done
echo "hostname $(hostname)"
for sysctl in ip_unprivileged_port_start ping_group_range; do echo "sysctl $(cat /proc/sys/net/ipv4/$sysctl)"; done
echo "files $(ulimit -n)"
"""

# A link to /proc/kcore that crun and runc make and no specification asks for.
UNASKED = "dev '/dev/core'"


def facts(bench, runtime, kind):
    name = f"{runtime.name}-{kind}-look"
    (measure.ROOTFS / "look").write_text(LOOK)
    arguments = ["/bin/sh", "/look"]
    path = bench.bundle(kind, name, arguments)
    output = bench.call(runtime, kind, "run", "--bundle", path, name, arguments=arguments)
    return {line for line in output.splitlines() if not line.startswith(UNASKED)}


def differences(bench, floor, reference, kind):
    """Return lines that say what only one of the two containers has."""
    ours, theirs = facts(bench, floor, kind), facts(bench, reference, kind)
    only = [f"{kind}: only floor: {line}" for line in sorted(ours - theirs)]
    return only + [f"{kind}: only {reference.name}: {line}" for line in sorted(theirs - ours)]
