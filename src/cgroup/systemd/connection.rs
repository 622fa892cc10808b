//! A conversation with systemd or with a message bus, on one socket, with one deadline. World: parent.
//!
//! Promise: no call blocks past the deadline; what comes in is decoded strictly, and anything malformed ends the
//! conversation. Nothing is sent behind the authentication before its OK: systemd reads such bytes with it, and then
//! waits for more before it looks at them (seen with 257). Source: D-Bus specification, "Authentication Protocol".

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SendFlags, SocketAddrUnix, SocketFlags, SocketType};

use super::address::{Address, Socket};
use super::message::{Call, Message, MessageKind, total_length};
use super::value::Value;

/// The peer takes our uid from the socket (EXTERNAL without a name), so that it is right from inside a user
/// namespace too.
const AUTHENTICATION: &[u8] = b"\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n";
/// Bytes of a line of the authentication at the most.
const LINE_MAX: usize = 1024;
/// systemd's queue of connections was full: how long until the next attempt.
const PAUSE: Duration = Duration::from_millis(5);
const BUS: &str = "org.freedesktop.DBus";
const JOBS: &str = "type='signal',interface='org.freedesktop.systemd1.Manager',member='JobRemoved'";

/// systemd's name, object and interface.
pub const SYSTEMD: &str = "org.freedesktop.systemd1";
/// Its main object.
pub const OBJECT: &str = "/org/freedesktop/systemd1";
/// The interface of the main object.
pub const INTERFACE: &str = "org.freedesktop.systemd1.Manager";

/// Why a call has no reply.
#[derive(Debug)]
pub enum Fault {
    /// The peer answered with an error: its name and its words.
    Refused(String, String),
    /// The conversation ended before the reply; whether the call was carried out is unknown.
    Lost(Errno),
    /// A system call of ours cannot be made, which another conversation would not change: memory is short.
    Failed(Errno),
    /// The deadline has passed.
    Late,
    /// The peer sent what is no D-Bus.
    Malformed(&'static str),
}

impl Fault {
    fn of(errno: Errno) -> Self {
        match errno {
            Errno::PIPE | Errno::CONNRESET => Self::Lost(errno),
            _ => Self::Failed(errno),
        }
    }
}

/// The end of a job of systemd.
#[derive(Debug)]
pub struct Removed {
    /// Its object.
    pub job: String,
    /// "done", or what went wrong in one word.
    pub result: String,
}

/// An open conversation.
#[derive(Debug)]
pub struct Connection {
    socket: OwnedFd,
    address: Address,
    deadline: Instant,
    serial: u32,
    /// Calls up to this serial make the bus ready; their replies matter only when they are errors.
    prepared: u32,
    authenticated: bool,
    unsent: Vec<u8>,
    /// Calls that wait for the authentication.
    queued: Vec<u8>,
    received: Vec<u8>,
    removed: Vec<Removed>,
}

impl Connection {
    /// Connects; nothing is sent yet.
    ///
    /// # Errors
    /// As connect(2); ETIMEDOUT when the deadline passes meanwhile.
    pub fn open(address: &Address, deadline: Instant) -> Result<Self, Errno> {
        let name = match &address.socket {
            Socket::Path(path) => SocketAddrUnix::new(path.as_str())?,
            Socket::Abstract(name) => SocketAddrUnix::new_abstract_name(name)?,
        };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        loop {
            match rustix::net::connect(&socket, &name) {
                // A unix socket whose queue is full tells nobody when it is not any more.
                Err(Errno::AGAIN) if Instant::now() < deadline => std::thread::sleep(PAUSE),
                Err(Errno::AGAIN) => return Err(Errno::TIMEDOUT),
                Err(Errno::INTR) => {}
                result => break result?,
            }
        }
        let mut connection = Self {
            socket,
            address: address.clone(),
            deadline,
            serial: 0,
            prepared: 0,
            authenticated: false,
            unsent: AUTHENTICATION.to_vec(),
            queued: Vec::new(),
            received: Vec::new(),
            removed: Vec::new(),
        };
        if address.bus {
            connection.prepare_bus();
        }
        Ok(connection)
    }

    /// The other side.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// A bus gives us a name, and hands on the signals of jobs; systemd's own socket needs neither.
    fn prepare_bus(&mut self) {
        let bus = |member, body| Call { destination: BUS, path: "/org/freedesktop/DBus", interface: BUS, member, body };
        self.send(&bus("Hello", &[]));
        self.send(&bus("AddMatch", &[Value::text(JOBS)]));
        self.send(&Call { destination: SYSTEMD, path: OBJECT, interface: INTERFACE, member: "Subscribe", body: &[] });
        self.prepared = self.serial;
    }

    /// Queues a call; its serial.
    fn send(&mut self, call: &Call<'_>) -> u32 {
        self.serial += 1;
        let queue = if self.authenticated { &mut self.unsent } else { &mut self.queued };
        queue.extend(call.encode(self.serial));
        self.serial
    }

    /// Calls and waits for the reply; its arguments.
    ///
    /// # Errors
    /// See [`Fault`].
    pub fn call(&mut self, call: &Call<'_>) -> Result<Vec<Value>, Fault> {
        let serial = self.send(call);
        loop {
            let message = self.receive()?;
            match message.kind {
                MessageKind::Return if message.reply_to == Some(serial) => {
                    return message.arguments().map_err(Fault::Malformed);
                }
                MessageKind::Error if message.reply_to.is_some_and(|to| to == serial || to <= self.prepared) => {
                    let text = message.arguments().map_err(Fault::Malformed)?.into_iter().next();
                    let text = if let Some(Value::Text(text)) = text { text } else { String::new() };
                    return Err(Fault::Refused(message.error.unwrap_or_default(), text));
                }
                _ => self.note(&message)?,
            }
        }
    }

    /// Waits for the end of a job; its result, or `None` after `patience`.
    ///
    /// # Errors
    /// See [`Fault`].
    pub fn wait_for_job(&mut self, job: &str, patience: Duration) -> Result<Option<String>, Fault> {
        let whole = self.deadline;
        self.deadline = whole.min(Instant::now() + patience);
        let heard = self.hear_of_job(job);
        self.deadline = whole;
        match heard {
            Err(Fault::Late) if Instant::now() < whole => Ok(None),
            heard => heard.map(Some),
        }
    }

    fn hear_of_job(&mut self, job: &str) -> Result<String, Fault> {
        loop {
            if let Some(at) = self.removed.iter().position(|removed| removed.job == job) {
                return Ok(self.removed.swap_remove(at).result);
            }
            let message = self.receive()?;
            self.note(&message)?;
        }
    }

    /// A job may end before the reply that names it is read. Other signals are not for us.
    fn note(&mut self, message: &Message) -> Result<(), Fault> {
        let is_ours = message.kind == MessageKind::Signal
            && message.interface.as_deref() == Some(INTERFACE)
            && message.member.as_deref() == Some("JobRemoved");
        if is_ours {
            match message.arguments().map_err(Fault::Malformed)?.as_slice() {
                [_, Value::Path(job), Value::Text(_), Value::Text(result)] => {
                    self.removed.push(Removed { job: job.clone(), result: result.clone() });
                }
                _ => return Err(Fault::Malformed("a JobRemoved with other arguments")),
            }
        }
        Ok(())
    }

    /// The next message.
    fn receive(&mut self) -> Result<Message, Fault> {
        loop {
            if !self.authenticated {
                self.authenticate()?;
            }
            if self.authenticated
                && let Some(length) = total_length(&self.received).map_err(Fault::Malformed)?
                && self.received.len() >= length
            {
                let bytes: Vec<u8> = self.received.drain(..length).collect();
                return Message::decode(&bytes).map_err(Fault::Malformed);
            }
            self.exchange()?;
        }
    }

    /// Takes the peer's lines up to its OK.
    fn authenticate(&mut self) -> Result<(), Fault> {
        while let Some(end) = self.received.windows(2).position(|pair| pair == b"\r\n") {
            let line: Vec<u8> = self.received.drain(..end + 2).collect();
            match line.split(|byte| matches!(byte, b' ' | b'\r')).next() {
                Some(b"DATA") => {}
                Some(b"OK") => {
                    self.authenticated = true;
                    self.unsent.append(&mut self.queued);
                    return Ok(());
                }
                Some(b"REJECTED") => {
                    let text = "the bus does not accept this user";
                    return Err(Fault::Refused("org.freedesktop.DBus.Error.AuthFailed".to_owned(), text.to_owned()));
                }
                _ => return Err(Fault::Malformed("an unknown line in the authentication")),
            }
        }
        if self.received.len() > LINE_MAX { Err(Fault::Malformed("a line without an end")) } else { Ok(()) }
    }

    /// Sends what is unsent, and waits for bytes.
    fn exchange(&mut self) -> Result<(), Fault> {
        let mut wanted = PollFlags::IN;
        if !self.unsent.is_empty() {
            match rustix::net::send(&self.socket, &self.unsent, SendFlags::NOSIGNAL) {
                Ok(count) => drop(self.unsent.drain(..count)),
                Err(Errno::AGAIN | Errno::INTR) => {}
                Err(errno) => return Err(Fault::of(errno)),
            }
            if !self.unsent.is_empty() {
                wanted |= PollFlags::OUT;
            }
        }
        self.wait(wanted)?;
        self.received.reserve(4096);
        match rustix::io::read(&self.socket, rustix::buffer::spare_capacity(&mut self.received)) {
            Ok(0) => Err(Fault::Lost(Errno::CONNRESET)),
            Ok(_) | Err(Errno::AGAIN | Errno::INTR) => Ok(()),
            Err(errno) => Err(Fault::of(errno)),
        }
    }

    fn wait(&self, wanted: PollFlags) -> Result<(), Fault> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Fault::Late);
        }
        let left = Timespec::try_from(left).map_err(|_| Fault::Late)?;
        match poll(&mut [PollFd::new(&self.socket, wanted)], Some(&left)) {
            Ok(0) => Err(Fault::Late),
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(errno) => Err(Fault::of(errno)),
        }
    }
}
