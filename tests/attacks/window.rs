//! Classes 30, 31: who can look at the process that `run`, `create` or `exec` makes, before it executes its program.
//!
//! A spy in a container looks at all processes that it can see, as fast as it can, and counts what it reached of the
//! host. Each test prints the spy's line: `spy: POSITION: N looks, M hits: KINDS`.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};

use crate::agent::{Agent, Answer};
use crate::bundle::{Bundle, Done, eventually, eventually_within, finish, give, is_tare, reap, runtime};
use crate::programs::bring;
use crate::support::rounds;

/// What Docker gives to a container.
const DOCKER: [&str; 14] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "FSETID",
    "FOWNER",
    "MKNOD",
    "NET_RAW",
    "SETGID",
    "SETUID",
    "SETFCAP",
    "SETPCAP",
    "NET_BIND_SERVICE",
    "SYS_CHROOT",
    "KILL",
    "AUDIT_WRITE",
];

/// The first of the ids that a user namespace maps.
const FIRST: u32 = 100_000;

fn set_capabilities(bundle: &mut Bundle, names: &[&str]) {
    let names: Vec<_> = names.iter().map(|name| format!("CAP_{name}")).collect();
    bundle.set("/process/capabilities", json!({ "bounding": names, "effective": names, "permitted": names }));
}

/// A new user namespace, in which root is an ordinary user of the host.
fn map_ids(bundle: &mut Bundle) {
    let map = json!([{ "containerID": 0, "hostID": FIRST, "size": 65536 }]);
    bundle.set("/linux/namespaces/-", json!({ "type": "user" }));
    bundle.set("/linux/uidMappings", map.clone()).set("/linux/gidMappings", map);
    own_ids(bundle);
}

fn own_ids(bundle: &Bundle) {
    fs::set_permissions(bundle.path(), fs::Permissions::from_mode(0o755)).unwrap();
    give(&bundle.file("rootfs"), FIRST);
}

/// Joins a namespace of a running container.
fn join(bundle: &mut Bundle, kind: &str, other: &Bundle) {
    bundle.without_namespace(kind);
    let file = if kind == "network" { "net" } else { kind };
    bundle.set("/linux/namespaces/-", json!({ "type": kind, "path": format!("/proc/{}/ns/{file}", other.pid()) }));
}

/// Joins the user namespace of a running container with those that belong to it, as the containers of a pod do.
fn join_user(bundle: &mut Bundle, other: &Bundle) {
    ["user", "network", "ipc"].iter().for_each(|kind| join(bundle, kind, other));
    bundle.without_namespace("uts");
    bundle.unset("/hostname");
    own_ids(bundle);
}

/// Two halves that nothing but the spy puts together.
struct Mark([String; 2]);

impl Mark {
    fn new(name: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        Self([format!("spied-{name}-{}", std::process::id()), format!("-by-the-spy-{number}")])
    }

    fn whole(&self) -> String {
        self.0.concat()
    }

    fn halves(&self) -> String {
        self.0.join(",")
    }
}

/// A container with the spy in it, and what it must not reach.
struct Spy {
    bundle: Bundle,
    /// In the environment of the runtime.
    environment: Mark,
    /// In the annotations of what it makes.
    memory: Mark,
    /// One spy at a time: each would see what the others are shown, and the control is open on purpose.
    _alone: MutexGuard<'static, ()>,
}

static ALONE: Mutex<()> = Mutex::new(());

/// What the spy counted.
struct Report {
    line: String,
    /// Different processes that it saw.
    processes: usize,
    text: String,
}

impl Spy {
    /// `configure` makes the position. The kernel lets nobody there read the runtime's processes if it is `shut`: then
    /// their memory and their binary count. Where it is not, the spy stops what it sees, and judges by content.
    fn new(position: &str, shut: bool, configure: impl FnOnce(&mut Bundle)) -> Self {
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let mut bundle = Bundle::new();
        bring(&bundle, "spy");
        fs::write(bundle.file("secret"), "of the host\n").unwrap();
        let (environment, memory) = (Mark::new("environment"), Mark::new("memory"));
        let kinds = ["mnt", "net", "ipc", "uts", "cgroup"];
        let namespaces = kinds.map(|kind| fs::metadata(format!("/proc/self/ns/{kind}")).unwrap().ino().to_string());
        let mut args = vec![
            "/spy".to_string(),
            position.to_string(),
            format!("secret={}", bundle.file("secret").display()),
            format!("exe={}", fs::metadata(runtime()).unwrap().len()),
            format!("host={}", std::env::temp_dir().display()),
            format!("dev={}", fs::metadata("/dev/.").unwrap().dev()),
            format!("ns=,{},", namespaces.join(",")),
            format!("env={}", environment.halves()),
        ];
        if shut {
            args.extend(["judge-exe=1".to_string(), format!("mem={}", memory.halves())]);
        } else {
            args.push("step=1".to_string());
        }
        bundle.set("/process/args", json!(args)).set("/linux/readonlyPaths", json!(["/proc/sys"]));
        set_capabilities(&mut bundle, &DOCKER);
        configure(&mut bundle);
        bundle.begin();
        bundle.wait_file("tmp/up");
        Self { bundle, environment, memory, _alone: alone }
    }

    /// In a pid namespace of its own that others join, with Docker's capabilities and CAP_SYS_PTRACE. The kernel lets it
    /// read the memory of all that it sees; it stops what it sees to look in peace.
    fn inside(feature: Feature, configure: impl FnOnce(&mut Bundle)) -> Self {
        Self::new(&format!("inside/{feature:?}").to_lowercase(), false, |bundle| {
            set_capabilities(bundle, &[&DOCKER[..], &["SYS_PTRACE"]].concat());
            configure(bundle);
        })
    }

    /// Root in the pid namespace of the host, with Docker's capabilities alone. `of` names what it looks at.
    fn ancestor(of: &str) -> Self {
        Self::new(&format!("ancestor/{of}"), true, |bundle| bundle.without_namespace("pid"))
    }

    /// The same without any capability: a user namespace that root makes belongs to it all the same.
    fn owner() -> Self {
        Self::new("owner", true, |bundle| {
            bundle.without_namespace("pid");
            set_capabilities(bundle, &[]);
            // Without CAP_DAC_OVERRIDE.
            fs::set_permissions(bundle.file("rootfs/tmp"), fs::Permissions::from_mode(0o1777)).unwrap();
        })
    }

    /// Root of a user namespace that others join, with all rights there, in the pid namespace of the host.
    fn pod() -> Self {
        Self::new("pod", true, |bundle| {
            bundle.without_namespace("pid");
            let proc = json!({ "destination": "/proc", "type": "none", "source": "/proc", "options": ["rbind"] });
            bundle.set("/mounts/0", proc).unset("/linux/readonlyPaths");
            set_capabilities(bundle, &[&DOCKER[..], &["SYS_PTRACE", "SYS_ADMIN", "DAC_READ_SEARCH"]].concat());
            map_ids(bundle);
        })
    }

    /// A bundle of something to be spied on.
    fn target(&self) -> Bundle {
        let mut bundle = Bundle::new();
        set_capabilities(&mut bundle, &DOCKER);
        bundle.set("/annotations", json!({ "org.example.secret": self.memory.whole() }));
        bundle.set("/linux/readonlyPaths", json!(["/proc/sys"]));
        bundle
    }

    /// A command of the runtime, with a secret in its environment.
    fn tare(&self, bundle: &Bundle, args: &[&str]) -> Done {
        let mut command = bundle.command(args);
        command.env("SPIED_ON", self.environment.whole());
        let done = finish(command);
        assert!(!is_tare() || done.code == 0, "{args:?}: {done:?}");
        done
    }

    fn report(&self) -> Report {
        let rootfs = self.bundle.file("rootfs");
        fs::write(rootfs.join("tmp/stop"), "").unwrap();
        eventually("the spy reports", || rootfs.join("tmp/report").exists());
        let text = fs::read_to_string(rootfs.join("tmp/report")).unwrap();
        fs::remove_file(rootfs.join("tmp/stop")).unwrap();
        let mut lines = text.lines();
        let line = lines.next().unwrap().to_string();
        let processes = lines.next().unwrap().strip_prefix("processes: ").unwrap().parse().unwrap();
        eprintln!("{line}");
        Report { line, processes, text }
    }

    /// Nothing was reached, though of so many processes at least half were seen.
    #[track_caller]
    fn saw_nothing(&self, made: usize) {
        let report = self.report();
        assert!(2 * report.processes >= made, "only {} processes seen: {}", report.processes, report.line);
        assert!(report.line.ends_with(" 0 hits: none"), "the host was in reach:\n{}", report.text);
    }
}

impl Drop for Spy {
    fn drop(&mut self) {
        self.bundle.kill_processes();
        eventually_within(2000, || {
            self.bundle.reap_orphans();
            self.bundle.leftovers().iter().all(|left| !left.starts_with("process"))
        });
    }
}

/// What makes the runtime hold something more while it makes a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Feature {
    Plain,
    Terminal,
    Score,
    Seccomp,
    Notify,
}

const FEATURES: [Feature; 5] = [Feature::Plain, Feature::Terminal, Feature::Score, Feature::Seccomp, Feature::Notify];

impl Feature {
    fn set(self, bundle: &mut Bundle) {
        let profile = |action: &str| json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{ "names": ["acct"], "action": action }] });
        match self {
            Self::Plain => {}
            Self::Terminal => {
                bundle.set("/process/terminal", json!(true));
            }
            Self::Score => {
                bundle.set("/process/oomScoreAdj", json!(0));
            }
            Self::Seccomp => {
                bundle.set("/linux/seccomp", profile("SCMP_ACT_ERRNO"));
            }
            Self::Notify => {
                let agent = bundle.file("agent").display().to_string();
                bundle.set("/linux/seccomp", profile("SCMP_ACT_NOTIFY"));
                bundle.set("/linux/seccomp/listenerPath", json!(agent));
            }
        }
    }
}

/// A socket that takes terminals; they stay in it, open, until it is dropped.
fn console(bundle: &Bundle) -> UnixListener {
    let path = bundle.file("console");
    let _absent = fs::remove_file(&path);
    UnixListener::bind(path).unwrap()
}

/// Runs the target, and makes and starts it, with each feature in turn.
fn lives(spy: &Spy, target: &mut Bundle) {
    let plain = target.config.clone();
    let _agent = Agent::new(&target.file("agent"), Answer::Continue);
    for round in 0..rounds() {
        let feature = FEATURES[round % FEATURES.len()];
        target.config = plain.clone();
        feature.set(target);
        target.write();
        let id = target.id.clone();
        let consoles = console(target);
        let mut create = vec!["create", "--pid-file", "pid"];
        if feature == Feature::Terminal {
            create.extend(["--console-socket", "console"]);
        } else {
            spy.tare(target, &["run", &id]);
        }
        create.push(&id);
        if spy.tare(target, &create).code == 0 {
            let pid = fs::read_to_string(target.file("pid")).unwrap().parse().unwrap();
            spy.tare(target, &["start", &id]);
            reap(pid);
        }
        target.tare(&["delete", "--force", &id]);
        drop(consoles);
    }
    target.config = plain;
}

/// exec in a running container, with and without a terminal, by arguments and by process.json.
fn execs(spy: &Spy, target: &Bundle) {
    let process = |more: Value| {
        let mut process = target.config["process"].clone();
        process["args"] = json!(["/bin/true"]);
        process.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        process.to_string()
    };
    fs::write(target.file("score.json"), process(json!({ "oomScoreAdj": 0 }))).unwrap();
    fs::write(target.file("user.json"), process(json!({ "noNewPrivileges": false, "user": { "uid": 5, "gid": 5 } })))
        .unwrap();
    let id = &*target.id;
    for round in 0..rounds() {
        let consoles = console(target);
        match round % 4 {
            0 => spy.tare(target, &["exec", id, "/bin/true"]),
            1 => spy.tare(target, &["exec", "--process", "score.json", id]),
            2 => spy.tare(target, &["exec", "--process", "user.json", id]),
            _ => spy.tare(target, &["exec", "--tty", "--detach", "--console-socket", "console", id, "/bin/true"]),
        };
        target.reap_orphans();
        drop(consoles);
    }
    // init of a pid namespace ends only when all that came to us has been waited for.
    eventually_within(2000, || target.members().len() <= 1);
    target.reap_orphans();
}

/// A running container for execs.
fn running(mut target: Bundle, configure: impl FnOnce(&mut Bundle)) -> Bundle {
    configure(&mut target);
    target.set("/process/args", json!(["/bin/sleep", "1000"]));
    target.begin();
    target
}

/// The spy can see what there is to see; else the other tests would show nothing.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn class_30_the_spy_finds_what_is_open() {
    let spy = Spy::ancestor("control");
    let directory = spy.bundle.path().display();
    let line = format!("exec 7<{directory} 8</proc 9</sys/fs/cgroup; exec sleep 1000");
    let mut open = Command::new("setpriv");
    open.args(["--bounding-set=-all", "--inh-caps=-all", "/bin/sh", "-c", &line]);
    let mut open = open.env("SPIED_ON", spy.environment.whole()).spawn().unwrap();
    std::thread::sleep(std::time::Duration::from_millis(300));
    let report = spy.report();
    open.kill().unwrap();
    open.wait().unwrap();
    for kind in ["root ", "cwd ", "directory ", "environment "] {
        assert!(report.line.contains(kind), "{kind} was not found: {}", report.text);
    }
}

/// A root container of the host's pid namespace, next to the birth of other containers.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn class_30_an_ancestor_sees_nothing_of_a_new_container() {
    let spy = Spy::ancestor("new");
    lives(&spy, &mut spy.target());
    spy.saw_nothing(rounds());
}

/// A user namespace that root makes belongs to root: without a capability it has all rights over what is in it.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn class_30_an_ancestor_sees_nothing_of_a_new_user_namespace() {
    let spy = Spy::ancestor("new-user");
    let mut target = spy.target();
    map_ids(&mut target);
    lives(&spy, &mut target);
    spy.saw_nothing(rounds());
}

/// The containers of a pod join the user namespace of its first one.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn class_30_an_ancestor_sees_nothing_of_a_joined_user_namespace() {
    let spy = Spy::ancestor("joined-user");
    let pod = running(spy.target(), map_ids);
    let mut target = spy.target();
    join_user(&mut target, &pod);
    lives(&spy, &mut target);
    spy.saw_nothing(rounds());
}

/// The containers of a pod join the pid namespace of its first one.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn class_30_an_ancestor_sees_nothing_of_a_joined_pid_namespace() {
    let spy = Spy::ancestor("joined-pid");
    let pod = running(spy.target(), |_| {});
    let mut target = spy.target();
    join(&mut target, "pid", &pod);
    lives(&spy, &mut target);
    spy.saw_nothing(rounds());
}

/// exec, too, makes a process with the host's privileges.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn class_30_an_ancestor_sees_nothing_of_an_exec() {
    let spy = Spy::ancestor("exec");
    for configure in [(|_| {}) as fn(&mut Bundle), map_ids] {
        let target = running(spy.target(), configure);
        execs(&spy, &target);
    }
    spy.saw_nothing(rounds());
}

/// The user who made a user namespace, without any capability.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn class_30_an_owner_sees_nothing_of_its_user_namespaces() {
    let spy = Spy::owner();
    let pod = running(spy.target(), map_ids);
    execs(&spy, &pod);
    let mut target = spy.target();
    map_ids(&mut target);
    lives(&spy, &mut target);
    let mut target = spy.target();
    join_user(&mut target, &pod);
    lives(&spy, &mut target);
    spy.saw_nothing(rounds());
}

/// Root of the user namespace that is joined, with CAP_SYS_PTRACE over all that is in it.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn class_30_root_of_a_pod_sees_nothing_of_who_joins_it() {
    let spy = Spy::pod();
    execs(&spy, &spy.bundle);
    let mut target = spy.target();
    join_user(&mut target, &spy.bundle);
    lives(&spy, &mut target);
    spy.saw_nothing(rounds());
}

/// The container's own CAP_SYS_PTRACE: what joins it holds nothing of the host and shows nothing of the runtime's
/// environment. Its memory as such can be read, whatever a runtime does: the kernel asks for this capability alone.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn class_31_a_tracer_inside_sees_nothing_of_an_exec() {
    for feature in [Feature::Plain, Feature::Score, Feature::Seccomp, Feature::Notify] {
        let mut agent = None;
        let configure = |bundle: &mut Bundle| {
            feature.set(bundle);
            agent = Some(Agent::new(&bundle.file("agent"), Answer::Continue));
        };
        let spy = Spy::inside(feature, configure);
        execs(&spy, &spy.bundle);
        spy.saw_nothing(rounds());
    }
}

/// The process that mounts stays out of the pid namespace, also for a procfs.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn class_43_the_process_that_mounts_is_not_seen() {
    if !is_tare() {
        return eprintln!("skipped: the command is tare's");
    }
    let list = |bundle: &Bundle| {
        let list = json!([
            { "destination": "/a", "type": "proc", "source": "proc" },
            { "destination": "/b", "source": "rootfs", "options": ["bind"] },
            { "destination": "/c", "type": "tmpfs", "source": "tmpfs" },
        ]);
        fs::write(bundle.file("mounts.json"), list.to_string()).unwrap();
    };
    let change = |spy: &Spy, bundle: &Bundle| {
        list(bundle);
        for _ in 0..rounds() / 2 {
            spy.tare(bundle, &["mounts", "add", &bundle.id, "mounts.json"]);
            spy.tare(bundle, &["mounts", "remove", &bundle.id, "mounts.json"]);
        }
    };
    let spy = Spy::inside(Feature::Plain, |_| {});
    change(&spy, &spy.bundle);
    let report = spy.report();
    assert!(report.line.ends_with(" 0 hits: none"), "the host was in reach:\n{}", report.text);
    assert_eq!(report.processes, 0, "{}", report.text);
    drop(spy);
    for user in [false, true] {
        let spy = Spy::ancestor(if user { "mounts-user" } else { "mounts" });
        let mut target = spy.target();
        target.set("/process/args", json!(["/bin/sleep", "1000"]));
        if user {
            map_ids(&mut target);
        }
        target.begin();
        change(&spy, &target);
        spy.saw_nothing(rounds());
    }
}
