//! Words for the faults of this room's child, with the value of config.json that each is about.
//!
//! World: plan.

use super::kind::{NamespaceKind, word};
use super::plan::NamespacePlan;
use crate::error::Error;
use crate::wire::{Fault, Step};

impl NamespacePlan {
    /// The error for `fault`; `None` when the step is not one of this room.
    #[must_use]
    pub fn explain(&self, fault: &Fault) -> Option<Error> {
        let error = Error::system(fault.step.name(), fault.errno);
        Some(match fault.step {
            Step::JoinNamespace => self.explain_join(fault),
            Step::Clone => self.explain_clone(error, fault.errno),
            Step::TimeNamespace => error.at("linux.timeOffsets"),
            Step::Loopback if fault.errno == libc::EPERM => error.hint(
                "a new network namespace needs CAP_NET_ADMIN; add it to the outer container, or leave the network \
                 namespace out of linux.namespaces",
            ),
            Step::Hostname => self.explain_name(error, fault.errno).at("hostname"),
            Step::Domainname => self.explain_name(error, fault.errno).at("domainname"),
            Step::BecomeRoot => error.at("linux.uidMappings").hint("id 0 of the container must be mapped"),
            Step::Sysctl => self.explain_sysctl(fault),
            _ => return None,
        })
    }

    fn explain_join(&self, fault: &Fault) -> Error {
        let error = Error::system(fault.step.name(), fault.errno);
        let index = usize::try_from(fault.index).unwrap_or(usize::MAX);
        let Some(join) = self.join.iter().find(|join| join.index == index) else { return error };
        let word = word(join.kind);
        let what = format!("join the {word} namespace {}", join.path.display());
        let error = Error::system(what, fault.errno).at(format!("linux.namespaces[{index}].path"));
        if fault.errno == libc::EINVAL { error.hint(format!("the file is not a {word} namespace")) } else { error }
    }

    /// Source: clone(2), pid_namespaces(7), user_namespaces(7).
    fn explain_clone(&self, error: Error, errno: i32) -> Error {
        let joins_pid = || self.join.iter().any(|join| join.kind == NamespaceKind::Pid);
        match errno {
            libc::ENOMEM if joins_pid() => {
                error.hint("if the first process of the pid namespace to join has ended, no other can be made in there")
            }
            libc::EPERM => error.hint(
                "without CAP_SYS_ADMIN this needs user namespaces, which the host may deny to ordinary users: see \
                 kernel.unprivileged_userns_clone, kernel.apparmor_restrict_unprivileged_userns",
            ),
            // Source: security/apparmor/lsm.c, `apparmor_userns_create`; SELinux's `user_namespace` class.
            libc::EACCES => error.hint(
                "a profile of AppArmor or SELinux denies user namespaces to tare; run the outer container without it \
                 (Docker: --security-opt apparmor=unconfined or label=disable)",
            ),
            libc::ENOSPC => error.hint("there are too many namespaces: see /proc/sys/user/max_*_namespaces"),
            libc::ENOSYS => error.hint(
                "a seccomp profile around tare denies clone3, as Docker's default profile does without CAP_SYS_ADMIN; \
                 run the outer container with --privileged or another profile",
            ),
            _ => error,
        }
    }

    /// The owner of a new UTS namespace may name it: what denies it is a filter.
    fn explain_name(&self, error: Error, errno: i32) -> Error {
        if errno != libc::EPERM || !self.is_new(NamespaceKind::Uts) {
            return error;
        }
        error.hint(
            "a seccomp profile around tare denies it, as Podman's default profile does without CAP_SYS_ADMIN; run the \
             outer container with --security-opt seccomp=unconfined",
        )
    }

    fn explain_sysctl(&self, fault: &Fault) -> Error {
        let sysctl = usize::try_from(fault.index).ok().and_then(|index| self.sysctls.get(index));
        let Some(sysctl) = sysctl else { return Error::system(fault.step.name(), fault.errno) };
        let value = String::from_utf8_lossy(&sysctl.value);
        let error = Error::system(format!("write {value:?}"), fault.errno);
        let error = error.at(format!("linux.sysctl[{:?}]", sysctl.key));
        if fault.errno == libc::ENOENT { error.hint("this kernel has no such sysctl") } else { error }
    }
}

#[cfg(test)]
mod tests {
    use rustix::io::Errno;

    use super::super::plan::Join;
    use super::*;

    #[test]
    fn faults_name_the_value_of_the_config() {
        let join = Join { kind: NamespaceKind::Pid, path: "/x".into(), index: 2 };
        let plan = NamespacePlan { join: vec![join], ..NamespacePlan::default() };
        let shown = |step, index, errno| plan.explain(&Fault::new(step, index, errno)).map(|error| error.to_string());
        assert_eq!(
            shown(Step::JoinNamespace, 2, Errno::INVAL).unwrap(),
            "linux.namespaces[2].path: join the pid namespace /x: invalid argument; the file is not a pid namespace"
        );
        assert_eq!(shown(Step::JoinNamespace, 0, Errno::PERM).unwrap(), "join namespace: operation not permitted");
        assert_eq!(
            shown(Step::Clone, 0, Errno::NOMEM).unwrap(),
            "create the process with clone3: out of memory; if the first process of the pid namespace to join \
             has ended, no other can be made in there"
        );
        assert_eq!(
            shown(Step::Hostname, 0, Errno::PERM).unwrap(),
            "hostname: set the hostname: operation not permitted"
        );
        assert_eq!(shown(Step::Mount, 0, Errno::PERM), None);
    }

    #[test]
    fn what_an_outer_container_denies_is_named() {
        let plan = NamespacePlan { new: NamespaceKind::Uts.into(), ..NamespacePlan::default() };
        let shown = |step, errno| plan.explain(&Fault::new(step, 0, errno)).unwrap().to_string();
        assert!(shown(Step::Hostname, Errno::PERM).contains("--security-opt seccomp=unconfined"));
        assert!(shown(Step::Domainname, Errno::PERM).contains("--security-opt seccomp=unconfined"));
        assert!(shown(Step::Clone, Errno::ACCESS).contains("--security-opt apparmor=unconfined"));
        assert!(shown(Step::Loopback, Errno::PERM).contains("CAP_NET_ADMIN"));
    }
}
