//! What AppArmor and SELinux are told about the execution to come.
//!
//! World: plan (pure). A label that nothing on the host would enforce is refused: the container would be
//! weaker than asked. Written by the child through a private procfs (attack class of CVE-2019-16884).

use std::ffi::CStr;

use oci_spec::runtime::Process;

use super::ProcessFacts;
use super::plan::path;
use crate::error::{Code, Error, Result};
use crate::label;

/// The texts to write, each with its file below /proc.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Labels {
    /// For AppArmor's `exec` attribute: `exec PROFILE`.
    pub apparmor: Option<Vec<u8>>,
    /// For SELinux's `exec` and `keycreate` attributes.
    pub selinux: Option<Vec<u8>>,
}

/// AppArmor's own attribute. Linux 5.8.
pub(super) const APPARMOR: &CStr = c"thread-self/attr/apparmor/exec";
/// The attribute that the first LSM answers, AppArmor or SELinux.
pub(super) const EXEC: &CStr = c"thread-self/attr/exec";
/// The SELinux label of keys that are made.
pub(super) const KEY: &CStr = c"thread-self/attr/keycreate";

impl Labels {
    /// Whether nothing is to be written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.apparmor.is_none() && self.selinux.is_none()
    }
}

/// Longest label: a page is what the kernel takes in one write.
const LONGEST: usize = 4000;

/// The texts.
///
/// # Errors
/// A label whose security module is not in force here; one that is too long or has a control character.
pub(super) fn plan(process: &Process, facts: &ProcessFacts<'_>) -> Result<Labels> {
    let profile = process.apparmor_profile().as_deref().filter(|profile| !profile.is_empty());
    let label = process.selinux_label().as_deref().filter(|label| !label.is_empty());
    let checked = |label: Option<&str>, at: &str| label.map_or(Ok(()), |label| label::check(label, LONGEST, &[], at));
    let selinux_at = path(facts.at, "selinuxLabel");
    checked(profile, &path(facts.at, "apparmorProfile"))?;
    checked(label, &selinux_at)?;
    let apparmor = match profile {
        Some(profile) if facts.apparmor => Some(format!("exec {profile}").into_bytes()),
        // Without AppArmor every process is unconfined.
        None | Some("unconfined") => None,
        Some(profile) => {
            let what = format!("AppArmor profile {profile:?}: AppArmor is not enabled on this host");
            return Err(Error::refused(Code::ApparmorUnavailable, path(facts.at, "apparmorProfile"), what));
        }
    };
    label.map_or(Ok(()), |_| label::check_selinux(facts.selinux, &selinux_at))?;
    Ok(Labels { apparmor, selinux: label.map(|label| label.as_bytes().to_vec()) })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::plan::tests::{FACTS, planned, process, refusal};
    use super::*;

    #[test]
    fn a_label_without_its_module_is_refused() {
        assert_eq!(
            refusal(json!({"apparmorProfile": "docker-default"})),
            "process.apparmorProfile: AppArmor profile \"docker-default\": AppArmor is not enabled on this host"
        );
        assert_eq!(
            refusal(json!({"selinuxLabel": "u:r:t:s0"})),
            "process.selinuxLabel: selinux label is specified in config, but selinux is disabled or not supported"
        );
        assert!(planned(json!({"apparmorProfile": "unconfined", "selinuxLabel": ""})).labels.is_empty());
        assert!(planned(json!({"apparmorProfile": ""})).labels.is_empty());
    }

    #[test]
    fn labels_become_the_texts_of_the_kernel() {
        let facts = ProcessFacts { apparmor: true, selinux: true, ..FACTS };
        let asked = process(json!({"apparmorProfile": "unconfined", "selinuxLabel": "u:r:t:s0"}));
        let labels = plan(&asked, &facts).unwrap();
        assert_eq!(labels.apparmor.as_deref(), Some(b"exec unconfined".as_slice()));
        assert_eq!(labels.selinux.as_deref(), Some(b"u:r:t:s0".as_slice()));
    }

    #[test]
    fn hostile_labels_are_refused() {
        let facts = ProcessFacts { apparmor: true, ..FACTS };
        for label in ["a\nchangeprofile b".to_string(), "a\u{0}b".to_string(), "x".repeat(5000)] {
            let refused = plan(&process(json!({ "apparmorProfile": label })), &facts).unwrap_err();
            assert_eq!(refused.path(), Some("process.apparmorProfile"));
        }
    }
}
