//! World: parent. What went through the interfaces of a network namespace, in the names of Go that engines read.
//!
//! Source: proc(5), /proc/PID/net/dev; runc types/events.go, NetworkInterface.

use procfs::net::DeviceStatus;
use procfs::process::Process;
use serde::Serialize;

use crate::error::{Code, Error, Result};

/// One interface.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Interface {
    /// Its name in the namespace.
    pub name: String,
    /// Bytes received.
    pub rx_bytes: u64,
    /// Packets received.
    pub rx_packets: u64,
    /// Packets received wrongly.
    pub rx_errors: u64,
    /// Packets received and dropped.
    pub rx_dropped: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
    /// Packets sent.
    pub tx_packets: u64,
    /// Packets sent wrongly.
    pub tx_errors: u64,
    /// Packets dropped instead of sent.
    pub tx_dropped: u64,
}

/// The interfaces in the network namespace of process `pid`, but for the loopback, by name.
///
/// # Errors
/// The process has ended.
pub fn interfaces(pid: i32) -> Result<Vec<Interface>> {
    let devices = Process::new(pid)
        .and_then(|process| process.dev_status())
        .map_err(|e| Error::new(Code::SystemCallFailed, format!("read /proc/{pid}/net/dev")).detail(e.to_string()))?;
    let mut interfaces: Vec<_> =
        devices.into_values().filter(|device| device.name != "lo").map(Interface::from).collect();
    interfaces.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(interfaces)
}

/// The names in a /proc/PID/net/dev, the loopback's too, sorted.
#[must_use]
pub fn names(table: &str) -> Vec<String> {
    // Two lines of headings.
    let names = table.lines().skip(2).filter_map(|line| Some(line.split_once(':')?.0.trim().to_owned()));
    let mut names: Vec<String> = names.collect();
    names.sort_unstable();
    names
}

impl From<DeviceStatus> for Interface {
    fn from(device: DeviceStatus) -> Self {
        Self {
            name: device.name,
            rx_bytes: device.recv_bytes,
            rx_packets: device.recv_packets,
            rx_errors: device.recv_errs,
            rx_dropped: device.recv_drop,
            tx_bytes: device.sent_bytes,
            tx_packets: device.sent_packets,
            tx_errors: device.sent_errs,
            tx_dropped: device.sent_drop,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_go() {
        let interface = Interface { name: "eth0".to_owned(), rx_bytes: 1, tx_dropped: 14, ..Interface::default() };
        assert_eq!(
            serde_json::to_string(&interface).unwrap(),
            r#"{"Name":"eth0","RxBytes":1,"RxPackets":0,"RxErrors":0,"RxDropped":0,"TxBytes":0,"TxPackets":0,"TxErrors":0,"TxDropped":14}"#
        );
    }

    #[test]
    fn names_are_before_the_colon() {
        let table = "Inter-|   Receive\n face |bytes\n    lo: 0 0\n  eth0:12 0\n";
        assert_eq!(names(table), ["eth0", "lo"]);
    }

    #[test]
    fn the_loopback_is_left_out() {
        let own = i32::try_from(std::process::id()).unwrap();
        assert!(interfaces(own).unwrap().iter().all(|interface| interface.name != "lo"));
        assert!(interfaces(i32::MAX).is_err());
    }
}
