//! What systemd says of itself, for a report about the host. World: parent.

use std::time::Duration;

use super::address::Instance;
use super::units::Systemd;
use crate::error::Result;

/// A systemd that is away is not waited for.
const PATIENCE: Duration = Duration::from_secs(3);

/// The systemd that the driver would talk to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manager {
    /// Its version, as distributions write it.
    pub version: String,
    /// The socket on which it answered.
    pub socket: String,
    /// The socket is that of a message bus, not systemd's own.
    pub bus: bool,
    /// Its cgroup, above its units.
    pub control_group: String,
}

/// Asks the systemd of the host, or that of the user.
///
/// # Errors
/// It cannot be reached.
pub fn manager(user: bool) -> Result<Manager> {
    let mut systemd = Systemd::within(if user { Instance::User } else { Instance::System }, PATIENCE);
    let (version, control_group) = (systemd.version()?, systemd.control_group()?);
    let address = systemd.address();
    let socket = address.map(|address| address.socket.shown()).unwrap_or_default();
    Ok(Manager { version, socket, bus: address.is_some_and(|address| address.bus), control_group })
}
