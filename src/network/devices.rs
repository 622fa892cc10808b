//! World: parent. Moves network devices into the container's network namespace, and back when creation fails.
//!
//! Source: config-linux.md, "Network Devices". What a namespace holds when it ends is the kernel's affair: physical
//! devices go to the initial network namespace, virtual ones end (network_namespaces(7)).

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressMessage, AddressScope};
use netlink_packet_route::link::LinkFlags;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::plan::Device;
use super::route::{self, Route};
use crate::error::{Code, Context, Error, Result};

/// An index that is free is looked for so often.
const TRIES: i32 = 10_000;

/// A network namespace and a conversation with it.
#[derive(Debug)]
struct Namespace {
    fd: OwnedFd,
    route: Route,
}

/// A device, as it was found.
#[derive(Debug)]
struct Link {
    index: u32,
    up: bool,
    addresses: Vec<AddressMessage>,
}

/// What was moved, so that it can be moved back.
#[derive(Debug)]
pub struct Moved {
    ours: Namespace,
    container: Namespace,
    /// The name that each had, and what it is in the container.
    links: Vec<(String, Link)>,
}

/// Moves `devices` into the network namespace of process `pid`, with their permanent global addresses, and sets them
/// up. All of them, or none. Kernel: 5.13.
///
/// # Errors
/// A device that is missing or cannot be moved, a name that is taken, a missing privilege.
pub fn bring(devices: &[Device], pid: i32) -> Result<Moved> {
    let _span = crate::timings::span("move the network devices");
    let open = |path: &str| {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        rustix::fs::open(path, flags, Mode::empty()).context(|| format!("open {path}"))
    };
    let (ours, container) = (open("/proc/self/ns/net")?, open(&format!("/proc/{pid}/ns/net"))?);
    let route = Route::open().context(|| "list network devices")?;
    let there = route_in(&container, &ours)?;
    let mut moved = Moved {
        ours: Namespace { fd: ours, route },
        container: Namespace { fd: container, route: there },
        links: Vec::new(),
    };
    let found: Vec<Link> = devices.iter().map(|device| moved.find(device)).collect::<Result<_>>()?;
    for (device, link) in devices.iter().zip(found) {
        if let Err(error) = moved.bring(device, link) {
            return Err(match moved.take_back() {
                Ok(()) => error,
                Err(lost) => error.hint(lost.to_string()),
            });
        }
    }
    Ok(moved)
}

/// A conversation in another network namespace, which is entered and left again for it.
fn route_in(namespace: &OwnedFd, ours: &OwnedFd) -> Result<Route> {
    let enter = |fd: &OwnedFd| move_into_link_name_space(fd.as_fd(), Some(LinkNameSpaceType::Network));
    enter(namespace).context(|| "enter the container's network namespace")?;
    let route = Route::open();
    enter(ours).context(|| "return from the container's network namespace")?;
    route.context(|| "list the network devices of the container")
}

fn named(name: &str) -> route::Link {
    route::Link::default().with(libc::IFLA_IFNAME, &[name.as_bytes(), &[0]].concat())
}

fn numbered(index: u32) -> route::Link {
    let mut link = route::Link::default();
    link.header.index = index;
    link
}

impl Moved {
    /// The device as it is now, when it can be moved under its new name.
    fn find(&self, device: &Device) -> Result<Link> {
        let Device { name, new_name, at } = device;
        let header = match self.ours.route.link(named(name)) {
            Ok(header) => header,
            Err(Errno::NODEV) => {
                return Err(Error::refused(
                    Code::NetworkDeviceInvalid,
                    at,
                    "there is no such network device where tare runs",
                )
                .hint("`ip link` lists them"));
            }
            Err(errno) => {
                return Err(Error::system("query the network device", errno).coded(Code::NetworkDeviceFailed).at(at));
            }
        };
        if !device.is_template() && self.container.route.link(named(new_name)).is_ok() {
            return Err(Error::refused(
                Code::NetworkDeviceInvalid,
                format!("{at}.name"),
                format!("the container has a network device {new_name:?} already"),
            )
            .hint(format!(
                "choose another name, or one with %d: \"{}%d\"",
                new_name.trim_end_matches(|c: char| c.is_ascii_digit())
            )));
        }
        let addresses = self.ours.route.addresses(header.index);
        let addresses = addresses.context(|| "list the addresses of the network device").map_err(|e| e.at(at))?;
        let up = header.flags.contains(LinkFlags::Up);
        Ok(Link { index: header.index, up, addresses: addresses.into_iter().filter_map(kept).collect() })
    }

    fn bring(&mut self, device: &Device, link: Link) -> Result<()> {
        let Device { name, new_name, at } = device;
        let Moved { ours, container, links } = self;
        let arrived = relocate(ours, container, link.index, new_name).map_err(|(errno, arrived)| {
            if let Some(index) = arrived {
                let _shown_below = relocate(container, ours, index, name);
            }
            let error = Error::system("move the network device into the container", errno)
                .coded(Code::NetworkDeviceFailed)
                .at(at);
            match errno {
                Errno::INVAL => error.hint("devices of this type cannot be moved between network namespaces"),
                Errno::PERM => error.hint("tare needs CAP_NET_ADMIN in its own network namespace and the container's"),
                _ => error,
            }
        })?;
        // From here on it is the container's, and would be lost with it.
        links.push((name.clone(), Link { index: arrived, ..link }));
        let Some((_, link)) = links.last() else { return Ok(()) };
        let renamed = name != new_name;
        settle(container, link, renamed, true)
            .map_err(|(what, errno)| Error::system(what, errno).coded(Code::NetworkDeviceFailed).at(at))
    }

    /// Moves everything back: names, addresses, and whether it was up.
    ///
    /// # Errors
    /// Names the first device that stays behind, and is lost with the container when it is a virtual one.
    pub fn take_back(&mut self) -> Result<()> {
        let mut result = Ok(());
        for (name, link) in std::mem::take(&mut self.links).into_iter().rev() {
            let back =
                relocate(&self.container, &self.ours, link.index, &name).map_err(|(errno, _)| ("move it", errno));
            let back = back.and_then(|index| settle(&self.ours, &Link { index, ..link }, false, link.up));
            if let Err((what, errno)) = back {
                result = result.and(Err(Error::system(
                    format!("the network device {name:?} could not be restored: {what}"),
                    errno,
                )
                .coded(Code::NetworkDeviceFailed)));
            }
        }
        result
    }
}

/// An address that moves along: permanent and global, without what the kernel finds out for itself.
fn kept(mut address: AddressMessage) -> Option<AddressMessage> {
    let full = address.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Flags(flags) => Some(*flags),
        _ => None,
    });
    let flags = full.unwrap_or_else(|| AddressFlags::from_bits_retain(address.header.flags.bits().into()));
    if !flags.contains(AddressFlags::Permanent) || address.header.scope != AddressScope::Universe {
        return None;
    }
    let found_out = AddressFlags::Permanent
        | AddressFlags::Secondary
        | AddressFlags::Tentative
        | AddressFlags::Dadfailed
        | AddressFlags::Deprecated;
    address.attributes.retain(|attribute| {
        use AddressAttribute::{Address, Broadcast, Label, Local, Protocol, RoutePriority};
        matches!(attribute, Address(_) | Broadcast(_) | Label(_) | Local(_) | Protocol(_) | RoutePriority(_))
    });
    address.attributes.push(AddressAttribute::Flags(flags.difference(found_out)));
    address.header.flags = Default::default();
    Some(address)
}

/// Moves the link `index` and names it, in one call; its index there. An error says where it is when that is no longer
/// where it was: the kernel renames after it has moved.
fn relocate(
    from: &Namespace,
    to: &Namespace,
    index: u32,
    name: &str,
) -> std::result::Result<u32, (Errno, Option<u32>)> {
    let first = i32::try_from(index).map_err(|_| (Errno::RANGE, None))?;
    for candidate in first..first.saturating_add(TRIES) {
        let mut link = named(name)
            .with(libc::IFLA_NET_NS_FD, &to.fd.as_raw_fd().to_ne_bytes())
            .with(libc::IFLA_NEW_IFINDEX, &candidate.to_ne_bytes());
        link.header.index = index;
        let arrived = candidate.cast_unsigned();
        match from.route.change(link) {
            Ok(()) => return Ok(arrived),
            // Another link has this index there.
            Err(Errno::BUSY) => (),
            Err(errno) => {
                let gone = from.route.link(numbered(index)) == Err(Errno::NODEV);
                let has_moved = gone && to.route.link(numbered(arrived)).is_ok();
                return Err((errno, has_moved.then_some(arrived)));
            }
        }
    }
    Err((Errno::BUSY, None))
}

/// Gives a link that has been moved its addresses again, and sets it up.
fn settle(at: &Namespace, link: &Link, renamed: bool, up: bool) -> std::result::Result<(), (&'static str, Errno)> {
    for address in &link.addresses {
        let mut address = address.clone();
        address.header.index = link.index;
        // A label begins with the name.
        address.attributes.retain(|attribute| !(renamed && matches!(attribute, AddressAttribute::Label(_))));
        at.route.add_address(address).map_err(|errno| ("give the network device its addresses again", errno))?;
    }
    if !up {
        return Ok(());
    }
    let mut change = numbered(link.index);
    change.header.flags = LinkFlags::Up;
    change.header.change_mask = LinkFlags::Up;
    at.route.change(change).map_err(|errno| ("set the network device up", errno))
}
