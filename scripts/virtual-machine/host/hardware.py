"""The virtual hardware. A snapshot fits only the hardware that it was taken on,
so this file is part of the image's name."""

MEMORY = "4096M"
SHARE_BYTES = 8 << 30
PORTS = 4

# Under TCG, without AVX and 5-level paging a boot costs 38 CPU seconds, not 51.
CPU = {"tcg": "max,-avx2,-avx,-la57", "kvm": "host"}
ACCELERATOR = {"tcg": "tcg,thread=multi", "kvm": "kvm"}

# Expedited RCU: a grace period takes 10 ms otherwise, and each cgroup or
# namespace costs several. Timing tests of such effects boot without it.
KERNEL_LINE = ("console=ttyS0 quiet loglevel=4 mitigations=off tsc=reliable no_timer_check "
               "rcupdate.rcu_expedited=1 random.trust_cpu=on root=/dev/vda rw "
               "systemd.show_status=0 systemd.gpt_auto=0")


def quoted(path):
    """A path as the value of one of qemu's comma-separated options."""
    return str(path).replace(",", ",,")


def memory(file, shared):
    """Guest memory in a file. Shared: the guest writes the file (to make a
    snapshot). Private: it starts from the file and keeps its writes for itself."""
    if file is None:
        return ["-object", f"memory-backend-ram,id=memory,size={MEMORY}"]
    return ["-object", f"memory-backend-file,id=memory,size={MEMORY},mem-path={quoted(file)},"
            f"share={'on' if shared else 'off'}"]


def arguments(accelerator, image, disk, disk_format, kernel_line):
    """qemu's arguments; paths without a directory are in the machine's own."""
    found = [
        "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
        "-accel", ACCELERATOR[accelerator], "-cpu", CPU[accelerator],
        "-machine", "pc,memory-backend=memory", "-smp", "2", "-m", MEMORY,
        "-kernel", f"{image}/kernel", "-initrd", f"{image}/initrd", "-append", kernel_line,
        "-drive", f"file={quoted(disk)},format={disk_format},if=none,id=root,cache=unsafe,discard=unmap",
        "-device", "virtio-blk-pci,drive=root",
        # Files come in as a tar on this disk; the host rewrites it at will.
        "-drive", "file=share.raw,format=raw,if=none,id=share,readonly=on,file.locking=off",
        "-device", "virtio-blk-pci,drive=share,serial=share",
        "-device", "virtio-rng-pci",
        "-netdev", "user,id=net,restrict=on", "-device", "virtio-net-pci,netdev=net,romfile=",
        "-chardev", "file,id=console,path=console.log", "-serial", "chardev:console",
        "-qmp", "unix:qmp.sock,server=on,wait=off",
        "-device", "virtio-serial-pci",
    ]
    for port in range(PORTS):
        found += ["-chardev", f"socket,id=agent{port},path=agent{port}.sock,server=on,wait=off",
                  "-device", f"virtserialport,chardev=agent{port},name=agent{port}"]
    return found
