//! What can be told of a container's namespaces before they are made or joined. Nothing is changed.
//!
//! World: parent. The words are those of the child's faults and of [`super::parent`], so that `check` and `create` say the
//! same.

use std::os::fd::AsFd;
use std::path::Path;

use rustix::io::Errno;

use super::kind::{NamespaceKind, NamespaceSet};
use super::parent::{OpenNamespaces, file, find_helper, map_refused, not_allowed, write_failed};
use super::plan::{Mappings, NamespacePlan};
use crate::error::{Error, Result};
use crate::sys::namespace;
use crate::wire::{Fault, Step};

/// What create would refuse, in its order. `administers`: the caller has CAP_SYS_ADMIN. `may_map`: whether newuidmap or
/// newgidmap permits the caller a map of `uid_map` or `gid_map` from an id of the host on, of so many ids.
#[must_use]
pub fn check(
    plan: &NamespacePlan,
    opened: &OpenNamespaces,
    administers: bool,
    may_map: &dyn Fn(&str, u64, u64) -> bool,
) -> Vec<Error> {
    let mut errors: Vec<Error> = Vec::new();
    let faults = joins(opened).into_iter().chain(clone(plan, administers));
    errors.extend(faults.filter_map(|fault| plan.explain(&fault)));
    errors.extend(plan.mappings.iter().flat_map(|mappings| maps(mappings, may_map)));
    errors.extend(sysctls(plan).into_iter().filter_map(|fault| plan.explain(&fault)));
    errors
}

/// setns(2) checks the kind.
fn joins(opened: &OpenNamespaces) -> Vec<Fault> {
    let other = |kind: NamespaceKind, found: std::result::Result<NamespaceSet, Errno>| {
        found.map_or(true, |found| found != kind.into())
    };
    let wrong = opened.join.iter().filter(|joined| other(joined.kind, namespace::kind(joined.fd.as_fd())));
    wrong.map(|joined| Fault::new(Step::JoinNamespace, joined.index, Errno::INVAL)).collect()
}

/// Source: user_namespaces(7), namespaces(7); the settings of mainline and of Debian. What AppArmor decides for a program
/// by its profile is not known here.
fn clone(plan: &NamespacePlan, administers: bool) -> Option<Fault> {
    let fault = |errno| Some(Fault::new(Step::Clone, 0, errno));
    let number = |path: &str| std::fs::read_to_string(path).ok().and_then(|text| text.trim().parse::<u64>().ok());
    const KINDS: [(NamespaceKind, &str); 8] = [
        (NamespaceKind::User, "user"),
        (NamespaceKind::Mount, "mnt"),
        (NamespaceKind::Pid, "pid"),
        (NamespaceKind::Network, "net"),
        (NamespaceKind::Ipc, "ipc"),
        (NamespaceKind::Uts, "uts"),
        (NamespaceKind::Cgroup, "cgroup"),
        (NamespaceKind::Time, "time"),
    ];
    let new = || KINDS.iter().filter(|(kind, _)| plan.is_new(*kind));
    if new().any(|(kind, _)| !Path::new("/proc/self/ns").join(file(*kind)).exists()) {
        return fault(Errno::INVAL);
    }
    let user = plan.is_new(NamespaceKind::User);
    if user && !administers && number("/proc/sys/kernel/unprivileged_userns_clone") == Some(0) {
        return fault(Errno::PERM);
    }
    if new().any(|(_, name)| number(&format!("/proc/sys/user/max_{name}_namespaces")) == Some(0)) {
        return fault(Errno::NOSPC);
    }
    None
}

/// The rules of user_namespaces(7) for a map that do not depend on its writer, and those of the helpers.
fn maps(mappings: &Mappings, may_map: &dyn Fn(&str, u64, u64) -> bool) -> Vec<Error> {
    let mut errors = Vec::new();
    for (file, text, by_helper, at) in [
        ("gid_map", &mappings.gid, mappings.gid_by_helper, "linux.gidMappings"),
        ("uid_map", &mappings.uid, mappings.uid_by_helper, "linux.uidMappings"),
    ] {
        let checked = if by_helper { map_by_helper(file, text, may_map) } else { map(file, text) };
        errors.extend(checked.err().map(|error| error.at(at)));
    }
    if !lines(&mappings.uid).any(|[inside, _, count]| inside == 0 && count > 0) {
        let plan = NamespacePlan::default();
        errors.extend(plan.explain(&Fault::new(Step::BecomeRoot, 0, Errno::INVAL)));
    }
    errors
}

fn map_by_helper(file: &str, text: &str, may_map: &dyn Fn(&str, u64, u64) -> bool) -> Result<()> {
    find_helper(file)?;
    match lines(text).find(|[_, outside, count]| !may_map(file, *outside, *count)) {
        Some(line) => Err(not_allowed(file, line)),
        None if overlaps(text) => Err(write_failed(file)),
        None => Ok(()),
    }
}

fn map(file: &str, text: &str) -> Result<()> {
    if !overlaps(text) {
        return Ok(());
    }
    let path = format!("/proc/PID/{file}");
    Err(map_refused(&path, text, Error::system(format!("write {path}"), Errno::INVAL)))
}

/// Whether an id stands in two lines, on either side.
fn overlaps(text: &str) -> bool {
    let lines: Vec<_> = lines(text).collect();
    let overlap = |one: &[u64; 3], other: &[u64; 3], side: usize| {
        one[side] < other[side] + other[2] && other[side] < one[side] + one[2]
    };
    let clash = |(at, one): (usize, &[u64; 3])| {
        lines[..at].iter().any(|other| overlap(one, other, 0) || overlap(one, other, 1))
    };
    lines.iter().enumerate().any(clash)
}

/// Inside, outside, count.
fn lines(text: &str) -> impl Iterator<Item = [u64; 3]> {
    text.lines().filter_map(|line| {
        let mut numbers = line.split_whitespace().map_while(|word| word.parse().ok());
        Some([numbers.next()?, numbers.next()?, numbers.next()?])
    })
}

/// A new namespace has the sysctls of the caller's, but for those of network devices, which come and go.
fn sysctls(plan: &NamespacePlan) -> Vec<Fault> {
    let per_device = |path: &str| ["/conf/", "/neigh/"].iter().any(|part| path.contains(part));
    let mut faults = Vec::new();
    for (number, sysctl) in plan.sysctls.iter().enumerate() {
        let path = sysctl.path.to_string_lossy();
        if plan.is_new(sysctl.kind) && !per_device(&path) && !Path::new("/proc").join(&*path).exists() {
            faults.push(Fault::new(Step::Sysctl, number, Errno::NOENT));
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(uid: &str) -> Vec<String> {
        let mappings = Mappings {
            uid: uid.to_owned(),
            gid: "0 0 1\n".to_owned(),
            uid_by_helper: false,
            gid_by_helper: false,
            deny_set_groups: false,
        };
        maps(&mappings, &|_, _, _| true).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn maps_that_the_kernel_refuses() {
        assert_eq!(told("0 1000 1\n1 100000 65536\n"), [""; 0]);
        for text in ["0 0 10\n5 100 10\n", "0 0 10\n10 9 1\n"] {
            let told = told(text);
            assert!(told[0].starts_with("linux.uidMappings: write /proc/PID/uid_map: invalid argument; "), "{told:?}");
        }
        assert_eq!(
            told("1 100000 10\n"),
            [
                "linux.uidMappings: become root of the user namespace: invalid argument; id 0 of the container must be mapped"
            ]
        );
    }
}
