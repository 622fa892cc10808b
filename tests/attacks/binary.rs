//! Class 1: the runtime's own binary, seen from a container as /proc/PID/exe.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;

use crate::bundle::{Bundle, copy_program, eventually, finish, reap, runtime};
use crate::support::skip;

/// A copy of the runtime that may be harmed, and a pod: the attacker's container, whose pid namespace others join.
struct Pod {
    attacker: Bundle,
    runtime: PathBuf,
    content: Vec<u8>,
}

/// Holds the file behind /proc/PID/exe, waits until the victim has ended (a running file cannot be written anyway), and
/// writes. Reopening through /proc/self/fd is how CVE-2019-5736 does it.
const ATTACK: &str = r#"
    if ! (: </proc/$1/exe) 2>/dev/null; then echo closed >/tmp/held; exit; fi
    exec 3</proc/$1/exe
    (echo overwritten >/proc/self/fd/3) 2>/dev/null && echo running >>/tmp/written
    (mount -o remount,bind,rw /proc/self/fd/3) 2>/dev/null
    echo held >/tmp/held
    while ! [ -e /tmp/gone ]; do sleep 0.02; done
    n=0
    while [ $n -lt 20 ]; do
        (echo overwritten >/proc/self/fd/3) 2>/dev/null && echo ended >>/tmp/written
        n=$((n + 1))
        sleep 0.01
    done
    echo over >/tmp/over"#;

impl Pod {
    fn new() -> Self {
        let attacker = Bundle::script("sleep 1000");
        let runtime_copy = attacker.file("runtime");
        copy_program(&runtime(), &runtime_copy);
        let content = fs::read(&runtime_copy).unwrap();
        let pod = Self { attacker, runtime: runtime_copy, content };
        fs::write(pod.attacker.file("rootfs/tmp/attack"), ATTACK).unwrap();
        pod.prepare(&pod.attacker);
        pod.attacker.write();
        pod.command(&pod.attacker, &["create", &pod.attacker.id]);
        pod.command(&pod.attacker, &["start", &pod.attacker.id]);
        pod
    }

    /// /entry in the image executes the runtime as its own interpreter, which waits: its log is a FIFO.
    fn prepare(&self, bundle: &Bundle) {
        use std::os::unix::fs::PermissionsExt;
        let rootfs = bundle.file("rootfs");
        fs::write(rootfs.join("entry"), "#!/proc/self/exe --log=/tmp/fifo\n").unwrap();
        fs::set_permissions(rootfs.join("entry"), fs::Permissions::from_mode(0o755)).unwrap();
        nix::unistd::mkfifo(&rootfs.join("tmp/fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        libraries(&self.runtime, &rootfs);
    }

    fn command(&self, bundle: &Bundle, args: &[&str]) {
        let mut command = Command::new(&self.runtime);
        command.arg("--root").arg(bundle.root()).args(args);
        finish({
            command.current_dir(bundle.path()).env("TARE_TEST_MARK", &bundle.name);
            command
        });
    }

    /// A second container in the attacker's pid namespace.
    fn victim(&self, program: &str) -> Bundle {
        let mut victim = Bundle::new();
        self.prepare(&victim);
        let path = format!("/proc/{}/ns/pid", self.attacker.pid());
        victim.set("/linux/namespaces/0", json!({ "type": "pid", "path": path }));
        victim.set("/process/args", json!([program]));
        victim.write();
        victim
    }

    /// Attacks the process with this pid of the host while it lives, and after `end`.
    #[track_caller]
    fn attack(&self, pid: i32, end: impl FnOnce()) {
        let exe = fs::read_link(format!("/proc/{pid}/exe")).unwrap();
        assert!(!exe.ends_with("busybox"), "the victim is not the runtime: {}", exe.display());
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let inside = status.lines().find_map(|line| line.strip_prefix("NSpid:")?.split_whitespace().last()).unwrap();
        let args = ["exec", "--detach", &self.attacker.id, "/bin/sh", "/tmp/attack", inside];
        self.command(&self.attacker, &args);
        let held = self.attacker.wait_file("tmp/held");
        end();
        reap(pid);
        fs::write(self.attacker.file("rootfs/tmp/gone"), "").unwrap();
        if held == "held\n" {
            self.attacker.wait_file("tmp/over");
        }
        let written = fs::read_to_string(self.attacker.file("rootfs/tmp/written")).unwrap_or_default();
        assert_eq!(written, "", "{exe:?} was opened for writing");
        assert!(fs::read(&self.runtime).unwrap() == self.content, "the host's binary was overwritten");
    }
}

impl Drop for Pod {
    /// The pid namespace ends only when all that came to us has been waited for.
    fn drop(&mut self) {
        self.attacker.kill_processes();
        for _ in 0..100 {
            self.attacker.reap_orphans();
            std::thread::sleep(std::time::Duration::from_millis(2));
            if self.attacker.leftovers().iter().all(|left| !left.starts_with("process")) {
                break;
            }
        }
        self.attacker.reap_orphans();
    }
}

/// Copies the libraries of a program into an image, at the places where it looks for them.
fn libraries(program: &Path, rootfs: &Path) {
    let listed = Command::new("ldd").arg(program).output().unwrap();
    for path in String::from_utf8_lossy(&listed.stdout).split_whitespace().filter(|word| word.starts_with('/')) {
        let target = rootfs.join(path.trim_start_matches('/'));
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::copy(path, target).unwrap();
    }
}

/// While it waits for start, init is still the runtime. (runc before 1.0-rc7: overwritten.)
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn class_01_init_before_start() {
    let pod = Pod::new();
    let victim = pod.victim("/bin/true");
    pod.command(&victim, &["create", &victim.id]);
    pod.attack(victim.pid(), || pod.command(&victim, &["delete", "--force", &victim.id]));
}

/// CVE-2019-5736 by `#!/proc/self/exe`: the image makes the runtime execute itself as the container's program.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn class_01_run_executes_itself() {
    let pod = Pod::new();
    let victim = pod.victim("/entry");
    pod.command(&victim, &["run", "--detach", &victim.id]);
    let Some(pid) = waiting(victim.pid()) else { return };
    pod.attack(pid, || pod.command(&victim, &["delete", "--force", &victim.id]));
}

/// The same for exec.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn class_01_exec_executes_itself() {
    let pod = Pod::new();
    pod.command(&pod.attacker, &["exec", "--detach", "--pid-file", "pid", &pod.attacker.id, "/entry"]);
    let pid: i32 = fs::read_to_string(pod.attacker.file("pid")).unwrap().parse().unwrap();
    let kill = || rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), KILL).unwrap();
    let Some(pid) = waiting(pid) else { return };
    pod.attack(pid, kill);
}

/// The executed file and all that is mapped of it are on a read-only mount: no link to them can be opened for writing,
/// whoever opens it. The released binary, for x86-64, gets there with one execution.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn class_01_nothing_mapped_is_writable() {
    let bundle = Bundle::script("echo >/tmp/runs; sleep 1000");
    bundle.write();
    let copy = bundle.file("runtime");
    copy_program(&runtime(), &copy);
    let mut run = Command::new(&copy);
    run.arg("--root").arg(bundle.root()).args(["run", &bundle.id]).current_dir(bundle.path());
    let mut run = run.env("TARE_TEST_MARK", &bundle.name).spawn().unwrap();
    bundle.wait_file("tmp/runs");
    let own = PathBuf::from(format!("/proc/{}", run.id()));
    let mapped = fs::read_dir(own.join("map_files")).unwrap().map(|entry| entry.unwrap().path());
    let links: Vec<PathBuf> =
        mapped.chain([own.join("exe")]).filter(|link| link.metadata().unwrap().is_file()).collect();
    assert!(links.len() > 1, "nothing is mapped: {links:?}");
    for link in links {
        if fs::read_link(&link).unwrap().components().count() > 2 {
            continue; // A library of a debug build.
        }
        // Not tried: as long as it is executed, it cannot be written in any case.
        let flags = rustix::fs::statvfs(&link).unwrap().f_flag;
        assert!(flags.contains(rustix::fs::StatVfsMountFlags::RDONLY), "{link:?} can be written later");
    }
    if cfg!(target_arch = "x86_64") && is_static_pie(&copy) {
        assert_eq!(executed_as(&own), copy.as_os_str(), "the runtime has executed itself again");
    }
    bundle.tare(&["delete", "--force", &bundle.id]).good();
    run.wait().unwrap();
}

/// Whether it needs no dynamic linker, though it is position-independent.
fn is_static_pie(program: &Path) -> bool {
    const DYNAMIC: u8 = 3;
    let listed = Command::new("ldd").arg(program).output().unwrap();
    fs::read(program).unwrap()[16] == DYNAMIC && !String::from_utf8_lossy(&listed.stdout).contains("=>")
}

/// What the last execve(2) of a process executed: AT_EXECFN of its auxiliary vector.
fn executed_as(own: &Path) -> OsString {
    let pairs = fs::read(own.join("auxv")).unwrap();
    let word = |bytes: &[u8]| u64::from_ne_bytes(bytes.try_into().unwrap());
    let place = pairs.chunks(16).find(|pair| word(&pair[..8]) == libc::AT_EXECFN).map(|pair| word(&pair[8..])).unwrap();
    let mut text = vec![0; 4096];
    let read = fs::File::open(own.join("mem")).unwrap().read_at(&mut text, place).unwrap();
    text.truncate(text[..read].iter().position(|byte| *byte == 0).unwrap());
    OsString::from_vec(text)
}

const KILL: rustix::process::Signal = rustix::process::Signal::KILL;

/// The process, once it sleeps on the FIFO; `None` if the runtime has no such log and is gone.
fn waiting(pid: i32) -> Option<i32> {
    let line = || fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    eventually("the runtime runs as interpreter", || line().contains("--log=/tmp/fifo") || line().is_empty());
    if line().is_empty() {
        skip("this runtime does not wait for the reader of its log");
        return None;
    }
    Some(pid)
}
