//! The state root: one directory per container, which is also the lock on its id.
//!
//! World: parent. Promises: mkdirat of the directory takes the id; directories are 0700 and files 0600 whatever the
//! umask; the root belongs to the caller and nobody else can write to it; files are replaced by rename alone.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{
    Access, AtFlags, CWD, Dir, FlockOperation, Mode, OFlags, flock, fstat, mkdirat, openat, renameat, unlinkat,
};
use rustix::io::Errno;

use crate::cgroup::Identity;
use crate::error::{Code, Coded, Context, Error, ErrorKind, Result};
use crate::sys::access::accessible;
use crate::timings;

/// How long a delete may take to release an id that is taken again, and between two looks.
const PATIENCE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(10);

/// Bytes of an id at the most: a file name, and room for the names made from it.
const ID_MAX: usize = 200;

/// Checks a container id: `[A-Za-z0-9_+-][A-Za-z0-9_+.-]*`.
///
/// # Errors
/// Says which rule is broken.
pub fn check_id(id: &str) -> Result<()> {
    let word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '+' | '-');
    let refuse = |what: String| {
        let hint = "an id consists of letters, digits, '_', '+', '-' and, except at the start, '.'";
        Err(Error::new(Code::ContainerIdInvalid, format!("invalid container id {id:?}: {what}")).hint(hint))
    };
    if id.is_empty() {
        return refuse("empty".into());
    }
    if id.len() > ID_MAX {
        return refuse(format!("{} bytes; the limit is {ID_MAX}", id.len()));
    }
    match id.chars().enumerate().find(|(at, c)| !word(*c) && (*c != '.' || *at == 0)) {
        Some((_, c)) => refuse(format!("{c:?} is not allowed there")),
        None => Ok(()),
    }
}

/// The state root.
#[derive(Debug)]
pub struct Store {
    /// Its path as the user gave it.
    pub path: PathBuf,
    /// Whatever its path is.
    pub identity: Identity,
    directory: OwnedFd,
}

fn not_made(path: &Path, errno: impl crate::error::Errno) -> Error {
    Error::system(format!("make the state root {}", path.display()), errno)
        .coded(Code::StateRootFailed)
        .hint("choose another directory with --root, or set XDG_RUNTIME_DIR")
}

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

impl Store {
    /// Opens the state root, making it (and what leads to it) when it is missing.
    ///
    /// # Errors
    /// It cannot be made, or others could write to it.
    pub fn make(path: &Path) -> Result<Self> {
        if let Some(store) = Self::open(path)? {
            return Ok(store);
        }
        // The sticky bit keeps what cleans up old files in XDG_RUNTIME_DIR away (XDG Base Directory Specification). It is
        // given by mkdir: by the time of a chmod the name could be a link to somebody else's directory.
        std::os::unix::fs::DirBuilderExt::mode(std::fs::DirBuilder::new().recursive(true), 0o1700)
            .create(path)
            .map_err(|e| not_made(path, e))?;
        Self::open(path)?
            .ok_or_else(|| Error::new(Code::StateRootFailed, format!("state root {} vanished", path.display())))
    }

    /// Whether [`Self::make`] can be expected to succeed. Nothing is made.
    ///
    /// # Errors
    /// As [`Self::make`].
    pub fn check(path: &Path) -> Result<()> {
        if Self::open(path)?.is_some() {
            return Ok(());
        }
        let whole = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
        let above = whole.ancestors().skip(1).find(|above| above.exists()).unwrap_or(Path::new("/"));
        accessible(CWD, above, Access::WRITE_OK | Access::EXEC_OK).map_err(|errno| not_made(path, errno))
    }

    /// Opens the state root if it exists.
    ///
    /// # Errors
    /// It is no directory, or others could write to it.
    pub fn open(path: &Path) -> Result<Option<Self>> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = match openat(CWD, path, flags, Mode::empty()) {
            Ok(directory) => directory,
            Err(Errno::NOENT) => return Ok(None),
            Err(e) => {
                return Err(
                    Error::system(format!("open the state root {}", path.display()), e).coded(Code::StateRootFailed)
                );
            }
        };
        let facts = fstat(&directory)
            .context(|| format!("stat the state root {}", path.display()))
            .coded(Code::StateRootFailed)?;
        // However it is written: the files of all users would be taken for containers.
        let top = rustix::fs::stat("/").context(|| "stat /").coded(Code::StateRootFailed)?;
        if (facts.st_dev, facts.st_ino) == (top.st_dev, top.st_ino) {
            return Err(Error::new(Code::StateRootInvalid, "the state root must not be /"));
        }
        let own = rustix::process::geteuid().as_raw();
        if facts.st_uid != own || facts.st_mode & 0o022 != 0 {
            let what = format!(
                "the state root {} belongs to uid {} with mode {:o}: other users could change files that tare trusts",
                path.display(),
                facts.st_uid,
                facts.st_mode & 0o7777
            );
            let hint = format!("it must belong to uid {own} and must not be writable by others");
            return Err(Error::new(Code::StateRootDenied, what).hint(hint));
        }
        Ok(Some(Self { path: path.to_path_buf(), identity: Identity::of(&facts), directory }))
    }

    /// Takes `id`: makes its directory and locks it. A delete that finds it before it is locked takes it away again; then
    /// it is made anew.
    ///
    /// # Errors
    /// [`ErrorKind::Exists`] when the id is taken.
    pub fn create(&self, id: &str) -> Result<Directory> {
        check_id(id)?;
        // So that what is opened below is what was made here, and not another's after a delete.
        self.lock(FlockOperation::LockExclusive)?;
        let give_up = |_: &Error| {
            // Just made and empty; if it cannot be removed, `delete --force` can.
            let _left = unlinkat(&self.directory, id, AtFlags::REMOVEDIR);
        };
        let directory = loop {
            // When nothing was made, the end of the process unlocks as well.
            self.make_directory(id)?;
            match self.take(id) {
                Ok(None) => {}
                Ok(Some(directory)) => break directory,
                // Who has the lock removes it: the name may be another's before we could.
                Err(error) if error.kind() == ErrorKind::WrongStatus => return Err(error),
                Err(error) => {
                    give_up(&error);
                    return Err(error);
                }
            }
        };
        self.lock(FlockOperation::Unlock).inspect_err(give_up)?;
        Ok(directory)
    }

    /// Locks the root, or unlocks it: no id is taken while another has the lock.
    ///
    /// # Errors
    /// None in practice.
    pub fn lock(&self, operation: FlockOperation) -> Result<()> {
        rustix::io::retry_on_intr(|| flock(&self.directory, operation))
            .context(|| format!("lock the state root {}", self.path.display()))
            .coded(Code::StateRootFailed)
    }

    fn make_directory(&self, id: &str) -> Result<()> {
        match mkdirat(&self.directory, id, Mode::RWXU) {
            Ok(()) => Ok(()),
            Err(Errno::EXIST) => {
                let what = format!("container with given ID already exists: \"{id}\"");
                let hint = format!("`tare delete --force {id}` removes it");
                Err(Error::new(Code::ContainerExists, what).hint(hint))
            }
            Err(e) => Err(Error::system(format!("make {}/{id}", self.path.display()), e).coded(Code::StateRootFailed)),
        }
    }

    fn take(&self, id: &str) -> Result<Option<Directory>> {
        let Some(directory) = self.find(id)? else { return Ok(None) };
        directory.lock_patiently(PATIENCE)?;
        Ok(if directory.is_removed()? { None } else { Some(directory) })
    }

    /// The directory of a container, if there is one.
    ///
    /// # Errors
    /// A bad id, or a directory that cannot be opened: unreadable is not absent.
    pub fn find(&self, id: &str) -> Result<Option<Directory>> {
        check_id(id)?;
        match openat(&self.directory, id, DIRECTORY, Mode::empty()) {
            Ok(fd) => Ok(Some(Directory { id: id.to_string(), path: self.path.join(id), root: self.identity, fd })),
            Err(Errno::NOENT) => Ok(None),
            Err(e) => Err(Error::system(format!("open {}/{id}", self.path.display()), e).coded(Code::StateRootFailed)),
        }
    }

    /// The ids of all containers, sorted.
    ///
    /// # Errors
    /// The root cannot be read.
    pub fn ids(&self) -> Result<Vec<String>> {
        let entries = Dir::read_from(&self.directory)
            .context(|| format!("read {}", self.path.display()))
            .coded(Code::StateRootFailed)?;
        let mut ids = Vec::new();
        for entry in entries {
            let entry = entry.context(|| format!("read {}", self.path.display())).coded(Code::StateRootFailed)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if check_id(&name).is_ok() {
                ids.push(name);
            }
        }
        ids.sort();
        Ok(ids)
    }

    /// Removes the directory of a container with the files that tare makes in it.
    ///
    /// # Errors
    /// Something in it is not tare's, or the filesystem refuses.
    pub fn remove(&self, directory: &Directory) -> Result<()> {
        let _span = timings::span("remove the state directory");
        for name in FILES {
            let removed = match unlinkat(&directory.fd, *name, AtFlags::empty()) {
                Err(Errno::ISDIR) => unlinkat(&directory.fd, *name, AtFlags::REMOVEDIR),
                removed => removed,
            };
            match removed {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(e) => {
                    return Err(Error::system(format!("remove {}", directory.path.join(name).display()), e)
                        .coded(Code::StateRootFailed));
                }
            }
        }
        let remove = || unlinkat(&self.directory, &*directory.id, AtFlags::REMOVEDIR);
        let removed = match remove() {
            // A container with every capability may have written there; nothing is followed.
            Err(Errno::NOTEMPTY | Errno::EXIST) => {
                let _reason = std::fs::remove_dir_all(directory.path.join(super::notify::DIRECTORY));
                remove()
            }
            result => result,
        };
        match removed {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(e) => {
                Err(Error::system(format!("remove {}", directory.path.display()), e).coded(Code::StateRootFailed))
            }
        }
    }
}

/// Where CRIU sees the rootfs of a container that it restores; empty on the host.
pub(super) const CRIU_ROOT: &str = "criu-root";

/// Where CRIU sees the cgroup hierarchy, see `checkpoint/yard.rs`.
pub(super) const CRIU_CGROUPS: &str = "criu-cgroups";

/// The hierarchy of cgroup v2 in it; the name is CRIU's.
pub(super) const CRIU_UNIFIED: &str = "criu-cgroups/unified";

/// Every file that tare makes in a container's directory; the record goes last, so that a half-done removal can go on.
const FILES: &[&str] = &[
    "go",
    "result",
    super::start_gate::LISTENER,
    CRIU_ROOT,
    CRIU_UNIFIED,
    CRIU_CGROUPS,
    "config.json",
    "config.json.new",
    "record.new",
    "record",
];

/// The error for an id that nobody has; engines match "does not exist".
#[must_use]
pub fn absent(id: &str) -> Error {
    Error::new(Code::ContainerNotFound, format!("container \"{id}\" does not exist"))
}

fn in_use(id: &str) -> Error {
    Error::new(Code::ContainerInUse, format!("container \"{id}\" is in use by another command"))
}

/// The directory of one container.
#[derive(Debug)]
pub struct Directory {
    /// The container's id.
    pub id: String,
    /// For messages.
    pub path: PathBuf,
    /// The state root that it is in.
    pub root: Identity,
    fd: OwnedFd,
}

impl AsFd for Directory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Directory {
    /// Takes the lock; it is released with the descriptor, also by death.
    ///
    /// # Errors
    /// Another command holds it (with a non-blocking operation).
    pub fn lock(&self, operation: FlockOperation) -> Result<()> {
        let waits = matches!(operation, FlockOperation::LockShared | FlockOperation::LockExclusive);
        let _span = waits.then(|| timings::span("lock the container"));
        match rustix::io::retry_on_intr(|| flock(&self.fd, operation)) {
            Ok(()) => Ok(()),
            Err(Errno::WOULDBLOCK) => Err(in_use(&self.id)),
            Err(e) => Err(Error::system(format!("lock {}", self.path.display()), e).coded(Code::StateRootFailed)),
        }
    }

    /// Takes the lock, and waits a while for another command, which may be a create that is being killed.
    ///
    /// # Errors
    /// Another command holds it for longer.
    pub fn lock_patiently(&self, patience: Duration) -> Result<()> {
        let _span = timings::span("lock the container");
        let mut deadline = None;
        loop {
            match self.lock(FlockOperation::NonBlockingLockExclusive) {
                Err(error)
                    if error.kind() == ErrorKind::WrongStatus
                        && Instant::now() < *deadline.get_or_insert_with(|| Instant::now() + patience) =>
                {
                    std::thread::sleep(PAUSE);
                }
                result => return result,
            }
        }
    }

    /// Whether it has been deleted since it was opened. With the lock held and `false`, it stays: the path leads to it.
    ///
    /// # Errors
    /// None in practice.
    pub fn is_removed(&self) -> Result<bool> {
        let facts = fstat(&self.fd).context(|| format!("stat {}", self.path.display())).coded(Code::StateRootFailed)?;
        Ok(facts.st_nlink == 0)
    }

    /// Replaces the file `name` by rename, so that nobody ever reads half of it.
    ///
    /// # Errors
    /// Full disk, read-only state root; the old file is still there then.
    pub fn replace(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let temporary = format!("{name}.new");
        let what = || format!("write {}", self.path.join(name).display());
        let written = self.write_new(&temporary, bytes).and_then(|()| renameat(&self.fd, &*temporary, &self.fd, name));
        written
            .inspect_err(|_| {
                let _left = unlinkat(&self.fd, &*temporary, AtFlags::empty());
            })
            .context(what)
            .coded(Code::StateRootFailed)
    }

    fn write_new(&self, name: &str, bytes: &[u8]) -> rustix::io::Result<()> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(&self.fd, name, flags, Mode::RUSR | Mode::WUSR)?;
        let mut rest = bytes;
        while !rest.is_empty() {
            let written = rustix::io::retry_on_intr(|| rustix::io::write(&file, rest))?;
            rest = rest.get(written..).unwrap_or_default();
        }
        Ok(())
    }

    /// Reads the file `name`; `None` when it is missing.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn read(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let what = || format!("read {}", self.path.join(name).display());
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match openat(&self.fd, name, flags, Mode::empty()) {
            Ok(file) => file,
            Err(Errno::NOENT) => return Ok(None),
            Err(e) => return Err(Error::system(what(), e).coded(Code::StateRootFailed)),
        };
        let mut bytes = Vec::with_capacity(2048);
        loop {
            bytes.reserve(2048);
            let spare = rustix::buffer::spare_capacity(&mut bytes);
            match rustix::io::read(&file, spare) {
                Ok(0) => return Ok(Some(bytes)),
                Ok(_) | Err(Errno::INTR) => {}
                Err(e) => return Err(Error::system(what(), e).coded(Code::StateRootFailed)),
            }
        }
    }

    /// Makes a FIFO of mode 0600.
    ///
    /// # Errors
    /// As mkfifo(3).
    pub fn make_fifo(&self, name: &str) -> Result<()> {
        let mode = Mode::RUSR | Mode::WUSR;
        rustix::fs::mknodat(&self.fd, name, rustix::fs::FileType::Fifo, mode, 0)
            .context(|| format!("make {}", self.path.join(name).display()))
            .coded(Code::StateRootFailed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids() {
        for id in ["a", "0a", "a.b", "_x", "+x-", "A1_+-."] {
            assert!(check_id(id).is_ok(), "{id}");
        }
        for id in ["", ".", "..", ".a", "a/b", "a b", "a\n", "ä", "a\0b", "../x", &"x".repeat(300)] {
            assert!(check_id(id).is_err(), "{id:?}");
        }
    }

    #[test]
    fn a_taken_id_is_refused_and_removal_frees_it() {
        let root = tempfile::tempdir().unwrap();
        let store = Store::make(&root.path().join("state")).unwrap();
        let first = store.create("a").unwrap();
        let error = store.create("a").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Exists);
        assert!(error.to_string().contains("already exists"), "{error}");
        first.replace("record", b"x").unwrap();
        assert_eq!(first.read("record").unwrap().unwrap(), b"x");
        assert_eq!(store.ids().unwrap(), ["a"]);
        store.remove(&first).unwrap();
        store.create("a").unwrap();
    }

    #[test]
    fn a_root_that_others_can_write_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let root = tempfile::tempdir().unwrap();
        std::fs::set_permissions(root.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
        assert_eq!(Store::make(root.path()).unwrap_err().kind(), ErrorKind::Denied);
    }
}
