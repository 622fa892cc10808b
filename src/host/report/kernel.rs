//! What the kernel can do: system calls, namespaces, security modules, seccomp.
//!
//! World: parent.

use std::path::Path;

use rustix::io::Errno;
use serde_json::{Value, json};

use super::{Answer, Impossible, refused, text, words};
use crate::host::Host;
use crate::host::calls::{self, Denied};
use crate::sys::probe;

/// Names in /proc/self/ns, and in `linux.namespaces`.
const NAMESPACES: [(&str, &str); 8] = [
    ("cgroup", "cgroup"),
    ("ipc", "ipc"),
    ("mnt", "mount"),
    ("net", "network"),
    ("pid", "pid"),
    ("time", "time"),
    ("user", "user"),
    ("uts", "uts"),
];

/// LSM_ID_* of linux/lsm.h, from 100 on.
const MODULES: [&str; 14] = [
    "capability",
    "selinux",
    "smack",
    "tomoyo",
    "apparmor",
    "yama",
    "loadpin",
    "safesetid",
    "lockdown",
    "bpf",
    "landlock",
    "ima",
    "evm",
    "ipe",
];

/// Since Linux 5.19; needs a listener.
const KILLABLE_LISTENER: libc::c_ulong = 1 << 5 | 1 << 3;

const WITHOUT_FILTER: &str =
    "run tare without the seccomp filter that it is under (Docker: --security-opt seccomp=unconfined)";

/// The kernel's answers.
#[derive(Debug)]
pub(super) struct Kernel {
    /// Calls that every container needs.
    denied: Vec<Denied>,
    open_tree_namespace: Answer,
    statmount: Answer,
    exit_code: Result<bool, Errno>,
    namespaces: Vec<&'static str>,
    modules: Option<Vec<String>>,
    apparmor: bool,
    selinux: bool,
    filter: Answer,
    notify: Answer,
    killable: Answer,
    /// The caller is under a seccomp filter, which may hide what the kernel has.
    filtered: bool,
}

impl Kernel {
    pub(super) fn ask(host: &Host) -> Self {
        let has = |(file, _): &&(&str, &str)| Path::new("/proc/self/ns").join(file).exists();
        Self {
            denied: calls::denied(),
            open_tree_namespace: probe::open_tree_namespace(),
            statmount: probe::statmount(),
            exit_code: probe::pidfd_tells_exit_code(),
            namespaces: NAMESPACES.iter().filter(has).map(|(_, name)| *name).collect(),
            modules: modules(),
            apparmor: host.apparmor(),
            selinux: host.selinux(),
            filter: probe::seccomp_action(libc::SECCOMP_RET_ERRNO),
            notify: probe::seccomp_action(libc::SECCOMP_RET_USER_NOTIF),
            killable: probe::seccomp_flags(KILLABLE_LISTENER),
            filtered: probe::is_filtered(),
        }
    }

    pub(super) fn report(&self) -> Value {
        let names = rustix::system::uname();
        let has = |call| self.denied.iter().all(|denied| denied.call != call);
        json!({
            "clone3": has("clone3"),
            "deniedCalls": self.denied.iter().map(|denied| denied.call).collect::<Vec<_>>(),
            "mountSetattr": has("mount_setattr"),
            "pidfd": has("pidfd_open"),
            "release": names.release().to_string_lossy(),
            "machine": names.machine().to_string_lossy(),
            "namespaces": self.namespaces,
            "openTreeNamespace": self.open_tree_namespace.is_ok(),
            "pidfdExitCode": self.exit_code.ok(),
            "statmount": self.statmount.is_ok(),
        })
    }

    pub(super) fn seccomp(&self) -> Value {
        json!({
            "filter": self.filter.is_ok(),
            "actions": words("/proc/sys/kernel/seccomp/actions_avail"),
            "notify": self.notify.is_ok(),
            "killableNotify": self.killable.is_ok(),
        })
    }

    pub(super) fn security_modules(&self) -> Value {
        json!(self.modules)
    }

    pub(super) fn impossible(&self) -> Vec<Impossible> {
        let mut list = Vec::new();
        let mut add = |what: &str, why: String, remedy: &str| list.push(Impossible::new(what, why, remedy));
        // One line for all calls with the same answer.
        let mut answers: Vec<_> = self.denied.iter().map(|denied| denied.errno).collect();
        answers.sort_unstable_by_key(|errno| errno.raw_os_error());
        answers.dedup();
        for errno in answers {
            let alike = self.denied.iter().filter(|denied| denied.errno == errno);
            let names: Vec<_> = alike.map(|denied| format!("{}(2)", denied.call)).collect();
            let remedy = if self.filtered { WITHOUT_FILTER } else { "use Linux 5.14 or later" };
            add("containers", refused(&names.join(", "), errno), remedy);
        }
        let missing = NAMESPACES.iter().filter(|(_, name)| !self.namespaces.contains(name));
        for (file, name) in missing {
            let why = format!("/proc/self/ns has no {file}");
            add(&format!("{name} namespaces"), why, "use a kernel that is built with them (CONFIG_NAMESPACES)");
        }
        if let Err(errno) = self.open_tree_namespace {
            let why = refused("open_tree(2) with OPEN_TREE_NAMESPACE", errno);
            let what = "a mount namespace that starts with the rootfs alone";
            add(what, why, self.remedy(errno, "use Linux 7.0 or later; until then it starts as a copy of the host's"));
        }
        if self.exit_code == Ok(false) {
            let why = "a pidfd does not tell the exit code".to_owned();
            add("exit codes in `events`", why, "use Linux 6.15 or later");
        }
        if !self.apparmor {
            let why = "AppArmor is not enabled".to_owned();
            add("process.apparmorProfile", why, "boot a kernel that has AppArmor, with lsm=...,apparmor");
        }
        if !self.selinux {
            let why = "SELinux is not enabled".to_owned();
            add("process.selinuxLabel", why, "boot a kernel that has SELinux, with lsm=...,selinux, and load a policy");
        }
        self.without_seccomp(&mut add);
        list
    }

    /// How to get a call. Filters answer as a kernel that does not have it, or that it is not permitted.
    fn remedy(&self, errno: Errno, kernel: &'static str) -> &'static str {
        if self.filtered && matches!(errno, Errno::PERM | Errno::NOSYS) {
            return WITHOUT_FILTER;
        }
        kernel
    }

    fn without_seccomp(&self, add: &mut impl FnMut(&str, String, &str)) {
        match (self.filter, self.notify) {
            (Err(errno), _) => {
                let remedy = self.remedy(errno, "use a kernel with CONFIG_SECCOMP_FILTER");
                add("linux.seccomp", refused("seccomp(2)", errno), remedy);
            }
            (Ok(()), Err(errno)) => {
                let why = refused("seccomp(2) with SECCOMP_RET_USER_NOTIF", errno);
                add("linux.seccomp.listenerPath", why, self.remedy(errno, "use Linux 5.14 or later"));
            }
            _ => {}
        }
        if let (Ok(()), Ok(()), Err(errno)) = (self.filter, self.notify, self.killable) {
            let why = refused("seccomp(2) with WAIT_KILLABLE_RECV", errno);
            add("SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV", why, self.remedy(errno, "use Linux 5.19 or later"));
        }
    }
}

/// From the kernel, or before Linux 6.8 from securityfs; none if that is not mounted.
fn modules() -> Option<Vec<String>> {
    let name = |id: &u64| {
        let at = id.checked_sub(100).and_then(|at| usize::try_from(at).ok());
        at.and_then(|at| MODULES.get(at)).map_or_else(|| id.to_string(), |name| (*name).to_owned())
    };
    match probe::security_modules() {
        Ok(ids) => Some(ids.iter().map(name).collect()),
        Err(_) => Some(text("/sys/kernel/security/lsm")?.split(',').map(str::to_owned).collect()),
    }
}
