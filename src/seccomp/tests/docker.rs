//! Docker's default profile: every number of every ABI, and the size of the program.

use super::interpreter::{Call, check, run};
use super::{docker, specification::evaluate};
use crate::seccomp::abi::Abi;
use crate::seccomp::plan;

/// Numbers of socket, clone, personality, socketcall and ipc somewhere: these depend on arguments.
const CONDITIONAL: &[u32] = &[41, 56, 92, 102, 117, 120, 135, 136, 198, 220, 359];

#[test]
fn every_call_of_three_architectures_is_answered_as_specified() {
    let profile = docker();
    let program = plan(&profile).unwrap().program;
    check(&program);
    let firsts = [0, 8, 16, 38, 39, 40, 41, 0x7e02_0000, 0x1_0000_0000, 0xffff_ffff];
    for arch in [Abi::X86_64, Abi::X86, Abi::Aarch64].map(Abi::audit) {
        for base in [0, 0x4000_0000] {
            for number in (0..700).chain([0x3fff_ffff, 0xbfff_ffff]) {
                let tried = if CONDITIONAL.contains(&number) { &firsts[..] } else { &firsts[7..8] };
                for first in tried {
                    let call = Call { arch, number: base | number, args: [*first, 1, 2, 3, 4, 5] };
                    assert_eq!(run(&program, &call), evaluate(&profile, &call), "{call:x?}");
                }
            }
        }
    }
}

#[test]
fn the_program_is_small() {
    let program = plan(&docker()).unwrap().program;
    assert!(program.len() < 700, "{} instructions", program.len());
}

#[test]
fn it_does_what_docker_documents() {
    let program = plan(&docker()).unwrap().program;
    let answer = |number: u32, first: u64| {
        run(&program, &Call { arch: Abi::X86_64.audit(), number, args: [first, 0, 0, 0, 0, 0] })
    };
    assert_eq!(answer(0, 0), libc::SECCOMP_RET_ALLOW, "read");
    assert_eq!(answer(165, 0), libc::SECCOMP_RET_ERRNO | 1, "mount");
    assert_eq!(answer(435, 0), libc::SECCOMP_RET_ERRNO | 38, "clone3");
    assert_eq!(answer(56, 0x0100_0000), libc::SECCOMP_RET_ALLOW, "clone with CLONE_CHILD_SETTID");
    assert_eq!(answer(56, 0x1000_0000), libc::SECCOMP_RET_ERRNO | 1, "clone with CLONE_NEWUSER");
    assert_eq!(answer(41, 2), libc::SECCOMP_RET_ALLOW, "socket AF_INET");
    assert_eq!(answer(41, 40), libc::SECCOMP_RET_ERRNO | 1, "socket AF_VSOCK");
    assert_eq!(answer(600, 0), libc::SECCOMP_RET_ERRNO | 38, "a call of the future");
}
