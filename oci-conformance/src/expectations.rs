//! What is expected of each of the 58 programs, and why where it is not a pass.
//!
//! A program must pass when it passes with runc (1.1.5, 1.1.15 and 1.3.6 were run) or with crun
//! (1.8.1, 1.21 and 1.28). All that runc passes, crun passes too. Every other program was read:
//! the reason names what it asks for that a correct runtime on cgroup v2 does not give. Where a
//! program asks what runtime-spec 1.3 forbids, 1.3 wins: the reason quotes it, with the row of
//! requirements.csv.

use crate::host::{applies_apparmor_profile, applies_labels, may_grant_sys_resource};

use Expectation::{CannotPass, MayPass, MustBeSilent, MustPass, MustPassWhere};

/// What is expected of a program.
#[derive(Debug)]
pub enum Expectation {
    /// Passes on every cgroup v2 host.
    MustPass,
    /// Passes with every runtime, printing no result; must say nothing either.
    MustBeSilent,
    /// Passes where the machine has what the program needs.
    MustPassWhere(Need),
    /// A correct runtime may pass or fail, for this reason.
    MayPass(&'static str),
    /// Passes with no correct runtime on a cgroup v2 host, for this reason.
    CannotPass(&'static str),
}

/// What a program needs of the machine.
#[derive(Debug)]
pub enum Need {
    /// The program grants the container every capability.
    SysResource,
    /// The program asks for the profile `acme_secure_profile`.
    AppArmorProfile,
    /// The program asks for a mount label.
    SeLinux,
}

impl Need {
    /// Completes "must pass where ...".
    pub fn description(&self) -> &'static str {
        match self {
            Need::SysResource => "CAP_SYS_RESOURCE can be granted",
            Need::AppArmorProfile => {
                "AppArmor is on and acme_secure_profile is loaded: a profile that is not applied is an error"
            }
            Need::SeLinux => "SELinux is on: a label that is not applied is an error",
        }
    }

    /// Whether this machine has it.
    pub fn is_met(&self) -> bool {
        match self {
            Need::SysResource => may_grant_sys_resource(),
            Need::AppArmorProfile => applies_apparmor_profile("acme_secure_profile"),
            Need::SeLinux => applies_labels(),
        }
    }
}

/// What is expected of a program; nothing when it is unknown.
pub fn of(name: &str) -> Option<&'static Expectation> {
    EXPECTATIONS.iter().find(|(known, _)| *known == name).map(|(_, expectation)| expectation)
}

/// Whether a program is only fair when `start` is followed by a pause.
///
/// killsig sends its signal as soon as the state is "running", but the shell in the container has
/// yet to set its trap, and the first process of a pid namespace does not die of TERM without one:
/// the signal is lost and the program fails. runc 1.1.5 lost it in 1 of 10 runs at load 2.5, crun
/// 1.28 in 1 of 2 at load 4.5; a faster runtime loses it more often.
pub fn needs_pause(name: &str) -> bool {
    name == "killsig"
}

/// `cgroups.FindCgroup`, by which these programs read limits back, ends in an error on cgroup2.
const READS_V1: &str = "reads the limit back from cgroup v1 (\"cgroupv2 is not supported yet\")";

/// Every program of the suite.
pub const EXPECTATIONS: &[(&str, Expectation)] = &[
    ("config_updates_without_affect", MustPass),
    ("create", MustPass),
    ("default", MustPass),
    (
        "delete",
        MayPass(
            "wants delete without --force to refuse a created container, as the spec does; \
             runc, crun and youki delete it",
        ),
    ),
    ("delete_only_create_resources", CannotPass("moves the container by cgroup v1's pids/cgrouptest/tasks")),
    ("delete_resources", CannotPass(READS_V1)),
    // Says that the order is wrong whatever it is: it compares with another text than it has
    // its hooks write.
    ("hooks", MustPass),
    (
        "hooks_stdin",
        MayPass(
            "wants \"created\" in the state that prestart reads, as spec 1.0; of spec 1.3 see requirement \
             config-prestart-3: create is not finished then, so the status is \"creating\" (runtime.md, State)",
        ),
    ),
    ("hostname", MustPass),
    ("kill", MustPass),
    ("kill_no_effect", MustPass),
    // Started with a pause: see `needs_pause`.
    ("killsig", MustPass),
    ("linux_cgroups_blkio", CannotPass(READS_V1)),
    ("linux_cgroups_cpus", CannotPass(READS_V1)),
    ("linux_cgroups_devices", CannotPass(READS_V1)),
    ("linux_cgroups_hugetlb", CannotPass(READS_V1)),
    ("linux_cgroups_memory", CannotPass(READS_V1)),
    ("linux_cgroups_network", CannotPass(READS_V1)),
    ("linux_cgroups_pids", CannotPass(READS_V1)),
    ("linux_cgroups_relative_blkio", CannotPass(READS_V1)),
    ("linux_cgroups_relative_cpus", CannotPass(READS_V1)),
    ("linux_cgroups_relative_devices", CannotPass(READS_V1)),
    ("linux_cgroups_relative_hugetlb", CannotPass(READS_V1)),
    ("linux_cgroups_relative_memory", CannotPass(READS_V1)),
    ("linux_cgroups_relative_network", CannotPass(READS_V1)),
    ("linux_cgroups_relative_pids", CannotPass(READS_V1)),
    ("linux_devices", MustPass),
    ("linux_masked_paths", MustPass),
    // Sets an SELinux label whatever the host has: to pass where SELinux is off is to drop it.
    ("linux_mount_label", MustPassWhere(Need::SeLinux)),
    // Has mounts but no mount namespace (runc refuses): they are in the caller's until the container is deleted.
    ("linux_ns_itype", MustPass),
    ("linux_ns_nopath", MustPass),
    ("linux_ns_path", MustPass),
    ("linux_ns_path_type", MustPass),
    // To pass where AppArmor is off is to drop the profile; crun 1.28 does, 1.21 does not.
    ("linux_process_apparmor_profile", MustPassWhere(Need::AppArmorProfile)),
    ("linux_readonly_paths", MustPass),
    ("linux_rootfs_propagation", MustPass),
    // Denies getcwd to the whole container: no getcwd after the filter is loaded (runc fails).
    ("linux_seccomp", MustPass),
    ("linux_sysctl", MustPass),
    ("linux_uid_mappings", MustPass),
    ("misc_props", CannotPass("runs /runtimetest in a bundle that it was not copied into, and wants start to succeed")),
    ("mounts", MustPass),
    (
        "pidfile",
        MayPass(
            "a race: its process is `true`, to be killed while it runs; kill of a stopped \
             container must be an error",
        ),
    ),
    // A race between the hook and the process, which both write to one file.
    ("poststart", MustPass),
    (
        "poststart_fail",
        MayPass(
            "wants a warning, as spec 1.2 and before; of spec 1.3 see requirement runtime-lifecycle-15: \"If any \
             poststart hook fails, the runtime MUST generate an error, stop the container\" (runtime.md, Lifecycle, 9)",
        ),
    ),
    ("poststop", MustBeSilent),
    ("poststop_fail", MustBeSilent),
    // Wants prestart hooks to run in start, as in spec 1.0; they have to run in create.
    ("prestart", MustPass),
    ("prestart_fail", MustBeSilent),
    ("process", MustPass),
    ("process_capabilities", MustPassWhere(Need::SysResource)),
    (
        "process_capabilities_fail",
        CannotPass(
            "wants an error for an unknown capability, where spec 1.1 wants a warning; and after \
             an error it prints no TAP at all",
        ),
    ),
    ("process_oom_score_adj", MustPass),
    (
        "process_rlimits",
        CannotPass(
            "its probe is a Go program, and since Go 1.19 every Go program raises its own soft \
             RLIMIT_NOFILE to the hard one before it can look",
        ),
    ),
    (
        "process_rlimits_fail",
        CannotPass("the runtime is right to refuse RLIMIT_TEST, and then the program prints no TAP"),
    ),
    ("process_user", MustPass),
    ("root_readonly_true", MustPass),
    (
        "start",
        MayPass(
            "wants start of a config without process to succeed, under the heading that it must not; see requirement \
             runtime-start-4: \"This operation MUST generate an error if process was not set\" (runtime.md, Start)",
        ),
    ),
    ("state", MustPass),
];

#[cfg(test)]
mod tests {
    use super::EXPECTATIONS;

    #[test]
    fn the_table_is_sorted_and_whole() {
        assert_eq!(EXPECTATIONS.len(), 58);
        assert!(EXPECTATIONS.is_sorted_by(|(one, _), (other, _)| one < other));
    }
}
