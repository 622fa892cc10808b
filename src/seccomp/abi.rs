//! The ABIs that a filter can be written for: how the kernel reports them and how they number calls.
//!
//! World: plan. x32 is no architecture of its own to the kernel: it is x86_64 with a bit set in the call number.
//! All of them are little-endian: a big-endian host has no [`Abi::NATIVE`], and filters are refused there.

use oci_spec::runtime::Arch;

use super::tables::{Call, N};

/// One way in which programs call the kernel; the value is the column in the table of numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Abi {
    X86_64,
    X86,
    X32,
    Aarch64,
    Arm,
    Riscv64,
    Loongarch64,
    Ppc64le,
}

/// Set in the number of every x32 call. Source: arch/x86/include/uapi/asm/unistd.h.
pub(super) const X32_BIT: u32 = 0x4000_0000;

/// Numbers of the private calls of 32-bit arm begin here. Source: arch/arm/include/uapi/asm/unistd.h.
pub(super) const ARM_PRIVATE: u32 = 0x000f_0000;

impl Abi {
    /// The ABI of this build.
    pub(super) const NATIVE: Option<Self> = if cfg!(target_endian = "big") {
        None
    } else if cfg!(target_arch = "x86_64") {
        Some(Self::X86_64)
    } else if cfg!(target_arch = "x86") {
        Some(Self::X86)
    } else if cfg!(target_arch = "aarch64") {
        Some(Self::Aarch64)
    } else if cfg!(target_arch = "arm") {
        Some(Self::Arm)
    } else if cfg!(target_arch = "riscv64") {
        Some(Self::Riscv64)
    } else if cfg!(target_arch = "loongarch64") {
        Some(Self::Loongarch64)
    } else if cfg!(target_arch = "powerpc64") {
        Some(Self::Ppc64le)
    } else {
        None
    };

    /// Every ABI that a kernel of this build can report.
    pub(super) const REACHABLE: &[Self] = match Self::NATIVE {
        Some(Self::X86_64) => &[Self::X86_64, Self::X32, Self::X86],
        Some(Self::Aarch64) => &[Self::Aarch64, Self::Arm],
        Some(Self::X86) => &[Self::X86],
        Some(Self::Arm) => &[Self::Arm],
        Some(Self::Riscv64) => &[Self::Riscv64],
        Some(Self::Loongarch64) => &[Self::Loongarch64],
        Some(Self::Ppc64le) => &[Self::Ppc64le],
        Some(Self::X32) | None => &[],
    };

    /// The ABI of an OCI name; `None` where there is no table for it.
    pub(super) fn of(arch: Arch) -> Option<Self> {
        match arch {
            Arch::ScmpArchNative => Self::NATIVE,
            Arch::ScmpArchX86_64 => Some(Self::X86_64),
            Arch::ScmpArchX86 => Some(Self::X86),
            Arch::ScmpArchX32 => Some(Self::X32),
            Arch::ScmpArchAarch64 => Some(Self::Aarch64),
            Arch::ScmpArchArm => Some(Self::Arm),
            Arch::ScmpArchRiscv64 => Some(Self::Riscv64),
            Arch::ScmpArchLoongarch64 => Some(Self::Loongarch64),
            Arch::ScmpArchPpc64le => Some(Self::Ppc64le),
            _ => None,
        }
    }

    /// `seccomp_data.arch`, an `AUDIT_ARCH_*` of linux/audit.h.
    pub(super) fn audit(self) -> u32 {
        match self {
            Self::X86_64 | Self::X32 => 0xc000_003e,
            Self::X86 => 0x4000_0003,
            Self::Aarch64 => 0xc000_00b7,
            Self::Arm => 0x4000_0028,
            Self::Riscv64 => 0xc000_00f3,
            Self::Loongarch64 => 0xc000_0102,
            Self::Ppc64le => 0xc000_0015,
        }
    }

    /// Arguments have 32 bits: only the low word is compared.
    pub(super) fn narrow(self) -> bool {
        matches!(self, Self::X86 | Self::X32 | Self::Arm)
    }

    /// The number that the kernel reports for a call whose number in the table is `number`.
    pub(super) fn number(self, number: u16) -> u32 {
        match self {
            Self::X32 => X32_BIT | u32::from(number),
            Self::Arm if number >= 0xf000 => ARM_PRIVATE | u32::from(number & 0xfff),
            _ => u32::from(number),
        }
    }

    /// The ABI and the number in the table of a call as the kernel reports it; `None` where no table can have it.
    pub(super) fn of_call(arch: u32, number: u32) -> Option<(Self, u16)> {
        let is_x32 = number & X32_BIT != 0;
        let abi = Self::REACHABLE.iter().copied().find(|abi| abi.audit() == arch && (*abi == Self::X32) == is_x32)?;
        let number = match abi {
            Self::X32 => number & !X32_BIT,
            Self::Arm if number & !0xfff == ARM_PRIVATE => 0xf000 | number & 0xfff,
            _ => number,
        };
        u16::try_from(number).ok().filter(|number| *number != N).map(|number| (abi, number))
    }

    /// Its OCI name.
    pub(super) fn arch(self) -> Arch {
        match self {
            Self::X86_64 => Arch::ScmpArchX86_64,
            Self::X86 => Arch::ScmpArchX86,
            Self::X32 => Arch::ScmpArchX32,
            Self::Aarch64 => Arch::ScmpArchAarch64,
            Self::Arm => Arch::ScmpArchArm,
            Self::Riscv64 => Arch::ScmpArchRiscv64,
            Self::Loongarch64 => Arch::ScmpArchLoongarch64,
            Self::Ppc64le => Arch::ScmpArchPpc64le,
        }
    }

    /// The call inside socketcall(2) or ipc(2), in the table's notation, that `number` with this first argument is.
    pub(super) fn inner(self, number: u16, first: u64) -> Option<u16> {
        let (mask, base) = match number {
            102 => (0xffff_ffff, 0x100),
            117 => (0xffff, 0x200),
            _ => return None,
        };
        let has_them = matches!(self, Self::X86 | Self::Ppc64le);
        let inner = u16::try_from(first & mask).ok().filter(|inner| has_them && (1..32).contains(inner))?;
        Some(base | inner)
    }

    /// The names of socketcall(2) and ipc(2) with the beginning of their calls in the table's notation, where they are.
    pub(super) fn inners(self) -> impl Iterator<Item = (&'static str, u16)> {
        let all: &[_] =
            if matches!(self, Self::X86 | Self::Ppc64le) { &[("socketcall", 0x100), ("ipc", 0x200)] } else { &[] };
        all.iter().copied()
    }

    /// The number of `call` in the table, if this ABI has it.
    pub(super) fn direct(self, call: &Call) -> Option<u16> {
        call.get(self as usize).copied().filter(|number| *number != N)
    }

    /// How `call` is made through socketcall(2) or ipc(2), where this ABI has them.
    pub(super) fn multiplexed(self, call: &Call) -> Option<Multiplexed> {
        if !matches!(self, Self::X86 | Self::Ppc64le) {
            return None;
        }
        let [.., code] = *call;
        match code >> 8 {
            1 => Some(Multiplexed { number: 102, mask: 0xffff_ffff, call: u32::from(code & 0xff) }),
            2 => Some(Multiplexed { number: 117, mask: 0x0000_ffff, call: u32::from(code & 0xff) }),
            _ => None,
        }
    }
}

/// A call inside another: the first argument of `number` says which.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Multiplexed {
    /// Of socketcall(2) or ipc(2).
    pub number: u16,
    /// The bits of the first argument that the kernel looks at: an int, and for ipc without the version above.
    pub mask: u32,
    /// Their value.
    pub call: u32,
}
