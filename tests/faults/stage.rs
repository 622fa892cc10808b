//! A bundle of one of the configs, with what listens on its sockets, and a look at how well confined its processes are.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::bundle::{Bundle, give};
use crate::command::Command;

/// What the container has besides the ordinary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Config {
    /// Nothing.
    Plain,
    /// A user namespace.
    User,
    /// A user namespace that exists.
    Joined,
    /// Hooks of every kind.
    Hooks,
    /// A terminal, whose master goes to a console socket.
    Console,
    /// A seccomp filter that asks an agent.
    Notify,
    /// systemd makes the cgroup.
    Systemd,
}

impl Config {
    pub const ALL: [Self; 7] =
        [Self::Plain, Self::User, Self::Joined, Self::Hooks, Self::Console, Self::Notify, Self::Systemd];

    /// Whether the command can be tried: systemd hands the one controller on whose limit is changed to no unit that did
    /// not ask for it.
    pub fn has(self, command: Command) -> bool {
        let simple = matches!(self, Self::Plain | Self::Hooks | Self::Systemd);
        (self, command) != (Self::Systemd, Command::Update) && (simple || !command.needs_criu())
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::User => "user namespace",
            Self::Joined => "joined user namespace",
            Self::Hooks => "hooks",
            Self::Console => "console",
            Self::Notify => "seccomp notify",
            Self::Systemd => "systemd",
        }
    }
}

/// The host's ids that a user namespace maps.
const FIRST: u32 = 100_000;

/// What a process can see of its own confinement; `NAME` is the report's.
const REPORT: &str = "{ /bin/busybox grep -E '^(Uid|Gid|Groups|Cap|NoNewPrivs|Seccomp)' /proc/self/status;
    /bin/busybox cut -d' ' -f4- /proc/self/mountinfo; cat /proc/self/limits; /bin/busybox hostname; umask; pwd;
    readlink /proc/self/fd/0; for n in /proc/self/ns/*; do readlink $n; done; cat /proc/self/cgroup;
    true < /dev/kmsg && echo 'opens /dev/kmsg'; } > /tmp/NAME.new 2>&1;
    echo end >> /tmp/NAME.new; /bin/busybox mv /tmp/NAME.new /tmp/NAME";

fn report(name: &str) -> String {
    REPORT.replace("NAME", name)
}

/// A bundle and the other ends of its sockets.
pub struct Stage {
    pub bundle: Bundle,
    pub config: Config,
    listener: Option<UnixListener>,
    _pod: Option<Pod>,
    /// config.json whose program ends at once.
    pub short: String,
    /// config.json whose program runs on after a restore: sleep(1) ends then.
    pub endless: String,
}

impl Stage {
    pub fn new(config: Config) -> Option<Self> {
        let mut bundle = Bundle::script(&format!("{}; exec sleep 100", report("init")));
        fs::set_permissions(bundle.path(), fs::Permissions::from_mode(0o711)).unwrap();
        // The oldest that every runtime takes.
        bundle.set("/ociVersion", json!("1.0.2"));
        bundle.set("/mounts/-", json!({ "destination": "/dev/kmsg", "source": "/dev/kmsg", "options": ["bind"] }));
        fs::set_permissions(bundle.file("rootfs/tmp"), fs::Permissions::from_mode(0o1777)).unwrap();
        let (mut listener, mut pod) = (None, None);
        match config {
            Config::Plain => {}
            Config::User => user_namespace(&mut bundle),
            Config::Joined => pod = Some(Pod::joined_by(&mut bundle)),
            Config::Hooks => hooks(&mut bundle),
            Config::Console => {
                bundle.set("/process/terminal", json!(true));
                listener = Some(UnixListener::bind(bundle.file("socket")).unwrap());
            }
            Config::Notify => {
                listener = Some(UnixListener::bind(bundle.file("socket")).unwrap());
                let rule = json!({ "names": ["swapon"], "action": "SCMP_ACT_NOTIFY" });
                let socket = bundle.file("socket");
                let profile = json!({ "defaultAction": "SCMP_ACT_ALLOW", "listenerPath": socket, "syscalls": [rule] });
                bundle.set("/linux/seccomp", profile);
            }
            Config::Systemd if !bundle.use_systemd() => return None,
            // With a limit of memory init is in a cgroup below the scope's.
            Config::Systemd => {
                bundle.set("/linux/resources/memory", json!({ "limit": 268_435_456 }));
            }
        }
        if let Some(listener) = &listener {
            listener.set_nonblocking(true).unwrap();
        }
        let resources = r#"{"hugepageLimits": [{"pageSize": "2MB", "limit": 4194304}], "devices": [{"allow": true, "access": "rwm"}]}"#;
        fs::write(bundle.file("resources.json"), resources).unwrap();
        let mounts = r#"[{"destination": "/added/bound", "source": "rootfs/etc/passwd", "options": ["bind", "ro"]},
            {"destination": "/added/source", "source": "resources.json", "options": ["bind", "nosuid"]},
            {"destination": "/added/cache", "type": "tmpfs", "source": "tmpfs", "options": ["ro", "tmpcopyup"]}]"#;
        fs::write(bundle.file("mounts.json"), mounts).unwrap();
        bundle.write();
        let short = bundle.file("short").display().to_string();
        let endless = bundle.file("endless").display().to_string();
        let mut stage = Self { bundle, config, listener, _pod: pod, short, endless };
        stage.write_short();
        stage.write_endless();
        stage.bundle.write();
        Some(stage)
    }

    /// A second bundle beside the first: the same, but its program ends.
    fn write_short(&mut self) {
        let script = |end: &str| json!(["/bin/sh", "-c", format!("{}; {end}", report("init"))]);
        let rootfs = self.bundle.file("rootfs");
        let terminal = self.bundle.config["process"]["terminal"].clone();
        // In the foreground the terminal is the caller's.
        self.bundle.set("/process/args", script("true")).set("/root/path", json!(rootfs));
        self.bundle.set("/process/terminal", json!(false));
        fs::create_dir(&self.short).unwrap();
        fs::write(format!("{}/config.json", self.short), self.bundle.config.to_string()).unwrap();
        self.bundle.set("/process/args", script("exec sleep 100")).set("/root/path", json!("rootfs"));
        self.bundle.set("/process/terminal", terminal);
    }

    fn write_endless(&self) {
        let mut config = self.bundle.config.clone();
        config["process"]["args"] = json!(["/bin/busybox", "tail", "-f", "/dev/null"]);
        config["root"]["path"] = json!(self.bundle.file("rootfs"));
        fs::create_dir(&self.endless).unwrap();
        fs::write(format!("{}/config.json", self.endless), config.to_string()).unwrap();
    }

    /// What checkpoint and restore need here.
    pub fn criu_options(&self) -> Vec<String> {
        let images = self.images().display().to_string();
        ["--network-lock", "skip", "--image-path", &images].map(str::to_owned).to_vec()
    }

    fn images(&self) -> PathBuf {
        self.bundle.file("images")
    }

    /// Whether the last checkpoint is complete.
    pub fn has_images(&self) -> bool {
        self.images().join("inventory.img").exists()
    }

    /// Runs a command with /dev/null as stdio: CRIU dumps no process that has a file of the host open.
    ///
    /// # Errors
    /// What the runtime says.
    pub fn run_without_files(&self, words: &[&str]) -> Result<(), String> {
        let null = std::process::Stdio::null;
        let mut command = self.bundle.command(words);
        let done = command.stdin(null()).stdout(null()).stderr(null()).status().unwrap();
        if done.success() { Ok(()) } else { Err(format!("{} before the trial: {done}", words[0])) }
    }

    /// What a command that makes a process needs in this config.
    pub fn socket_options(&self) -> Vec<String> {
        match self.config {
            Config::Console => vec!["--console-socket".into(), self.bundle.file("socket").display().to_string()],
            _ => Vec::new(),
        }
    }

    /// The process that exec makes.
    pub fn exec_script(&self) -> String {
        format!("{}; exec sleep 100", report("exec"))
    }

    /// Takes whatever came over the socket, and lets go of it.
    pub fn drain(&self) {
        while let Some(Ok(_)) = self.listener.as_ref().map(UnixListener::accept) {}
    }

    /// Forgets the reports of the trial before.
    pub fn wipe(&self) {
        for name in ["init", "exec", "init.new", "exec.new"] {
            let _absent = fs::remove_file(self.bundle.file("rootfs/tmp").join(name));
        }
        let _absent = fs::remove_file(self.bundle.file("hooked"));
        let _absent = fs::remove_dir_all(self.images());
    }

    /// What the process `name` said of itself, without what differs from one container to the next; empty when it has
    /// said nothing within the time.
    pub fn report(&self, name: &str) -> String {
        let path = self.bundle.file("rootfs/tmp").join(name);
        let whole = || fs::read_to_string(&path).ok().filter(|text| text.ends_with("end\n"));
        let text = (0..1000).find_map(|_| {
            whole().or_else(|| {
                std::thread::sleep(std::time::Duration::from_millis(5));
                None
            })
        });
        let hooked = if self.bundle.file("hooked").exists() { "hooked\n" } else { "" };
        text.map_or_else(String::new, |text| self.normal(&text) + hooked)
    }

    fn normal(&self, text: &str) -> String {
        let host: Vec<String> = fs::read_dir("/proc/self/ns")
            .unwrap()
            .filter_map(|entry| Some(fs::read_link(entry.unwrap().path()).ok()?.display().to_string()))
            .collect();
        let line = |line: &str| {
            let line = line.replace(&self.bundle.name, "NAME");
            match line.split_once(":[") {
                Some((kind, _)) if !host.contains(&line) => format!("{kind}: its own\n"),
                Some((kind, _)) => format!("{kind}: the host's\n"),
                // Ids of peer groups, devices and directories are given as they come.
                None => line.split(' ').filter(|word| !is_id(word)).collect::<Vec<_>>().join(" ") + "\n",
            }
        };
        text.lines().map(line).collect()
    }
}

fn is_id(word: &str) -> bool {
    ["master:", "shared:", "NAME"].iter().any(|start| word.starts_with(start)) || word.contains("NAME")
}

fn user_namespace(bundle: &mut Bundle) {
    let kinds = ["pid", "mount", "uts", "ipc", "network", "cgroup", "user"].map(|kind| json!({ "type": kind }));
    let map = json!([{ "containerID": 0, "hostID": FIRST, "size": 65536 }]);
    bundle.set("/linux/namespaces", json!(kinds));
    bundle.set("/linux/uidMappings", map.clone()).set("/linux/gidMappings", map);
    give(&bundle.file("rootfs"), FIRST);
}

/// A process in a user namespace of its own, which others join.
struct Pod(std::process::Child);

impl Pod {
    fn joined_by(bundle: &mut Bundle) -> Self {
        user_namespace(bundle);
        let pod = Self(std::process::Command::new("unshare").args(["--user", "sleep", "100000"]).spawn().unwrap());
        let own = fs::read_link("/proc/self/ns/user").unwrap();
        let path = format!("/proc/{}/ns/user", pod.0.id());
        crate::bundle::eventually("a user namespace", || fs::read_link(&path).is_ok_and(|made| made != own));
        for map in ["uid_map", "gid_map"] {
            fs::write(format!("/proc/{}/{map}", pod.0.id()), format!("0 {FIRST} 65536\n")).unwrap();
        }
        bundle.unset("/linux/uidMappings").unset("/linux/gidMappings").without_namespace("user");
        bundle.set("/linux/namespaces/-", json!({ "type": "user", "path": path }));
        pod
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        let _dead = self.0.kill();
        let _dead = self.0.wait();
    }
}

fn hooks(bundle: &mut Bundle) {
    let hook = |args: &[&str]| json!([{ "path": "/bin/busybox", "args": args }]);
    let hooked = bundle.file("hooked").display().to_string();
    let mut all: serde_json::Map<String, Value> = ["createContainer", "startContainer", "poststart", "poststop"]
        .into_iter()
        .map(|kind| (kind.to_string(), hook(&["true"])))
        .collect();
    all.insert("createRuntime".into(), hook(&["touch", &hooked]));
    bundle.set("/hooks", Value::Object(all));
}
