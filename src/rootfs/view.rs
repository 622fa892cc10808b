//! The container's tree as it will be, seen from the host before it exists. Nothing is mounted for that.
//!
//! World: parent. A path is walked name by name below the descriptor of the rootfs, links are read as text and resolved
//! from the container's root again, and where a planned mount will be, the walk goes on in its source. What only the
//! container has (a new filesystem, a procfs) is unknown. Nothing is opened but with O_PATH.

use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;

use rustix::fs::{FileType, Mode, OFlags, fstat, openat, readlinkat};
use rustix::io::Errno;

use crate::sys::procfs;

/// As the kernel: MAXSYMLINKS.
const LINKS: usize = 40;

/// The tree, as far as its mounts were added.
#[derive(Debug)]
pub struct View {
    layers: Vec<Layer>,
}

#[derive(Debug)]
struct Layer {
    /// Names from the root, links resolved.
    path: Vec<Vec<u8>>,
    content: Content,
    /// Nothing can be made in it.
    readonly: bool,
}

/// What is at a place.
#[derive(Debug, Clone)]
pub enum Content {
    /// A file of the host, by its O_PATH descriptor.
    File(Rc<OwnedFd>),
    /// Something that exists in the container alone.
    Unknown,
}

/// The end of a walk.
#[derive(Debug)]
pub struct Found {
    /// The names on the way, links resolved; beyond what exists as they were given.
    pub path: Vec<Vec<u8>>,
    /// What is there, or why the walk ended before.
    pub content: Result<Content, Errno>,
    /// Where the walk ended, nothing can be made.
    pub readonly: bool,
}

/// Which links are followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Links {
    /// All.
    Follow,
    /// All but the last name.
    NotTheLast,
    /// None: ELOOP.
    Refuse,
}

impl View {
    /// The tree of a rootfs without mounts.
    #[must_use]
    pub fn new(root: OwnedFd) -> Self {
        let readonly = is_readonly(&root);
        Self { layers: vec![Layer { path: Vec::new(), content: Content::File(Rc::new(root)), readonly }] }
    }

    /// Puts a mount at a place that was found. What was below is covered. `readonly` where the config says it; without
    /// that the source decides.
    pub fn cover(&mut self, path: Vec<Vec<u8>>, content: Content, readonly: Option<bool>) {
        let of_source = || matches!(&content, Content::File(file) if is_readonly(file));
        let readonly = readonly.unwrap_or_else(of_source);
        self.layers.retain(|layer| layer.path == path || !layer.path.starts_with(&path));
        self.layers.push(Layer { path, content, readonly });
    }

    /// Walks along a path of the container; a relative one begins at its root.
    #[must_use]
    pub fn find(&self, path: &[u8], links: Links) -> Found {
        let mut walk = Walk { view: self, way: Vec::new(), rest: names(path), links: 0 };
        let content = walk.go(links);
        let readonly = walk.is_readonly();
        let mut path: Vec<_> = walk.way.into_iter().map(|(name, _)| name).collect();
        path.extend(walk.rest);
        Found { path, content, readonly }
    }

    fn layer_at(&self, way: &[(Vec<u8>, Content)], name: Option<&[u8]>) -> Option<Content> {
        let names = || way.iter().map(|(name, _)| name.as_slice()).chain(name);
        let here = |layer: &&Layer| layer.path.iter().map(Vec::as_slice).eq(names());
        self.layers.iter().rev().find(here).map(|layer| layer.content.clone())
    }
}

/// Whether the host's mount or filesystem is.
fn is_readonly(file: &OwnedFd) -> bool {
    rustix::fs::fstatvfs(file).is_ok_and(|facts| facts.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY))
}

fn names(path: &[u8]) -> VecDeque<Vec<u8>> {
    path.split(|byte| *byte == b'/').filter(|name| !name.is_empty() && *name != b".").map(<[u8]>::to_vec).collect()
}

struct Walk<'v> {
    view: &'v View,
    /// Where it is: names without links, each with what it leads to.
    way: Vec<(Vec<u8>, Content)>,
    /// Still to go.
    rest: VecDeque<Vec<u8>>,
    links: usize,
}

impl Walk<'_> {
    fn go(&mut self, links: Links) -> Result<Content, Errno> {
        while let Some(name) = self.rest.pop_front() {
            if name == b".." {
                self.way.pop();
                continue;
            }
            match self.step(&name, links) {
                Ok(Some(content)) => self.way.push((name, content)),
                Ok(None) => {}
                Err(errno) => {
                    self.rest.push_front(name);
                    return Err(errno);
                }
            }
        }
        Ok(self.here())
    }

    fn here(&self) -> Content {
        let last = self.way.last().map(|(_, content)| content.clone());
        last.or_else(|| self.view.layer_at(&[], None)).unwrap_or(Content::Unknown)
    }

    /// By the mount that it is in.
    fn is_readonly(&self) -> bool {
        let above = |layer: &&Layer| {
            layer.path.len() <= self.way.len() && layer.path.iter().zip(&self.way).all(|(name, (own, _))| name == own)
        };
        let layers = self.view.layers.iter().enumerate().filter(|(_, layer)| above(layer));
        layers.max_by_key(|(at, layer)| (layer.path.len(), *at)).is_some_and(|(_, layer)| layer.readonly)
    }

    /// What a name leads to; `None` when a link was followed instead.
    fn step(&mut self, name: &[u8], links: Links) -> Result<Option<Content>, Errno> {
        if let Some(covered) = self.view.layer_at(&self.way, Some(name)) {
            return Ok(Some(covered));
        }
        let Content::File(directory) = self.here() else { return Ok(Some(Content::Unknown)) };
        // Its links lead to processes.
        if procfs::contains(directory.as_fd())? {
            return Ok(Some(Content::Unknown));
        }
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = match openat(&*directory, name, flags, Mode::empty()) {
            // The container's ids may go where the caller may not.
            Err(Errno::ACCESS | Errno::PERM) => return Ok(Some(Content::Unknown)),
            file => file?,
        };
        if FileType::from_raw_mode(fstat(&file)?.st_mode) != FileType::Symlink {
            return Ok(Some(Content::File(Rc::new(file))));
        }
        match links {
            Links::Refuse => return Err(Errno::LOOP),
            Links::NotTheLast if self.rest.is_empty() => return Ok(Some(Content::File(Rc::new(file)))),
            _ => {}
        }
        self.links += 1;
        if self.links > LINKS {
            return Err(Errno::LOOP);
        }
        let target = readlinkat(&file, c"", Vec::new())?.into_bytes();
        if target.starts_with(b"/") {
            self.way.clear();
        }
        for name in names(&target).into_iter().rev() {
            self.rest.push_front(name);
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::Path;

    use super::*;

    fn open(path: &Path) -> OwnedFd {
        rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).unwrap()
    }

    fn tree() -> (tempfile::TempDir, View) {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("usr/bin")).unwrap();
        fs::write(root.path().join("usr/bin/sh"), "").unwrap();
        symlink("/usr/bin", root.path().join("bin")).unwrap();
        symlink("../../../bin/sh", root.path().join("usr/up")).unwrap();
        symlink("loop", root.path().join("loop")).unwrap();
        let view = View::new(open(root.path()));
        (root, view)
    }

    /// The path that was found, and the end.
    fn found(view: &View, path: &str, links: Links) -> (String, Result<&'static str, Errno>) {
        let found = view.find(path.as_bytes(), links);
        let content = found.content.map(|content| match content {
            Content::Unknown => "unknown",
            Content::File(file) => match FileType::from_raw_mode(fstat(&*file).unwrap().st_mode) {
                FileType::Directory => "directory",
                FileType::Symlink => "link",
                _ => "file",
            },
        });
        (String::from_utf8(found.path.join(&b'/')).unwrap(), content)
    }

    #[test]
    fn links_lead_to_places_in_the_root() {
        let (_root, view) = tree();
        let file = |path: &str| (path.to_owned(), Ok("file"));
        for path in ["/bin/sh", "usr/up", "/../bin/./sh", "/usr/../bin/sh"] {
            assert_eq!(found(&view, path, Links::Follow), file("usr/bin/sh"), "{path}");
        }
        assert_eq!(found(&view, "/", Links::Follow), (String::new(), Ok("directory")));
        assert_eq!(found(&view, "/bin", Links::NotTheLast), ("bin".into(), Ok("link")));
        assert_eq!(found(&view, "/bin/sh", Links::Refuse), ("bin/sh".into(), Err(Errno::LOOP)));
        assert_eq!(found(&view, "/loop", Links::Follow).1, Err(Errno::LOOP));
        assert_eq!(found(&view, "/bin/no/x", Links::Follow), ("usr/bin/no/x".into(), Err(Errno::NOENT)));
        assert_eq!(found(&view, "/bin/sh/x", Links::Follow), ("usr/bin/sh/x".into(), Err(Errno::NOTDIR)));
    }

    #[test]
    fn mounts_cover_what_is_below() {
        let (root, mut view) = tree();
        let other = tempfile::tempdir().unwrap();
        fs::write(other.path().join("own"), "").unwrap();
        let place = view.find(b"/bin", Links::Follow).path;
        view.cover(place, Content::File(Rc::new(open(other.path()))), Some(true));
        assert!(view.find(b"/bin/no", Links::Follow).readonly && !view.find(b"/usr/no", Links::Follow).readonly);
        assert_eq!(found(&view, "/bin/own", Links::Follow), ("usr/bin/own".into(), Ok("file")));
        assert_eq!(found(&view, "/usr/bin/sh", Links::Follow).1, Err(Errno::NOENT));
        view.cover(vec![b"usr".to_vec()], Content::Unknown, None);
        assert_eq!(found(&view, "/usr/bin/own", Links::Follow).1, Ok("unknown"));
        assert_eq!(found(&view, "/usr/../bin", Links::Follow).1, Ok("unknown"));
        drop(root);
    }
}
