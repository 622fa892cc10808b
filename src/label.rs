//! Labels of AppArmor and SELinux in a config: of processes, of mounts.
//!
//! World: plan. A label that nothing on the host would enforce is an error: the container would be weaker than asked.

use crate::error::{Code, Error, Result};

/// Checks a label that the kernel gets within a text: of at most `longest` bytes, where `reserved` has a meaning.
///
/// # Errors
/// It is too long, or contains a control character or a reserved one.
pub fn check(label: &str, longest: usize, reserved: &[char], at: &str) -> Result<()> {
    if label.len() > longest {
        return Err(Error::refused(Code::LabelInvalid, at, format!("a label of {} bytes is too long", label.len())));
    }
    match label.chars().find(|c| c.is_control() || reserved.contains(c)) {
        Some(c) => Err(Error::refused(Code::LabelInvalid, at, format!("a label cannot contain {c:?}"))),
        None => Ok(()),
    }
}

/// Refuses an SELinux label unless SELinux is enabled on this host.
///
/// # Errors
/// In runc's words.
pub fn check_selinux(is_enabled: bool, at: &str) -> Result<()> {
    if is_enabled {
        return Ok(());
    }
    Err(Error::refused(
        Code::SelinuxUnavailable,
        at,
        "selinux label is specified in config, but selinux is disabled or not supported",
    ))
}
