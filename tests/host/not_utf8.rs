//! Paths on Linux are bytes: of the bundle, the rootfs, the state root, the log, and a user's home.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags};
use serde_json::{Value, json};

use crate::bundle::{Bundle, Done, finish, is_tare, reap, runtime};

/// The directory of a bundle under a name that is not UTF-8.
struct Named(PathBuf);

impl Named {
    fn new(bundle: &Bundle) -> Self {
        let name = Self(bundle.path().join(OsStr::from_bytes(b"n\xff\xfe me")));
        fs::create_dir(&name.0).unwrap();
        nix::mount::mount(Some(bundle.path()), &name.0, None::<&str>, MsFlags::MS_BIND, None::<&str>).unwrap();
        name
    }

    /// The runtime with all that it is given under that name.
    fn runtime(&self, args: &[&OsStr]) -> Done {
        let mut command = std::process::Command::new(runtime());
        command.arg("--root").arg(self.0.join("state")).args(args).current_dir(&self.0);
        finish(command)
    }

    fn on(&self, command: &str, bundle: &Bundle) -> Done {
        self.runtime(&[command.as_ref(), bundle.id.as_ref()])
    }
}

impl Drop for Named {
    fn drop(&mut self) {
        let _gone = nix::mount::umount2(&self.0, MntFlags::MNT_DETACH);
    }
}

fn lossy(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn the_lifecycle_works_below_such_a_path() {
    if !is_tare() {
        return eprintln!("skipped: runc's own JSON has text alone");
    }
    for mounts in [true, false] {
        let mut bundle = Bundle::script("echo started > /tmp/started; sleep 1000");
        if !mounts {
            bundle.without_namespace("mount");
        }
        let hook = json!([{ "path": "/bin/sh", "args": ["sh", "-c", "cat > hooked"], "env": ["PATH=/bin:/usr/bin"] }]);
        bundle.set("/hooks", json!({ "poststop": hook })).write();
        let named = Named::new(&bundle);
        let (log, pid_file) = (named.0.join("log"), named.0.join(OsStr::from_bytes(b"pid\xff")));
        named
            .runtime(&[
                "--log".as_ref(),
                log.as_ref(),
                "create".as_ref(),
                "--bundle".as_ref(),
                named.0.as_ref(),
                "--pid-file".as_ref(),
                pid_file.as_ref(),
                bundle.id.as_ref(),
            ])
            .silent();
        named.on("start", &bundle).silent();
        bundle.wait_file("tmp/started");
        let state: Value = serde_json::from_str(&named.on("state", &bundle).good()).unwrap();
        assert_eq!(state["bundle"], lossy(&named.0));
        assert_eq!(state["rootfs"], lossy(&named.0.join("rootfs")));
        assert_eq!(fs::read_to_string(&pid_file).unwrap(), state["pid"].to_string());
        let pid = i32::try_from(state["pid"].as_i64().unwrap()).unwrap();
        assert!(named.runtime(&["list".as_ref()]).good().contains(&bundle.id));
        let exec: Vec<OsString> =
            ["exec", &bundle.id, "/bin/cat", "/tmp/started"].into_iter().map(OsString::from).collect();
        let exec: Vec<&OsStr> = exec.iter().map(OsString::as_os_str).collect();
        assert_eq!(named.runtime(&exec).good(), "started\n");
        named.runtime(&["--log".as_ref(), log.as_ref(), "state".as_ref(), "nobody".as_ref()]).refused();
        assert!(fs::read_to_string(&log).unwrap().contains("does not exist"));
        assert!(named.runtime(&["doctor".as_ref()]).good().contains("1 container, 0 findings"));
        named.runtime(&["kill".as_ref(), bundle.id.as_ref(), "KILL".as_ref()]).silent();
        reap(pid);
        named.on("delete", &bundle).silent();
        // In the bundle, found by its bytes.
        let state: Value = serde_json::from_str(&fs::read_to_string(bundle.file("hooked")).unwrap()).unwrap();
        assert_eq!(state["bundle"], lossy(&named.0));
        let mounts = fs::read("/proc/self/mountinfo").unwrap();
        let below = [named.0.join("rootfs").as_os_str().as_bytes(), b"/"].concat();
        assert!(!mounts.windows(below.len()).any(|window| window == below), "mounts are left");
        assert_eq!(bundle.root().read_dir().unwrap().count(), 0);
    }
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn a_home_is_bytes_for_the_program_and_for_exec() {
    let print = "printf %s \"$HOME\" > /tmp/home; sleep 1000";
    let mut bundle = Bundle::script(print);
    let passwd = b"\xff:x:7:7:\xfe:/home/\xfc:/bin/sh\nu:x:8:8::/home/\xc3:/bin/sh\n";
    fs::write(bundle.file("rootfs/etc/passwd"), passwd).unwrap();
    fs::write(bundle.file("rootfs/etc/group"), b"\xff:x:7:\xfe\n").unwrap();
    std::os::unix::fs::chown(bundle.file("rootfs/tmp"), Some(7), Some(7)).unwrap();
    bundle.set("/process/user", json!({ "uid": 7, "gid": 7 }));
    bundle.begin();
    let home = || fs::read(bundle.file("rootfs/tmp/home")).is_ok_and(|bytes| bytes == b"/home/\xfc");
    crate::bundle::eventually("the home of uid 7", home);
    let exec = |user: &str| {
        let line = "printf %s \"$HOME\" > /tmp/exec; true";
        bundle.tare(&["exec", "--user", user, &bundle.id, "/bin/sh", "-c", line]).silent();
        let path = bundle.file("rootfs/tmp/exec");
        let bytes = fs::read(&path).unwrap();
        fs::remove_file(path).unwrap();
        bytes
    };
    assert_eq!(exec("7"), b"/home/\xfc");
    std::os::unix::fs::chown(bundle.file("rootfs/tmp"), Some(8), Some(8)).unwrap();
    assert_eq!(exec("8:8"), b"/home/\xc3");
}
