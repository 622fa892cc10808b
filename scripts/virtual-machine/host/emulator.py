"""Which qemu a machine runs under, and on which hardware: what TARE_VM_ARCH decides."""
from cache import ARCHITECTURE

if ARCHITECTURE == "amd64":
    import hardware
    PROGRAM = "qemu-system-x86_64"
else:
    import hardware_arm64 as hardware
    PROGRAM = "qemu-system-aarch64"

__all__ = ["PROGRAM", "hardware"]
