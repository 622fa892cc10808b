//! Programs of the host that tare works with: CRIU and systemd; and resctrl.
//!
//! World: parent.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::{Asker, Impossible, words};
use crate::cgroup::systemd::report::{Manager, manager};
use crate::checkpoint::criu;
use crate::error::Result;
use crate::host::Host;
use crate::resctrl;

/// CRIU, and its version or why tare cannot work with it.
#[derive(Debug)]
pub(super) struct Criu(Result<(PathBuf, Result<String>)>);

impl Criu {
    pub(super) fn ask() -> Self {
        Self(criu::installed())
    }

    pub(super) fn report(&self) -> Value {
        let installed = self.0.as_ref().ok();
        json!({
            "program": installed.map(|(program, _)| program),
            "version": installed.and_then(|(_, version)| version.as_ref().ok()),
        })
    }

    pub(super) fn impossible(&self, asker: Asker) -> Option<Impossible> {
        let what = "checkpoint, restore";
        match &self.0 {
            Err(_) => Some(Impossible::new(what, "CRIU is not installed", "install CRIU 3.15 or later")),
            Ok(_) if asker.rootless => Some(Impossible::new(what, "CRIU needs root", "run tare as root of the host")),
            Ok((program, Err(error))) => {
                let remedy = format!("replace {} with CRIU 3.15 or later", program.display());
                Some(Impossible::new(what, error.to_string(), remedy))
            }
            Ok((_, Ok(_))) => None,
        }
    }
}

/// The systemd that would make cgroups for this caller.
#[derive(Debug)]
pub(super) struct Systemd {
    manager: Result<Manager>,
    /// The controllers of its cgroup.
    delegated: Option<Vec<String>>,
}

impl Systemd {
    pub(super) fn ask(host: &Host, asker: Asker) -> Self {
        let manager = manager(asker.rootless);
        let controllers = |manager: &Manager| {
            let root = host.hierarchy().ok()?.root.display();
            words(&format!("{root}{}/cgroup.controllers", manager.control_group))
        };
        Self { delegated: manager.as_ref().ok().and_then(controllers), manager }
    }

    pub(super) fn delegated(&self) -> Option<Vec<String>> {
        self.delegated.clone()
    }

    pub(super) fn report(&self) -> Value {
        let manager = self.manager.as_ref().ok();
        json!({
            "running": std::path::Path::new("/run/systemd/system").exists(),
            "version": manager.map(|manager| &manager.version),
            "socket": manager.map(|manager| &manager.socket),
            "bus": manager.map(|manager| manager.bus),
            "cgroup": manager.map(|manager| &manager.control_group),
            "delegated": self.delegated,
        })
    }

    pub(super) fn impossible(&self, asker: Asker) -> Option<Impossible> {
        self.manager.as_ref().err()?;
        Some(if asker.rootless {
            let remedy = "log in through systemd-logind (XDG_RUNTIME_DIR must be set), or loginctl enable-linger USER";
            Impossible::new("--systemd-cgroup", "the systemd of this user cannot be reached", remedy)
        } else {
            let remedy = "boot with systemd as init; without it, tare makes cgroups itself";
            Impossible::new("--systemd-cgroup", "systemd cannot be reached", remedy)
        })
    }
}

/// The host has no Intel RDT, or it is not mounted.
pub(super) fn without_resctrl() -> Option<Impossible> {
    resctrl::mount().err()?;
    let remedy = "mount -t resctrl resctrl /sys/fs/resctrl, on a CPU with RDT and a kernel with CONFIG_X86_CPU_RESCTRL";
    Some(Impossible::new("linux.intelRdt", "resctrl is not mounted", remedy))
}
