//! World: parent. The home directory of a uid, from the passwd file of the container.
//!
//! The file is the image's, and the image may have put anything there: the node of a device (to open a watchdog's
//! reboots the host), a FIFO, a file without an end. So it is found with O_PATH, and only a regular file is opened; lines
//! are read one by one up to a bound. What cannot be read is an error and never another home: as runc, which gives `/`
//! to a user without an entry or an image without the file, and fails where reading fails.

use std::io::{BufRead, BufReader, Read as _};
use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd};

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, fstat, makedev, openat2};
use rustix::io::Errno;

use super::parse_id;
use crate::error::{Code, Context, Error, Result};

/// Where a user without an entry is at home.
pub const DEFAULT_HOME: &str = "/";

/// Bytes of the file that are read at the most: a million users.
const MOST_BYTES: u64 = 64 << 20;
/// Bytes of a line at the most, as in runc (Go's bufio.MaxScanTokenSize).
const LONGEST_LINE: u64 = 64 << 10;
/// How often a look-up is tried while names change: openat2(2) gives up with EAGAIN then.
const TRIES: usize = 128;

const HINT: &str = "the file is not read if HOME is set in process.env or with `exec --env HOME=...`";

/// The home directory of `uid` in the passwd file below `root`; `/` when there is no entry or no such file.
///
/// # Errors
/// The file cannot be looked up, is not a regular file, cannot be read or is too long.
pub fn home(root: BorrowedFd<'_>, uid: u32) -> Result<Vec<u8>> {
    match find(root) {
        Ok(file) => home_in(std::os::fd::AsFd::as_fd(&file), uid),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(DEFAULT_HOME.into()),
        Err(errno) => Err(Error::system("look up /etc/passwd of the container", errno).hint(HINT)),
    }
}

fn find(root: BorrowedFd<'_>) -> std::result::Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let look = || openat2(root, c"etc/passwd", OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve);
    let mut found = look();
    for _ in 1..TRIES {
        if found.as_ref().err() != Some(&Errno::AGAIN) {
            break;
        }
        found = look();
    }
    found
}

/// The same for a passwd file that is found (O_PATH) already: one that is mounted on /etc/passwd.
///
/// # Errors
/// As [`home`].
pub fn home_in(file: BorrowedFd<'_>, uid: u32) -> Result<Vec<u8>> {
    let status = fstat(file).context(|| "stat /etc/passwd of the container")?;
    let word = match FileType::from_raw_mode(status.st_mode) {
        FileType::RegularFile => {
            let home = read(file).and_then(|file| search(BufReader::new(file), uid));
            return home.map_err(|error| error.hint(HINT));
        }
        // /dev/null: known to be empty without being opened.
        FileType::CharacterDevice if status.st_rdev == makedev(1, 3) => return Ok(DEFAULT_HOME.into()),
        FileType::CharacterDevice | FileType::BlockDevice => "a device",
        FileType::Directory => "a directory",
        FileType::Fifo => "a FIFO",
        FileType::Socket => "a socket",
        _ => "of an unknown type",
    };
    let what = format!("/etc/passwd of the container is {word}, not a regular file, and is not opened");
    Err(Error::new(Code::PasswdDenied, what).hint(HINT))
}

/// Opens the file itself: its name may lead to another one by now.
fn read(file: BorrowedFd<'_>) -> Result<std::fs::File> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let opened = rustix::fs::open(format!("/proc/self/fd/{}", file.as_raw_fd()), flags, Mode::empty());
    opened.map(std::fs::File::from).context(|| "open /etc/passwd of the container")
}

/// The first entry of `uid` counts. Source: passwd(5).
fn search(mut passwd: impl BufRead, uid: u32) -> Result<Vec<u8>> {
    let too_long = |what: String| Error::new(Code::PasswdUnsupported, format!("/etc/passwd of the container {what}"));
    let (mut line, mut total) = (Vec::new(), 0);
    loop {
        line.clear();
        let mut bounded = passwd.by_ref().take(LONGEST_LINE);
        let count = bounded.read_until(b'\n', &mut line).context(|| "read /etc/passwd of the container")?;
        total += u64::try_from(count).unwrap_or(LONGEST_LINE);
        if count == 0 {
            return Ok(DEFAULT_HOME.into());
        }
        if total > MOST_BYTES {
            return Err(too_long(format!("has no entry for uid {uid} in its first {} MiB", MOST_BYTES >> 20)));
        }
        if bounded.limit() == 0 && line.last() != Some(&b'\n') {
            return Err(too_long(format!("has a line of {} KiB or more", LONGEST_LINE >> 10)));
        }
        if let Some(home) = entry(&line, uid) {
            return Ok(home.to_vec());
        }
    }
}

/// The home directory, if the line is the entry of `uid`.
fn entry(line: &[u8], uid: u32) -> Option<&[u8]> {
    let mut fields = line.strip_suffix(b"\n").unwrap_or(line).split(|byte| *byte == b':').skip(2);
    let own = fields.next().and_then(|id| std::str::from_utf8(id).ok()).and_then(parse_id) == Some(uid);
    let home = fields.nth(2).filter(|home| !home.is_empty()).unwrap_or(DEFAULT_HOME.as_bytes());
    own.then_some(home)
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd as _;
    use std::path::Path;

    use super::*;

    /// An image with this passwd file.
    fn image(passwd: &[u8]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("etc")).unwrap();
        std::fs::write(root.path().join("etc/passwd"), passwd).unwrap();
        root
    }

    fn of(root: &Path, uid: u32) -> Result<Vec<u8>> {
        home(std::fs::File::open(root).unwrap().as_fd(), uid)
    }

    #[test]
    fn the_home_directory_comes_from_the_containers_passwd() {
        let root = image(b"x:x:abc::::\nroot:x:0:0::/root:/bin/sh\nroot2:x:0:0::/two:\nn:x:7:7:::\nm:x:9:9::/m");
        for (uid, home) in [(0, "/root"), (7, "/"), (8, "/"), (9, "/m")] {
            assert_eq!(of(root.path(), uid).unwrap(), home.as_bytes(), "{uid}");
        }
        std::fs::remove_file(root.path().join("etc/passwd")).unwrap();
        assert_eq!(of(root.path(), 0).unwrap(), b"/");
        std::fs::remove_dir(root.path().join("etc")).unwrap();
        assert_eq!(of(root.path(), 0).unwrap(), b"/");
    }

    #[test]
    fn a_home_directory_is_bytes() {
        let root = image(b"\xff:x:1:1::/home/\xfc:/bin/sh\n");
        assert_eq!(of(root.path(), 1).unwrap(), b"/home/\xfc");
    }

    #[test]
    fn a_long_file_is_read_to_its_bound_and_then_refused() {
        let mut long = b"u:x:2000:1::/home/u:/bin/sh\n".repeat(200_000);
        long.extend(b"last:x:5:5::/home/last:");
        assert_eq!(of(image(&long).path(), 5).unwrap(), b"/home/last");

        let longer = b"u:x:2000:1::/home/u:/bin/sh\n".repeat(2_400_000);
        let refused = search(&longer[..], 5).unwrap_err().to_string();
        assert_eq!(refused, "/etc/passwd of the container has no entry for uid 5 in its first 64 MiB");

        let root = image(b"");
        std::fs::File::create(root.path().join("etc/passwd")).unwrap().set_len(10 << 30).unwrap();
        let refused = of(root.path(), 5).unwrap_err().to_string();
        assert!(
            refused
                .starts_with("/etc/passwd of the container has a line of 64 KiB or more; the file is not read if HOME"),
            "{refused}"
        );
    }

    #[test]
    fn a_passwd_file_cannot_lead_outside() {
        let outside = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(outside.path(), "u:x:5:5::/outside:\n").unwrap();
        let root = image(b"");
        let passwd = root.path().join("etc/passwd");
        std::fs::remove_file(&passwd).unwrap();
        std::os::unix::fs::symlink(outside.path(), &passwd).unwrap();
        assert_eq!(of(root.path(), 5).unwrap(), b"/");
        std::fs::remove_file(&passwd).unwrap();
        std::os::unix::fs::symlink("passwd", &passwd).unwrap();
        assert!(of(root.path(), 5).unwrap_err().to_string().contains("too many levels of symbolic links"));
    }

    #[test]
    fn only_a_regular_file_is_opened() {
        let root = image(b"");
        let passwd = root.path().join("etc/passwd");
        std::fs::remove_file(&passwd).unwrap();
        nix::unistd::mkfifo(&passwd, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let refused = of(root.path(), 5).unwrap_err().to_string();
        assert!(
            refused.starts_with("/etc/passwd of the container is a FIFO, not a regular file, and is not opened;"),
            "{refused}"
        );
        std::fs::remove_file(&passwd).unwrap();
        std::fs::create_dir(&passwd).unwrap();
        assert!(of(root.path(), 5).unwrap_err().to_string().contains("is a directory, not a regular file"));
        let null = rustix::fs::open("/dev/null", OFlags::PATH, Mode::empty()).unwrap();
        assert_eq!(home_in(null.as_fd(), 5).unwrap(), b"/");
        let zero = rustix::fs::open("/dev/zero", OFlags::PATH, Mode::empty()).unwrap();
        assert!(home_in(zero.as_fd(), 5).unwrap_err().to_string().contains("is a device"));
    }
}
