//! The table of numbers against the crate `syscalls`, and the corrections of tare by name.

use std::collections::BTreeMap;

use crate::seccomp::abi::Abi;
use crate::seccomp::tables::{find, known};

/// Newer than the crate. Source: scripts/syscall.tbl of Linux 6.19 and 7.0.
const NEWER: &[(&str, u16)] = &[("listns", 470), ("rseq_slice_yield", 471)];

fn ours(abi: Abi) -> BTreeMap<String, u16> {
    known().filter_map(|name| Some((name.to_string(), abi.direct(find(name)?)?))).collect()
}

macro_rules! theirs {
    ($module:ident) => {{
        // The crate's iterator leaves out the last one.
        let numbers = syscalls::$module::Sysno::iter().chain([syscalls::$module::Sysno::last()]);
        let mut all: BTreeMap<String, u16> = numbers
            .map(|number| (number.name().trim_start_matches("r#").to_string(), u16::try_from(number.id()).unwrap()))
            .collect();
        all.extend(NEWER.iter().map(|(name, number)| ((*name).to_string(), *number)));
        all
    }};
}

/// What is in one of two tables only, so that a failure is short.
fn difference(ours: BTreeMap<String, u16>, theirs: BTreeMap<String, u16>) -> Vec<(String, u16)> {
    let only = |a: &BTreeMap<String, u16>, b: &BTreeMap<String, u16>| -> Vec<(String, u16)> {
        a.iter().filter(|(name, number)| b.get(*name) != Some(*number)).map(|(n, v)| (n.clone(), *v)).collect()
    };
    [only(&ours, &theirs), only(&theirs, &ours)].concat()
}

#[test]
fn names_are_sorted_and_found() {
    let names: Vec<&str> = known().collect();
    assert!(names.is_sorted() && names.len() > 490);
    assert!(names.iter().all(|name| find(name).is_some()));
    assert!(find("").is_none() && find("nosuchcall").is_none() && find("readreadread").is_none());
}

#[test]
fn every_number_fits_the_dense_table() {
    for abi in [Abi::X86_64, Abi::X86, Abi::X32, Abi::Aarch64, Abi::Arm, Abi::Riscv64, Abi::Loongarch64, Abi::Ppc64le] {
        assert!(ours(abi).values().all(|number| *number < 640 || (0xf000..0xf010).contains(number)), "{abi:?}");
    }
}

#[test]
fn numbers_are_those_of_the_crate() {
    assert_eq!(difference(ours(Abi::X86_64), theirs!(x86_64)), []);
    assert_eq!(difference(ours(Abi::X86), theirs!(x86)), []);
    assert_eq!(difference(ours(Abi::Riscv64), theirs!(riscv64)), []);
    assert_eq!(difference(ours(Abi::Ppc64le), theirs!(powerpc64)), []);
}

#[test]
fn arm_has_private_calls_too() {
    let mut expected = theirs!(arm);
    let private = ["breakpoint", "cacheflush", "usr26", "usr32", "set_tls", "get_tls"];
    expected.extend(private.iter().zip(0xf001..).map(|(name, number)| ((*name).to_string(), number)));
    assert_eq!(difference(ours(Abi::Arm), expected), []);
    assert_eq!(Abi::Arm.number(0xf002), 0x000f_0002);
}

/// The crate lists the 64-bit time calls, which only 32-bit kernels have, and says fstatat for newfstatat.
fn generic_64_bit(mut calls: BTreeMap<String, u16>) -> BTreeMap<String, u16> {
    calls.retain(|_, number| !(403..=423).contains(number));
    let number = calls.remove("fstatat").unwrap();
    calls.insert("newfstatat".into(), number);
    calls
}

#[test]
fn aarch64_and_loongarch64_are_corrected() {
    assert_eq!(difference(ours(Abi::Aarch64), generic_64_bit(theirs!(aarch64))), []);
    let mut loongarch = generic_64_bit(theirs!(loongarch64));
    // Never wired there: arch/loongarch/include/uapi/asm/unistd.h asks for none of them.
    loongarch.retain(|name, _| !["renameat", "getrlimit", "setrlimit", "memfd_secret"].contains(&name.as_str()));
    assert_eq!(difference(ours(Abi::Loongarch64), loongarch), []);
}

/// x32 has the calls of x86_64 but for those marked "64" in its table, and its own numbers from 512 to 547.
#[test]
fn x32_follows_x86_64() {
    let (x32, x86_64) = (ours(Abi::X32), ours(Abi::X86_64));
    let own: Vec<u16> = {
        let mut own: Vec<u16> = x32.values().copied().filter(|number| *number >= 512).collect();
        own.sort_unstable();
        own
    };
    assert_eq!(own, (512..548).collect::<Vec<u16>>());
    assert!(x32.iter().all(|(name, number)| *number >= 512 || x86_64[name] == *number));
    let missing: Vec<&str> = x86_64.keys().filter(|name| !x32.contains_key(*name)).map(String::as_str).collect();
    assert_eq!(
        missing,
        [
            "_sysctl",
            "create_module",
            "epoll_ctl_old",
            "epoll_wait_old",
            "get_kernel_syms",
            "get_thread_area",
            "map_shadow_stack",
            "nfsservctl",
            "query_module",
            "set_thread_area",
            "uprobe",
            "uretprobe",
            "uselib",
            "vserver",
        ]
    );
    assert_eq!((x32["execve"], x32["preadv2"], x32["ioctl"]), (520, 546, 514));
}

#[test]
fn multiplexed_calls_have_the_numbers_of_net_h_and_ipc_h() {
    let call = |name| Abi::X86.multiplexed(find(name).unwrap()).map(|within| (within.number, within.call));
    assert_eq!(call("socket"), Some((102, 1)));
    assert_eq!(call("sendmmsg"), Some((102, 20)));
    assert_eq!(call("semtimedop"), Some((117, 4)));
    assert_eq!(call("shmctl"), Some((117, 24)));
    assert_eq!(call("read"), None);
    assert_eq!(Abi::X86_64.multiplexed(find("socket").unwrap()), None);
}
