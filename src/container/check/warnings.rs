//! What create does not refuse, but whoever wrote the config may not want.
//!
//! World: plan (pure).

use oci_spec::runtime::Spec;

use super::super::create::prepare::Decided;
use super::warning;
use crate::cgroup::devices::Devices;
use crate::error::{Code, Error};
use crate::namespaces::NamespaceKind;
use crate::plan::ContainerPlan;
use crate::process::capabilities::SYS_ADMIN;
use crate::rootfs::plan::MountKind;

const SYS_PTRACE: u64 = 1 << 19;
const MKNOD: u64 = 1 << 27;

/// Those of create, then those of check alone.
pub(super) fn all(decided: &Decided) -> Vec<Error> {
    let mut lines: Vec<Error> = decided.warnings.iter().map(|line| warning(line)).collect();
    lines.extend(without_effect(&decided.spec, &decided.plan));
    lines.extend(powers_over_the_host(&decided.plan));
    lines
}

fn tell(at: &str, what: &str, hint: &str) -> Error {
    Error::new(Code::ConfigWarning, what).at(at).hint(hint)
}

fn without_effect(spec: &Spec, plan: &ContainerPlan) -> Option<Error> {
    let resources = spec.linux().as_ref().and_then(|linux| linux.resources().as_ref());
    let has_rules = resources.and_then(|resources| resources.devices().as_ref()).is_some_and(|rules| !rules.is_empty());
    let cgroup = plan.cgroup.as_ref();
    let ignored = cgroup.is_none_or(|cgroup| cgroup.devices == Devices::NotEnforcedInUserNamespace);
    (has_rules && ignored).then(|| {
        let what = "device rules have no effect without the host's root";
        tell("linux.resources.devices", what, "the kernel lets this caller's containers make no device nodes")
    })
}

/// What a container can do to its host with the capabilities that it has over it.
fn powers_over_the_host(plan: &ContainerPlan) -> Vec<Error> {
    let Some(program) = &plan.program else { return Vec::new() };
    let masks = &program.process.capabilities;
    let held = masks.bounding | masks.permitted | masks.effective;
    let mut lines = Vec::new();
    if plan.namespaces.has(NamespaceKind::User) || plan.rootfs.user_namespace {
        return lines;
    }
    if held & SYS_ADMIN != 0 && has_writable_sysctls(plan) {
        let what = "CAP_SYS_ADMIN with a writable /proc/sys: the container can change settings of the host";
        lines.push(tell("process.capabilities", what, "add /proc/sys to linux.readonlyPaths"));
    }
    if held & SYS_PTRACE != 0 && !plan.namespaces.has(NamespaceKind::Pid) {
        let what = "CAP_SYS_PTRACE in the host's pid namespace: the container can control every process of the host";
        lines.push(tell("process.capabilities", what, "add {\"type\": \"pid\"} to linux.namespaces"));
    }
    let allows_all = plan.cgroup.as_ref().is_none_or(|cgroup| cgroup.devices == Devices::AllowAll);
    if held & MKNOD != 0 && allows_all {
        let what = "CAP_MKNOD and no device rules: the container can use every device of the host";
        lines.push(tell(
            "linux.resources.devices",
            what,
            "begin the rules with {\"allow\": false, \"access\": \"rwm\"}",
        ));
    }
    lines
}

/// A procfs at /proc that no other path covers or makes read-only.
fn has_writable_sysctls(plan: &ContainerPlan) -> bool {
    let protects = |path: &std::ffi::CString| matches!(path.to_bytes(), b"/proc" | b"/proc/sys");
    let mounted = |at: &[u8]| plan.rootfs.mounts.iter().rfind(|mount| mount.target.to_bytes() == at);
    let is_writable = |kind: &MountKind| match kind {
        MountKind::Filesystem(new) => !new.attributes.set.contains(crate::sys::mount::Attributes::RDONLY),
        MountKind::Bind(_) | MountKind::Remount(_) => false,
    };
    mounted(b"/proc").is_some_and(|mount| mount.is_procfs() && is_writable(&mount.kind))
        && mounted(b"/proc/sys").is_none()
        && !plan.rootfs.readonly_paths.iter().chain(&plan.rootfs.masked_paths).any(protects)
}
