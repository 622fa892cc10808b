//! Looks at the host for what a plan needs, in the order of create.
//!
//! World: parent. Promise: nothing is made, mounted, written or started; sockets are not connected, and modules of the
//! kernel are not loaded.

use std::ffi::CStr;
use std::os::fd::AsFd;
use std::path::PathBuf;

use rustix::fs::{FileType, fstat};
use rustix::io::Errno;

use super::super::create::Creating;
use super::super::store::Store;
use crate::cgroup::{self, CgroupPlan, Tag};
use crate::error::{Error, Result};
use crate::host::Host;
use crate::namespaces::{self, OpenNamespaces};
use crate::plan::{ContainerPlan, Program};
use crate::process::{self, ProcessPlan, check::Look, user};
use crate::rootfs::check::Checked;
use crate::rootfs::view::{Content, Links, View};
use crate::sys::credentials::DAC_OVERRIDE;
use crate::{hooks, rootfs, seccomp, terminal};

/// What create would refuse, in its order.
pub(super) fn check(creating: &Creating<'_>, plan: &ContainerPlan, opened: &OpenNamespaces, host: &Host) -> Vec<Error> {
    let mut errors = Vec::new();
    errors.extend(Store::check(creating.root).err());
    errors.extend(plan.cgroup.iter().flat_map(|cgroup| look_at_cgroup(creating, cgroup, host)));
    let program = plan.program.as_ref();
    let seccomp = program.and_then(|program| program.seccomp.as_ref());
    errors.extend(seccomp.and_then(|seccomp| seccomp::parent::look_for_agent(seccomp).err()));
    let tree = rootfs::check::check(&plan.rootfs, &made(creating, plan, host));
    let (view, of_mounts) = match tree {
        Ok(Checked { view, errors }) => (Some(view), errors),
        Err(error) => {
            errors.push(error);
            (None, Vec::new())
        }
    };
    errors.extend(program.zip(view.as_ref()).and_then(|(program, view)| look_for_home(program, view).err()));
    let terminal = program.and_then(|program| program.terminal.as_ref());
    errors.extend(terminal.and_then(|terminal| terminal::parent::look(terminal).err()));
    let may_map = |file: &str, first, count| host.may_map(file, first, count);
    errors.extend(namespaces::check::check(&plan.namespaces, opened, host.caller().administers, &may_map));
    errors.extend(of_mounts);
    let lists = [&plan.hooks.prestart, &plan.hooks.create_runtime, &plan.hooks.create_container];
    errors.extend(lists.into_iter().flatten().filter_map(|hook| hooks::look(hook).err()));
    errors.extend(program.into_iter().flat_map(|program| look_at_program(plan, program, view.as_ref())));
    errors
}

/// The container's own directories, which mounts may bind.
fn made(creating: &Creating<'_>, plan: &ContainerPlan, host: &Host) -> Vec<PathBuf> {
    let state = std::path::absolute(creating.root).map(|root| root.join(creating.id));
    let cgroup = plan.cgroup.as_ref().zip(host.hierarchy().ok());
    let cgroup = cgroup.map(|(cgroup, hierarchy)| hierarchy.root.join(cgroup.path().trim_start_matches('/')));
    state.into_iter().chain(cgroup).collect()
}

fn look_at_cgroup(creating: &Creating<'_>, plan: &CgroupPlan, host: &Host) -> Vec<Error> {
    let tag = Tag {
        owner: rustix::process::geteuid().as_raw(),
        id: creating.id.to_owned(),
        state_directory: creating.root.join(creating.id),
        root: None,
    };
    match host.hierarchy() {
        Ok(hierarchy) => cgroup::check::check(plan, hierarchy, &tag),
        Err(error) => vec![error],
    }
}

/// HOME comes from the passwd file, which has to be one.
fn look_for_home(program: &Program, view: &View) -> Result<()> {
    match view.find(b"/etc/passwd", Links::Follow).content {
        Ok(Content::File(file)) if program.process.lacks_home() => {
            user::home_in(file.as_fd(), program.process.uid).map(drop)
        }
        _ => Ok(()),
    }
}

/// In the order of the child's steps.
fn look_at_program(plan: &ContainerPlan, program: &Program, view: Option<&View>) -> Vec<Error> {
    let process = &program.process;
    let mut faults = process::check::limits(process);
    if let Some(view) = view {
        let directory = |path: &CStr| match look(view, path.to_bytes(), plan, process) {
            Look::Refused(Errno::NOENT) if view.find(path.to_bytes(), Links::Follow).readonly => {
                Look::Refused(Errno::ROFS)
            }
            found => found,
        };
        faults.extend(process::check::working_directory(process, directory));
        faults.extend(process::check::capabilities(process));
        let file = |path: &CStr| look(view, &from_directory(process, path), plan, process);
        faults.extend(process::check::program(process, file));
    }
    faults.iter().map(|fault| plan.explain(fault)).collect()
}

/// A relative path begins at the working directory.
fn from_directory(process: &ProcessPlan, path: &CStr) -> Vec<u8> {
    match path.to_bytes() {
        absolute if absolute.starts_with(b"/") => absolute.to_vec(),
        relative => [process.cwd.to_bytes(), b"/", relative].concat(),
    }
}

fn look(view: &View, path: &[u8], plan: &ContainerPlan, process: &ProcessPlan) -> Look {
    match view.find(path, Links::Follow).content {
        Ok(Content::Unknown) if leads_through_a_process(path) => Look::Refused(Errno::LOOP),
        Ok(Content::Unknown) => Look::Unknown,
        Err(errno) => Look::Refused(errno),
        Ok(Content::File(file)) => match fstat(&*file) {
            Ok(status) => {
                let executable = has_access_list(file.as_fd()) || is_executable(&status, plan, process);
                Look::File(FileType::from_raw_mode(status.st_mode), executable)
            }
            Err(errno) => Look::Refused(errno),
        },
    }
}

/// The links in /proc/PID that lead to another place than their text says are not followed.
fn leads_through_a_process(path: &[u8]) -> bool {
    let mut names = path.split(|byte| *byte == b'/').filter(|name| !name.is_empty() && *name != b".");
    let is_process = |name: &[u8]| matches!(name, b"self" | b"thread-self") || name.iter().all(u8::is_ascii_digit);
    if names.next() != Some(b"proc") || !names.next().is_some_and(is_process) {
        return false;
    }
    match names.next() {
        Some(b"fd") => names.next().is_some(),
        Some(name) => matches!(name, b"cwd" | b"root" | b"exe"),
        None => false,
    }
}

/// With CAP_DAC_OVERRIDE a process may execute what anybody may. In a user namespace it is not known whose the file is.
fn is_executable(status: &rustix::fs::Stat, plan: &ContainerPlan, process: &ProcessPlan) -> bool {
    let bits = if plan.rootfs.user_namespace || process.capabilities.effective & DAC_OVERRIDE != 0 {
        0o111
    } else if status.st_uid == process.uid {
        0o100
    } else if status.st_gid == process.gid || process.groups.contains(&status.st_gid) {
        0o010
    } else {
        0o001
    };
    status.st_mode & bits != 0
}

/// Rules beyond the mode. The file is open with O_PATH, so it is named by its descriptor.
fn has_access_list(file: std::os::fd::BorrowedFd<'_>) -> bool {
    let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&file));
    let mut value = [0_u8; 0];
    rustix::fs::getxattr(path, c"system.posix_acl_access", &mut value).is_ok_and(|length| length > 0)
}
