//! Plans the device nodes: those of the config, the ones every container has, the links in /dev.
//!
//! World: plan (pure). Source: runtime-spec config-linux.md "Devices" and "Default Devices".

use std::ffi::CString;

use oci_spec::runtime::{LinuxDevice, LinuxDeviceType};

use super::{Mount, MountKind, inside, string};
use crate::error::{Code, Error, Result};
use crate::rootfs::RootfsFacts;

/// The permission bits, set-id and sticky bits of a mode.
const MODE: u32 = 0o7777;

/// Names and minors of the devices that every container has; `tty` has major 5, the others 1.
const DEFAULT: [(&str, u32, u32); 6] =
    [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)];

/// The paths of the devices that every container has (config-linux.md, "Default Devices").
pub fn default_paths() -> impl Iterator<Item = String> {
    DEFAULT.iter().map(|(name, ..)| format!("/dev/{name}"))
}

/// All of /dev.
#[derive(Debug)]
pub struct Devices {
    /// /dev is the container's own: default nodes and links belong into it. A bound /dev is left as it is.
    pub own: bool,
    /// Nodes to make or to bind.
    pub nodes: Vec<Device>,
}

impl Devices {
    /// Whether a node has to be bind-mounted.
    #[must_use]
    pub fn any_bound(&self) -> bool {
        self.nodes.iter().any(|node| node.file == DeviceFile::Bound)
    }
}

/// One node.
#[derive(Debug)]
pub struct Device {
    /// In linux.devices; none for a default one.
    pub number: Option<usize>,
    /// Clean absolute path.
    pub path: CString,
    /// Name directly in /dev, the usual case.
    pub in_dev: Option<CString>,
    /// Sort.
    pub kind: NodeKind,
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
    /// Permission bits.
    pub mode: u32,
    /// Owner and group, where they are not 0.
    pub owner: Option<(u32, u32)>,
    /// How it comes to be.
    pub file: DeviceFile,
}

/// Sort of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodeKind {
    /// Character device.
    Character,
    /// Block device.
    Block,
    /// FIFO.
    Fifo,
}

/// How a node comes to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceFile {
    /// mknod; one that is there and the same is fine.
    Made,
    /// A user namespace cannot make nodes: the host's node is bound on a file.
    Bound,
    /// /dev is the host's: the node must be there.
    Expected,
}

pub(super) fn plan(list: Option<&[LinuxDevice]>, mounts: &[Mount], facts: &RootfsFacts<'_>) -> Result<Devices> {
    let own =
        !mounts.iter().any(|mount| mount.target.as_bytes() == b"/dev" && matches!(mount.kind, MountKind::Bind(_)));
    let mut nodes = Vec::new();
    for (number, device) in list.unwrap_or_default().iter().enumerate() {
        nodes.push(node(device, number, own, facts)?);
    }
    if own {
        // In a container /dev/ptmx is the link to its own devpts; a node of that name would be the host's.
        nodes.retain(|node| node.in_dev.as_deref() != Some(c"ptmx"));
        for (name, major, minor) in DEFAULT {
            if !nodes.iter().any(|node| node.in_dev.as_ref().is_some_and(|known| known.as_bytes() == name.as_bytes())) {
                nodes.push(default(name, major, minor, facts)?);
            }
        }
    }
    Ok(Devices { own, nodes })
}

fn default(name: &str, major: u32, minor: u32, facts: &RootfsFacts<'_>) -> Result<Device> {
    Ok(Device {
        number: None,
        path: string(format!("/dev/{name}").as_bytes(), "linux.devices")?,
        in_dev: Some(string(name.as_bytes(), "linux.devices")?),
        kind: NodeKind::Character,
        major,
        minor,
        mode: 0o666,
        owner: None,
        file: if facts.user_namespace { DeviceFile::Bound } else { DeviceFile::Made },
    })
}

fn node(device: &LinuxDevice, number: usize, own: bool, facts: &RootfsFacts<'_>) -> Result<Device> {
    let at = format!("linux.devices[{number}]");
    let at_path = format!("{at}.path");
    if !device.path().is_absolute() {
        return Err(Error::refused(
            Code::DeviceInvalid,
            at_path,
            format!("{:?} is not an absolute path", device.path()),
        ));
    }
    let path = inside(device.path(), &at_path)?;
    if path.as_bytes() == b"/" || path.as_bytes() == b"/dev" {
        return Err(Error::refused(Code::DeviceInvalid, at_path, format!("{path:?} cannot be a device")));
    }
    let below = path.as_bytes().strip_prefix(b"/dev/");
    let in_dev = below.filter(|name| !name.contains(&b'/')).map(|name| string(name, &at_path)).transpose()?;
    let kind = match device.typ() {
        LinuxDeviceType::C | LinuxDeviceType::U => NodeKind::Character,
        LinuxDeviceType::B => NodeKind::Block,
        LinuxDeviceType::P => NodeKind::Fifo,
        LinuxDeviceType::A => {
            let what = "type \"a\" is for cgroup rules; a device node is one of c, b, u, p";
            return Err(Error::refused(Code::DeviceInvalid, format!("{at}.type"), what));
        }
    };
    let (major, minor) = match kind {
        NodeKind::Fifo => (0, 0),
        // dev_t of the kernel: 12 and 20 bits.
        _ => (part(device.major(), 12, &at, "major")?, part(device.minor(), 20, &at, "minor")?),
    };
    let owner = (device.uid().unwrap_or(0), device.gid().unwrap_or(0));
    Ok(Device {
        number: Some(number),
        file: match kind {
            _ if !own && below.is_some() => DeviceFile::Expected,
            NodeKind::Character | NodeKind::Block if facts.user_namespace => DeviceFile::Bound,
            _ => DeviceFile::Made,
        },
        path,
        in_dev,
        kind,
        major,
        minor,
        // Engines write the whole st_mode, type bits and all.
        mode: device.file_mode().unwrap_or(0o666) & MODE,
        owner: (owner != (0, 0)).then_some(owner),
    })
}

fn part(value: i64, bits: u32, at: &str, name: &str) -> Result<u32> {
    match u32::try_from(value) {
        Ok(number) if number < 1 << bits => Ok(number),
        _ => Err(Error::refused(
            Code::DeviceInvalid,
            format!("{at}.{name}"),
            format!("{value} is not a {name} number of a device"),
        )),
    }
}
