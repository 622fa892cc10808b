//! The cgroup hierarchy, its controllers, and which of them this caller has.
//!
//! World: parent.

use serde_json::{Value, json};

use super::{Asker, Impossible, words};
use crate::cgroup::{self, READ_ONLY, Refusal};
use crate::host::Host;

/// Controllers of limits that engines ask for: in cgroup v2, in cgroup v1, and their option of the kernel's build.
const USUAL: [(&str, &str, &str); 5] = [
    ("cpu", "cpu", "CONFIG_CGROUP_SCHED"),
    ("cpuset", "cpuset", "CONFIG_CPUSETS"),
    ("io", "blkio", "CONFIG_BLK_CGROUP"),
    ("memory", "memory", "CONFIG_MEMCG"),
    ("pids", "pids", "CONFIG_CGROUP_PIDS"),
];

/// What is mounted where, and what of it is the caller's.
#[derive(Debug)]
pub(super) struct Cgroups {
    /// Where cgroup v2 is mounted.
    root: Option<String>,
    hybrid: bool,
    /// Those of cgroup v2 that this kernel has not bound to cgroup v1.
    controllers: Vec<String>,
    /// Those that are bound to cgroup v1.
    bound_to_v1: Vec<String>,
    own: Option<String>,
    /// The cgroup in which tare would make that of a container.
    parent: Option<String>,
    /// The controllers that a container may have there; none if tare cannot make a cgroup.
    delegated: Option<Vec<String>>,
    /// Why it cannot.
    refusal: Option<Refusal>,
    /// The controllers that a container of the systemd driver may have.
    by_systemd: Option<Vec<String>>,
}

impl Cgroups {
    pub(super) fn look(host: &Host, asker: Asker, by_systemd: Option<Vec<String>>) -> Self {
        let hierarchy = host.hierarchy().ok();
        let root = hierarchy.map(|hierarchy| hierarchy.root.display().to_string());
        let read = |path: &str| words(&format!("{}{path}/cgroup.controllers", root.as_deref()?));
        let own = cgroup::own_path();
        let place = cgroup::path::resolve(None, "tare-info", asker.rootless, &own).ok();
        let place = place.map(|parts| format!("/{}", parts.join("/")));
        let refusal = match (hierarchy, &place) {
            (Some(hierarchy), Some(place)) => {
                cgroup::refusal(hierarchy, place).unwrap_or_else(|e| Some(e.to_string().into()))
            }
            _ => Some("it is not mounted".to_owned().into()),
        };
        // The parent `/tare` exists when there are containers only.
        let parent = place.as_deref().and_then(cgroup::above).filter(|_| asker.rootless).unwrap_or("");
        let controllers = read("").unwrap_or_default();
        let delegated = if refusal.is_none() { read(parent) } else { None };
        Self {
            hybrid: hierarchy.is_some_and(|hierarchy| hierarchy.hybrid),
            controllers,
            bound_to_v1: std::fs::read_to_string("/proc/cgroups").map_or_else(|_| Vec::new(), |text| bound(&text)),
            own: own.ok(),
            parent: root.is_some().then(|| if parent.is_empty() { "/".to_owned() } else { parent.to_owned() }),
            delegated,
            refusal,
            by_systemd,
            root,
        }
    }

    fn layout(&self) -> &'static str {
        match (&self.root, self.hybrid, self.bound_to_v1.is_empty()) {
            (Some(_), false, _) => "v2",
            (Some(_), true, _) => "hybrid",
            (None, _, false) => "v1",
            (None, _, true) => "none",
        }
    }

    pub(super) fn report(&self) -> Value {
        json!({
            "layout": self.layout(),
            "v2": self.root,
            "hybrid": self.hybrid,
            "controllers": self.controllers,
            "boundToV1": self.bound_to_v1,
            "own": self.own,
            "parent": self.parent,
            "delegated": self.delegated,
        })
    }

    pub(super) fn impossible(&self, asker: Asker) -> Vec<Impossible> {
        const UNIFIED: &str = "boot with systemd.unified_cgroup_hierarchy=1";
        if self.root.is_none() {
            let why = "cgroup v2 is mounted neither on /sys/fs/cgroup nor on /sys/fs/cgroup/unified";
            let remedy = format!("{UNIFIED}, or use --cgroup-manager disabled");
            return vec![Impossible::new("cgroups", why, remedy)];
        }
        let mut list = Vec::new();
        let absent = USUAL.iter().filter(|(name, ..)| !self.controllers.iter().any(|known| known == name));
        let (bound, unknown): (Vec<_>, Vec<_>) =
            absent.partition(|(_, old, _)| self.bound_to_v1.iter().any(|bound| bound == old));
        if !bound.is_empty() {
            let what = format!("limits of {}", names(&bound));
            list.push(Impossible::new(what, "their controllers are bound to cgroup v1", UNIFIED));
        }
        for (name, _, option) in unknown {
            let remedy = format!("boot without cgroup_disable={name}, or use a kernel with {option}");
            let why = format!("the cgroup v2 of this caller has no controller {name}");
            list.push(Impossible::new(format!("limits of {name}"), why, remedy));
        }
        if let Some(Refusal { why, read_only }) = &self.refusal {
            let remedy = match asker.rootless {
                _ if *read_only => READ_ONLY,
                true if self.by_systemd.is_some() => {
                    "use --systemd-cgroup, or start tare with `systemd-run --user --scope -p Delegate=yes`"
                }
                true => "have a cgroup delegated to this user, as systemd does for logged-in users",
                false => "mount cgroup2 writable",
            };
            list.push(Impossible::new("cgroups that tare makes itself", why, remedy));
        }
        if asker.rootless {
            list.extend(self.not_delegated());
        }
        list
    }

    /// What the hierarchy has and the caller does not get, whoever makes the cgroup.
    fn not_delegated(&self) -> Option<Impossible> {
        let own = self.delegated.iter().flatten().chain(self.by_systemd.iter().flatten());
        let own: Vec<&String> = own.collect();
        let kept: Vec<_> = USUAL
            .iter()
            .filter(|(name, ..)| self.controllers.iter().any(|known| known == name))
            .filter(|(name, ..)| !own.iter().any(|known| known == name))
            .collect();
        let remedy = "set Delegate=cpu cpuset io memory pids in a drop-in of user@.service, and log in again";
        (!kept.is_empty()).then(|| {
            Impossible::new(
                format!("limits of {}", names(&kept)),
                "the controllers are not delegated to this user",
                remedy,
            )
        })
    }
}

fn names(rows: &[&(&str, &str, &str)]) -> String {
    rows.iter().map(|(name, ..)| *name).collect::<Vec<_>>().join(", ")
}

/// The controllers of /proc/cgroups that are in a hierarchy of cgroup v1. Source: cgroups(7).
fn bound(table: &str) -> Vec<String> {
    let controller = |line: &str| {
        let mut fields = line.split_whitespace();
        let name = fields.next().filter(|name| !name.starts_with('#'))?;
        (fields.next()? != "0").then(|| name.to_owned())
    };
    table.lines().filter_map(controller).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const USER: Asker = Asker { uid: 1000, rootless: true };

    fn strings(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    fn unified() -> Cgroups {
        let all = strings(&["cpuset", "cpu", "io", "memory", "pids"]);
        Cgroups {
            root: Some("/sys/fs/cgroup".into()),
            hybrid: false,
            controllers: all.clone(),
            bound_to_v1: Vec::new(),
            own: Some("/a".into()),
            parent: Some("/".into()),
            delegated: Some(all),
            refusal: None,
            by_systemd: None,
        }
    }

    fn lines(cgroups: &Cgroups) -> Vec<String> {
        cgroups.impossible(USER).iter().map(|one| format!("{}: {}; {}", one.what, one.why, one.remedy)).collect()
    }

    #[test]
    fn a_whole_hierarchy_lacks_nothing() {
        assert_eq!((lines(&unified()), unified().layout()), (Vec::new(), "v2"));
    }

    #[test]
    fn controllers_of_v1_and_unknown_ones_are_told_apart() {
        let table = "#subsys_name\thierarchy\tnum_cgroups\tenabled\ncpu\t3\t1\t1\nblkio\t4\t1\t1\nmemory\t0\t1\t1\n";
        assert_eq!(bound(table), ["cpu", "blkio"]);
        let hybrid = Cgroups {
            hybrid: true,
            controllers: strings(&["pids", "cpuset"]),
            bound_to_v1: bound(table),
            delegated: Some(strings(&["pids", "cpuset"])),
            ..unified()
        };
        let expected = [
            "limits of cpu, io: their controllers are bound to cgroup v1; boot with systemd.unified_cgroup_hierarchy=1",
            "limits of memory: the cgroup v2 of this caller has no controller memory; boot without \
             cgroup_disable=memory, or use a kernel with CONFIG_MEMCG",
        ];
        assert_eq!((lines(&hybrid), hybrid.layout()), (strings(&expected), "hybrid"));
        let alone = Cgroups { root: None, ..hybrid };
        assert_eq!((lines(&alone).len(), alone.layout()), (1, "v1"));
    }

    #[test]
    fn a_user_lacks_what_nobody_delegates() {
        let refused =
            Cgroups { delegated: None, refusal: Some("write to /x: permission denied".to_owned().into()), ..unified() };
        let expected = [
            "cgroups that tare makes itself: write to /x: permission denied; have a cgroup delegated to this user, \
             as systemd does for logged-in users",
            "limits of cpu, cpuset, io, memory, pids: the controllers are not delegated to this user; set \
             Delegate=cpu cpuset io memory pids in a drop-in of user@.service, and log in again",
        ];
        assert_eq!(lines(&refused), expected);
        let by_systemd = Cgroups { by_systemd: Some(strings(&["memory", "pids"])), ..refused };
        let found = lines(&by_systemd);
        assert!(found[0].contains("; use --systemd-cgroup, or "), "{found:?}");
        assert!(found[1].starts_with("limits of cpu, cpuset, io: the controllers are not delegated"), "{found:?}");
    }
}
