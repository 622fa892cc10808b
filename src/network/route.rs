//! World: parent. One conversation with rtnetlink, in the network namespace that it was begun in.
//!
//! Source: rtnetlink(7), netlink(7).

use std::os::fd::OwnedFd;

use netlink_packet_core::{
    DefaultNla, Emitable, NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REPLACE, NLM_F_REQUEST,
    NetlinkBuffer, NetlinkHeader, NetlinkMessage, NetlinkPayload, NetlinkSerializable, Parseable,
};
use netlink_packet_route::address::AddressMessage;
use netlink_packet_route::link::LinkHeader;
use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

/// Messages of netlink itself: the answer's end. Source: linux/netlink.h.
const ERROR: u16 = 2;
const DONE: u16 = 3;
/// Of linux/rtnetlink.h.
const NEW_LINK: u16 = 16;
const GET_LINK: u16 = 18;
const SET_LINK: u16 = 19;
const NEW_ADDRESS: u16 = 20;
const GET_ADDRESS: u16 = 22;
/// No part of an answer is longer.
const LONGEST: usize = 1 << 16;
/// A list that changes while it is told is asked for again so often.
const PATIENCE: usize = 20;

/// A link, by its index or by attributes. The crate's own type, which every attribute can be in, would add code and
/// relocations that each start of tare pays for.
#[derive(Debug, Default)]
pub(super) struct Link {
    pub header: LinkHeader,
    attributes: Vec<DefaultNla>,
}

impl Link {
    /// Adds an attribute: a number of libc's (IFLA_*), and its value.
    pub(super) fn with(mut self, kind: u16, value: &[u8]) -> Self {
        self.attributes.push(DefaultNla::new(kind, value.to_vec()));
        self
    }
}

/// What rtnetlink is asked for.
enum Request {
    Link(u16, Link),
    Address(u16, AddressMessage),
}

impl NetlinkSerializable for Request {
    fn message_type(&self) -> u16 {
        match self {
            Self::Link(kind, _) | Self::Address(kind, _) => *kind,
        }
    }

    fn buffer_len(&self) -> usize {
        match self {
            Self::Link(_, link) => link.header.buffer_len() + link.attributes.as_slice().buffer_len(),
            Self::Address(_, address) => address.buffer_len(),
        }
    }

    fn serialize(&self, buffer: &mut [u8]) {
        match self {
            Self::Link(_, link) => {
                let (header, attributes) = buffer.split_at_mut(link.header.buffer_len());
                link.header.emit(header);
                link.attributes.as_slice().emit(attributes);
            }
            Self::Address(_, address) => address.emit(buffer),
        }
    }
}

/// A socket of rtnetlink that hears the kernel alone.
#[derive(Debug)]
pub(super) struct Route(OwnedFd);

impl Route {
    /// Of the caller's network namespace.
    pub(super) fn open() -> Result<Self, Errno> {
        let socket = rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
        // Who is root in a network namespace could answer in the kernel's place otherwise.
        rustix::net::connect(&socket, &SocketAddrNetlink::new(0, 0))?;
        Ok(Self(socket))
    }

    /// The link that `link` names, by its index or by its name.
    pub(super) fn link(&self, link: Link) -> Result<LinkHeader, Errno> {
        let mut found = None;
        self.ask(Request::Link(GET_LINK, link), 0, |kind, payload| {
            if kind == NEW_LINK {
                found = LinkHeader::parse(payload).ok();
            }
        })?;
        found.ok_or(Errno::NODEV)
    }

    /// Changes the link of the header's index.
    pub(super) fn change(&self, link: Link) -> Result<(), Errno> {
        self.ask(Request::Link(SET_LINK, link), 0, |_, _| ())
    }

    /// All addresses of the link `index`, in the kernel's order: primary ones before secondary ones.
    pub(super) fn addresses(&self, index: u32) -> Result<Vec<AddressMessage>, Errno> {
        for _ in 0..PATIENCE {
            let mut found = Vec::new();
            let mut odd = false;
            let asked =
                self.ask(Request::Address(GET_ADDRESS, AddressMessage::default()), NLM_F_DUMP, |kind, payload| {
                    if kind == NEW_ADDRESS {
                        match AddressMessage::parse(payload) {
                            Ok(address) if address.header.index == index => found.push(address),
                            Ok(_) => (),
                            Err(_) => odd = true,
                        }
                    }
                });
            match asked {
                Err(Errno::INTR) => (),
                Err(errno) => return Err(errno),
                Ok(()) if odd => return Err(Errno::PROTO),
                Ok(()) => return Ok(found),
            }
        }
        Err(Errno::INTR)
    }

    /// Gives a link an address; one that it has already stays.
    pub(super) fn add_address(&self, message: AddressMessage) -> Result<(), Errno> {
        self.ask(Request::Address(NEW_ADDRESS, message), NLM_F_CREATE | NLM_F_REPLACE, |_, _| ())
    }

    /// Sends a request and hands each message of the answer to `each`, with its type.
    ///
    /// # Errors
    /// The kernel's; INTR when a list has changed meanwhile.
    fn ask(&self, request: Request, flags: u16, mut each: impl FnMut(u16, &[u8])) -> Result<(), Errno> {
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | NLM_F_ACK | flags;
        let mut message = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(request));
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        rustix::net::send(&self.0, &bytes, SendFlags::empty())?;
        let mut buffer = vec![0; LONGEST];
        let mut interrupted = false;
        loop {
            let (length, _) =
                rustix::io::retry_on_intr(|| rustix::net::recv(&self.0, buffer.as_mut_slice(), RecvFlags::empty()))?;
            let mut rest = &buffer[..length];
            if rest.is_empty() {
                return Err(Errno::PROTO);
            }
            while !rest.is_empty() {
                let message = NetlinkBuffer::new_checked(rest).map_err(|_| Errno::PROTO)?;
                interrupted |= message.flags() & NLM_F_DUMP_INTR != 0;
                match message.message_type() {
                    ERROR | DONE => return end(message.payload(), interrupted),
                    kind => each(kind, message.payload()),
                }
                let length = usize::try_from(message.length()).map_err(|_| Errno::PROTO)?;
                rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
            }
        }
    }
}

/// Both ends of an answer begin with an error number below zero, or with zero.
fn end(payload: &[u8], interrupted: bool) -> Result<(), Errno> {
    let code = payload.first_chunk().map_or(0, |code| i32::from_ne_bytes(*code));
    match code {
        0 if interrupted => Err(Errno::INTR),
        0 => Ok(()),
        code => Err(Errno::from_raw_os_error(code.saturating_neg())),
    }
}
