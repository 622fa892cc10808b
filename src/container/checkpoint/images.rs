//! World: parent. The directories of a checkpoint: images and log.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Gid, Mode, OFlags, fchmod, fchown, openat};

use super::options::CriuOptions;
use crate::checkpoint::criu::Log;
use crate::error::{Code, Coded, Context, Error, Result};

/// Where the stdio of the first process led when it was created. runc and crun read and write the same file.
const DESCRIPTORS: &str = "descriptors.json";

/// The opened directories.
#[derive(Debug)]
pub(in crate::container) struct Images {
    pub(in crate::container) directory: OwnedFd,
    path: PathBuf,
    work: Option<(OwnedFd, PathBuf)>,
    /// The directory of the images was missing.
    created: bool,
}

impl Images {
    /// Opens both directories; `create`: they are created if they are missing.
    ///
    /// # Errors
    /// They do not exist, or cannot be created; the parent path is not one of a directory.
    pub(in crate::container) fn open(options: &CriuOptions, create: bool) -> Result<Self> {
        let path = options.image_path.clone().unwrap_or_else(|| PathBuf::from("checkpoint"));
        let created = create && !path.exists();
        let directory = open_directory(&path, "--image-path", create)?;
        if let Some(parent) = &options.parent_path {
            check_parent(&path, parent)?;
        }
        // Restoring writes a log too.
        let open = |path: &PathBuf| Ok((open_directory(path, "--work-path", true)?, path.clone()));
        let work = options.work_path.as_ref().map(open).transpose()?;
        Ok(Self { directory, path, work, created })
    }

    /// Lets a group search the directory of the images, if it was created here: CRIU opens some of them in the user
    /// namespace of the container that it restores, as root there.
    ///
    /// # Errors
    /// The directory cannot be changed.
    pub(super) fn admit(&self, group: Gid) -> Result<()> {
        if !self.created {
            return Ok(());
        }
        let what = || format!("--image-path: change the group of {}", self.path.display());
        fchown(&self.directory, None, Some(group)).context(what).coded(Code::CheckpointImageFailed)?;
        fchmod(&self.directory, Mode::RWXU | Mode::XGRP).context(what).coded(Code::CheckpointImageFailed)
    }

    /// Where CRIU writes its log.
    pub(in crate::container) fn log(&self, name: &'static str) -> Log<'_> {
        match &self.work {
            Some((directory, path)) => Log { directory: directory.as_fd(), path, name },
            None => Log { directory: self.directory.as_fd(), path: &self.path, name },
        }
    }

    /// Both directories with their absolute paths.
    ///
    /// # Errors
    /// A path is relative, and there is no working directory.
    pub(in crate::container) fn directories(&self) -> Result<Vec<(BorrowedFd<'_>, PathBuf)>> {
        let work = self.work.as_ref().map(|(directory, path)| (directory, path));
        std::iter::once((&self.directory, &self.path))
            .chain(work)
            .map(|(directory, path)| {
                let absolute = std::path::absolute(path);
                Ok((
                    directory.as_fd(),
                    absolute.map_err(|e| {
                        Error::system(format!("find {}", path.display()), e).coded(Code::CheckpointImageFailed)
                    })?,
                ))
            })
            .collect()
    }

    /// Writes where the stdio of the container's first process led: the text of the links in /proc/PID/fd.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(super) fn write_descriptors(&self, links: &[String; 3]) -> Result<()> {
        let what = || format!("write {}", self.path.join(DESCRIPTORS).display());
        let json = serde_json::to_vec(links).map_err(|e| Error::new(Code::Internal, what()).detail(e.to_string()))?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(&self.directory, DESCRIPTORS, flags, Mode::RUSR | Mode::WUSR)
            .context(what)
            .coded(Code::CheckpointImageFailed)?;
        std::io::Write::write_all(&mut std::fs::File::from(file), &json)
            .map_err(|e| Error::system(what(), e).coded(Code::CheckpointImageFailed))
    }
}

/// Reads what [`Images::write_descriptors`] wrote.
///
/// # Errors
/// The file is missing or damaged: the directory is not that of a checkpoint.
pub(in crate::container) fn read_descriptors(images: &Images) -> Result<Vec<String>> {
    let what = || format!("read {}", images.path.join(DESCRIPTORS).display());
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file =
        openat(&images.directory, DESCRIPTORS, flags, Mode::empty()).context(what).coded(Code::CheckpointImageFailed);
    let file = file.map_err(|error| error.hint("--image-path has to name the directory of a checkpoint"))?;
    let mut text = Vec::new();
    std::io::Read::read_to_end(&mut std::io::Read::take(std::fs::File::from(file), 1 << 20), &mut text)
        .map_err(|e| Error::system(what(), e).coded(Code::CheckpointImageFailed))?;
    serde_json::from_slice(&text).map_err(|e| Error::new(Code::CheckpointImageInvalid, what()).detail(e.to_string()))
}

fn open_directory(path: &Path, option: &str, create: bool) -> Result<OwnedFd> {
    if create {
        std::os::unix::fs::DirBuilderExt::mode(std::fs::DirBuilder::new().recursive(true), 0o700)
            .create(path)
            .map_err(|e| {
                Error::system(format!("{option}: create {}", path.display()), e).coded(Code::CheckpointImageFailed)
            })?;
    }
    openat(CWD, path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .context(|| format!("{option}: open {}", path.display()))
        .coded(Code::CheckpointImageFailed)
}

fn check_parent(images: &Path, parent: &Path) -> Result<()> {
    let wrong = |what: &str| Err(Error::new(Code::CheckpointImageInvalid, format!("--parent-path: {what}")));
    if parent.is_absolute() {
        return wrong("must be relative to --image-path");
    }
    let path = images.join(parent);
    if path.is_dir() { Ok(()) } else { wrong(&format!("{} is not a directory", path.display())) }
}
