//! Ids, capabilities and no_new_privs.
//!
//! World: child. Everything that a seccomp profile may deny comes before the filter, which is loaded after this. Without
//! no_new_privs the load needs CAP_SYS_ADMIN: that one is kept, alone beyond the plan, until execve takes it away.
//! execve derives the program's sets from the inheritable, bounding and ambient sets and the file alone
//! (capabilities(7)), and those are final here.

use rustix::fs::Mode;
use rustix::io::Errno;

use super::directory::{self, Entered};
use super::program;
use crate::process::ProcessPlan;
use crate::process::capabilities::SYS_ADMIN;
use crate::sys::credentials::Sets;
use crate::sys::{credentials, process_attributes};
use crate::wire::{At, ChildResult, Fault, Step};

/// What the steps from here to [`drop_privileges`] may take besides what the plan permits: CHOWN, DAC_OVERRIDE,
/// DAC_READ_SEARCH, SETGID, SETUID, SETPCAP, SYS_ADMIN, SYS_NICE, SYS_RESOURCE of linux/capability.h.
const STILL_NEEDED: u64 = 1 << 0 | 1 << 1 | 1 << 2 | 1 << 6 | 1 << 7 | 1 << 8 | 1 << 21 | 1 << 23 | 1 << 24;

/// Gives up the capabilities that no later step takes, before others can see the process.
///
/// # Errors
/// The kernel's.
pub fn shed_capabilities(plan: &ProcessPlan) -> ChildResult {
    let now = credentials::capabilities().at(Step::Capabilities)?;
    let masks = &plan.capabilities;
    let kept = now.permitted & (STILL_NEEDED | masks.permitted | masks.effective | masks.inheritable);
    let sets = Sets { effective: now.effective & kept, permitted: kept, inheritable: now.inheritable };
    credentials::set_capabilities(&sets).at(Step::Capabilities)
}

/// Becomes the user of the process for good and finds the program; returns its number for [`super::exec`]. `filtered`:
/// a seccomp filter is loaded afterwards.
///
/// # Errors
/// Any call that fails, whatever the error, and anything read back that is not as planned.
pub fn drop_privileges(plan: &ProcessPlan, entered: Entered, filtered: bool) -> ChildResult<usize> {
    rustix::process::umask(Mode::from_raw_mode(plan.umask));
    let kept = if filtered && !plan.no_new_privileges { SYS_ADMIN } else { 0 };
    let sets = sets(plan, kept);
    drop_bounding_set(plan)?;
    set_ids(plan)?;
    directory::as_user(plan, entered)?;
    credentials::set_capabilities(&sets).at(Step::Capabilities)?;
    set_ambient_set(plan)?;
    verify(plan, &sets)?;
    let found = program::find_program(plan)?;
    if plan.no_new_privileges {
        process_attributes::set_no_new_privileges().at(Step::NoNewPrivileges)?;
    }
    Ok(found)
}

fn sets(plan: &ProcessPlan, kept: u64) -> Sets {
    let masks = &plan.capabilities;
    Sets { effective: masks.effective | kept, permitted: masks.permitted | kept, inheritable: masks.inheritable }
}

/// Before the ids change, while CAP_SETPCAP is effective.
fn drop_bounding_set(plan: &ProcessPlan) -> ChildResult {
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
fn set_ids(plan: &ProcessPlan) -> ChildResult {
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
fn set_ambient_set(plan: &ProcessPlan) -> ChildResult {
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
fn verify(plan: &ProcessPlan, expected: &Sets) -> ChildResult {
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
