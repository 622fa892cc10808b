//! World: parent. What went through the interfaces of a network namespace, in the names of Go that engines read.
//!
//! Source: proc(5), /proc/PID/net/dev; runc types/events.go, NetworkInterface.

use serde::Serialize;

use crate::error::{Context, Result};

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

/// The interfaces in the network namespace of process `pid`, but for the loopback.
///
/// # Errors
/// The process has ended.
pub fn interfaces(pid: i32) -> Result<Vec<Interface>> {
    let path = format!("/proc/{pid}/net/dev");
    let text = std::fs::read_to_string(&path).context(|| format!("read {path}"))?;
    Ok(text.lines().filter_map(parse).filter(|interface| interface.name != "lo").collect())
}

/// A line like `  eth0: 8 numbers received 8 numbers sent`; `None` for the two head lines.
fn parse(line: &str) -> Option<Interface> {
    let (name, numbers) = line.rsplit_once(':')?;
    let numbers: Vec<u64> = numbers.split_whitespace().map(|number| number.parse().ok()).collect::<Option<_>>()?;
    let number = |at: usize| numbers.get(at).copied();
    Some(Interface {
        name: name.trim().to_owned(),
        rx_bytes: number(0)?,
        rx_packets: number(1)?,
        rx_errors: number(2)?,
        rx_dropped: number(3)?,
        tx_bytes: number(8)?,
        tx_packets: number(9)?,
        tx_errors: number(10)?,
        tx_dropped: number(11)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_kernel() {
        assert_eq!(parse("Inter-|   Receive   |  Transmit"), None);
        assert_eq!(parse(" face |bytes    packets errs drop fifo frame compressed multicast|bytes"), None);
        let interface = parse("  eth0: 1 2 3 4 5 6 7 8 11 12 13 14 15 16 17 18").unwrap();
        let json = serde_json::to_string(&interface).unwrap();
        assert_eq!(
            json,
            r#"{"Name":"eth0","RxBytes":1,"RxPackets":2,"RxErrors":3,"RxDropped":4,"TxBytes":11,"TxPackets":12,"TxErrors":13,"TxDropped":14}"#
        );
        assert_eq!(parse("veth:1: 1 2 3 4 5 6 7 8 11 12 13 14 15 16 17 18").unwrap().name, "veth:1");
    }
}
