//! Ids, capabilities, no_new_privs and the place of the seccomp filter among them.
//!
//! World: child. Everything that a profile may deny comes before the filter. With no_new_privs the filter is
//! the last act. Without, it needs CAP_SYS_ADMIN: that one is kept, alone beyond the plan, until the filter
//! is in, and dropped after. execve derives the program's sets from the inheritable, bounding and ambient
//! sets and the file alone (capabilities(7)), and those are final before the filter in either case.

use rustix::fs::Mode;
use rustix::io::Errno;

use super::directory::{self, Entered};
use super::program;
use crate::process::Plan;
use crate::process::capabilities::SYS_ADMIN;
use crate::sys::credentials::Sets;
use crate::sys::{credentials, process_attributes};
use crate::wire::{At, Done, Fault, Step};

/// The seccomp filter of the process.
pub struct Filter<'a> {
    /// Installs it.
    pub install: &'a mut dyn FnMut() -> Done,
    /// The profile lets capset(2) through. If not, and without no_new_privs, CAP_SYS_ADMIN stays with the
    /// waiting init until execve takes it away; it is never the program's.
    pub permits_capset: bool,
}

/// Becomes the user of the process for good, finds the program, and installs the filter; returns the number
/// of the program for [`super::exec`].
///
/// # Errors
/// Any call that fails, whatever the error, and anything read back that is not as planned.
pub fn drop_privileges(plan: &Plan, entered: Entered, filter: Option<Filter<'_>>) -> Done<usize> {
    rustix::process::umask(Mode::from_raw_mode(plan.umask));
    let kept = if filter.is_some() && !plan.no_new_privileges { SYS_ADMIN } else { 0 };
    let planned = sets(plan, 0);
    let before_filter = sets(plan, kept);
    drop_bounding_set(plan)?;
    set_ids(plan)?;
    directory::as_user(plan, entered)?;
    credentials::set_capabilities(&before_filter).at(Step::Capabilities)?;
    set_ambient_set(plan)?;
    verify(plan, &before_filter)?;
    let found = program::find_program(plan)?;
    if plan.no_new_privileges {
        process_attributes::set_no_new_privileges().at(Step::NoNewPrivileges)?;
    }
    if let Some(Filter { install, permits_capset }) = filter {
        install()?;
        if before_filter != planned && permits_capset {
            credentials::set_capabilities(&planned).at(Step::Capabilities)?;
        }
    }
    Ok(found)
}

fn sets(plan: &Plan, kept: u64) -> Sets {
    let masks = &plan.capabilities;
    Sets { effective: masks.effective | kept, permitted: masks.permitted | kept, inheritable: masks.inheritable }
}

/// Before the ids change, while CAP_SETPCAP is effective.
fn drop_bounding_set(plan: &Plan) -> Done {
    for capability in 0..=plan.last_capability {
        if !has(plan.capabilities.bounding, capability) {
            process_attributes::drop_from_bounding_set(capability)
                .at_index(Step::BoundingCapabilities, usize::from(capability))?;
        }
    }
    Ok(())
}

fn has(mask: u64, capability: u8) -> bool {
    mask.checked_shr(u32::from(capability)).unwrap_or(0) & 1 == 1
}

/// Groups first: afterwards the privilege for them is gone.
fn set_ids(plan: &Plan) -> Done {
    if plan.uid != 0 {
        // Otherwise the change from 0 clears the permitted set.
        process_attributes::set_keep_capabilities(true).at(Step::Capabilities)?;
    }
    if plan.set_groups {
        credentials::set_groups(&plan.groups).at(Step::Groups)?;
    }
    credentials::set_gid(plan.gid).at(Step::Gid)?;
    credentials::set_uid(plan.uid).at(Step::Uid)
}

/// The capset before has emptied it already but for what is permitted and inheritable.
fn set_ambient_set(plan: &Plan) -> Done {
    process_attributes::clear_ambient_set().at(Step::AmbientCapabilities)?;
    for capability in 0..=plan.last_capability {
        if has(plan.capabilities.ambient, capability) {
            process_attributes::raise_in_ambient_set(capability)
                .at_index(Step::AmbientCapabilities, usize::from(capability))?;
        }
    }
    Ok(())
}

/// Reads everything back: an id that wrapped, or a call that only seemed to work, ends here.
fn verify(plan: &Plan, expected: &Sets) -> Done {
    let differs = |index| Fault::new(Step::VerifyCredentials, index, Errno::PERM);
    if credentials::uids().at(Step::VerifyCredentials)? != [plan.uid; 3] {
        return Err(differs(0));
    }
    if credentials::gids().at(Step::VerifyCredentials)? != [plan.gid; 3] {
        return Err(differs(1));
    }
    if credentials::capabilities().at(Step::VerifyCredentials)? != *expected {
        return Err(differs(2));
    }
    Ok(())
}
