//! World: plan. The process object of `exec` from the container's own and the command line.

use oci_spec::runtime::Process;

use crate::error::{Error, ErrorKind, Result};
use crate::process::{capabilities, user};

/// What the command line changes.
#[derive(Debug, Clone, Default)]
pub struct Changes {
    /// The command and its arguments.
    pub args: Vec<String>,
    /// --cwd.
    pub cwd: Option<String>,
    /// --env, added.
    pub env: Vec<String>,
    /// --tty.
    pub tty: bool,
    /// --user.
    pub user: Option<String>,
    /// --additional-gids, added.
    pub additional_gids: Vec<u32>,
    /// --process-label.
    pub process_label: Option<String>,
    /// --apparmor.
    pub apparmor: Option<String>,
    /// --no-new-privs.
    pub no_new_privs: bool,
    /// --cap, added to all sets but the inheritable one.
    pub capabilities: Vec<String>,
}

impl Changes {
    /// The container's process with the changes.
    ///
    /// # Errors
    /// The container has no process; no command; a user or capability that does not exist.
    pub fn apply(&self, container: Option<&Process>) -> Result<Process> {
        let mut process = container.cloned().ok_or_else(|| {
            Error::new(ErrorKind::InvalidConfig, "the container's config has no process to start from")
                .hint("give one with --process")
        })?;
        if self.args.is_empty() {
            return Err(Error::new(ErrorKind::InvalidConfig, "process args cannot be empty"));
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
