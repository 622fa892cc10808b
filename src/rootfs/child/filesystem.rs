//! Creates a filesystem as a detached mount, and says in the kernel's own words why it could not.
//!
//! World: child. Source: fsopen(2), fsconfig(2), fsmount(2); the context's log is read from its descriptor.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, FsPickFlags, MountAttrFlags};

use crate::rootfs::plan::{Filesystem, KernelParameter};
use crate::wire::{At, ChildResult, Fault, Step};

/// Creates the mount; `mode` is given to a tmpfs that names none, `pid_namespace` to a procfs.
pub fn create(
    filesystem: &Filesystem,
    mode: Option<u32>,
    pid_namespace: Option<BorrowedFd<'_>>,
    root: BorrowedFd<'_>,
    number: usize,
) -> ChildResult<OwnedFd> {
    let opened = if *filesystem.name == *c"proc" {
        super::procfs::context(pid_namespace, root)
    } else {
        rustix::mount::fsopen(&*filesystem.name, FsOpenFlags::FSOPEN_CLOEXEC)
    };
    let context = match opened {
        Err(Errno::NODEV) => return Err(unknown(number)),
        // Before Linux 6.18 a process is made in the namespace to open it.
        Err(Errno::NOMEM) if pid_namespace.is_some() => return Err(Fault::new(Step::Clone, 0, Errno::NOMEM)),
        result => result.at_index(Step::Mount, number)?,
    };
    set_parameters(context.as_fd(), &filesystem.parameters, number)?;
    if let Some(mode) = mode {
        let digits = octal(mode);
        let value = CStr::from_bytes_until_nul(&digits).unwrap_or(c"1777");
        rustix::mount::fsconfig_set_string(&context, c"mode", value).at_index(Step::Mount, number)?;
    }
    rustix::mount::fsconfig_create(&context).map_err(|errno| explain(context.as_fd(), number, errno))?;
    let attributes = u32::try_from(filesystem.attributes.set.bits()).unwrap_or(0);
    let attributes = MountAttrFlags::from_bits_retain(attributes);
    let mount = rustix::mount::fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
        .map_err(|errno| explain(context.as_fd(), number, errno))?;
    super::leave(context);
    Ok(mount)
}

/// The fault of a mount whose filesystem the kernel does not have.
pub fn unknown(number: usize) -> Fault {
    Fault::new(Step::Mount, number, Errno::NODEV).text(b"unknown filesystem type")
}

/// Whether the kernel takes the parameters, as far as that can be told without creating the mount.
pub fn try_parameters(filesystem: &Filesystem, number: usize) -> ChildResult {
    match rustix::mount::fsopen(&*filesystem.name, FsOpenFlags::FSOPEN_CLOEXEC) {
        Ok(context) => set_parameters(context.as_fd(), &filesystem.parameters, number),
        Err(Errno::NODEV) => Err(unknown(number)),
        // A caller who may do so only in the container's user namespace.
        Err(_) => Ok(()),
    }
}

/// Reconfigures the superblock of what is mounted at `target`.
pub fn reconfigure(target: BorrowedFd<'_>, parameters: &[KernelParameter], number: usize) -> ChildResult {
    let flags = FsPickFlags::FSPICK_CLOEXEC | FsPickFlags::FSPICK_EMPTY_PATH;
    let context = rustix::mount::fspick(target, c"", flags).at_index(Step::Mount, number)?;
    set_parameters(context.as_fd(), parameters, number)?;
    rustix::mount::fsconfig_reconfigure(&context).map_err(|errno| explain(context.as_fd(), number, errno))
}

fn set_parameters(context: BorrowedFd<'_>, parameters: &[KernelParameter], number: usize) -> ChildResult {
    for (position, KernelParameter { key, value, .. }) in parameters.iter().enumerate() {
        match value {
            Some(value) => rustix::mount::fsconfig_set_string(context, &**key, &**value),
            None => rustix::mount::fsconfig_set_flag(context, &**key),
        }
        .map_err(|errno| explain(context, number, errno).parameter(position))?;
    }
    Ok(())
}

/// The first error of the context's log: lines "e tmpfs: Bad value for 'size'". ENODATA ends the log.
fn explain(context: BorrowedFd<'_>, number: usize, errno: Errno) -> Fault {
    let fault = Fault::new(Step::Mount, number, errno);
    for _ in 0..8 {
        let mut line = [0; crate::wire::TEXT];
        let Ok(len) = rustix::io::read(context, &mut line[..]) else { return fault };
        if let Some([b'e', b' ', text @ ..]) = line.get(..len) {
            return fault.text(text.trim_ascii_end());
        }
    }
    fault
}

/// Four octal digits and a NUL.
fn octal(mode: u32) -> [u8; 5] {
    let digit = |shift: u32| b'0' + u8::try_from((mode >> shift) & 7).unwrap_or(0);
    [digit(9), digit(6), digit(3), digit(0), 0]
}

#[cfg(test)]
mod tests {
    #[test]
    fn modes_are_octal() {
        assert_eq!(&super::octal(0o1750), b"1750\0");
    }
}
