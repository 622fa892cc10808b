//! World: plan. Annotations to which runc or crun give a meaning: what is asked is done, refused, or named in a warning.

use oci_spec::runtime::{LinuxSeccomp, Spec};

use crate::annotation::{HONOURED, annotation};
use crate::error::{Code, Error, Result, nearest};
use crate::seccomp;

/// What is not done, by name or by what the name begins with.
const NOT_DONE: [(&str, &str); 5] = [
    (
        "run.oci.seccomp.plugins",
        "tare does not load plugins; an agent at linux.seccomp.listenerPath can decide instead",
    ),
    ("run.oci.systemd.force_cgroup_v1", "tare does not mount cgroup v1"),
    ("run.oci.", "no known runtime reads it"),
    ("module.wasm.image/variant", "tare does not run WebAssembly"),
    ("krun.", "tare does not run virtual machines"),
];

/// The agent's socket for a profile that names none.
const RECEIVER: &str = "run.oci.seccomp.receiver";

/// The annotation that replaces the profile by a ready-made program.
pub(crate) const RAW_FILTER: &str = "run.oci.seccomp_bpf_data";

/// The filter: a ready-made one goes before the profile.
///
/// # Errors
/// As [`seccomp::plan`] and [`seccomp::plan_raw`].
pub(super) fn filter(spec: &Spec) -> Result<Option<seccomp::SeccompPlan>> {
    let profile = spec.linux().as_ref().and_then(|linux| linux.seccomp().as_ref());
    if let Some(data) = annotation(spec, RAW_FILTER) {
        return seccomp::plan_raw(data, profile).map(Some);
    }
    let Some(profile) = profile else { return Ok(None) };
    if annotation(spec, "run.oci.seccomp_fail_unknown_syscall").is_some_and(|value| value != "0") {
        seccomp::check_names(profile)?;
    }
    match annotation(spec, RECEIVER).filter(|path| !path.is_empty() && lacks_agent(profile)) {
        Some(path) => {
            let mut profile = profile.clone();
            profile.set_listener_path(Some(path.into()));
            seccomp::plan(&profile).map(Some)
        }
        None => seccomp::plan(profile).map(Some),
    }
}

fn lacks_agent(profile: &LinuxSeccomp) -> bool {
    profile.listener_path().as_ref().is_none_or(|path| path.as_os_str().is_empty())
}

/// What is not done of the annotations, one line each, in order.
///
/// # Errors
/// Another handler than tare's own would run another kind of container.
pub(super) fn warnings(spec: &Spec, systemd: bool, notifies: bool) -> Result<Vec<String>> {
    let mut sorted: Vec<_> = spec.annotations().iter().flatten().filter(|(_, value)| !value.is_empty()).collect();
    sorted.sort_unstable();
    let mut lines = Vec::new();
    for (key, value) in sorted {
        let at = format!("annotations[{key:?}]");
        if key == "run.oci.handler" {
            let what = format!("handler {value:?} is not supported: tare runs native programs only");
            return Err(Error::refused(Code::ConfigValueUnsupported, at, what));
        }
        let why = match key.as_str() {
            RECEIVER if !notifies => "no rule in linux.seccomp has the action SCMP_ACT_NOTIFY",
            "run.oci.systemd.subgroup" if !systemd => "it applies only with --systemd-cgroup",
            "run.oci.keep_original_groups" if value != "1" && value != "0" => "it is enabled by the value 1",
            key if key.starts_with("org.systemd.property.") && systemd => continue,
            key if key.starts_with("org.systemd.property.") => "it applies only with --systemd-cgroup",
            key if HONOURED.iter().any(|known| known.key == key) => continue,
            key => match NOT_DONE.iter().find(|(name, _)| key.starts_with(name)) {
                Some((_, why)) => why,
                None => continue,
            },
        };
        let nearest = || nearest(key, HONOURED.iter().map(|known| known.key)).filter(|known| known != key);
        let meant = if key.starts_with("run.oci.") { nearest() } else { None };
        let hint = meant.map(|known| format!("; did you mean {known:?}?")).unwrap_or_default();
        lines.push(format!("{at} has no effect: {why}{hint}"));
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::annotation::PIDFD_RECEIVER;

    fn told(key: &str, value: &str, systemd: bool) -> Result<Vec<String>> {
        let config = json!({ "ociVersion": "1.2.0", "annotations": { key: value } });
        warnings(&serde_json::from_value(config).unwrap(), systemd, false)
    }

    #[test]
    fn what_is_not_done_is_named() {
        for (key, why) in [
            ("run.oci.seccomp.receiver", "no rule in linux.seccomp has the action SCMP_ACT_NOTIFY"),
            (
                "run.oci.seccomp.plugins",
                "tare does not load plugins; an agent at linux.seccomp.listenerPath can decide instead",
            ),
            ("run.oci.systemd.force_cgroup_v1", "tare does not mount cgroup v1"),
            ("run.oci.systemd.subgroup", "it applies only with --systemd-cgroup"),
            ("run.oci.hooks.stdot", "no known runtime reads it; did you mean \"run.oci.hooks.stdout\"?"),
            ("run.oci.keep_original_groups", "it is enabled by the value 1"),
            ("module.wasm.image/variant", "tare does not run WebAssembly"),
            ("krun.cpus", "tare does not run virtual machines"),
            ("org.systemd.property.KillSignal", "it applies only with --systemd-cgroup"),
        ] {
            assert_eq!(told(key, "x", false).unwrap(), [format!("annotations[{key:?}] has no effect: {why}")]);
            assert_eq!(told(key, "", false).unwrap(), [""; 0], "{key}");
        }
        let error = told("run.oci.handler", "krun", false).unwrap_err();
        assert_eq!(error.path(), Some("annotations[\"run.oci.handler\"]"));
    }

    #[test]
    fn what_is_done_or_nobodys_business_is_not() {
        for key in [
            "run.oci.hooks.stdout",
            "org.criu.config",
            PIDFD_RECEIVER,
            "io.kubernetes.cri.container-type",
            "org.example.run.oci.x",
        ] {
            assert_eq!(told(key, "x", false).unwrap(), [""; 0], "{key}");
        }
        for key in ["org.systemd.property.KillSignal", "run.oci.systemd.subgroup"] {
            assert_eq!(told(key, "x", true).unwrap(), [""; 0], "{key}");
        }
        for value in ["0", "1"] {
            assert_eq!(told("run.oci.keep_original_groups", value, false).unwrap(), [""; 0]);
        }
    }

    #[test]
    fn a_ready_made_filter_goes_before_the_profile() {
        let spec = |annotations: serde_json::Value, seccomp: serde_json::Value| -> Spec {
            let config = json!({ "ociVersion": "1.2.0", "annotations": annotations, "linux": { "seccomp": seccomp } });
            serde_json::from_value(config).unwrap()
        };
        let deadly = json!({ "defaultAction": "SCMP_ACT_KILL_PROCESS" });
        let plan =
            filter(&spec(json!({ "run.oci.seccomp_bpf_data": "BgAAAAAA/38=" }), deadly.clone())).unwrap().unwrap();
        assert_eq!((plan.program.len(), plan.refuses_execve), (1, None));
        assert!(filter(&spec(json!({}), deadly)).unwrap().unwrap().refuses_execve.is_some());
    }

    #[test]
    fn the_receiver_is_the_agent_of_a_profile_without_one() {
        let rule = json!({ "names": ["mkdir"], "action": "SCMP_ACT_NOTIFY" });
        let mut config = json!({
            "ociVersion": "1.2.0",
            "annotations": { "run.oci.seccomp.receiver": "/run/agent" },
            "linux": { "seccomp": { "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule] } },
        });
        let agent = |config: &serde_json::Value| {
            let spec: Spec = serde_json::from_value(config.clone()).unwrap();
            filter(&spec).map(|plan| plan.unwrap().notify.unwrap().path)
        };
        assert_eq!(agent(&config).unwrap(), std::path::Path::new("/run/agent"));
        config["linux"]["seccomp"]["listenerPath"] = json!("/run/own");
        assert_eq!(agent(&config).unwrap(), std::path::Path::new("/run/own"));
        config["linux"]["seccomp"]["listenerPath"] = json!("");
        config["annotations"] = json!({});
        assert!(agent(&config).is_err());
    }
}
