//! What attacks need besides a bundle: bait on the host, a storm of renames, every way into a container.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use rustix::fs::{CWD, RenameFlags, renameat_with};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::bundle::{Bundle, Done, finish, is_tare, reap, runtime};

/// How often a race is run: `TARE_ATTACK_ROUNDS`, nightly 10 000.
pub fn rounds() -> usize {
    std::env::var("TARE_ATTACK_ROUNDS").map_or(120, |text| text.parse().unwrap())
}

/// Says why a part of a test cannot be done here.
pub fn skip(why: &str) {
    eprintln!("skipped: {why}");
}

/// Whether the runtime under test is tare; says so if not.
pub fn only_tare() -> bool {
    if !is_tare() {
        skip("a promise of tare's own");
    }
    is_tare()
}

/// A directory of the host that nothing may touch: whatever is made, changed or removed in it is seen.
pub struct Bait {
    directory: TempDir,
    before: Vec<String>,
}

impl Bait {
    pub fn new() -> Self {
        let directory = tempfile::Builder::new().prefix("bait").tempdir().unwrap();
        for name in ["secret", "ptmx", "console", "null", "fd", "core", "stdin"] {
            fs::write(directory.path().join(name), format!("{name} of the host\n")).unwrap();
        }
        fs::create_dir(directory.path().join("sub")).unwrap();
        let before = digest(directory.path());
        Self { directory, before }
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    pub fn text(&self) -> &str {
        self.path().to_str().unwrap()
    }

    #[track_caller]
    pub fn assert_untouched(&self) {
        let now = digest(self.path());
        let new: Vec<_> = now.iter().filter(|line| !self.before.contains(line)).collect();
        assert!(new.is_empty() && now.len() == self.before.len(), "the host was changed: {new:#?}");
    }
}

/// All that is known of a tree. The time of a directory tells what was made in it and removed again.
pub fn digest(path: &Path) -> Vec<String> {
    let facts = fs::symlink_metadata(path).unwrap();
    let content = if facts.is_file() { fs::read_to_string(path).unwrap() } else { String::new() };
    let (mode, owner, changed) = (facts.mode(), (facts.uid(), facts.gid()), (facts.ctime(), facts.ctime_nsec()));
    let mut lines = vec![format!("{} {mode:o} {owner:?} {changed:?} {content:?}", path.display())];
    if facts.is_dir() {
        let mut names: Vec<_> = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect();
        names.sort();
        lines.extend(names.iter().flat_map(|name| digest(name)));
    }
    lines
}

/// Two names that change places as fast as they can, until dropped.
pub struct Storm {
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Storm {
    pub fn exchange(one: PathBuf, other: PathBuf) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&over);
        let thread = std::thread::spawn(move || {
            while !seen.load(Ordering::Relaxed) {
                renameat_with(CWD, &one, CWD, &other, RenameFlags::EXCHANGE).unwrap();
            }
        });
        Self { over, thread: Some(thread) }
    }
}

impl Drop for Storm {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap();
    }
}

/// What a line for the shell prints in a container by each way in: run, create with start, exec.
/// `configure` gets the bundle before each.
pub fn every_way(configure: &dyn Fn(&mut Bundle), line: &str) -> [(&'static str, String); 3] {
    let configured = |line: &str| {
        let mut bundle = Bundle::script(line);
        configure(&mut bundle);
        bundle
    };
    let run = configured(line).run();
    let bundle = configured(&format!("{{ {line}; }} >/tmp/out 2>&1"));
    // The program may be anybody.
    fs::set_permissions(bundle.file("rootfs/tmp"), fs::Permissions::from_mode(0o1777)).unwrap();
    bundle.create().silent();
    let pid = bundle.pid();
    bundle.on("start").silent();
    reap(pid);
    let created = fs::read_to_string(bundle.file("rootfs/tmp/out")).unwrap();
    let bundle = configured("sleep 1000");
    bundle.begin();
    let exec = bundle.exec(line);
    [("run", run.stdout + &run.stderr), ("create", created), ("exec", exec.stdout + &exec.stderr)]
}

/// create and run of a bundle that may be refused; `look` is called after each, and nothing is left.
#[track_caller]
pub fn try_both(bundle: &Bundle, look: &dyn Fn(&Done)) {
    for command in ["run", "create"] {
        bundle.write();
        let done = bundle.on(command);
        look(&done);
        bundle.tare(&["delete", "--force", &bundle.id]);
        bundle.reap_orphans();
        nothing_left(bundle);
    }
}

/// Other runtimes keep files of their own beside the containers.
#[track_caller]
fn nothing_left(bundle: &Bundle) {
    if is_tare() {
        bundle.assert_nothing_left();
    }
}

/// create and run both refuse, in one line; the lines.
#[track_caller]
pub fn both_refuse(bundle: &Bundle) -> [String; 2] {
    bundle.write();
    ["run", "create"].map(|command| {
        let line = bundle.on(command).refused();
        nothing_left(bundle);
        line
    })
}

/// A command of the runtime through a line for the shell: `"$@"` is the command.
pub fn through_shell(bundle: &Bundle, line: &str, args: &[&str]) -> Done {
    let mut shell = Command::new("/bin/bash");
    shell.args(["-c", line, "bash"]).arg(runtime()).arg("--root").arg(bundle.root()).args(args);
    shell.current_dir(bundle.path()).env("TARE_TEST_MARK", &bundle.name);
    finish(shell)
}

/// A mount of config.json.
pub fn mount(destination: &str, kind: &str, source: &str, options: &[&str]) -> Value {
    json!({ "destination": destination, "type": kind, "source": source, "options": options })
}

/// Makes the container own a user namespace in which every id is that of the host: without rights there, though.
pub fn add_user_namespace(bundle: &mut Bundle) {
    let all = json!([{ "containerID": 0, "hostID": 0, "size": 65536 }]);
    bundle.set("/linux/namespaces/-", json!({ "type": "user" }));
    bundle.set("/linux/uidMappings", all.clone()).set("/linux/gidMappings", all);
}

/// Adds a capability to all sets that the config has.
pub fn add_capability(bundle: &mut Bundle, name: &str) {
    for set in ["bounding", "effective", "permitted"] {
        bundle.set(&format!("/process/capabilities/{set}/-"), json!(name));
    }
}
