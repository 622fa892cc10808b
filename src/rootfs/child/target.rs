//! Finds the place of a mount inside the root, and makes it where it is missing; nothing leads out of the root.
//!
//! World: child. Links are followed only by the kernel below the root's descriptor (RESOLVE_IN_ROOT) or, for what is
//! made, one name at a time: opened without following, read as text, resolved from the root again. A process that
//! renames directories meanwhile can only lead to another place inside the root.

use std::ffi::CStr;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::rootfs::plan::Rule;
use crate::sys::procfs;

/// What is made where nothing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Make {
    Directory,
    File,
    /// Nothing: ENOENT.
    Nothing,
}

/// RESOLVE_IN_ROOT answers EAGAIN when a rename or a mount anywhere raced with a "..".
const TRIES: usize = 128;

/// As the kernel: MAXSYMLINKS.
const LINKS: usize = 40;

const PATH_MAX: usize = 4096;

/// A target and whether it was there before.
pub struct Target {
    pub file: OwnedFd,
    pub made: bool,
}

/// Opens (O_PATH) the target; if it is missing, what `make` says is made.
pub fn open(
    root: BorrowedFd<'_>,
    path: &CStr,
    rule: Rule,
    make: impl FnOnce() -> Result<Make, Errno>,
) -> Result<Target, Errno> {
    let there = |file| Target { file, made: false };
    let last = if rule == Rule::NoFollowLast { OFlags::NOFOLLOW } else { OFlags::empty() };
    // Most paths have no link in them, and then the path that was checked by name is the place.
    match resolve(root, path, last, ResolveFlags::NO_SYMLINKS) {
        Ok(file) => return Ok(there(file)),
        Err(Errno::LOOP) if rule != Rule::NoSymlinks => match resolve(root, path, last, ResolveFlags::empty()) {
            Ok(file) => return refuse_procfs(file).map(there),
            Err(Errno::NOENT) => {}
            Err(errno) => return Err(errno),
        },
        Err(Errno::NOENT) => {}
        Err(errno) => return Err(errno),
    }
    let make = make()?;
    if make == Make::Nothing {
        return Err(Errno::NOENT);
    }
    if let Some(file) = make_last(root, path, make)? {
        return Ok(Target { file, made: true });
    }
    let (file, linked) = Walk::new(path.to_bytes(), rule)?.go(root, make)?;
    let file = if linked { refuse_procfs(file)? } else { file };
    Ok(Target { file, made: true })
}

/// The usual case, where only the last name is missing and no link is in the way; else `None`.
fn make_last(root: BorrowedFd<'_>, path: &CStr, make: Make) -> Result<Option<OwnedFd>, Errno> {
    let (directory, name) = split(path)?;
    let opened;
    let here = if directory.len == 1 {
        root
    } else {
        match resolve(root, directory.as_c_str()?, OFlags::DIRECTORY, ResolveFlags::NO_SYMLINKS) {
            Ok(directory) => opened = directory,
            Err(_) => return Ok(None),
        }
        opened.as_fd()
    };
    let made = match make {
        Make::File => make_file(here, name),
        _ => rustix::fs::mkdirat(here, name, MODE).and_then(|()| {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            rustix::fs::openat(here, name, flags, Mode::empty())
        }),
    };
    match made {
        Ok(file) => Ok(Some(file)),
        // A link that leads to nothing, or somebody was faster.
        Err(Errno::EXIST) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// As runc makes them.
const MODE: Mode = Mode::from_raw_mode(0o755);

fn make_file(directory: BorrowedFd<'_>, name: &CStr) -> Result<OwnedFd, Errno> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::RDONLY | OFlags::CLOEXEC;
    rustix::fs::openat(directory, name, flags, MODE)
}

/// openat2 below the root, with the bounded retry that it asks for.
pub fn resolve(root: BorrowedFd<'_>, path: &CStr, flags: OFlags, more: ResolveFlags) -> Result<OwnedFd, Errno> {
    let how = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS | more;
    let mut tries = TRIES;
    loop {
        match rustix::fs::openat2(root, path, OFlags::PATH | OFlags::CLOEXEC | flags, Mode::empty(), how) {
            Err(Errno::AGAIN | Errno::INTR) if tries > 0 => tries -= 1,
            result => return result,
        }
    }
}

/// What may be mounted below /proc is decided by name; a link must not lead around that.
fn refuse_procfs(file: OwnedFd) -> Result<OwnedFd, Errno> {
    if procfs::contains(file.as_fd())? { Err(Errno::XDEV) } else { Ok(file) }
}

/// A path on the stack.
pub struct Text {
    bytes: [u8; PATH_MAX],
    len: usize,
}

impl Text {
    const fn new() -> Self {
        Self { bytes: [0; PATH_MAX], len: 0 }
    }

    fn get(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    /// Always leaves a NUL at the end.
    fn push(&mut self, more: &[u8]) -> Result<(), Errno> {
        let end = self.len.saturating_add(more.len());
        if end >= PATH_MAX {
            return Err(Errno::NAMETOOLONG);
        }
        self.bytes.get_mut(self.len..end).ok_or(Errno::NAMETOOLONG)?.copy_from_slice(more);
        self.truncate(end);
        Ok(())
    }

    fn truncate(&mut self, len: usize) {
        self.len = len;
        if let Some(byte) = self.bytes.get_mut(len) {
            *byte = 0;
        }
    }

    pub fn as_c_str(&self) -> Result<&CStr, Errno> {
        CStr::from_bytes_until_nul(&self.bytes).map_err(|_| Errno::INVAL)
    }
}

/// The walk along a path whose end is missing.
struct Walk {
    /// Still to go.
    rest: Text,
    /// Where it is: names without links, from the root.
    done: Text,
    rule: Rule,
    links: usize,
}

impl Walk {
    fn new(path: &[u8], rule: Rule) -> Result<Self, Errno> {
        let mut walk = Self { rest: Text::new(), done: Text::new(), rule, links: 0 };
        walk.rest.push(path)?;
        walk.done.push(b"/")?;
        Ok(walk)
    }

    /// The file at the end, and whether a link was followed.
    fn go(&mut self, root: BorrowedFd<'_>, make: Make) -> Result<(OwnedFd, bool), Errno> {
        let mut here = self.reopen(root)?;
        let mut name = Name::new();
        while self.next(&mut name) {
            if name.get() == c".." {
                self.up();
                here = self.reopen(root)?;
                continue;
            }
            let last = self.rest.get().iter().all(|byte| *byte == b'/');
            let make = if last { make } else { Make::Directory };
            let file = open_or_make(here.as_fd(), name.get(), make)?;
            if FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode) == FileType::Symlink
                && !(last && self.rule == Rule::NoFollowLast)
            {
                if self.follow(file.as_fd())? {
                    here = self.reopen(root)?;
                }
                continue;
            }
            if self.done.len > 1 {
                self.done.push(b"/")?;
            }
            self.done.push(name.get().to_bytes())?;
            here = file;
        }
        Ok((here, self.links > 0))
    }

    /// Takes the next name off the rest.
    fn next(&mut self, name: &mut Name) -> bool {
        loop {
            let rest = self.rest.get();
            let start = rest.iter().position(|byte| *byte != b'/').unwrap_or(rest.len());
            let rest = rest.get(start..).unwrap_or_default();
            if rest.is_empty() {
                return false;
            }
            let len = rest.iter().position(|byte| *byte == b'/').unwrap_or(rest.len());
            let found = name.set(rest.get(..len).unwrap_or_default());
            let end = start + len;
            let left = self.rest.len - end;
            self.rest.bytes.copy_within(end..self.rest.len, 0);
            self.rest.truncate(left);
            if found {
                return true;
            }
        }
    }

    fn up(&mut self) {
        let slash = self.done.get().iter().rposition(|byte| *byte == b'/').unwrap_or(0);
        self.done.truncate(slash.max(1));
    }

    /// Puts a link's text in front of the rest; true if it starts from the root.
    fn follow(&mut self, link: BorrowedFd<'_>) -> Result<bool, Errno> {
        self.links += 1;
        if self.links > LINKS || self.rule == Rule::NoSymlinks {
            return Err(Errno::LOOP);
        }
        let mut buffer = [MaybeUninit::uninit(); PATH_MAX];
        let (text, _) = rustix::fs::readlinkat_raw(link, c"", &mut buffer[..])?;
        let mut rest = Text::new();
        rest.push(text)?;
        rest.push(b"/")?;
        rest.push(self.rest.get())?;
        self.rest = rest;
        let absolute = text.first() == Some(&b'/');
        if absolute {
            self.done.truncate(1);
        }
        Ok(absolute)
    }

    fn reopen(&self, root: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
        resolve(root, self.done.as_c_str()?, OFlags::DIRECTORY, ResolveFlags::NO_SYMLINKS)
    }
}

/// One name on the stack.
struct Name([u8; 258]);

impl Name {
    fn new() -> Self {
        Self([0; 258])
    }

    /// False for ".". A name of more than 255 bytes stays too long for the kernel, which refuses it.
    fn set(&mut self, bytes: &[u8]) -> bool {
        self.0 = [0; 258];
        for (to, from) in self.0.iter_mut().take(257).zip(bytes) {
            *to = *from;
        }
        bytes != b"."
    }

    fn get(&self) -> &CStr {
        CStr::from_bytes_until_nul(&self.0).unwrap_or_default()
    }
}

/// One name, not followed, made if missing. Made by name, opened again by name: what is opened counts.
fn open_or_make(directory: BorrowedFd<'_>, name: &CStr, make: Make) -> Result<OwnedFd, Errno> {
    let open = || {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(directory, name, flags, Mode::empty())
    };
    match open() {
        Err(Errno::NOENT) => {}
        result => return result,
    }
    let made = match make {
        Make::Directory => rustix::fs::mkdirat(directory, name, MODE),
        Make::File => make_file(directory, name).map(drop),
        Make::Nothing => Err(Errno::NOENT),
    };
    match made {
        Ok(()) | Err(Errno::EXIST) => open(),
        Err(errno) => Err(errno),
    }
}

/// The directory of a path (made if missing) and the last name in it. The path is clean and not "/".
pub fn parent<'a>(root: BorrowedFd<'_>, path: &'a CStr) -> Result<(OwnedFd, &'a CStr), Errno> {
    let (directory, name) = split(path)?;
    let target = open(root, directory.as_c_str()?, Rule::Follow, || Ok(Make::Directory))?;
    Ok((target.file, name))
}

/// A clean absolute path as directory and last name.
pub fn split(path: &CStr) -> Result<(Text, &CStr), Errno> {
    let bytes = path.to_bytes_with_nul();
    let slash = bytes.iter().rposition(|byte| *byte == b'/').ok_or(Errno::INVAL)?;
    let name = bytes.get(slash + 1..).and_then(|name| CStr::from_bytes_with_nul(name).ok()).ok_or(Errno::INVAL)?;
    let mut directory = Text::new();
    directory.push(bytes.get(..slash.max(1)).ok_or(Errno::INVAL)?)?;
    Ok((directory, name))
}
