//! Capability sets as bit masks.
//!
//! World: plan (pure). What the kernel would refuse later is refused here with its JSON path, except for
//! ambient capabilities that are not permitted and inheritable: `runc spec` itself writes those, and runc
//! goes on without them; so does tare, and says so.

use std::collections::HashSet;

use caps::Capability as Number;
use oci_spec::runtime::{Capability, LinuxCapabilities, Process};

use super::ProcessFacts;
use super::plan::path;
use crate::error::{Code, Error, Result, nearest};

/// CAP_SYS_ADMIN, which installs a seccomp filter where no_new_privs is unset.
pub const SYS_ADMIN: u64 = 1 << Number::CAP_SYS_ADMIN as u8;

/// The five sets; bit number = capability number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Masks {
    /// Upper bound of what executing a file can give.
    pub bounding: u64,
    /// What the kernel checks.
    pub effective: u64,
    /// What survives the execution of a file that has it in its own inheritable set.
    pub inheritable: u64,
    /// What may be made effective.
    pub permitted: u64,
    /// What survives the execution of an ordinary file.
    pub ambient: u64,
}

/// The masks; without `capabilities` a process has none at all, as with runc and crun.
///
/// # Errors
/// effective beyond permitted, inheritable beyond bounding.
pub(super) fn plan(
    sets: Option<&LinuxCapabilities>,
    facts: &ProcessFacts<'_>,
    warnings: &mut Vec<String>,
) -> Result<Masks> {
    let Some(sets) = sets else { return Ok(Masks::default()) };
    let known = u64::MAX >> (63 - u32::from(facts.last_capability.min(63)));
    let mut unavailable = 0;
    let mut mask = |set: &Option<HashSet<Capability>>| {
        let mask = mask(set.iter().flatten().copied());
        unavailable |= mask & !known;
        mask & known
    };
    let mut masks = Masks {
        bounding: mask(sets.bounding()),
        effective: mask(sets.effective()),
        inheritable: mask(sets.inheritable()),
        permitted: mask(sets.permitted()),
        ambient: mask(sets.ambient()),
    };
    if unavailable != 0 {
        warnings.push(format!("ignoring capabilities that this kernel does not have: {}", names(unavailable)));
    }
    check_subset("effective", masks.effective, "permitted", masks.permitted, facts)?;
    check_subset("inheritable", masks.inheritable, "bounding", masks.bounding, facts)?;
    let raisable = masks.permitted & masks.inheritable;
    if masks.ambient & !raisable != 0 {
        let at = path(facts.at, "capabilities.ambient");
        let dropped = names(masks.ambient & !raisable);
        warnings
            .push(format!("{at}: can't raise ambient capability {dropped}: it must be permitted and inheritable too"));
        masks.ambient &= raisable;
    }
    Ok(masks)
}

/// The kernel refuses (EPERM) what lies outside. Source: capset(2), capabilities(7).
fn check_subset(name: &str, set: u64, outer_name: &str, outer: u64, facts: &ProcessFacts<'_>) -> Result<()> {
    if set & !outer == 0 {
        return Ok(());
    }
    let at = path(facts.at, &format!("capabilities.{name}"));
    Err(Error::refused(Code::CapabilitySetInvalid, at, format!("{} must be in {outer_name}, too", names(set & !outer))))
}

/// What `exec --cap` adds: never to the inheritable set, and to the ambient set only what is inheritable
/// already (attack class of CVE-2022-29162).
pub fn add(process: &mut Process, added: &[Capability]) {
    let sets = process.capabilities().clone();
    let mut sets = sets.unwrap_or_else(|| {
        let mut sets = LinuxCapabilities::default();
        sets.set_bounding(None).set_effective(None).set_inheritable(None).set_permitted(None).set_ambient(None);
        sets
    });
    let with = |set: &Option<HashSet<Capability>>, added: &[Capability]| {
        Some(set.iter().flatten().chain(added).copied().collect::<HashSet<_>>())
    };
    let inheritable = sets.inheritable().clone().unwrap_or_default();
    let raised: Vec<_> = added.iter().copied().filter(|capability| inheritable.contains(capability)).collect();
    let bounding = with(sets.bounding(), added);
    let effective = with(sets.effective(), added);
    let permitted = with(sets.permitted(), added);
    let ambient = with(sets.ambient(), &raised);
    sets.set_bounding(bounding).set_effective(effective).set_permitted(permitted).set_ambient(ambient);
    process.set_capabilities(Some(sets));
}

/// The capability called `name`, in any case, with or without `CAP_`.
///
/// # Errors
/// An unknown name, with the nearest known one.
pub fn parse(name: &str) -> Result<Capability> {
    let upper = name.to_ascii_uppercase();
    let full = if upper.starts_with("CAP_") { upper } else { format!("CAP_{upper}") };
    if let Ok(capability) = serde_json::from_value(serde_json::Value::from(full.as_str())) {
        return Ok(capability);
    }
    let error = Error::new(Code::CapabilityUnknown, format!("unknown capability {name:?}"));
    let known: Vec<String> = caps::all().iter().map(ToString::to_string).collect();
    Err(match nearest(&full, known.iter().map(String::as_str)) {
        Some(near) => error.hint(format!("did you mean {near:?}?")),
        None => error,
    })
}

/// The bits of `capabilities`.
#[must_use]
pub fn mask(capabilities: impl IntoIterator<Item = Capability>) -> u64 {
    capabilities.into_iter().fold(0, |mask, capability| mask | number(capability).bitmask())
}

/// The names of the bits of `mask`, in the order of their numbers.
#[must_use]
pub fn names(mask: u64) -> String {
    let mut known: Vec<Number> = caps::all().into_iter().filter(|known| known.bitmask() & mask != 0).collect();
    known.sort_by_key(Number::index);
    known.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// The kernel's number of a capability of the model.
fn number(capability: Capability) -> Number {
    match capability {
        Capability::AuditControl => Number::CAP_AUDIT_CONTROL,
        Capability::AuditRead => Number::CAP_AUDIT_READ,
        Capability::AuditWrite => Number::CAP_AUDIT_WRITE,
        Capability::BlockSuspend => Number::CAP_BLOCK_SUSPEND,
        Capability::Bpf => Number::CAP_BPF,
        Capability::CheckpointRestore => Number::CAP_CHECKPOINT_RESTORE,
        Capability::Chown => Number::CAP_CHOWN,
        Capability::DacOverride => Number::CAP_DAC_OVERRIDE,
        Capability::DacReadSearch => Number::CAP_DAC_READ_SEARCH,
        Capability::Fowner => Number::CAP_FOWNER,
        Capability::Fsetid => Number::CAP_FSETID,
        Capability::IpcLock => Number::CAP_IPC_LOCK,
        Capability::IpcOwner => Number::CAP_IPC_OWNER,
        Capability::Kill => Number::CAP_KILL,
        Capability::Lease => Number::CAP_LEASE,
        Capability::LinuxImmutable => Number::CAP_LINUX_IMMUTABLE,
        Capability::MacAdmin => Number::CAP_MAC_ADMIN,
        Capability::MacOverride => Number::CAP_MAC_OVERRIDE,
        Capability::Mknod => Number::CAP_MKNOD,
        Capability::NetAdmin => Number::CAP_NET_ADMIN,
        Capability::NetBindService => Number::CAP_NET_BIND_SERVICE,
        Capability::NetBroadcast => Number::CAP_NET_BROADCAST,
        Capability::NetRaw => Number::CAP_NET_RAW,
        Capability::Perfmon => Number::CAP_PERFMON,
        Capability::Setgid => Number::CAP_SETGID,
        Capability::Setfcap => Number::CAP_SETFCAP,
        Capability::Setpcap => Number::CAP_SETPCAP,
        Capability::Setuid => Number::CAP_SETUID,
        Capability::SysAdmin => Number::CAP_SYS_ADMIN,
        Capability::SysBoot => Number::CAP_SYS_BOOT,
        Capability::SysChroot => Number::CAP_SYS_CHROOT,
        Capability::SysModule => Number::CAP_SYS_MODULE,
        Capability::SysNice => Number::CAP_SYS_NICE,
        Capability::SysPacct => Number::CAP_SYS_PACCT,
        Capability::SysPtrace => Number::CAP_SYS_PTRACE,
        Capability::SysRawio => Number::CAP_SYS_RAWIO,
        Capability::SysResource => Number::CAP_SYS_RESOURCE,
        Capability::SysTime => Number::CAP_SYS_TIME,
        Capability::SysTtyConfig => Number::CAP_SYS_TTY_CONFIG,
        Capability::Syslog => Number::CAP_SYSLOG,
        Capability::WakeAlarm => Number::CAP_WAKE_ALARM,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::plan::plan;
    use super::super::plan::tests::{FACTS, planned, process, refusal};
    use super::*;

    const KILL: u64 = 1 << 5;
    const BIND: u64 = 1 << 10;

    #[test]
    fn no_capabilities_means_none() {
        assert_eq!(planned(json!({})).capabilities, Masks::default());
    }

    #[test]
    fn sets_become_masks() {
        let all = json!({"capabilities": {
            "bounding": ["CAP_KILL", "CAP_NET_BIND_SERVICE"], "permitted": ["CAP_KILL"],
            "effective": ["kill"], "inheritable": ["CAP_KILL"], "ambient": ["CAP_KILL"]}});
        let expected =
            Masks { bounding: KILL | BIND, permitted: KILL, effective: KILL, inheritable: KILL, ambient: KILL };
        let plan = planned(all);
        assert_eq!(plan.capabilities, expected);
        assert!(plan.warnings.is_empty());
    }

    #[test]
    fn every_capability_has_its_number() {
        for known in caps::all() {
            let capability = parse(&known.to_string()).unwrap();
            assert_eq!(mask([capability]), known.bitmask(), "{known}");
        }
    }

    #[test]
    fn what_the_kernel_would_refuse_is_refused_with_its_path() {
        assert_eq!(
            refusal(json!({"capabilities": {"bounding": ["CAP_KILL"], "effective": ["CAP_KILL"]}})),
            "process.capabilities.effective: CAP_KILL must be in permitted, too"
        );
        assert_eq!(
            refusal(json!({"capabilities": {"inheritable": ["CAP_SYSLOG", "CAP_KILL"]}})),
            "process.capabilities.inheritable: CAP_KILL, CAP_SYSLOG must be in bounding, too"
        );
    }

    #[test]
    fn ambient_without_inheritable_is_left_out_with_a_warning() {
        let set = json!(["CAP_KILL"]);
        let plan = planned(json!({"capabilities": {"bounding": set, "permitted": set, "ambient": set}}));
        assert_eq!(plan.capabilities.ambient, 0);
        assert_eq!(
            plan.warnings,
            [
                "process.capabilities.ambient: can't raise ambient capability CAP_KILL: it must be permitted and inheritable too"
            ]
        );
    }

    #[test]
    fn what_the_kernel_does_not_have_is_left_out_with_a_warning() {
        let set = json!(["CAP_KILL", "CAP_CHECKPOINT_RESTORE"]);
        let facts = ProcessFacts { last_capability: 37, ..FACTS };
        let process = process(json!({"capabilities": {"bounding": set, "permitted": set}}));
        let plan = plan(&process, None, &facts).unwrap();
        assert_eq!((plan.capabilities.bounding, plan.capabilities.permitted), (KILL, KILL));
        assert_eq!(plan.warnings, ["ignoring capabilities that this kernel does not have: CAP_CHECKPOINT_RESTORE"]);
    }

    #[test]
    fn exec_never_adds_to_the_inheritable_set() {
        let mut process = process(json!({"capabilities": {"bounding": ["CAP_KILL"]}}));
        add(&mut process, &[Capability::NetBindService]);
        let masks = plan(&process, None, &FACTS).unwrap().capabilities;
        let expected = Masks { bounding: KILL | BIND, effective: BIND, permitted: BIND, inheritable: 0, ambient: 0 };
        assert_eq!(masks, expected);
    }

    #[test]
    fn exec_adds_to_a_process_without_sets() {
        let mut process = process(json!({}));
        add(&mut process, &[Capability::Kill]);
        let masks = plan(&process, None, &FACTS).unwrap().capabilities;
        assert_eq!(masks, Masks { bounding: KILL, effective: KILL, permitted: KILL, ..Masks::default() });
    }

    #[test]
    fn names_are_parsed_as_people_write_them() {
        assert_eq!(parse("net_raw").unwrap(), Capability::NetRaw);
        assert_eq!(parse("CAP_NET_RAW").unwrap(), Capability::NetRaw);
        assert_eq!(
            parse("CAP_NET_ROW").unwrap_err().to_string(),
            "unknown capability \"CAP_NET_ROW\"; did you mean \"CAP_NET_RAW\"?"
        );
    }
}
