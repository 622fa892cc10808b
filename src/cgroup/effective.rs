//! What a cgroup has now: its files, and the device programs that are attached to it. World: parent.

use std::os::fd::AsFd;

use rustix::io::Errno;

use super::files;
use super::parent::Cgroup;
use crate::error::{Context, Result};
use crate::sys::bpf;

/// A device program of a cgroup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AttachedProgram {
    /// Its number in the kernel.
    pub id: u32,
    /// tare has loaded it.
    pub of_tare: bool,
}

impl Cgroup {
    /// The content of a file; `None` if this kernel or this cgroup does not have it.
    ///
    /// # Errors
    /// It is there, but cannot be read.
    pub fn content(&self, file: &str) -> Result<Option<String>> {
        let read = files::read_if_there(self.directory(), file);
        read.context(|| format!("read {file} of cgroup {}", self.path()))
    }

    /// The cgroup of the unit that this one is directly below, and that has the same limits.
    #[must_use]
    pub fn of_unit(&self) -> Option<&Self> {
        self.unit.as_deref()
    }

    /// The device programs in the order of their attachment; `None` if the caller may not ask.
    ///
    /// # Errors
    /// The kernel cannot be asked.
    pub fn device_programs(&self) -> Result<Option<Vec<AttachedProgram>>> {
        match self.attached() {
            Err(Errno::PERM | Errno::ACCESS | Errno::NOSYS) => Ok(None),
            result => result.map(Some).context(|| format!("read the device programs of cgroup {}", self.path())),
        }
    }

    fn attached(&self) -> std::result::Result<Vec<AttachedProgram>, Errno> {
        let mut attached = Vec::new();
        for id in bpf::attached_device_programs(self.directory())?.ids() {
            let program = match bpf::open_program(*id) {
                // Detached meanwhile.
                Err(Errno::NOENT) => continue,
                result => result?,
            };
            attached.push(AttachedProgram { id: *id, of_tare: bpf::is_named_by_tare(program.as_fd())? });
        }
        Ok(attached)
    }
}
