//! The cgroup subtree that one validation program has for itself.
//!
//! Fixed cgroup paths in the programs (`/cgrouptest`) thus name another cgroup for each of them.

use std::fs;
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::thread;
use std::time::Duration;

/// A cgroup directly below the top of the cgroup2 hierarchy, wherever the machine has it.
pub struct Subtree {
    /// The top; held open, so that it is reached when another mount covers it.
    top: fs::File,
    name: String,
}

impl Subtree {
    /// Makes the cgroup, empty, and offers it every controller that the machine has in cgroup2.
    ///
    /// # Errors
    /// The cgroup cannot be made, or cgroup2 is mounted nowhere.
    pub fn make(program: &Path) -> io::Result<Subtree> {
        let top = cgroup2_mount()?;
        offer_controllers(Path::new(&top));
        let stem = program.file_stem().unwrap_or_default().to_string_lossy();
        let name = format!("oci-conformance-{}-{stem}", std::process::id());
        let subtree = Subtree { top: fs::File::open(top)?, name };
        fs::create_dir(subtree.path())?;
        Ok(subtree)
    }

    /// A path that names the cgroup in every mount namespace with this process's /proc.
    pub fn path(&self) -> String {
        format!("/proc/{}/fd/{}/{}", std::process::id(), self.top.as_raw_fd(), self.name)
    }

    /// Removes the subtree; a cgroup that is still busy is tried again for a second.
    pub fn remove(&self) {
        let path = self.path();
        for _ in 0..100 {
            remove_cgroup(Path::new(&path));
            if !Path::new(&path).exists() {
                return;
            }
            thread::sleep(Duration::from_millis(10));
        }
    }
}

/// Mount point of cgroup2: /sys/fs/cgroup, or /sys/fs/cgroup/unified on a hybrid machine.
fn cgroup2_mount() -> io::Result<String> {
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    let found = mounts.lines().find_map(|line| {
        let (place, kind) = line.split_once(" - ")?;
        let mut fields = place.split(' ').skip(3);
        let (root, point) = (fields.next()?, fields.next()?);
        (kind.starts_with("cgroup2 ") && root == "/").then(|| point.to_owned())
    });
    found.ok_or_else(|| io::Error::other("cgroup2 is mounted nowhere on this machine"))
}

/// Moves this process into a cgroup.
///
/// # Errors
/// What the kernel answers to the write.
pub fn enter(cgroup: &str) -> io::Result<()> {
    fs::write(format!("{cgroup}/cgroup.procs"), "0")
}

/// Enables every available controller for the children of a cgroup.
pub fn offer_controllers(cgroup: &Path) {
    let names = fs::read_to_string(cgroup.join("cgroup.controllers")).unwrap_or_default();
    for name in names.split_whitespace() {
        // One by one: a controller that cannot be had must not keep the others away.
        let _ = fs::write(cgroup.join("cgroup.subtree_control"), format!("+{name}"));
    }
}

fn remove_cgroup(dir: &Path) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_cgroup(&entry.path());
        }
    }
    let _ = fs::remove_dir(dir);
}
