//! The filter that reports calls: what the profile in force allows becomes a notification, all else stays.
//!
//! World: plan. One filter does both: with a second one, the kernel would take a notification for stricter than
//! SCMP_ACT_TRACE and let the call through. The child's own two calls between the filter and execve are told from others
//! by a mark in the argument registers that they do not use: nobody would answer them yet. The mark is random, so that a
//! program cannot use it.

use oci_spec::runtime::{LinuxSeccomp, LinuxSeccompAction as Action};
use seccompiler::{BpfProgram, sock_filter};

use crate::error::{Code, Error, Result};
use crate::seccomp::compile::LIMIT;
use crate::seccomp::emit::{ARCHITECTURE, Comparison, EQUAL, NUMBER, RETURN, Writer, offsets};
use crate::seccomp::plan::{SeccompPlan, flag, flags};
use crate::seccomp::profile::{AT, native};
use crate::seccomp::tables;

/// Plans the filter; `in_force` is the profile of the container.
///
/// # Errors
/// A profile with an agent: a process can have one listener. A profile or an architecture that cannot be compiled.
pub fn plan(in_force: Option<&LinuxSeccomp>, mark: [u32; 3]) -> Result<SeccompPlan> {
    let (program, mutes) = match in_force {
        Some(profile) => {
            refuse_agent(profile)?;
            let plan = crate::seccomp::plan(profile)?;
            (plan.program, plan.mutes)
        }
        None => (vec![sock_filter { code: RETURN, jt: 0, jf: 0, k: libc::SECCOMP_RET_ALLOW }], false),
    };
    let program = exempt(report(program), mark)?;
    // LOG would log each call that is reported.
    let flags = flags(in_force, true) & !flag::LOG | flag::WAIT_KILLABLE_RECV;
    let (notify, refuses_execve, mark) = (None, None, Some(mark));
    Ok(SeccompPlan { at: AT, program, flags, notify, empty: false, refuses_execve, mutes, mark })
}

fn refuse_agent(profile: &LinuxSeccomp) -> Result<()> {
    let rules = profile.syscalls().iter().flatten();
    let mut actions = rules.map(oci_spec::runtime::LinuxSyscall::action).chain([profile.default_action()]);
    if actions.any(|action| action == Action::ScmpActNotify) {
        let what = "a profile with SCMP_ACT_NOTIFY cannot be recorded: a process can have only one seccomp listener";
        return Err(Error::refused(Code::RecordingUnsupported, AT, what));
    }
    Ok(())
}

fn report(mut program: BpfProgram) -> BpfProgram {
    for instruction in &mut program {
        if instruction.code == RETURN && matches!(instruction.k, libc::SECCOMP_RET_ALLOW | libc::SECCOMP_RET_LOG) {
            instruction.k = libc::SECCOMP_RET_USER_NOTIF;
        }
    }
    program
}

/// Allows sendmsg and close with the mark, in front of `program`.
fn exempt(program: BpfProgram, mark: [u32; 3]) -> Result<BpfProgram> {
    let native = native()?;
    let number = |name| tables::find(name).and_then(|call| native.direct(call)).map(|number| native.number(number));
    let (mut writer, program) = Writer::before(program);
    let mut marked = writer.answer(libc::SECCOMP_RET_ALLOW);
    for (index, value) in (3..).zip(mark) {
        let comparison = Comparison { code: EQUAL, mask: u32::MAX, value };
        marked = writer.word(offsets(index).0, comparison, marked, program);
    }
    let mut named = program;
    for number in ["sendmsg", "close"].into_iter().filter_map(number) {
        named = writer.branch(EQUAL, number, marked, named);
    }
    let named = writer.load(NUMBER, named);
    let comparison = Comparison { code: EQUAL, mask: u32::MAX, value: native.audit() };
    writer.word(ARCHITECTURE, comparison, named, program);
    let program = writer.finish();
    if program.len() > LIMIT {
        let what = format!("the filter needs {} instructions; the kernel accepts at most {LIMIT}", program.len());
        return Err(Error::refused(Code::SeccompFilterTooLong, AT, what));
    }
    Ok(program)
}
