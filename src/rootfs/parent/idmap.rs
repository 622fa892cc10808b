//! A user namespace that exists only to carry the mappings of an id-mapped mount.
//!
//! World: parent. A process is parked in a new user namespace, its maps are written, the namespace is opened, and
//! the process ends. Source: mount_setattr(2) "ID-mapped mounts".

use std::fs::File;
use std::os::fd::OwnedFd;

use oci_spec::runtime::LinuxIdMapping;

use crate::error::{Context, Result};
use crate::sys::namespace::NamespaceSet;
use crate::sys::parked::Parked;

/// The descriptor of a user namespace with these mappings.
///
/// # Errors
/// EPERM without CAP_SYS_ADMIN, EINVAL for mappings that the kernel does not take.
pub fn user_namespace(uids: &[LinuxIdMapping], gids: &[LinuxIdMapping]) -> Result<OwnedFd> {
    let parked = Parked::new(NamespaceSet::USER, None).context(|| "create a user namespace for the id mapping")?;
    let directory = format!("/proc/{}", parked.pid());
    std::fs::write(format!("{directory}/uid_map"), lines(uids)).context(|| "write the uid mapping of the mount")?;
    std::fs::write(format!("{directory}/gid_map"), lines(gids)).context(|| "write the gid mapping of the mount")?;
    let namespace = File::open(format!("{directory}/ns/user")).context(|| "open the user namespace of the mount")?;
    Ok(namespace.into())
}

fn lines(list: &[LinuxIdMapping]) -> String {
    let line = |one: &LinuxIdMapping| format!("{} {} {}\n", one.container_id(), one.host_id(), one.size());
    list.iter().map(line).collect()
}
