//! User namespaces: whether the caller may make one, and which ids it may map there.
//!
//! World: parent.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use serde_json::{Value, json};

use super::{Answer, Asker, Impossible, refused, text};
use crate::host::{Host, Range};
use crate::sys::clone::in_intermediate;
use crate::sys::namespace::{NamespaceSet, unshare};

/// Whether a helper is there, and has the privileges that it needs.
#[derive(Debug)]
struct Helper {
    name: &'static str,
    path: Option<PathBuf>,
    privileged: bool,
}

/// What user namespaces are like for this caller.
#[derive(Debug)]
pub(super) struct Users {
    /// A user namespace, and in it another namespace, which takes a capability there.
    allowed: Answer,
    most: Option<u64>,
    /// The setting of Debian.
    unprivileged: Option<bool>,
    /// The setting of Ubuntu.
    restricted: Option<bool>,
    helpers: [Helper; 2],
    /// How many user and group ids are the caller's besides its own.
    subordinate: [u64; 2],
}

impl Users {
    pub(super) fn ask(host: &Host) -> Self {
        let number = |path: &str| text(path).and_then(|text| text.parse::<u64>().ok());
        let flag = |path: &str| number(path).map(|value| value != 0);
        let count = |ranges: &Vec<Range>| ranges.iter().map(|range| u64::from(range.count)).sum();
        Self {
            allowed: create(),
            most: number("/proc/sys/user/max_user_namespaces"),
            unprivileged: flag("/proc/sys/kernel/unprivileged_userns_clone"),
            restricted: flag("/proc/sys/kernel/apparmor_restrict_unprivileged_userns"),
            helpers: ["newuidmap", "newgidmap"].map(find),
            subordinate: host.subordinate_ids().each_ref().map(count),
        }
    }

    pub(super) fn report(&self) -> Value {
        let [uid, gid] = self.subordinate;
        json!({
            "allowed": self.allowed.is_ok(),
            "most": self.most,
            "unprivileged": self.unprivileged,
            "restrictedByAppArmor": self.restricted,
            "newuidmap": self.helpers[0].path,
            "newgidmap": self.helpers[1].path,
            "subordinateUids": uid,
            "subordinateGids": gid,
        })
    }

    pub(super) fn impossible(&self, asker: Asker) -> Vec<Impossible> {
        let mut list = Vec::new();
        if let Err(errno) = self.allowed {
            let what = if asker.rootless { "containers without root" } else { "user namespaces" };
            list.push(Impossible::new(what, refused("create a user namespace", errno), self.remedy(errno)));
        }
        if asker.rootless {
            list.extend(self.without_ids(asker));
        }
        list
    }

    /// How the caller may get a user namespace: the settings that are in the way, if it is one of them.
    fn remedy(&self, errno: Errno) -> &'static str {
        match (self.most, self.unprivileged, self.restricted) {
            (Some(0), ..) => "sysctl -w user.max_user_namespaces=15000",
            (_, Some(false), _) => "sysctl -w kernel.unprivileged_userns_clone=1",
            (.., Some(true)) => {
                "give tare an AppArmor profile with `userns,`, or sysctl -w \
                 kernel.apparmor_restrict_unprivileged_userns=0"
            }
            _ if errno == Errno::ACCESS => {
                "run tare without the AppArmor or SELinux profile that it is under (Docker: --security-opt \
                 apparmor=unconfined or label=disable)"
            }
            _ if errno == Errno::NOSPC => "raise the sysctl user.max_user_namespaces",
            _ if errno == Errno::INVAL => "use a kernel with CONFIG_USER_NS",
            _ => "run tare where neither a seccomp filter, a security module nor a chroot denies it",
        }
    }

    /// Ids other than the caller's own.
    fn without_ids(&self, asker: Asker) -> Option<Impossible> {
        let what = "mapping ids other than the caller's own";
        for helper in &self.helpers {
            let Some(path) = &helper.path else {
                let why = format!("{} is not installed", helper.name);
                return Some(Impossible::new(what, why, "install the package uidmap or shadow-utils"));
            };
            if !helper.privileged {
                let why = format!("{} is neither set-user-ID root nor has capabilities", path.display());
                return Some(Impossible::new(what, why, format!("chmod u+s {}", path.display())));
            }
        }
        self.subordinate.contains(&0).then(|| {
            let why = format!("/etc/subuid and /etc/subgid give no ids to the user {}", asker.uid);
            Impossible::new(what, why, "usermod --add-subuids 100000-165535 --add-subgids 100000-165535 USER")
        })
    }
}

/// In a child of its own, which takes both namespaces with it when it ends.
fn create() -> Answer {
    let both = || unshare(NamespaceSet::USER).and_then(|()| unshare(NamespaceSet::UTS));
    in_intermediate(true, both)?.ok_or(Errno::SRCH)?
}

fn find(name: &'static str) -> Helper {
    let path = crate::namespaces::parent::helper(name);
    let privileged = path.as_deref().is_some_and(is_privileged);
    Helper { name, path, privileged }
}

fn is_privileged(path: &Path) -> bool {
    const SET_USER_ID: u32 = 0o4000;
    let set_user_id = std::fs::metadata(path).is_ok_and(|facts| facts.uid() == 0 && facts.mode() & SET_USER_ID != 0);
    set_user_id || rustix::fs::getxattr(path, c"security.capability", &mut [0_u8; 64]).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const USER: Asker = Asker { uid: 1000, rootless: true };
    const ROOT: Asker = Asker { uid: 0, rootless: false };

    fn able() -> Users {
        let helper = |name| Helper { name, path: Some(Path::new("/usr/bin").join(name)), privileged: true };
        Users {
            allowed: Ok(()),
            most: Some(9),
            unprivileged: None,
            restricted: None,
            helpers: [helper("newuidmap"), helper("newgidmap")],
            subordinate: [65536, 65536],
        }
    }

    #[test]
    fn each_setting_that_forbids_user_namespaces_has_its_remedy() {
        assert_eq!(able().impossible(USER), []);
        let denied = |errno, users: Users| Users { allowed: Err(errno), ..users }.impossible(USER).remove(0).remedy;
        assert!(denied(Errno::NOSPC, Users { most: Some(0), ..able() }).contains("user.max_user_namespaces=15000"));
        assert!(denied(Errno::NOSPC, able()).contains("raise the sysctl"));
        let debian = Users { unprivileged: Some(false), ..able() };
        assert!(denied(Errno::PERM, debian).contains("kernel.unprivileged_userns_clone=1"));
        let ubuntu = Users { restricted: Some(true), ..able() };
        assert!(denied(Errno::PERM, ubuntu).contains("AppArmor profile"));
        assert!(denied(Errno::PERM, able()).contains("seccomp filter"));
        assert!(denied(Errno::INVAL, able()).contains("CONFIG_USER_NS"));
        assert!(denied(Errno::ACCESS, able()).contains("apparmor=unconfined"));
        let one = Users { allowed: Err(Errno::PERM), ..able() }.impossible(USER).remove(0);
        assert_eq!(
            (&*one.what, &*one.why),
            ("containers without root", "create a user namespace: operation not permitted")
        );
    }

    #[test]
    fn ids_are_for_users_alone() {
        let bare = || Users { subordinate: [0, 65536], ..able() };
        let found = bare().impossible(USER).remove(0);
        assert_eq!(found.why, "/etc/subuid and /etc/subgid give no ids to the user 1000");
        assert_eq!(bare().impossible(ROOT), []);
        let unset = Helper { name: "newuidmap", path: Some("/usr/bin/newuidmap".into()), privileged: false };
        let users = Users { helpers: [unset, able().helpers.into_iter().last().unwrap()], ..able() };
        assert_eq!(users.impossible(USER).remove(0).remedy, "chmod u+s /usr/bin/newuidmap");
        let users = Users { helpers: able().helpers.map(|helper| Helper { path: None, ..helper }), ..able() };
        assert_eq!(users.impossible(USER).remove(0).why, "newuidmap is not installed");
    }
}
