//! A stage for the rootfs room: a bundle, a thread in new namespaces that does what init would do, an eye inside.

#![allow(clippy::unwrap_used, reason = "a test fails by panic")]

#[path = "../busybox/mod.rs"]
mod busybox;
pub mod tree;
pub mod user;

use std::fs;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::sched::{CloneFlags, unshare};
use oci_spec::runtime::Spec;
use rustix::fs::{Mode, OFlags};
use tare::error::{Error, Result};
use tare::internals::rootfs::{self, RootfsFacts, RootfsPlan, child, parent};
use tare::internals::wire::{ChildResult, Fault};

/// How it ended.
#[derive(Debug)]
pub enum Outcome {
    Ran,
    Failed(String),
}

/// A bundle with a busybox rootfs in a temporary directory.
pub struct Bundle {
    directory: tempfile::TempDir,
}

impl Bundle {
    pub fn new() -> Self {
        busybox::require();
        let bundle = Self { directory: tempfile::tempdir().unwrap() };
        busybox::rootfs(&bundle.path("rootfs"), &["dev", "proc", "sys", "tmp", "etc"], &[]);
        bundle
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn file(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// A small config with these mounts and this `linux`.
    pub fn config(mounts: &str, linux: &str) -> String {
        format!(r#"{{"ociVersion": "1.2.0", "root": {{"path": "rootfs"}}, "mounts": {mounts}, "linux": {linux}}}"#)
    }

    /// Builds the tree and looks at it from inside.
    pub fn run(&self, config: &str, look: impl FnOnce() + Send) {
        self.run_with(config, |_| {}, look);
    }

    /// The same with other facts than those of a root container with all namespaces.
    pub fn run_with(&self, config: &str, facts: impl FnOnce(&mut RootfsFacts) + Send, look: impl FnOnce() + Send) {
        if let Outcome::Failed(error) = self.try_run(config, facts, look) {
            panic!("{error}");
        }
    }

    /// Whatever comes of it.
    pub fn attempt(&self, config: &str) -> Outcome {
        self.try_run(config, |_| {}, || {})
    }

    /// The error line.
    pub fn fails(&self, config: &str) -> String {
        self.fails_with(config, |_| {})
    }

    /// The error line with other facts.
    pub fn fails_with(&self, config: &str, facts: impl FnOnce(&mut RootfsFacts) + Send) -> String {
        match self.try_run(config, facts, || {}) {
            Outcome::Ran => panic!("it ran"),
            Outcome::Failed(error) => error,
        }
    }

    fn try_run(
        &self,
        config: &str,
        facts: impl FnOnce(&mut RootfsFacts) + Send,
        look: impl FnOnce() + Send,
    ) -> Outcome {
        let result = std::thread::scope(|scope| {
            let body = || build(self.directory.path(), config, facts).map(|()| look());
            scope.spawn(body).join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        });
        match result {
            Ok(()) => Outcome::Ran,
            Err(error) => Outcome::Failed(error.to_string()),
        }
    }

    /// The host of this container has shared mounts only; it must look the same afterwards.
    pub fn on_a_shared_host(&self, config: &str) -> Outcome {
        let table = |path: &str| fs::read_to_string(path).unwrap();
        let result = std::thread::scope(|scope| {
            let body = || {
                unshare(CloneFlags::CLONE_NEWNS).unwrap();
                let none: Option<&str> = None;
                let shared = nix::mount::MsFlags::MS_REC | nix::mount::MsFlags::MS_SHARED;
                nix::mount::mount(none, "/", none, shared, none).unwrap();
                let path = format!("/proc/self/task/{}/mountinfo", nix::unistd::gettid());
                let before = table(&path);
                let inner = scope.spawn(|| build(self.directory.path(), config, |_| {}));
                let result = inner.join().unwrap();
                assert_eq!(before, table(&path));
                result
            };
            scope.spawn(body).join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        });
        result.map_or_else(|error| Outcome::Failed(error.to_string()), |()| Outcome::Ran)
    }
}

fn build(bundle: &Path, config: &str, change: impl FnOnce(&mut RootfsFacts)) -> Result<()> {
    let (plan, prepared) = prepare(bundle, config, change)?;
    let namespaces = CloneFlags::CLONE_NEWIPC | CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWCGROUP;
    let filesystem = if plan.mount_namespace { CloneFlags::CLONE_NEWNS } else { CloneFlags::CLONE_FS };
    unshare(namespaces | filesystem).unwrap();
    nix::sys::stat::umask(nix::sys::stat::Mode::empty());
    carry_out(&plan, &prepared).map_err(|fault| render(&plan, &fault))
}

fn prepare(
    bundle: &Path,
    config: &str,
    change: impl FnOnce(&mut RootfsFacts),
) -> Result<(RootfsPlan, rootfs::OpenRootfs)> {
    let spec: Spec = serde_json::from_str(config).unwrap();
    let mut facts = RootfsFacts {
        bundle,
        user_namespace: false,
        mount_namespace: true,
        // The stage has made the namespace.
        new_mount_namespace: false,
        hooks_before_pivot: false,
        network_namespace: true,
        foreign_network_namespace: false,
        pid_namespace: true,
        foreign_pid_namespace: false,
        ipc_namespace: true,
        foreign_ipc_namespace: false,
        maps_tty: true,
        cgroup_namespace: true,
        cgroup_path: None,
        console: false,
        no_pivot: false,
        selinux: false,
    };
    change(&mut facts);
    let plan = rootfs::plan(&spec, &facts)?;
    let prepared = parent::open(&plan, None, None)?;
    Ok((plan, prepared))
}

fn carry_out(plan: &RootfsPlan, prepared: &rootfs::OpenRootfs) -> ChildResult {
    child::propagation(plan, prepared)?;
    let root = child::attach_root(plan, prepared)?;
    // There is no parent that would map the ids of a source in the rootfs.
    let covered = child::mounts(plan, prepared, root.as_fd(), root.as_fd())?;
    let root = covered.as_ref().unwrap_or(&root).as_fd();
    child::devices(plan, prepared, root)?;
    let terminal = plan.console.then(|| terminal(root));
    if let Some((_, slave)) = &terminal {
        child::console(plan, root, slave.as_fd())?;
    }
    child::pivot(plan, prepared, root)?;
    child::finish(plan, prepared, root)
}

/// A pty of the container's devpts.
#[allow(unsafe_code, reason = "no crate here wraps these two requests")]
fn terminal(root: BorrowedFd<'_>) -> (OwnedFd, OwnedFd) {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let master = rustix::fs::openat(root, "dev/pts/ptmx", flags, Mode::empty()).unwrap();
    // SAFETY: both requests are about the descriptor alone; the second returns a new one.
    let slave = unsafe {
        assert_eq!(libc::ioctl(master.as_raw_fd(), libc::TIOCSPTLCK, &raw const UNLOCK), 0);
        OwnedFd::from_raw_fd(libc::ioctl(master.as_raw_fd(), libc::TIOCGPTPEER, libc::O_RDWR | libc::O_NOCTTY))
    };
    (master, slave)
}

static UNLOCK: libc::c_int = 0;

fn render(plan: &RootfsPlan, fault: &Fault) -> Error {
    plan.explain(fault).unwrap()
}

/// Attributes, type and source of the topmost mount at a path.
pub fn find_mount(table: &str, path: &str) -> String {
    let mut found = String::new();
    for line in table.lines() {
        let fields: Vec<&str> = line.split(' ').collect();
        if fields[4] == path {
            let dash = fields.iter().position(|field| *field == "-").unwrap();
            found = format!("{} {} {}", fields[5], fields[dash + 1], fields[dash + 2]);
        }
    }
    found
}
