"""The virtual hardware of arm64: the devices of hardware.py on another board, always emulated.
Part of this image's name, as that file is."""
import hardware
from hardware import SHARE_BYTES, memory

__all__ = ["ACCELERATOR", "KERNEL_LINE", "SHARE_BYTES", "arguments", "memory"]

# A processor that also runs programs of 32-bit arm. `max` would compute pointer authentication and
# SVE in software.
CPU = {"tcg": "cortex-a76"}
ACCELERATOR = {"tcg": hardware.ACCELERATOR["tcg"]}
# Version 3 of the interrupt controller has its registers in the processor, which is faster to emulate.
BOARD = "virt,gic-version=3,memory-backend=memory"

KERNEL_LINE = ("console=ttyAMA0 quiet loglevel=4 mitigations=off "
               "rcupdate.rcu_expedited=1 random.trust_cpu=on root=/dev/vda rw "
               "systemd.show_status=0 systemd.gpt_auto=0")


def arguments(accelerator, image, disk, disk_format, kernel_line):
    """qemu's arguments, as in hardware.py."""
    found = hardware.arguments(accelerator, image, disk, disk_format, kernel_line)
    for option, value in (("-cpu", CPU[accelerator]), ("-machine", BOARD)):
        found[found.index(option) + 1] = value
    return found
