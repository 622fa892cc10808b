//! The mounts of a process. Source: proc_pid_mountinfo(5).
//!
//! World: parent. A container decides about the text of its mount points, and about nothing else in it.

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
    table.split(|byte| *byte == b'\n').filter_map(entry).collect()
}

fn entry(line: &[u8]) -> Option<Entry> {
    let mut fields = line.split(|byte| *byte == b' ');
    let number = |field: &[u8]| std::str::from_utf8(field).ok()?.parse().ok();
    let text = |field: &[u8]| String::from_utf8_lossy(&unescape(field)).into_owned();
    let (own, parent) = (number(fields.next()?)?, number(fields.next()?)?);
    let point = CString::new(unescape(fields.nth(2)?)).ok()?;
    let options = text(fields.next()?);
    let optional: Vec<String> = fields.by_ref().take_while(|field| *field != b"-").map(text).collect();
    let kind = text(fields.next()?);
    let superblock = text(fields.nth(1)?);
    Some(Entry { number: own, parent, point, options, propagation: optional.join(" "), kind, superblock })
}

/// Space, tab, newline and backslash are written as `\ooo`.
pub(super) fn unescape(field: &[u8]) -> Vec<u8> {
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
    }
}
