//! What `tare check --plan` says of the configs that engines write, for a fixed host: `tests/data/plans/ENGINE.txt`.
//!
//! A change of a plan shows as a change of these files. `TARE_WRITE_PLANS=1` writes them again.

use std::fs;
use std::path::{Path, PathBuf};

use tare::internals::bundle::parse_new_spec;
use tare::internals::cgroup::{CgroupManager, Hierarchy};
use tare::internals::host::{HostFacts, ProgramFacts};
use tare::internals::namespaces::plan::Caller;
use tare::internals::plan::{Request, plan, summary};

use crate::known::repository;

const CONFIGS: [(&str, &str); 7] = [
    ("docker", "docker-config.json"),
    ("containerd", "corpus/config/cri-container.json"),
    ("podman", "corpus/config/podman.json"),
    ("podman-rootless", "corpus/config/podman-rootless.json"),
    ("crio", "corpus/config/crio.json"),
    ("kubernetes-sandbox", "corpus/config/kubernetes-sandbox.json"),
    ("kubernetes-user-namespace", "corpus/config/kubernetes-user-namespace.json"),
];

/// A host with both security modules, so that every label is accepted.
fn host(rootless: bool) -> HostFacts {
    let id = if rootless { 1000 } else { 0 };
    HostFacts {
        caller: Caller { uid: id, gid: id, sets_uids: !rootless, sets_gids: !rootless, administers: !rootless },
        rootless,
        in_user_namespace: false,
        hierarchy: Ok(Hierarchy { root: PathBuf::from("/sys/fs/cgroup"), hybrid: false }),
        own_cgroup: Ok("/user.slice/session.scope".to_owned()),
        control_group: Ok(if rootless {
            "/user.slice/user-1000.slice/user@1000.service".to_owned()
        } else {
            "/".to_owned()
        }),
        cgroup_refusal: Ok(None),
        subordinate_ids: [Vec::new(), Vec::new()],
        resctrl: Ok("/sys/fs/resctrl".to_owned()),
        maps_tty: Ok(true),
        set_groups: Ok(true),
        labels_mounts: true,
        program: Some(ProgramFacts {
            in_user_namespace: false,
            last_capability: 40,
            callers_capabilities: u64::MAX,
            apparmor: true,
            selinux: true,
        }),
    }
}

fn planned(engine: &str, file: &str) -> String {
    let config = fs::read(repository().join("tests/data").join(file)).unwrap();
    let (spec, _) = parse_new_spec(&config).unwrap();
    let rootless = engine.ends_with("rootless");
    let linux = spec.linux().as_ref().unwrap();
    let is_unit = linux.cgroups_path().as_ref().is_some_and(|path| path.to_string_lossy().contains(':'));
    let terminal = spec.process().as_ref().unwrap().terminal() == Some(true);
    let request = Request {
        id: "ID",
        bundle: Path::new("/bundle"),
        console_socket: terminal.then_some(Path::new("/run/console.sock")),
        detach: true,
        no_pivot: false,
        new_keyring: true,
        preserve_fds: 0,
        cgroup: if is_unit { CgroupManager::Systemd } else { CgroupManager::File },
        rootless: Some(rootless),
    };
    let plan = plan(&spec, &request, &host(rootless)).unwrap_or_else(|error| panic!("{engine}: {error}"));
    let sections = summary(&spec, &plan).sections;
    let section = |name: &str, steps: &[String]| format!("{name}:\n  {}\n", steps.join("\n  "));
    sections.iter().map(|one| section(one.name, &one.steps)).collect()
}

#[test]
fn the_plans_for_engines_are_the_written_ones() {
    let mut differ = Vec::new();
    for (engine, file) in CONFIGS {
        let path = repository().join(format!("tests/data/plans/{engine}.txt"));
        let plan = planned(engine, file);
        if std::env::var_os("TARE_WRITE_PLANS").is_some() {
            fs::write(&path, &plan).unwrap();
        }
        let written = fs::read_to_string(&path).unwrap_or_default();
        let line = plan.lines().zip(written.lines()).find(|(is, was)| is != was);
        if plan != written {
            differ.push(format!("{engine}: {line:?}"));
        }
    }
    assert!(differ.is_empty(), "run with TARE_WRITE_PLANS=1 if that is wanted:\n{}", differ.join("\n"));
}
