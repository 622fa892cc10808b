//! The cgroup room against the kernel: root and cgroup2 on /sys/fs/cgroup are needed (a private
//! mount namespace is best).
#![allow(clippy::unwrap_used, clippy::print_stderr, missing_docs)]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use oci_spec::runtime::Spec;
use serde_json::json;
use tare::error::Result;
use tare::internals::cgroup::{self, Cgroup, CgroupFacts, CgroupPlan, Hierarchy, Identity, Tag};

const LIMIT: Duration = Duration::from_secs(10);

/// A subtree of its own for one test, removed at its end whatever happened.
struct Bed {
    hierarchy: Hierarchy,
    name: String,
    children: Vec<Child>,
}

impl Bed {
    fn new(test: &str) -> Self {
        let hierarchy = cgroup::mount().unwrap();
        assert!(!hierarchy.hybrid, "needs cgroup v2 on /sys/fs/cgroup: use scripts/testing/world");
        Self { hierarchy, name: format!("tare-test-{test}-{}", std::process::id()), children: Vec::new() }
    }

    fn path(&self, below: &str) -> PathBuf {
        self.hierarchy.root.join(&self.name).join(below)
    }

    fn plan(&self, below: &str, resources: serde_json::Value) -> CgroupPlan {
        let path = format!("/{}/{below}", self.name);
        let spec: Spec = serde_json::from_value(
            json!({"ociVersion": "1.3.0", "linux": {"cgroupsPath": path, "resources": resources}}),
        )
        .unwrap();
        let own_path = &cgroup::own_path();
        let facts = CgroupFacts {
            user_namespace: false,
            own_path,
            systemd: None,
            new_cgroup_namespace: false,
            other_ids: false,
        };
        cgroup::plan(&spec, "box", &facts).unwrap()
    }

    fn create(&self, below: &str, resources: serde_json::Value) -> Result<Cgroup> {
        Cgroup::create(&self.plan(below, resources), &self.hierarchy, &tag("/run/tare"))
    }

    /// Runs a shell in the cgroup.
    fn shell(&mut self, below: &str, script: &str) -> &mut Child {
        let procs = self.path(below).join("cgroup.procs");
        let script = format!("echo $$ > {}; echo; {script}", procs.display());
        let mut child = Command::new("sh").args(["-c", &script]).stdout(Stdio::piped()).spawn().unwrap();
        // The first line says that it has moved.
        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut [0]).unwrap();
        self.children.push(child);
        self.children.last_mut().unwrap()
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        if let Ok(Some(top)) = Cgroup::open(&self.hierarchy, &format!("/{}", self.name)) {
            let _ = top.kill_all();
            for child in &mut self.children {
                let _ = child.wait();
            }
            let _ = top.remove();
        }
    }
}

/// That of container "box" below a state root, with the root's identity where it exists.
fn tag(root: &str) -> Tag {
    let root_identity = rustix::fs::stat(root).map_or(Identity { device: 0, inode: 1 }, |root| Identity::of(&root));
    let state_directory = Path::new(root).join("box");
    Tag { owner: 0, id: "box".to_owned(), state_directory, root: Some(root_identity) }
}

fn names_below(path: &Path) -> usize {
    std::fs::read_dir(path).map_or(0, |entries| entries.flatten().filter(|entry| entry.path().is_dir()).count())
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn a_cgroup_is_made_tagged_found_and_removed() {
    let bed = Bed::new("lifecycle");
    let cgroup = bed.create("a/b", json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 4194304}]})).unwrap();
    assert_eq!(std::fs::read_to_string(bed.path("a/b/hugetlb.2MB.max")).unwrap(), "4194304\n");
    assert_eq!(std::fs::read_to_string(bed.path("a/b/hugetlb.2MB.rsvd.max")).unwrap(), "4194304\n");
    let found = Cgroup::open(&bed.hierarchy, cgroup.path()).unwrap().unwrap();
    assert_eq!(found.tag().unwrap(), Some(tag("/run/tare")));
    assert!(!found.populated().unwrap() && !found.frozen().unwrap());
    std::fs::create_dir_all(bed.path("a/b/c/d/e")).unwrap();
    std::fs::create_dir_all(bed.path("a/b/c/f")).unwrap();
    found.remove().unwrap();
    assert!(!bed.path("a/b").exists() && bed.path("a").exists());
    found.remove().unwrap();
    assert!(cgroup.wait_empty(LIMIT).unwrap() && cgroup.processes().unwrap().is_empty());
    assert!(Cgroup::open(&bed.hierarchy, found.path()).unwrap().is_none());
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn a_deep_nest_is_removed() {
    let bed = Bed::new("deep");
    let cgroup = bed.create("deep", json!({})).unwrap();
    let mut directory =
        rustix::fs::open(bed.path("deep"), rustix::fs::OFlags::PATH, rustix::fs::Mode::empty()).unwrap();
    for _ in 0..300 {
        rustix::fs::mkdirat(&directory, "0123456789abcdef", rustix::fs::Mode::from_raw_mode(0o755)).unwrap();
        directory =
            rustix::fs::openat(&directory, "0123456789abcdef", rustix::fs::OFlags::PATH, rustix::fs::Mode::empty())
                .unwrap();
    }
    drop(directory);
    assert!(cgroup.processes().unwrap().is_empty());
    cgroup.remove().unwrap();
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn a_tree_of_processes_is_listed_frozen_signalled_and_killed() {
    let mut bed = Bed::new("kill");
    let cgroup = bed.create("box", json!({})).unwrap();
    std::fs::create_dir(bed.path("box/inner")).unwrap();
    bed.shell("box", "sleep 1000 & sleep 1000 & wait");
    let inner = bed.shell("box/inner", "exec sleep 1000").id();
    assert!(cgroup.populated().unwrap());
    assert!(cgroup.processes().unwrap().contains(&i32::try_from(inner).unwrap()));
    cgroup.freeze(true).unwrap();
    assert!(cgroup.frozen().unwrap());
    cgroup.freeze(false).unwrap();
    assert!(!cgroup.frozen().unwrap());
    cgroup.signal_all(libc::SIGCONT).unwrap();
    assert!(!cgroup.wait_empty(Duration::from_millis(20)).unwrap());
    cgroup.freeze(true).unwrap();
    cgroup.kill_all().unwrap();
    assert!(cgroup.wait_empty(LIMIT).unwrap(), "a frozen cgroup is killed too");
    cgroup.remove().unwrap();
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn every_process_gets_the_signal() {
    let mut bed = Bed::new("signal");
    let cgroup = bed.create("box", json!({})).unwrap();
    bed.shell("box", "sleep 1000 & sleep 1000 & exec sleep 1000");
    cgroup.signal_all(libc::SIGTERM).unwrap();
    assert!(cgroup.wait_empty(LIMIT).unwrap());
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn a_cgroup_in_use_is_refused_and_its_process_lives() {
    let mut bed = Bed::new("in-use");
    std::fs::create_dir_all(bed.path("taken/inner")).unwrap();
    bed.shell("taken/inner", "exec sleep 1000");
    let text = bed.create("taken", json!({})).unwrap_err().to_string();
    assert_eq!(text, format!("linux.cgroupsPath: container's cgroup is not empty: /{}/taken has processes", bed.name));
    assert!(bed.children[0].try_wait().unwrap().is_none());

    std::fs::create_dir(bed.path("cold")).unwrap();
    std::fs::write(bed.path("cold/cgroup.freeze"), "1").unwrap();
    let text = bed.create("cold", json!({})).unwrap_err().to_string();
    assert_eq!(
        text,
        format!("linux.cgroupsPath: container's cgroup unexpectedly frozen: /{}/cold, or a cgroup above it", bed.name)
    );
    bed.create("cold/below", json!({})).unwrap_err();
    assert_eq!(names_below(&bed.path("cold")), 0, "what was made is taken back");
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn a_leftover_is_created_again_but_a_neighbours_cgroup_is_not() {
    let bed = Bed::new("leftover");
    let state = tempfile::tempdir().unwrap();
    let plan = bed.plan("box", json!({}));
    let owner = tag(state.path().to_str().unwrap());
    std::fs::create_dir(&owner.state_directory).unwrap();
    Cgroup::create(&plan, &bed.hierarchy, &owner).unwrap();
    std::fs::write(bed.path("box/cgroup.max.depth"), "3").unwrap();
    let text = Cgroup::create(&plan, &bed.hierarchy, &tag("/other")).unwrap_err().to_string();
    assert!(text.contains("belongs to container \"box\" in "), "{text}");
    Cgroup::create(&plan, &bed.hierarchy, &owner).unwrap();
    assert_eq!(std::fs::read_to_string(bed.path("box/cgroup.max.depth")).unwrap(), "max\n");
    drop(state);
    Cgroup::create(&plan, &bed.hierarchy, &tag("/other")).unwrap();
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn a_limit_that_cannot_be_set_says_why_and_nothing_is_left() {
    let bed = Bed::new("refused");
    let refused = |resources| bed.create("a/b", resources).unwrap_err().to_string();
    assert_eq!(
        refused(json!({"unified": {"nosuch.file": "1"}})),
        "linux.resources.unified[\"nosuch.file\"]: this host's cgroup v2 has no nosuch controller"
    );
    assert_eq!(
        refused(json!({"unified": {"hugetlb.3MB.max": "1"}})),
        "linux.resources.unified[\"hugetlb.3MB.max\"]: the hugetlb controller of this kernel has no file hugetlb.3MB.max"
    );
    assert_eq!(
        refused(json!({"unified": {"hugetlb.2MB.max": "many"}})),
        "linux.resources.unified[\"hugetlb.2MB.max\"]: write \"many\" to hugetlb.2MB.max: invalid argument"
    );
    assert!(!bed.path("").exists());
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn a_hybrid_host_runs_without_limits_and_says_which_controller_is_elsewhere() {
    let mut bed = Bed::new("hybrid");
    if std::fs::read_to_string("/sys/fs/cgroup/cgroup.controllers").unwrap().contains("memory") {
        eprintln!("skipped: the memory controller is not bound to v1 here");
        return;
    }
    bed.hierarchy.hybrid = true;
    assert_eq!(
        bed.create("box", json!({"memory": {"limit": 1_000_000}})).unwrap_err().to_string(),
        "linux.resources.memory.limit: the memory controller is bound to cgroup v1 on this hybrid host, and tare sets \
         limits in v2; boot with systemd.unified_cgroup_hierarchy=1, or leave the limit out"
    );
    bed.create("box", json!({"memory": {"limit": -1}, "pids": {"limit": -1}, "cpu": {"shares": 0}})).unwrap();
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn every_new_level_can_be_read_whatever_the_umask() {
    let bed = Bed::new("umask");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // From here on the umask is this thread's alone.
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_FS).unwrap();
            nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_retain(0o077));
            bed.create("a/b", json!({})).unwrap();
        });
    });
    for level in ["", "a", "a/b"] {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(std::fs::metadata(bed.path(level)).unwrap().permissions().mode() & 0o777, 0o755, "{level}");
    }
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn no_internal_processes_is_explained() {
    let mut bed = Bed::new("internal");
    std::fs::create_dir(bed.path("")).unwrap();
    bed.shell("", "exec sleep 1000");
    let text = bed.create("box", json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 0}]})).unwrap_err().to_string();
    let expected = format!(
        "linux.resources.hugepageLimits[0].limit: enable the hugetlb controller below cgroup /{}: device or resource busy; \
         that cgroup contains processes, and the kernel does not let it have controllers for its children then; move them to a child cgroup, or choose another parent with linux.cgroupsPath",
        bed.name
    );
    assert_eq!(text, expected);
    bed.create("box", json!({})).unwrap();
}

/// Whether the device can be opened from inside: EPERM is the device program's answer.
fn can_open(bed: &mut Bed, below: &str, node: &Path) -> bool {
    let script = format!("if (: < {0}) 2>&1 | grep -q 'not permitted'; then exit 1; fi", node.display());
    bed.shell(below, &script).wait().unwrap().success()
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn device_nodes_can_be_made_but_opened_only_by_rule() {
    let mut bed = Bed::new("devices");
    let directory = tempfile::tempdir_in("/run").or_else(|_| tempfile::tempdir()).unwrap();
    let node = |name: &str, major, minor| {
        let path = directory.path().join(name);
        let device = rustix::fs::makedev(major, minor);
        let mode = rustix::fs::Mode::from_raw_mode(0o666);
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::CharacterDevice, mode, device).unwrap();
        path
    };
    let (null, fuse, snapshot) = (node("null", 1, 3), node("fuse", 10, 229), node("snapshot", 10, 231));
    let deny = json!({"allow": false, "access": "rwm"});
    let allow_fuse = json!({"allow": true, "type": "c", "major": 10, "minor": 229, "access": "rw"});
    bed.create("strict", json!({"devices": [deny]})).unwrap();
    bed.create("fuse", json!({"devices": [deny, allow_fuse]})).unwrap();
    bed.create("free", json!({"devices": [deny, {"allow": true, "type": "a", "access": "rwm"}]})).unwrap();
    let mut opens = |below: &str| [&null, &fuse, &snapshot].map(|node| can_open(&mut bed, below, node));
    assert_eq!(opens("strict"), [true, false, false]);
    assert_eq!(opens("fuse"), [true, true, false]);
    assert_eq!(opens("free"), [true, true, true]);
    let made = directory.path().join("made");
    let script = format!("mknod {} c 10 229", made.display());
    assert!(bed.shell("strict", &script).wait().unwrap().success() && made.exists());
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn statistics_and_death_facts_come_with_what_is_there() {
    let mut bed = Bed::new("stats");
    let cgroup = bed.create("box", json!({})).unwrap();
    bed.shell("box", "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done").wait().unwrap();
    let stats = cgroup.stats().unwrap();
    assert!(stats.cpu.usage.total > 0 && stats.cpu.usage.total >= stats.cpu.usage.user, "{stats:?}");
    assert!(stats.hugetlb.contains_key("2MB"), "{stats:?}");
    let facts = cgroup.death_facts().unwrap();
    assert_eq!((facts.oom_kills, facts.refused_forks), (0, 0));
}
