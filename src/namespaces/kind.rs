//! World: plan. The kinds of namespaces: the names of the specification and the set that the kernel takes.

use oci_spec::runtime::LinuxNamespaceType;

pub use crate::sys::namespace::NamespaceSet;

/// The kind of a namespace, as the config has it.
pub type NamespaceKind = LinuxNamespaceType;

impl From<NamespaceKind> for NamespaceSet {
    fn from(kind: NamespaceKind) -> Self {
        match kind {
            NamespaceKind::Mount => Self::MOUNT,
            NamespaceKind::Cgroup => Self::CGROUP,
            NamespaceKind::Uts => Self::UTS,
            NamespaceKind::Ipc => Self::IPC,
            NamespaceKind::User => Self::USER,
            NamespaceKind::Pid => Self::PID,
            NamespaceKind::Network => Self::NETWORK,
            NamespaceKind::Time => Self::TIME,
        }
    }
}

/// The word of the spec for a kind.
#[must_use]
pub fn word(kind: NamespaceKind) -> &'static str {
    match kind {
        NamespaceKind::Mount => "mount",
        NamespaceKind::Cgroup => "cgroup",
        NamespaceKind::Uts => "uts",
        NamespaceKind::Ipc => "ipc",
        NamespaceKind::User => "user",
        NamespaceKind::Pid => "pid",
        NamespaceKind::Network => "network",
        NamespaceKind::Time => "time",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_are_the_numbers_of_the_kernel() {
        let all = [
            (NamespaceKind::Time, libc::CLONE_NEWTIME),
            (NamespaceKind::Mount, libc::CLONE_NEWNS),
            (NamespaceKind::Cgroup, libc::CLONE_NEWCGROUP),
            (NamespaceKind::Uts, libc::CLONE_NEWUTS),
            (NamespaceKind::Ipc, libc::CLONE_NEWIPC),
            (NamespaceKind::User, libc::CLONE_NEWUSER),
            (NamespaceKind::Pid, libc::CLONE_NEWPID),
            (NamespaceKind::Network, libc::CLONE_NEWNET),
        ];
        for (kind, number) in all {
            assert_eq!(NamespaceSet::from(kind).bits(), u64::from(number.cast_unsigned()), "{}", word(kind));
        }
        assert_eq!(NamespaceSet::all().iter().count(), all.len());
    }
}
