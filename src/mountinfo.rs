//! The mounts of a process. Source: proc_pid_mountinfo(5).
//!
//! World: plan. A container decides about the text of its mount points, and about nothing else in it.

use std::ffi::CString;

/// One mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its number, free again when it is gone.
    pub number: u64,
    /// The number of the mount that it is on.
    pub parent: u64,
    /// Where, below the root of the process.
    pub point: CString,
    /// Its flags: `ro,nosuid,relatime`.
    pub options: String,
    /// The optional fields: `shared:3 master:1`, empty for a private mount.
    pub propagation: String,
    /// The type of its filesystem.
    pub kind: String,
    /// The flags and parameters of its filesystem.
    pub superblock: String,
}

/// The mounts of a mountinfo file.
#[must_use]
pub fn entries(table: &[u8]) -> Vec<Entry> {
    lines(table).filter_map(|line| line.entry()).collect()
}

/// One mount as it is written: the texts are escaped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line<'t> {
    /// As in [`Entry`].
    pub number: u64,
    parent: u64,
    /// The directory of the filesystem that is mounted.
    pub root: &'t [u8],
    /// As in [`Entry`].
    pub point: &'t [u8],
    options: &'t [u8],
    propagation: &'t [u8],
    /// As in [`Entry`].
    pub kind: &'t [u8],
    superblock: &'t [u8],
}

/// The lines of a mountinfo file, without an allocation.
pub fn lines(table: &[u8]) -> impl Iterator<Item = Line<'_>> {
    table.split(|byte| *byte == b'\n').filter_map(Line::parse)
}

impl<'t> Line<'t> {
    fn parse(text: &'t [u8]) -> Option<Self> {
        let is_space = |byte: &u8| *byte == b' ';
        // No field has a space of its own.
        let end = text.windows(3).position(|bytes| bytes == b" - ")?;
        let mut mount = text.get(..end)?.splitn(7, is_space);
        let mut number = || std::str::from_utf8(mount.next()?).ok()?.parse().ok();
        let (own, parent) = (number()?, number()?);
        let (root, point, options) = (mount.nth(1)?, mount.next()?, mount.next()?);
        let propagation = mount.next().unwrap_or_default();
        let mut filesystem = text.get(end + 3..)?.split(is_space);
        let (kind, superblock) = (filesystem.next()?, filesystem.nth(1)?);
        Some(Self { number: own, parent, root, point, options, propagation, kind, superblock })
    }

    /// The mount; `None` for a mount point with a NUL, which the kernel does not write.
    fn entry(&self) -> Option<Entry> {
        let text = |field: &[u8]| String::from_utf8_lossy(&unescape(field)).into_owned();
        Some(Entry {
            number: self.number,
            parent: self.parent,
            point: CString::new(unescape(self.point)).ok()?,
            options: text(self.options),
            propagation: text(self.propagation),
            kind: text(self.kind),
            superblock: text(self.superblock),
        })
    }
}

/// Space, tab, newline and backslash are written as `\ooo`.
#[must_use]
pub fn unescape(field: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let [first, tail @ ..] = rest {
        let octal = |digits: &[u8]| std::str::from_utf8(digits).ok().and_then(|text| u8::from_str_radix(text, 8).ok());
        match tail.get(..3).and_then(octal) {
            Some(byte) if *first == b'\\' => {
                bytes.push(byte);
                rest = &tail[3..];
            }
            _ => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    #[test]
    fn mount_points_are_unescaped() {
        assert_eq!(super::unescape(b"/a\\040b\\134c\\"), b"/a b\\c\\");
    }

    #[test]
    fn mounts_have_numbers_and_points() {
        let table = b"36 35 98:0 /mnt1 /mnt2\\0401 rw,noatime master:1 - ext3 /dev/root rw\nx\n";
        let expected = super::Entry {
            number: 36,
            parent: 35,
            point: c"/mnt2 1".into(),
            options: "rw,noatime".into(),
            propagation: "master:1".into(),
            kind: "ext3".into(),
            superblock: "rw".into(),
        };
        assert_eq!(super::entries(table), [expected]);
        let private =
            b"36 35 98:0 / / rw - tmpfs  rw\n36 35 98:0 / / rw - tmpfs none\n36 x 98:0 / / rw - tmpfs none rw";
        let private = super::entries(private);
        assert_eq!((private.len(), private[0].propagation.as_str(), private[0].kind.as_str()), (1, "", "tmpfs"));
    }
}
