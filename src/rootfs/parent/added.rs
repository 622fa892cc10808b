//! Opens the sources of mounts that a running container gets.
//!
//! World: parent. Other than for a new container all sources are opened here, because the child begins in the container's
//! mount namespace; or, for a caller who may not clone mounts, in a copy of the host's that its user namespace owns.

use std::cell::Cell;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mount::OpenTreeFlags;

use super::{OpenRootfs, Source, cells, explain, open_source};
use crate::error::{Context, Error, Result};
use crate::rootfs::plan::{Bind, MountKind, RootfsPlan};

/// Opens the sources; procfs is of `pid_namespace`.
///
/// # Errors
/// A missing or refused source, with its JSON path.
pub fn open_added(plan: &RootfsPlan, pid_namespace: Option<BorrowedFd<'_>>) -> Result<OpenRootfs> {
    let outside = |bind: &Bind| bind.inside.is_none();
    let binds = plan.mounts.iter().any(|mount| matches!(&mount.kind, MountKind::Bind(bind) if outside(bind)));
    let clones = !binds || may_clone().context(|| "clone a mount")?;
    let mut prepared = OpenRootfs {
        mount_namespace: None,
        root: Cell::new(None),
        sources: Vec::with_capacity(plan.mounts.len()),
        shared: if clones { Vec::new() } else { cells(plan.mounts.len()) },
        devices: Vec::new(),
        null: Cell::new(None),
        late: Vec::new(),
        kcore: false,
        pid_namespace: pid_namespace
            .map(|namespace| rustix::io::fcntl_dupfd_cloexec(namespace, 3))
            .transpose()
            .context(|| "duplicate the pid namespace's descriptor")?,
        reachable: Vec::new(),
    };
    for (number, mount) in plan.mounts.iter().enumerate() {
        let field = if mount.label == "bind" { ".source" } else { "" };
        let place = |error: Error| error.at(format!("mounts[{number}]{field}")).context(mount.phrase());
        prepared.sources.push(match &mount.kind {
            MountKind::Bind(bind) if outside(bind) => {
                open_source(bind, clones, None).map_err(|error| explain(plan, bind, error)).map_err(place)?
            }
            _ => None,
        });
    }
    Ok(prepared)
}

fn may_clone() -> std::result::Result<bool, Errno> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    match rustix::mount::open_tree(CWD, c"/", flags) {
        Ok(_) => Ok(true),
        Err(Errno::PERM) => Ok(false),
        Err(errno) => Err(errno),
    }
}

impl OpenRootfs {
    /// Whether the child opens the sources of [`open_added`], which takes a mount namespace of its own.
    #[must_use]
    pub fn leaves_sources(&self) -> bool {
        !self.shared.is_empty()
    }

    /// The numbers of all that [`open_added`] opened.
    #[must_use]
    pub fn descriptors(&self) -> Vec<i32> {
        let trees = self.sources.iter().flatten().filter_map(|source| match source {
            Source::Tree(tree) => Some(tree.as_raw_fd()),
            Source::Link(_) => None,
        });
        trees.chain(self.pid_namespace.as_ref().map(OwnedFd::as_raw_fd)).collect()
    }
}
