//! A bundle with busybox in it, the runtime under test, and a look at what a command leaves behind.
//!
//! The runtime is the binary of this build, `TARE_BIN`, or any other one named by `TARE_RUNTIME`: behaviour that OCI
//! or the engines prescribe is tested against that one too, texts of tare's own are not.

use std::ffi::OsStr;
use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, WaitOptions, pidfd_open, waitpid};
use serde_json::{Value, json};
use tempfile::TempDir;

#[path = "../busybox/mod.rs"]
pub mod busybox;

pub use busybox::copy_program;

/// What any command may take on a loaded machine.
pub const LIMIT: Duration = Duration::from_secs(30);

/// Whether the kernel is older than this version, by its name.
pub fn kernel_before(version: [u32; 2]) -> bool {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let found: Vec<u32> = release.split(['.', '-']).take(2).map(|part| part.parse().unwrap()).collect();
    found < version.to_vec()
}

/// Whether a line says that a controller of cgroup v2, or AppArmor, is missing, and the host has it: what expects the line
/// is skipped then.
pub fn is_skipped(line: &str) -> bool {
    let skipped = is_wrong_about_host(line);
    if skipped {
        eprintln!("skipped: this host has what is missing in \"{line}\"");
    }
    skipped
}

fn is_wrong_about_host(line: &str) -> bool {
    if let Some((_, missing)) = line.split_once("this host's cgroup v2 has no ") {
        let controllers = fs::read_to_string("/sys/fs/cgroup/cgroup.controllers").unwrap_or_default();
        return controllers.split_whitespace().any(|controller| missing == format!("{controller} controller"));
    }
    let enabled = || fs::read_to_string("/sys/module/apparmor/parameters/enabled");
    line.ends_with("AppArmor is not enabled on this host") && enabled().is_ok_and(|text| text.starts_with('Y'))
}

/// Marks the runtime's processes until they execute the container's program.
const MARK: &str = "TARE_TEST_MARK";

const APPLETS: &[&str] = &[
    "sh", "cat", "echo", "ls", "mkdir", "tail", "grep", "cut", "sleep", "true", "false", "id", "kill", "env", "tr",
    "pwd", "stat", "readlink", "ip",
];

/// A bundle, its container's id, and a state root of its own. Whatever is left is removed on drop.
pub struct Bundle {
    directory: TempDir,
    /// What config.json will say.
    pub config: Value,
    /// The container's id.
    pub id: String,
    /// Used in paths, cgroups and the mark.
    pub name: String,
    /// Who runs the runtime, if not root.
    pub user: Option<u32>,
    /// systemd makes the cgroup.
    pub systemd: bool,
}

/// How a command ended.
#[derive(Debug)]
pub struct Done {
    /// Exit code, or 128 + signal.
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Done {
    /// Success, and silence but for stdout.
    #[track_caller]
    pub fn good(self) -> String {
        assert_eq!((self.code, self.stderr.as_str()), (0, ""), "stdout {:?}", self.stdout);
        self.stdout
    }

    /// Success and silence.
    #[track_caller]
    pub fn silent(self) {
        let stdout = self.good();
        assert_eq!(stdout, "");
    }

    /// Failure with one line on stderr and nothing on stdout; that line.
    #[track_caller]
    pub fn refused(self) -> String {
        assert!(self.code != 0 && self.code < 128 || self.code == 255, "not a refusal: {self:?}");
        assert_eq!(self.stdout, "", "{self:?}");
        let line = self.stderr.strip_suffix('\n').unwrap_or_else(|| panic!("no whole line: {self:?}"));
        if is_tare() {
            assert!(!line.contains('\n') && line.starts_with("tare: "), "not one line: {line:?}");
        }
        line.strip_prefix("tare: ").unwrap_or(line).to_string()
    }
}

/// The runtime under test.
pub fn runtime() -> PathBuf {
    let named = ["TARE_RUNTIME", "TARE_BIN"].iter().find_map(std::env::var_os);
    named.map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_tare")), PathBuf::from)
}

/// Whether texts and behaviour that are tare's alone can be expected.
pub fn is_tare() -> bool {
    std::env::var_os("TARE_RUNTIME").is_none_or(|runtime| Some(runtime) == std::env::var_os("TARE_BIN"))
}

/// What every test that creates containers needs; `scripts/testing/world` provides it.
fn require_a_world() {
    const CGROUP2: i64 = 0x6367_7270;
    busybox::require();
    let cgroup2 = rustix::fs::statfs("/sys/fs/cgroup").is_ok_and(|facts| facts.f_type == CGROUP2);
    assert!(cgroup2, "needs cgroup v2 on /sys/fs/cgroup: use scripts/testing/world");
}

/// Orphans come to us, as they come to an engine's shim, so that their exit codes can be seen.
fn adopt_orphans() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| rustix::process::set_child_subreaper(Some(Pid::INIT)).unwrap());
}

impl Bundle {
    /// A container that runs `true`.
    pub fn new() -> Self {
        require_a_world();
        adopt_orphans();
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("tare-test-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let directory = tempfile::Builder::new().prefix(&name).tempdir().unwrap();
        let rootfs = directory.path().join("rootfs");
        busybox::rootfs(&rootfs, &["dev", "proc", "sys", "tmp", "etc", "root"], APPLETS);
        fs::write(rootfs.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n").unwrap();
        let config = config(&name);
        Self { directory, config, id: format!("c-{name}"), name, user: None, systemd: false }
    }

    /// A container whose program is a line for the shell.
    pub fn script(line: &str) -> Self {
        let mut bundle = Self::new();
        bundle.set("/process/args", json!(["/bin/sh", "-c", line]));
        bundle
    }

    /// Sets the value at a JSON pointer; the last part may be new.
    #[track_caller]
    pub fn set(&mut self, pointer: &str, value: Value) -> &mut Self {
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        match self.config.pointer_mut(parent).unwrap_or_else(|| panic!("no {parent} in the config")) {
            Value::Object(object) => {
                object.insert(key.to_string(), value);
            }
            Value::Array(array) if key == "-" => array.push(value),
            Value::Array(array) => array[key.parse::<usize>().unwrap()] = value,
            other => panic!("{parent} is {other}"),
        }
        self
    }

    /// Removes a key.
    pub fn unset(&mut self, pointer: &str) -> &mut Self {
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        if let Some(Value::Object(object)) = self.config.pointer_mut(parent) {
            object.remove(key);
        }
        self
    }

    /// Leaves out the pid namespace: pid 1 of one ignores signals, and its end is the end of all.
    pub fn share_pids(&mut self) {
        let kinds = ["mount", "uts", "ipc", "network", "cgroup"].map(|kind| json!({ "type": kind }));
        self.set("/linux/namespaces", json!(kinds));
        self.set(
            "/mounts/0",
            json!({ "destination": "/proc", "type": "none", "source": "/proc", "options": ["rbind"] }),
        );
    }

    /// In a user namespace, where root is nobody on the host.
    pub fn map_ids(&mut self) {
        let map = json!([{ "containerID": 0, "hostID": 100_000, "size": 65536 }]);
        self.set("/linux/namespaces/-", json!({ "type": "user" }));
        self.set("/linux/uidMappings", map.clone()).set("/linux/gidMappings", map);
        fs::set_permissions(self.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        give(&self.file("rootfs"), 100_000);
    }

    /// The container is in the caller's namespace of this type.
    pub fn without_namespace(&mut self, kind: &str) {
        if let Some(Value::Array(namespaces)) = self.config.pointer_mut("/linux/namespaces") {
            namespaces.retain(|namespace| namespace["type"] != kind);
        }
    }

    /// The bundle's directory.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// A file or directory of the bundle.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    /// The state root.
    pub fn root(&self) -> PathBuf {
        self.file("state")
    }

    /// The container's cgroup.
    pub fn cgroup(&self) -> PathBuf {
        if self.systemd {
            return Path::new("/sys/fs/cgroup/system.slice").join(self.unit());
        }
        Path::new("/sys/fs/cgroup").join(&self.name)
    }

    /// Has systemd make the cgroup; whether there is one.
    pub fn use_systemd(&mut self) -> bool {
        self.systemd = Path::new("/run/systemd/system").exists();
        if !self.systemd {
            eprintln!("skipped: needs systemd as init");
        }
        self.set("/linux/cgroupsPath", json!(format!(":host:{}", self.name)));
        self.systemd
    }

    /// The container's unit, when systemd makes the cgroup.
    pub fn unit(&self) -> String {
        format!("host-{}.scope", self.name)
    }

    /// Writes config.json as it stands.
    pub fn write(&self) {
        fs::write(self.file("config.json"), serde_json::to_vec_pretty(&self.config).unwrap()).unwrap();
    }

    /// The runtime with this bundle's state root, not yet run.
    pub fn command<S: AsRef<OsStr>>(&self, args: &[S]) -> Command {
        let mut command = Command::new(runtime());
        command
            .arg("--root")
            .arg(self.root())
            .args(self.systemd.then_some("--systemd-cgroup"))
            .args(args)
            .current_dir(self.path())
            .env(MARK, &self.name);
        if let Some(user) = self.user {
            command = self.as_user(user, command);
        }
        command
    }

    /// The same command for another user, who may not be able to reach the runtime where it was built.
    fn as_user(&self, user: u32, command: Command) -> Command {
        use std::os::unix::process::CommandExt;
        static ONCE: Once = Once::new();
        let copy = std::env::temp_dir().join("runtime");
        ONCE.call_once(|| copy_program(&runtime(), &copy));
        let mut own = Command::new(&copy);
        own.args(command.get_args()).current_dir(self.path()).uid(user).gid(user);
        own.env_clear().env(MARK, &self.name).env("PATH", "/usr/bin:/bin").env("XDG_RUNTIME_DIR", self.path());
        own
    }

    /// Runs a command of the runtime with stdin at its end.
    pub fn tare<S: AsRef<OsStr>>(&self, args: &[S]) -> Done {
        finish(self.command(args))
    }

    /// `create` with more options.
    pub fn create_with(&self, options: &[&str]) -> Done {
        self.write();
        let errors = if is_tare() { self.errors(&known_to_check(options)) } else { Vec::new() };
        let done = self.tare(&[&["create"], options, &[&*self.id]].concat());
        // What is created, check accepts: in every test of every bundle.
        assert!(done.code != 0 || errors.is_empty(), "check refuses what create accepts: {errors:?}");
        done
    }

    /// The errors that `check` finds in config.json as it is, in order.
    pub fn errors(&self, options: &[&str]) -> Vec<String> {
        let done = self.tare(&[&["check"], options].concat());
        assert_eq!(done.stderr, "", "{done:?}");
        let errors: Vec<_> =
            done.stdout.lines().filter_map(|line| line.strip_prefix("error: ")).map(str::to_string).collect();
        assert_eq!(done.code, i32::from(!errors.is_empty()), "{done:?}");
        errors
    }

    /// `create`.
    pub fn create(&self) -> Done {
        self.create_with(&[])
    }

    /// `run` in the foreground with more options.
    pub fn run_with(&self, options: &[&str]) -> Done {
        self.write();
        self.tare(&[&["run"], options, &[&*self.id]].concat())
    }

    /// `run` in the foreground.
    pub fn run(&self) -> Done {
        self.run_with(&[])
    }

    /// A command on the container.
    pub fn on(&self, command: &str) -> Done {
        self.tare(&[command, &self.id])
    }

    /// `exec` of a line for the shell.
    pub fn exec(&self, line: &str) -> Done {
        self.tare(&["exec", &self.id, "/bin/sh", "-c", line])
    }

    /// `create` and `start`.
    #[track_caller]
    pub fn begin(&self) {
        self.create().silent();
        self.on("start").silent();
    }

    /// What `state` says.
    #[track_caller]
    pub fn state(&self) -> Value {
        serde_json::from_str(&self.on("state").good()).unwrap()
    }

    /// The status word.
    #[track_caller]
    pub fn status(&self) -> String {
        self.state()["status"].as_str().unwrap().to_string()
    }

    /// init's pid.
    #[track_caller]
    pub fn pid(&self) -> i32 {
        i32::try_from(self.state()["pid"].as_i64().unwrap()).unwrap()
    }

    /// Waits until a file of the rootfs has a whole line; the text.
    #[track_caller]
    pub fn wait_file(&self, name: &str) -> String {
        let path = self.file("rootfs").join(name);
        eventually(&format!("{name} in the rootfs"), || {
            fs::read_to_string(&path).is_ok_and(|text| text.ends_with('\n'))
        });
        fs::read_to_string(&path).unwrap()
    }

    /// The runtime's processes and the container's, zombies too.
    pub fn processes(&self) -> Vec<i32> {
        let mark = format!("{MARK}={}\0", self.name);
        let ours = |pid: &i32| {
            let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            self.is_member(*pid) || environment.windows(mark.len()).any(|window| window == mark.as_bytes())
        };
        pids().into_iter().filter(ours).collect()
    }

    /// The living processes of the container's cgroup.
    pub fn members(&self) -> Vec<i32> {
        pids().into_iter().filter(|pid| self.is_member(*pid) && !is_zombie(*pid)).collect()
    }

    fn is_member(&self, pid: i32) -> bool {
        let cgroup = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        cgroup.lines().any(|line| line.split('/').any(|part| part == self.name || part == self.unit()))
    }

    /// Changes tare's record as if it had been written so: the checksum is right.
    pub fn edit_record(&self, key: &str, change: impl FnOnce(&Value) -> Value) {
        let path = self.root().join(&self.id).join("record");
        let text = fs::read_to_string(&path).unwrap();
        let mut record: Value = serde_json::from_str(text.split_once('\n').unwrap().1).unwrap();
        record[key] = change(&record[key]);
        let json = record.to_string();
        // FNV-1a, as the record has it.
        let sum = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
        let sum = json.bytes().fold(0xcbf2_9ce4_8422_2325, sum);
        fs::write(&path, format!("{sum:016x}\n{json}\n")).unwrap();
    }

    /// Kills them all.
    pub fn kill_processes(&self) {
        for pid in self.processes() {
            let _gone = rustix::process::kill_process(Pid::from_raw(pid).unwrap(), rustix::process::Signal::KILL);
        }
    }

    /// Reaps orphans that came to us: init of a pid namespace ends only when everything in it has been waited for.
    pub fn reap_orphans(&self) {
        let own = std::process::id().to_string();
        for pid in pids() {
            // Not the runtime itself, which somebody waits for.
            if stat(pid).is_some_and(|fields| fields[0] == "Z" && fields[1] == own) && self.is_member(pid) {
                let _gone = waitpid(Pid::from_raw(pid), WaitOptions::NOHANG);
            }
        }
    }

    /// What exists of the container: processes, cgroups, mounts, state.
    pub fn leftovers(&self) -> Vec<String> {
        let mut left = Vec::new();
        for pid in self.processes().into_iter().filter(|pid| !is_zombie(*pid)) {
            let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            left.push(format!("process {pid} {}", name.trim()));
        }
        if self.cgroup().exists() {
            left.push(format!("cgroup {}", self.cgroup().display()));
        }
        // systemd keeps a file for each transient unit that it knows.
        let unit = Path::new("/run/systemd/transient").join(self.unit());
        left.extend(unit.exists().then(|| format!("unit {}", unit.display())));
        let mounts = fs::read("/proc/self/mountinfo").unwrap();
        let mounts = String::from_utf8_lossy(&mounts);
        let ours = mounts.lines().filter(|line| line.contains(&self.name));
        left.extend(ours.map(|line| format!("mount {line}")));
        let state = fs::read_dir(self.root()).into_iter().flatten().map(|entry| entry.unwrap().path());
        left.extend(state.map(|path| format!("state {}", path.display())));
        left
    }

    /// Removes by hand what a runtime left.
    pub fn sweep(&self) {
        self.kill_processes();
        if self.systemd {
            let systemctl = |verb: &str| Command::new("systemctl").args(["--quiet", verb, &self.unit()]).output();
            let _absent = systemctl("stop").and_then(|_| systemctl("reset-failed"));
        }
        let _absent = fs::write(self.cgroup().join("cgroup.kill"), "1");
        for _ in 0..100 {
            if fs::remove_dir(self.cgroup()).is_ok() || !self.cgroup().exists() {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let _absent = fs::remove_dir_all(self.root());
    }

    /// Nothing is left, or soon will not be.
    #[track_caller]
    pub fn assert_nothing_left(&self) {
        let deadline = Instant::now() + Duration::from_secs(2);
        while !self.leftovers().is_empty() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(20));
        }
        assert_eq!(self.leftovers(), [""; 0]);
    }
}

impl Drop for Bundle {
    fn drop(&mut self) {
        let mut delete = self.command(&["delete", "--force", &self.id]);
        delete.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let _gone = delete.status();
        let _empty = fs::write(self.cgroup().join("cgroup.kill"), "1");
        let _gone = fs::remove_dir(self.cgroup());
    }
}

/// Those options of create that check takes, too.
fn known_to_check<'a>(options: &[&'a str]) -> Vec<&'a str> {
    let mut known = Vec::new();
    let mut options = options.iter().copied();
    while let Some(option) = options.next() {
        match option {
            "--console-socket" | "--preserve-fds" | "--config" | "--bundle" => {
                known.extend([Some(option), options.next()])
            }
            "--no-pivot" | "--no-new-keyring" => known.push(Some(option)),
            _ => {}
        }
    }
    known.into_iter().flatten().collect()
}

fn config(name: &str) -> Value {
    let capabilities = ["CAP_CHOWN", "CAP_KILL", "CAP_SETUID", "CAP_SETGID", "CAP_NET_BIND_SERVICE"];
    let mount = |destination: &str, kind: &str, options: &[&str]| json!({ "destination": destination, "type": kind, "source": kind, "options": options });
    let namespaces = ["pid", "mount", "uts", "ipc", "network", "cgroup"].map(|kind| json!({ "type": kind }));
    json!({
        // What older versions of other runtimes know.
        "ociVersion": if is_tare() { "1.2.0" } else { "1.0.2" },
        "process": {
            "user": { "uid": 0, "gid": 0 },
            "args": ["/bin/true"],
            "env": ["PATH=/usr/bin:/bin"],
            "cwd": "/",
            "capabilities": { "bounding": capabilities, "effective": capabilities, "permitted": capabilities },
            "noNewPrivileges": true,
        },
        "root": { "path": "rootfs" },
        "hostname": "box",
        "mounts": [
            mount("/proc", "proc", &[]),
            mount("/dev", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
            mount("/dev/pts", "devpts", &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]),
            mount("/sys", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
        ],
        "linux": {
            "cgroupsPath": format!("/{name}"),
            "resources": { "devices": [{ "allow": false, "access": "rwm" }] },
            "namespaces": namespaces,
        },
    })
}

/// Gives a file, or a directory with all that is in it, to a user and the group of the same number.
pub fn give(top: &Path, user: u32) {
    let mut rest = vec![top.to_path_buf()];
    while let Some(path) = rest.pop() {
        std::os::unix::fs::lchown(&path, Some(user), Some(user)).unwrap();
        if path.is_dir() && !path.is_symlink() {
            rest.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
    }
}

/// Runs a command to its end; its output goes to files, since a container keeps pipes open for longer.
pub fn finish(mut command: Command) -> Done {
    let [mut stdout, mut stderr] = [(); 2].map(|()| tempfile::tempfile().unwrap());
    command.stdin(Stdio::null()).stdout(stdout.try_clone().unwrap()).stderr(stderr.try_clone().unwrap());
    let child = command.spawn().unwrap();
    let code = wait(child, &format!("{command:?}"));
    Done { code, stdout: whole(&mut stdout), stderr: whole(&mut stderr) }
}

fn whole(file: &mut fs::File) -> String {
    use std::io::{Read, Seek};
    let mut bytes = Vec::new();
    file.rewind().unwrap();
    file.read_to_end(&mut bytes).unwrap();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Waits for a child with the time limit; its exit code, or 128 + signal.
#[track_caller]
pub fn wait(mut child: Child, what: &str) -> i32 {
    let pid = Pid::from_child(&child);
    if !ends(&pidfd_open(pid, PidfdFlags::empty()).unwrap(), LIMIT) {
        child.kill().unwrap();
        panic!("{what} hangs");
    }
    code(child.wait().unwrap())
}

fn code(status: ExitStatus) -> i32 {
    status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap()
}

/// Whether the process of a pidfd ends within `limit`.
pub fn ends(pidfd: &OwnedFd, limit: Duration) -> bool {
    let timeout =
        Timespec { tv_sec: i64::try_from(limit.as_secs()).unwrap(), tv_nsec: i64::from(limit.subsec_nanos()) };
    let mut fds = [PollFd::from_borrowed_fd(pidfd.as_fd(), PollFlags::IN)];
    rustix::io::retry_on_intr(|| poll(&mut fds, Some(&timeout))).unwrap() > 0
}

/// Waits for an adopted orphan; its exit code, or 128 + signal.
#[track_caller]
pub fn reap(pid: i32) -> i32 {
    let pid = Pid::from_raw(pid).unwrap();
    assert!(ends(&pidfd_open(pid, PidfdFlags::empty()).unwrap(), LIMIT), "process {pid:?} does not end");
    let (_, status) = waitpid(Some(pid), WaitOptions::empty()).unwrap().unwrap();
    status.exit_status().or_else(|| status.terminating_signal().map(|signal| 128 + signal)).unwrap()
}

/// Waits until something is true.
#[track_caller]
pub fn eventually(what: &str, mut is_true: impl FnMut() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !is_true() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Whether something is true within `limit` milliseconds.
pub fn eventually_within(limit: u64, mut is_true: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + Duration::from_millis(limit);
    while !is_true() {
        if Instant::now() > deadline {
            return false;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    true
}

fn pids() -> Vec<i32> {
    let names = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names.filter_map(|name| name.parse().ok()).collect()
}

/// Fields of /proc/PID/stat behind the name: state, parent, process group, session, ...
pub fn stat(pid: i32) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    Some(text.rsplit_once(") ")?.1.split_whitespace().map(str::to_string).collect())
}

pub fn is_zombie(pid: i32) -> bool {
    stat(pid).is_none_or(|fields| fields[0] == "Z" || fields[0] == "X")
}
