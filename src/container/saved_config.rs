//! World: parent. The copy of config.json that create saved in the container's directory.
//!
//! Commands on an existing container read this copy, so that a later change of the bundle has no effect on it.

use oci_spec::runtime::Spec;

use super::StoredContainer;
use super::store::Directory;
use crate::bundle;
use crate::error::{Code, Error, Result};
use crate::hooks;
use crate::host::{Host, ProgramFacts};
use crate::plan::{self, Program};

/// Why a container cannot be started.
pub(super) const NO_PROCESS: &str = "config.json has no process, so there is nothing to start";

/// The name of the copy.
pub(super) const FILE: &str = "config.json";

/// Reads the copy.
///
/// # Errors
/// It is missing or cannot be read.
pub(super) fn bytes(directory: &Directory) -> Result<Vec<u8>> {
    directory
        .read(FILE)?
        .ok_or_else(|| Error::new(Code::RecordDamaged, format!("the saved config of \"{}\" is missing", directory.id)))
}

/// Reads and parses the copy.
///
/// # Errors
/// It is missing or damaged.
pub(super) fn spec(directory: &Directory) -> Result<Spec> {
    // create has printed the warnings.
    bundle::parse_spec(&bytes(directory)?).map(|(spec, _)| spec)
}

/// The hooks in the copy.
///
/// # Errors
/// As [`spec`].
pub(super) fn hooks(directory: &Directory) -> Result<hooks::HookPlan> {
    hooks::plan(&spec(directory)?)
}

/// Plans the program of init again, to explain a failed execve and to find the agent of its seccomp profile.
///
/// # Errors
/// As [`spec`].
pub(super) fn program(container: &StoredContainer) -> Result<Program> {
    let spec = spec(&container.directory)?;
    let mut process = spec.process().clone().ok_or_else(|| Error::new(Code::ContainerWithoutProcess, NO_PROCESS))?;
    // create has set up the terminal already.
    process.set_terminal(Some(false));
    let request = plan::ExecRequest {
        id: &container.record.id,
        namespaces: container.record.namespaces,
        at: "process",
        console_socket: None,
        detach: true,
        new_keyring: false,
        preserve_fds: 0,
        set_groups: true,
    };
    plan::plan_exec(&spec, &process, &request, &ProgramFacts::gather(&process, &Host::default())?)
}
