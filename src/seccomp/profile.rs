//! Reads the OCI profile: every value is checked here, and named by its JSON path when it is wrong.
//!
//! World: plan. Promises: what comes out is complete and has no illegal values; nothing after it can fail
//! but for the size of the program. Source: runtime-spec config-linux.md, "Seccomp".

use oci_spec::runtime::{
    LinuxSeccomp, LinuxSeccompAction as Action, LinuxSeccompArg, LinuxSeccompOperator as Operator, LinuxSyscall,
};

use super::abi::Abi;
use crate::error::{Code, Error, Result};

pub(super) const AT: &str = "linux.seccomp";

/// The kernel's MAX_ERRNO: a higher number would be cut to it.
const MAX_ERRNO: u32 = 4095;

/// A checked profile.
pub(super) struct Profile<'a> {
    /// SECCOMP_RET_* with its data, for calls that no rule matches.
    pub default: u32,
    /// The native one first; none twice.
    pub abis: Vec<Abi>,
    /// In the order of the profile.
    pub rules: Vec<Rule<'a>>,
}

/// One element of `syscalls`.
pub(super) struct Rule<'a> {
    pub names: &'a [String],
    /// SECCOMP_RET_* with its data.
    pub action: u32,
    /// The rule matches when all conditions of one of these do; one empty list matches always.
    pub any_of: Vec<Vec<Condition>>,
}

/// A comparison of one argument: `argument & mask` against `value`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Condition {
    /// 0 to 5.
    pub index: u8,
    pub op: Operator,
    /// All ones except for MASKED_EQ.
    pub mask: u64,
    /// Without bits outside of the mask.
    pub value: u64,
}

impl<'a> Profile<'a> {
    pub(super) fn read(seccomp: &'a LinuxSeccomp) -> Result<Self> {
        let default =
            action(seccomp.default_action(), seccomp.default_errno_ret(), || format!("{AT}.defaultErrnoRet"))?;
        let calls = seccomp.syscalls().as_deref().unwrap_or_default();
        let rules = calls.iter().enumerate().map(|(i, call)| rule(i, call)).collect::<Result<_>>()?;
        Ok(Self { default, abis: abis(seccomp)?, rules })
    }
}

/// The native ABI and the listed ones: a profile cannot leave out the native one, as with libseccomp.
fn abis(seccomp: &LinuxSeccomp) -> Result<Vec<Abi>> {
    let mut abis = vec![native()?];
    // One without a table is never met here: all that this machine can run are in the tables.
    for abi in seccomp.architectures().iter().flatten().filter_map(|arch| Abi::of(*arch)) {
        if !abis.contains(&abi) {
            abis.push(abi);
        }
    }
    Ok(abis)
}

/// The ABI of this build.
pub(super) fn native() -> Result<Abi> {
    Abi::NATIVE.ok_or_else(|| {
        Error::refused(
            Code::SeccompArchitectureUnsupported,
            AT,
            "tare has no system call table for the architecture of this machine",
        )
    })
}

fn rule(i: usize, call: &LinuxSyscall) -> Result<Rule<'_>> {
    if call.names().is_empty() {
        return Err(Error::refused(
            Code::SeccompRuleInvalid,
            format!("{AT}.syscalls[{i}].names"),
            "a rule needs the name of a system call",
        ));
    }
    if let Some(j) = call.names().iter().position(String::is_empty) {
        return Err(Error::refused(
            Code::SeccompRuleInvalid,
            format!("{AT}.syscalls[{i}].names[{j}]"),
            "the name of a system call is empty",
        ));
    }
    let action = action(call.action(), call.errno_ret(), || format!("{AT}.syscalls[{i}].errnoRet"))?;
    let args = call.args().as_deref().unwrap_or_default();
    let conditions =
        args.iter().enumerate().map(|(j, arg)| condition(i, j, arg)).collect::<Result<Vec<Condition>>>()?;
    let mut seen = [0_u8; 6];
    for condition in &conditions {
        seen[usize::from(condition.index)] += 1;
    }
    // Conditions on different arguments must all hold; as soon as one argument has two, any of them will do.
    let repeated = seen.iter().any(|count| *count > 1);
    let any_of = if repeated { conditions.into_iter().map(|c| vec![c]).collect() } else { vec![conditions] };
    Ok(Rule { names: call.names(), action, any_of })
}

fn condition(i: usize, j: usize, arg: &LinuxSeccompArg) -> Result<Condition> {
    let index = u8::try_from(arg.index()).ok().filter(|index| *index < 6).ok_or_else(|| {
        Error::refused(
            Code::SeccompRuleInvalid,
            format!("{AT}.syscalls[{i}].args[{j}].index"),
            format!("system calls have the arguments 0 to 5, not {}", arg.index()),
        )
    })?;
    let (mask, value) = match arg.op() {
        Operator::ScmpCmpMaskedEq => (arg.value(), arg.value_two().unwrap_or(0) & arg.value()),
        _ => (u64::MAX, arg.value()),
    };
    Ok(Condition { index, op: arg.op(), mask, value })
}

/// SECCOMP_RET_* with its data; EPERM where the data is optional.
fn action(action: Action, data: Option<u32>, at: impl Fn() -> String) -> Result<u32> {
    let limit = match action {
        Action::ScmpActErrno => MAX_ERRNO,
        Action::ScmpActTrace => libc::SECCOMP_RET_DATA,
        _ if data.is_some() => {
            return Err(Error::refused(Code::SeccompRuleInvalid, at(), format!("{action} takes no error number")));
        }
        _ => 0,
    };
    match data {
        Some(data) if data > limit => Err(Error::refused(
            Code::SeccompRuleInvalid,
            at(),
            format!("{data} is above {limit}, the highest number that {action} takes"),
        )),
        data => Ok(action.as_u32(data)),
    }
}

impl Condition {
    /// Always true, because no bit that the ABI has is looked at.
    pub(super) fn is_trivial(&self, narrow: bool) -> bool {
        let bits = if narrow { u64::from(u32::MAX) } else { u64::MAX };
        self.op == Operator::ScmpCmpMaskedEq && self.mask & bits == 0
    }
}
