//! World: plan. The process object of exec: the container's own with the changes of the command line, or that of a
//! process file with the container's values where it has none.

use oci_spec::runtime::Process;

use crate::container::options::Changes;
use crate::error::{Code, Error, Result};
use crate::process::{capabilities, user};

/// Completes the process object of a file with values of the container: those that runc and crun take from the container
/// too (docs/config.md, "What a process file leaves out").
#[must_use]
pub fn complete(mut process: Process, container: Option<&Process>) -> Process {
    let Some(container) = container else { return process };
    if process.capabilities().is_none() {
        process.set_capabilities(container.capabilities().clone());
    }
    if process.oom_score_adj().is_none() {
        process.set_oom_score_adj(container.oom_score_adj());
    }
    if process.apparmor_profile().as_deref().is_none_or(str::is_empty) {
        process.set_apparmor_profile(container.apparmor_profile().clone());
    }
    if process.selinux_label().as_deref().is_none_or(str::is_empty) {
        process.set_selinux_label(container.selinux_label().clone());
    }
    if process.scheduler().is_none() {
        process.set_scheduler(container.scheduler().clone());
    }
    if process.io_priority().is_none() {
        process.set_io_priority(*container.io_priority());
    }
    if process.exec_cpu_affinity().is_none() {
        process.set_exec_cpu_affinity(container.exec_cpu_affinity().clone());
    }
    if process.user().umask().is_none() {
        let umask = container.user().umask();
        process.user_mut().set_umask(umask);
    }
    process
}

impl Changes {
    /// Returns the container's process object with the changes.
    ///
    /// # Errors
    /// The container has no process; no command; a user or capability that does not exist.
    pub fn apply(&self, container: Option<&Process>) -> Result<Process> {
        let mut process = container.cloned().ok_or_else(|| {
            Error::new(Code::ContainerWithoutProcess, "the container's config has no process to start from")
                .hint("give one with --process")
        })?;
        if self.args.is_empty() {
            return Err(Error::new(Code::ArgumentsMissing, "process args cannot be empty"));
        }
        process.set_args(Some(self.args.clone()));
        process.set_terminal(Some(self.tty));
        if let Some(cwd) = &self.cwd {
            process.set_cwd(cwd.into());
        }
        if !self.env.is_empty() {
            let mut env = process.env().clone().unwrap_or_default();
            env.extend(self.env.iter().cloned());
            process.set_env(Some(env));
        }
        if let Some(label) = &self.process_label {
            process.set_selinux_label(Some(label.clone()));
        }
        if let Some(profile) = &self.apparmor {
            process.set_apparmor_profile(Some(profile.clone()));
        }
        if self.no_new_privs {
            process.set_no_new_privileges(Some(true));
        }
        self.change_user(&mut process)?;
        self.add_capabilities(&mut process)?;
        Ok(process)
    }

    fn change_user(&self, process: &mut Process) -> Result<()> {
        let mut owner = process.user().clone();
        if let Some(text) = &self.user {
            let requested = user::parse(text)?;
            owner.set_uid(requested.uid);
            if let Some(gid) = requested.gid {
                owner.set_gid(gid);
            }
        }
        if !self.additional_gids.is_empty() {
            let mut groups = owner.additional_gids().clone().unwrap_or_default();
            groups.extend(&self.additional_gids);
            owner.set_additional_gids(Some(groups));
        }
        process.set_user(owner);
        Ok(())
    }

    fn add_capabilities(&self, process: &mut Process) -> Result<()> {
        let added: Vec<_> = self.capabilities.iter().map(|name| capabilities::parse(name)).collect::<Result<_>>()?;
        if !added.is_empty() {
            capabilities::add(process, &added);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn process(changes: &Value) -> Process {
        let mut value = json!({ "user": { "uid": 0, "gid": 0 }, "args": ["a"], "cwd": "/" });
        value.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn a_process_file_is_completed_from_the_container() {
        let theirs = json!({
            "capabilities": { "bounding": ["CAP_KILL"] },
            "oomScoreAdj": 700,
            "rlimits": [{ "type": "RLIMIT_NOFILE", "hard": 5, "soft": 5 }],
            "apparmorProfile": "theirs",
            "selinuxLabel": "a:b:c:d",
            "scheduler": { "policy": "SCHED_BATCH" },
            "ioPriority": { "class": "IOPRIO_CLASS_IDLE", "priority": 1 },
            "execCPUAffinity": { "initial": "0" },
            "user": { "uid": 5, "gid": 5, "umask": 63, "additionalGids": [7] },
            "noNewPrivileges": true,
            "env": ["A=1"],
            "terminal": true,
        });
        let container = process(&theirs);
        let mut expected = theirs.clone();
        // Absent, these keys ask for nothing.
        for key in ["noNewPrivileges", "env", "terminal", "rlimits"] {
            expected.as_object_mut().unwrap().remove(key);
        }
        expected["user"] = json!({ "uid": 0, "gid": 0, "umask": 63 });
        let none = json!({});
        let zero = json!({ "apparmorProfile": "", "selinuxLabel": "" });
        for absent in [none, zero] {
            assert_eq!(complete(process(&absent), Some(&container)), process(&expected));
        }
        let own = json!({
            "capabilities": {},
            "oomScoreAdj": 0,
            "rlimits": [{ "type": "RLIMIT_CORE", "hard": 1, "soft": 1 }],
            "apparmorProfile": "own",
            "selinuxLabel": "e:f:g:h",
            "scheduler": { "policy": "SCHED_OTHER" },
            "ioPriority": { "class": "IOPRIO_CLASS_BE", "priority": 0 },
            "execCPUAffinity": { "final": "1" },
            "user": { "uid": 1, "gid": 1, "umask": 0 },
        });
        assert_eq!(complete(process(&own), Some(&container)), process(&own));
        assert_eq!(complete(process(&json!({})), None), process(&json!({})));
    }
}
