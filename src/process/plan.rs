//! What will be done for `process`, decided.
//!
//! World: plan (pure). Promises: nothing is left to interpret for the child; every refusal names its JSON
//! path. One thing is added later, by the parent that can open the rootfs: HOME ([`ProcessPlan::set_env`]).

use std::ffi::CString;

use oci_spec::runtime::{Linux, Process};

use super::capabilities::{self, Masks};
use super::labels::{self, Labels};
use super::limits::{self, Rlimit};
use super::paths::Component;
use super::scheduling::{self, MemoryPolicy};
use super::{environment, paths, user};
use crate::error::{Code, Error, Result, c_string};
use crate::sys;
use crate::sys::exec::Strings;

/// What a plan has to know about the host and the container.
#[derive(Debug, Clone, Copy)]
#[allow(clippy::struct_excessive_bools, reason = "independent facts, not states")]
pub struct ProcessFacts<'a> {
    /// The container's id, for the name of its keyring.
    pub id: &'a str,
    /// JSON path of the process: `process`, or empty for a process.json of its own.
    pub at: &'a str,
    /// The process has another user namespace than tare.
    pub user_namespace: bool,
    /// setgroups(2) is allowed there (/proc/PID/setgroups does not say deny).
    pub set_groups: bool,
    /// The caller's supplementary groups stay, and no others are set: crun's annotation run.oci.keep_original_groups.
    pub keep_groups: bool,
    /// The first process of the container, not one that is executed in it.
    pub init: bool,
    /// The highest capability of the kernel (/proc/sys/kernel/cap_last_cap).
    pub last_capability: u8,
    /// The caller's own permitted capabilities; all of them if they are not known.
    pub callers_capabilities: u64,
    /// A session keyring of its own is wanted (no `--no-new-keyring`).
    pub new_keyring: bool,
    /// AppArmor is in force.
    pub apparmor: bool,
    /// SELinux is in force.
    pub selinux: bool,
}

/// The session keyring.
#[derive(Debug, PartialEq, Eq)]
pub struct Keyring {
    /// `_ses.ID`, the name that runc uses, so that `exec` joins the same one.
    pub name: CString,
    /// The permissions that init gives it; `exec` leaves them.
    pub permissions: Option<u32>,
}

/// A process, ready for the child.
#[derive(Debug)]
pub struct ProcessPlan {
    pub(super) at: String,
    /// The arguments.
    pub args: Strings,
    /// The environment, without duplicates.
    pub env: Strings,
    /// Where the program may be, in the order of the search.
    pub(super) candidates: Vec<CString>,
    /// The program is searched in PATH (its name has no slash).
    pub(super) searched: bool,
    /// The working directory.
    pub cwd: CString,
    /// The directories on the way to `cwd`, outermost first; empty for `/`.
    pub(super) cwd_components: Vec<Component>,
    /// A terminal of the container's own is on stdio.
    pub(super) terminal: bool,
    /// User id in the container.
    pub uid: u32,
    /// Group id in the container.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
    pub(super) set_groups: bool,
    /// File mode creation mask.
    pub umask: u32,
    /// The five capability sets.
    pub capabilities: Masks,
    pub(super) last_capability: u8,
    pub(super) callers_capabilities: u64,
    /// no_new_privs.
    pub no_new_privileges: bool,
    /// The text for oom_score_adj.
    pub oom_score_adj: Option<Vec<u8>>,
    /// Resource limits in the order of the config.
    pub rlimits: Vec<Rlimit>,
    /// Scheduling policy.
    pub scheduler: Option<sys::scheduling::Attributes>,
    /// The value for ioprio_set.
    pub io_priority: Option<u32>,
    /// NUMA policy.
    pub memory_policy: Option<MemoryPolicy>,
    /// Cpus before the container's cgroup is entered (`exec` alone); a bit mask.
    pub initial_affinity: Option<Vec<u64>>,
    /// Cpus afterwards (`exec` alone); a bit mask.
    pub final_affinity: Option<Vec<u64>>,
    /// The value for personality(2).
    pub personality: Option<u32>,
    /// AppArmor and SELinux.
    pub labels: Labels,
    /// The session keyring, unless it is not wanted.
    pub keyring: Option<Keyring>,
    pub(super) user_namespace: bool,
    /// What the user should know though nothing fails.
    pub warnings: Vec<String>,
}

impl ProcessPlan {
    /// Whether the environment has no HOME, so that one from the container's passwd file is wanted.
    #[must_use]
    pub fn lacks_home(&self) -> bool {
        !self.env.as_slice().iter().any(|entry| entry.as_bytes().starts_with(b"HOME="))
    }

    /// Adds a variable to the environment (HOME, LISTEN_FDS, NOTIFY_SOCKET). A home directory is bytes, not text.
    ///
    /// # Errors
    /// A NUL in it.
    pub fn set_env(&mut self, name: &str, value: impl AsRef<[u8]>) -> Result<()> {
        let entry = [name.as_bytes(), b"=", value.as_ref()].concat();
        let what =
            || Error::refused(Code::NulCharacter, format!("environment variable {name}"), "contains a NUL character");
        let entry = CString::new(entry).map_err(|_| what())?;
        let mut entries: Vec<CString> = self.env.as_slice().to_vec();
        let prefix = format!("{name}=");
        entries.retain(|entry| !entry.as_bytes().starts_with(prefix.as_bytes()));
        entries.push(entry);
        self.env = Strings::new(entries);
        Ok(())
    }

    /// Makes this the plan of another program with the same privileges: `path` is executed as it is.
    pub fn replace_program(&mut self, path: CString, args: Strings, env: Option<Strings>) {
        self.candidates = vec![path];
        self.searched = false;
        self.args = args;
        if let Some(env) = env {
            self.env = env;
        }
    }

    /// Whether [`super::child::outside`] writes to a procfs: labels and the OOM score.
    #[must_use]
    pub fn needs_proc(&self) -> bool {
        self.oom_score_adj.is_some() || !self.labels.is_empty()
    }
}

/// The JSON path of `field` below `at`, which may be empty.
pub(super) fn path(at: &str, field: &str) -> String {
    if at.is_empty() { field.to_string() } else { format!("{at}.{field}") }
}

/// Decides everything about `process`; `linux` gives personality and memory policy.
///
/// # Errors
/// The first value that cannot be accepted, with its JSON path.
pub fn plan(process: &Process, linux: Option<&Linux>, facts: &ProcessFacts<'_>) -> Result<ProcessPlan> {
    let at = facts.at;
    let mut warnings = Vec::new();
    let args = arguments(process, at)?;
    let env = environment::plan(process.env().as_deref().unwrap_or_default(), at)?;
    let program = args.first().map(CString::as_c_str).unwrap_or_default();
    let searched = !program.to_bytes().contains(&b'/');
    let candidates = paths::candidates(program, environment::value(&env, "PATH"));
    let (cwd, cwd_components) = paths::working_directory(process.cwd(), at)?;
    let user = user::plan(process.user(), facts)?;
    let affinity = process.exec_cpu_affinity().as_ref();
    // Not init's, but wrong is wrong.
    let initial = scheduling::affinity(affinity.and_then(|a| a.initial().as_deref()), at, "initial")?;
    let afterwards = scheduling::affinity(affinity.and_then(|a| a.cpu_affinity_final().as_deref()), at, "final")?;
    Ok(ProcessPlan {
        at: at.to_string(),
        capabilities: capabilities::plan(process.capabilities().as_ref(), facts, &mut warnings)?,
        rlimits: limits::plan(process.rlimits().as_deref().unwrap_or_default(), at)?,
        oom_score_adj: limits::oom_score_adj(process.oom_score_adj(), at)?,
        scheduler: scheduling::scheduler(process.scheduler().as_ref(), at, &mut warnings)?,
        io_priority: scheduling::io_priority(process.io_priority().as_ref(), at)?,
        memory_policy: scheduling::memory_policy(linux.and_then(|linux| linux.memory_policy().as_ref()))?,
        personality: personality(linux)?,
        initial_affinity: initial.filter(|_| !facts.init),
        final_affinity: afterwards.filter(|_| !facts.init),
        labels: labels::plan(process, facts)?,
        keyring: keyring(facts)?,
        args: Strings::new(args),
        env: Strings::new(env),
        candidates,
        searched,
        cwd,
        cwd_components,
        terminal: process.terminal().unwrap_or(false),
        uid: user.uid,
        gid: user.gid,
        groups: user.groups,
        set_groups: facts.set_groups && !facts.keep_groups,
        umask: user.umask,
        last_capability: facts.last_capability,
        callers_capabilities: facts.callers_capabilities,
        no_new_privileges: process.no_new_privileges().unwrap_or(false),
        user_namespace: facts.user_namespace,
        warnings,
    })
}

fn arguments(process: &Process, at: &str) -> Result<Vec<CString>> {
    let args = process.args().as_deref().unwrap_or_default();
    if args.is_empty() {
        return Err(Error::refused(Code::ArgumentsMissing, path(at, "args"), "args must not be empty"));
    }
    args.iter().enumerate().map(|(i, arg)| c_string(arg.as_str(), || path(at, &format!("args[{i}]")))).collect()
}

/// Source: personality(2); the spec defines no flag.
fn personality(linux: Option<&Linux>) -> Result<Option<u32>> {
    use oci_spec::runtime::LinuxPersonalityDomain as Domain;
    let Some(personality) = linux.and_then(|linux| linux.personality().as_ref()) else { return Ok(None) };
    if let Some(flag) = personality.flags().as_ref().and_then(|flags| flags.first()) {
        let what = format!("personality flag {flag:?}: the runtime specification defines none");
        return Err(Error::refused(Code::ConfigValueUnsupported, "linux.personality.flags[0]", what));
    }
    Ok(Some(match personality.domain() {
        Domain::PerLinux => 0,
        Domain::PerLinux32 => 8,
    }))
}

/// KEY_POS_ALL, and view, read, link for the owner: what the kernel gives a new session keyring.
const KEYRING_PERMISSIONS: u32 = 0x3f13_0000;
/// Search for the owner: processes with the same user id but another session find it by name.
const OWNER_SEARCH: u32 = 0x0008_0000;
/// Search for everybody: the owner has no mapping for others in a user namespace.
const OTHER_SEARCH: u32 = 0x0000_0008;

fn keyring(facts: &ProcessFacts<'_>) -> Result<Option<Keyring>> {
    if !facts.new_keyring {
        return Ok(None);
    }
    let name = c_string(format!("_ses.{}", facts.id), || "container id".to_string())?;
    let search = if facts.user_namespace { OTHER_SEARCH } else { OWNER_SEARCH };
    Ok(Some(Keyring { name, permissions: facts.init.then_some(KEYRING_PERMISSIONS | search) }))
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::{Value, json};

    use super::*;

    pub(in crate::process) const FACTS: ProcessFacts<'static> = ProcessFacts {
        id: "c1",
        at: "process",
        user_namespace: false,
        set_groups: true,
        keep_groups: false,
        init: true,
        last_capability: 40,
        callers_capabilities: u64::MAX,
        new_keyring: true,
        apparmor: false,
        selinux: false,
    };

    /// A minimal process with `changes` put on top.
    pub(in crate::process) fn process(changes: Value) -> Process {
        let mut value = json!({"user": {"uid": 0, "gid": 0}, "args": ["sh"], "cwd": "/", "env": ["PATH=/bin"]});
        for (key, change) in changes.as_object().unwrap() {
            value[key] = change.clone();
        }
        serde_json::from_value(value).unwrap()
    }

    pub(in crate::process) fn planned(changes: Value) -> ProcessPlan {
        plan(&process(changes), None, &FACTS).unwrap()
    }

    pub(in crate::process) fn refusal(changes: Value) -> String {
        plan(&process(changes), None, &FACTS).unwrap_err().to_string()
    }

    #[test]
    fn refuses_with_path_and_reason() {
        let cases = [
            (json!({"args": []}), "process.args: args must not be empty"),
            (json!({"args": ["a", "b\u{0}c"]}), "process.args[1]: contains a NUL character"),
            (json!({"cwd": ""}), "process.cwd: cwd must not be empty"),
            (json!({"cwd": "tmp"}), "process.cwd: cwd must be an absolute path, not \"tmp\""),
            (json!({"cwd": "/a\u{0}"}), "process.cwd: contains a NUL character"),
        ];
        for (changes, expected) in cases {
            assert_eq!(refusal(changes), expected);
        }
    }

    #[test]
    fn home_is_added_once() {
        let mut plan = planned(json!({"env": ["A=1", "HOME=", "B=2"]}));
        assert!(plan.lacks_home());
        plan.set_env("HOME", "/root").unwrap();
        plan.set_env("HOME", "/home/u").unwrap();
        assert!(!plan.lacks_home());
        assert_eq!(plan.env.as_slice(), [c"A=1".into(), c"B=2".into(), CString::from(c"HOME=/home/u")]);
    }

    #[test]
    fn keyrings_are_named_after_the_container() {
        let keyring = planned(json!({})).keyring.unwrap();
        assert_eq!((keyring.name.as_c_str(), keyring.permissions), (c"_ses.c1", Some(0x3f1b_0000)));
        let exec = ProcessFacts { init: false, user_namespace: true, ..FACTS };
        assert_eq!(plan(&process(json!({})), None, &exec).unwrap().keyring.unwrap().permissions, None);
        let none = ProcessFacts { new_keyring: false, ..FACTS };
        assert_eq!(plan(&process(json!({})), None, &none).unwrap().keyring, None);
    }

    #[test]
    fn personality_has_domains_but_no_flags() {
        let linux = |text| serde_json::from_value::<Linux>(json!({ "personality": text })).unwrap();
        let p = process(json!({}));
        let of = |linux: &Linux| plan(&p, Some(linux), &FACTS).map(|plan| plan.personality);
        assert_eq!(of(&linux(json!({"domain": "LINUX32", "flags": []}))).unwrap(), Some(8));
        assert_eq!(of(&linux(json!({"domain": "LINUX"}))).unwrap(), Some(0));
        let refused = of(&linux(json!({"domain": "LINUX", "flags": ["X"]}))).unwrap_err();
        assert_eq!(refused.path(), Some("linux.personality.flags[0]"));
    }
}
