//! Where a container's cgroup can be: below one of threads, below one with processes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use serde_json::json;

use crate::bundle::{Bundle, is_tare, reap};

/// A cgroup of the test's own, removed with what is in it.
struct Above(PathBuf);

impl Above {
    fn new(bundle: &Bundle) -> Self {
        let path = Path::new("/sys/fs/cgroup").join(format!("{}-above", bundle.name));
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn write(&self, file: &str, value: &str) {
        fs::write(self.0.join(file), value).unwrap();
    }

    fn read(&self, file: &str) -> String {
        fs::read_to_string(self.0.join(file)).unwrap().trim().to_string()
    }

    /// The cgroupsPath of a cgroup below.
    fn below(&self, name: &str) -> String {
        format!("/{}/{name}", self.0.file_name().unwrap().to_str().unwrap())
    }
}

impl Drop for Above {
    fn drop(&mut self) {
        let _gone = fs::write(self.0.join("cgroup.kill"), "1");
        for name in ["threads/a/box", "threads/a", "threads/box", "threads", "box", ""] {
            let _absent = fs::remove_dir(self.0.join(name));
        }
    }
}

struct Sleeper(Child);

impl Sleeper {
    fn in_cgroup(above: &Above) -> Self {
        let child = Command::new("sleep").arg("1000").spawn().unwrap();
        above.write("cgroup.procs", &child.id().to_string());
        Self(child)
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        let _dead = self.0.kill();
        let _dead = self.0.wait();
    }
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn a_container_runs_below_a_threaded_cgroup() {
    let mut bundle = Bundle::script("sleep 1000 & echo up > /tmp/up; wait");
    if !is_tare() {
        return eprintln!("skipped: runc does not handle threaded cgroups");
    }
    let above = Above::new(&bundle);
    fs::create_dir(above.0.join("threads")).unwrap();
    above.write("threads/cgroup.type", "threaded");
    // With and without a level in between; beside the cgroup of threads, too.
    for place in ["threads/box", "threads/a/box", "box"] {
        bundle.set("/linux/cgroupsPath", json!(above.below(place)));
        bundle.begin();
        bundle.wait_file("tmp/up");
        assert_eq!(above.read(&format!("{place}/cgroup.type")), "threaded");
        assert_eq!(bundle.exec("echo in").good(), "in\n");
        let pids = bundle.tare(&["ps", "--format", "json", &bundle.id]).good();
        assert_eq!(pids.split(',').count(), 2, "{pids}");
        bundle.on("pause").silent();
        assert_eq!(bundle.status(), "paused");
        bundle.on("resume").silent();
        let pid = bundle.pid();
        bundle.tare(&["kill", "--all", &bundle.id, "KILL"]).silent();
        assert_eq!(reap(pid), 137);
        bundle.on("delete").silent();
        assert!(!above.0.join(place).exists());
        fs::remove_file(bundle.file("rootfs/tmp/up")).unwrap();
    }
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn limits_of_memory_or_pages_are_refused_below_threads() {
    let mut bundle = Bundle::script("true");
    if !is_tare() {
        return eprintln!("skipped: the texts are tare's");
    }
    let above = Above::new(&bundle);
    fs::create_dir(above.0.join("threads")).unwrap();
    above.write("threads/cgroup.type", "threaded");
    bundle.set("/linux/cgroupsPath", json!(above.below("threads/box")));
    bundle.set("/linux/resources", json!({ "hugepageLimits": [{ "pageSize": "2MB", "limit": 0 }] }));
    let line = bundle.create().refused();
    let expected = format!(
        "linux.resources.hugepageLimits[0].limit: enable the hugetlb controller below cgroup {}: operation not \
         supported; that cgroup is threaded, and this controller does not support threads",
        above.below("").trim_end_matches('/')
    );
    assert_eq!(line, expected);
    bundle.assert_nothing_left();
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn a_cgroup_has_processes_or_delegates_controllers() {
    let mut bundle = Bundle::script("sleep 1000");
    if !is_tare() {
        return eprintln!("skipped: the texts are tare's");
    }
    let above = Above::new(&bundle);
    let sleeper = Sleeper::in_cgroup(&above);
    bundle.set("/linux/cgroupsPath", json!(above.below("box")));
    let limit = json!({ "hugepageLimits": [{ "pageSize": "2MB", "limit": 0 }] });
    bundle.set("/linux/resources", limit.clone());
    let line = bundle.create().refused();
    let expected = format!(
        "linux.resources.hugepageLimits[0].limit: enable the hugetlb controller below cgroup {}: device or resource \
         busy; that cgroup contains processes, and the kernel does not let it have controllers for its children then; move them to a child cgroup, or choose another parent with linux.cgroupsPath",
        above.below("").trim_end_matches('/')
    );
    assert_eq!(line, expected);
    // Without a limit no controller is needed, and the cgroup above stays what it was.
    bundle.set("/linux/resources", json!({}));
    bundle.create().silent();
    assert_eq!(above.read("cgroup.type"), "domain");
    let file = bundle.file("resources.json");
    fs::write(&file, limit.to_string()).unwrap();
    let line = bundle.tare(&["update", "-r", "resources.json", &bundle.id]).refused();
    assert_eq!(line, expected);
    // Nobody is in the way any more: the update has it handed on.
    drop(sleeper);
    bundle.tare(&["update", "-r", "resources.json", &bundle.id]).silent();
    assert_eq!(above.read("box/hugetlb.2MB.max"), "0");
    bundle.tare(&["delete", "--force", &bundle.id]).silent();
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn without_a_cgroup_the_callers_tree_is_shown() {
    let mut bundle = Bundle::script("ls -d /sys/fs/cgroup/cgroup.controllers; stat -f -c %T /sys/fs/cgroup");
    if !is_tare() {
        return eprintln!("skipped: runc has no --cgroup-manager disabled");
    }
    bundle.without_namespace("cgroup");
    let mut mounts = bundle.config["mounts"].as_array().unwrap().clone();
    mounts.retain(|mount| !mount["destination"].as_str().unwrap().starts_with("/sys"));
    mounts.push(json!({ "destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["ro"] }));
    bundle.set("/mounts", json!(mounts));
    bundle.write();
    let text = bundle.tare(&["--cgroup-manager=disabled", "run", &bundle.id]).good();
    assert!(text.starts_with("/sys/fs/cgroup/cgroup.controllers\n"), "{text}");
    assert!(!bundle.cgroup().exists());
}
