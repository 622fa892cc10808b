//! What the child and the parent say to each other: fixed-size packets on a SOCK_SEQPACKET pair.
//!
//! World: all; therefore child rules (no allocation, no formatting).
//! The child sends `MapMe` (only with a new user namespace), `Barrier` (only with hooks), `Tolerated` (only when a step
//! that it can do without failed), `MapIds` (only for an id-mapped source in the rootfs), `Born` (only when another
//! process becomes the program), `Attaching` (only in a running container), then `Ready`: all is done but the start gate,
//! if there is one, the filter and exec.
//! End-of-file after `Ready` means that the program was executed, or that init waits on the gate. `Failed` may come at any
//! time and is the last packet; behind the gate it goes to the FIFO `result`. The parent answers `MapMe`, `Barrier`,
//! `MapIds`, `Attaching` and `Born` with one byte.
//! The process that becomes the program sends and waits before its seccomp filter is loaded. If the filter may deny
//! `Failed`, the fault is left in memory that both share, and the parent looks there after end-of-file.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::io::Errno;

use crate::sys::{marks, net};

/// Bytes of kernel text that a [`Fault`] carries at the most.
pub const TEXT: usize = 200;

macro_rules! steps {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// The named steps of the child; one vocabulary for order, error text, trace and benchmark labels.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[repr(u16)]
        pub enum Step { $($(#[$doc])* $name,)* }

        impl Step {
            /// The phrase for error lines: verb and noun.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// The step with this number, if there is one.
            #[must_use]
            pub fn from_number(number: u16) -> Option<Self> {
                const ALL: &[Step] = &[$(Step::$name,)*];
                ALL.get(usize::from(number)).copied()
            }
        }
    };
}

steps! {
    /// A joined namespace, `index` in linux.namespaces.
    JoinNamespace = "join namespace",
    /// A new time namespace and its offsets.
    TimeNamespace = "set the time offsets",
    /// Wait until the parent has the pidfd.
    Pidfd = "wait until the parent has the pidfd",
    /// The clone3 of init.
    Clone = "create the process with clone3",
    /// Parent death signal, session, signal mask.
    Session = "start the session",
    /// Wait for the id mappings.
    IdMappings = "wait for the id mappings",
    /// Become root of the user namespace.
    BecomeRoot = "become root of the user namespace",
    /// A new cgroup namespace.
    CgroupNamespace = "create the cgroup namespace",
    /// sethostname.
    Hostname = "set the hostname",
    /// setdomainname.
    Domainname = "set the domainname",
    /// Loopback up.
    Loopback = "bring up the loopback interface",
    /// Session keyring.
    Keyring = "join a session keyring",
    /// Propagation of the host's tree.
    Propagation = "set the mount propagation",
    /// The rootfs itself.
    Rootfs = "attach the rootfs",
    /// Mount number `index`: its target is resolved or made.
    MountTarget = "resolve the mount destination",
    /// Source of bind mount number `index`.
    MountSource = "open the source",
    /// Mount number `index`.
    Mount = "mount",
    /// Attributes of mount number `index`.
    MountAttributes = "set the mount attributes",
    /// Propagation of mount number `index`.
    MountPropagation = "set the mount propagation",
    /// Mount number `index` of those to remove.
    Unmount = "unmount",
    /// tmpcopyup of mount number `index`.
    CopyUp = "copy the files below the tmpfs",
    /// The /dev directory.
    DevDirectory = "open /dev",
    /// Device number `index`.
    Device = "create the device",
    /// Default link number `index` in /dev.
    DevLink = "create the link in /dev",
    /// Pty.
    Terminal = "set up the terminal",
    /// /dev/console.
    Console = "bind the terminal on /dev/console",
    /// Hooks run by the parent meanwhile.
    Hooks = "wait for the hooks",
    /// pivot_root.
    PivotRoot = "pivot_root",
    /// Old root.
    DetachOldRoot = "detach the old root",
    /// Read-only rootfs.
    ReadonlyRootfs = "make the rootfs read-only",
    /// Propagation of the final root.
    RootPropagation = "set the propagation of the rootfs",
    /// Sysctl number `index`.
    Sysctl = "write the sysctl",
    /// Masked path number `index`.
    MaskedPath = "mask the path",
    /// Read-only path number `index`.
    ReadonlyPath = "make the path read-only",
    /// A private procfs.
    PrivateProc = "open a private procfs",
    /// oom_score_adj.
    OomScoreAdj = "write oom_score_adj",
    /// Rlimit number `index`.
    Rlimit = "set the rlimit",
    /// sched_setattr.
    Scheduler = "set the scheduler",
    /// ioprio_set.
    IoPriority = "set the io priority",
    /// set_mempolicy.
    MemoryPolicy = "set the memory policy",
    /// personality.
    Personality = "set the personality",
    /// sched_setaffinity.
    CpuAffinity = "set the cpu affinity",
    /// LSM labels.
    Label = "set the security label",
    /// chdir to process.cwd.
    WorkingDirectory = "change to the working directory",
    /// fchown of stdio.
    StdioOwner = "change the owner of stdio",
    /// no_new_privs.
    NoNewPrivileges = "set no_new_privs",
    /// seccomp filter.
    Seccomp = "install the seccomp filter",
    /// Hand the notify descriptor over.
    SeccompNotify = "send the seccomp notify descriptor",
    /// Bounding set.
    BoundingCapabilities = "drop capabilities from the bounding set",
    /// setgroups.
    Groups = "set the groups",
    /// setresgid.
    Gid = "set the gid",
    /// setresuid.
    Uid = "set the uid",
    /// capset.
    Capabilities = "set the capabilities",
    /// Ambient set.
    AmbientCapabilities = "raise the ambient capabilities",
    /// Read back of ids and capabilities.
    VerifyCredentials = "verify the credentials",
    /// The program is looked up; `index` is 0.
    FindProgram = "find the program",
    /// close_range.
    CloseDescriptors = "close the inherited descriptors",
    /// The start gate.
    StartGate = "wait on the start gate",
    /// execve.
    Exec = "execute the program",
}

/// A failed step of the child.
#[derive(Clone, Copy)]
pub struct Fault {
    /// Which step.
    pub step: Step,
    /// Which element of the plan's list, 0 where there is no list.
    pub index: u32,
    /// Which parameter of that element, where it has some.
    pub parameter: Option<u16>,
    /// The kernel's error number.
    pub errno: i32,
    /// The kernel's own message (fs context), or a path.
    pub text: [u8; TEXT],
    /// Bytes used of `text`.
    pub text_len: u16,
}

impl Fault {
    /// A fault without text.
    #[must_use]
    pub fn new(step: Step, index: usize, errno: Errno) -> Self {
        let index = u32::try_from(index).unwrap_or(u32::MAX);
        Self { step, index, parameter: None, errno: errno.raw_os_error(), text: [0; TEXT], text_len: 0 }
    }

    /// The same for one parameter of the element.
    #[must_use]
    pub fn parameter(mut self, parameter: usize) -> Self {
        self.parameter = u16::try_from(parameter).ok().filter(|parameter| *parameter != NO_PARAMETER);
        self
    }

    /// The text, empty if there is none.
    #[must_use]
    pub fn said(&self) -> &[u8] {
        self.text.get(..usize::from(self.text_len)).unwrap_or_default()
    }

    /// The same with (the beginning of) a text.
    #[must_use]
    pub fn text(mut self, text: &[u8]) -> Self {
        let len = text.len().min(TEXT);
        self.text[..len].copy_from_slice(&text[..len]);
        self.text_len = u16::try_from(len).unwrap_or(0);
        self
    }
}

impl Fault {
    /// Leaves the fault in memory that the parent reads later, for a process whose filter may keep it from sending a
    /// packet: a store is not a system call.
    pub fn leave(&self, memory: &[AtomicU64]) {
        let errno = u16::try_from(self.errno).unwrap_or(0);
        let word = u64::from(self.step as u16) << 48 | u64::from(errno) << 32 | u64::from(self.index);
        if let Some(place) = memory.first() {
            place.store(word, Ordering::Release);
        }
    }

    /// The fault in `word`, which may be anybody's: `None` unless it is about one of the steps after which nothing is
    /// sent. Errors are at most 4095 (MAX_ERRNO of linux/err.h).
    #[must_use]
    pub fn left(word: u64) -> Option<Self> {
        let [a, b, c, d, index @ ..] = word.to_be_bytes();
        let step = Step::from_number(u16::from_be_bytes([a, b]))?;
        let errno = Some(u16::from_be_bytes([c, d])).filter(|errno| (1..4096).contains(errno))?;
        let errno = Errno::from_raw_os_error(errno.into());
        let is_last = matches!(step, Step::Seccomp | Step::SeccompNotify | Step::Exec);
        is_last.then(|| Self { index: u32::from_be_bytes(index), ..Self::new(step, 0, errno) })
    }
}

/// What a step of the child returns.
pub type ChildResult<T = ()> = Result<T, Fault>;

/// Marks the end of a step for `--timings`; [`At`] does so for each system call.
pub fn mark(step: Step, index: usize) {
    marks::mark(step as u16, u32::try_from(index).unwrap_or(u32::MAX));
}

/// Names the step (and the element) of a system call that may have failed, and marks its end.
pub trait At<T> {
    /// For a step without a list.
    ///
    /// # Errors
    /// The system call's error as a [`Fault`].
    fn at(self, step: Step) -> ChildResult<T>;
    /// For element `index` of a step.
    ///
    /// # Errors
    /// The system call's error as a [`Fault`].
    fn at_index(self, step: Step, index: usize) -> ChildResult<T>;
}

impl<T> At<T> for Result<T, Errno> {
    fn at(self, step: Step) -> ChildResult<T> {
        mark(step, 0);
        self.map_err(|errno| Fault::new(step, 0, errno))
    }
    fn at_index(self, step: Step, index: usize) -> ChildResult<T> {
        mark(step, index);
        self.map_err(|errno| Fault::new(step, index, errno))
    }
}

impl<T> At<T> for Result<T, nix::errno::Errno> {
    fn at(self, step: Step) -> ChildResult<T> {
        mark(step, 0);
        self.map_err(|errno| Fault::new(step, 0, Errno::from_raw_os_error(errno as i32)))
    }
    fn at_index(self, step: Step, index: usize) -> ChildResult<T> {
        mark(step, index);
        self.map_err(|errno| Fault::new(step, index, Errno::from_raw_os_error(errno as i32)))
    }
}

/// A point where the child waits for the parent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Barrier {
    /// Before pivot_root: network devices come, hooks run.
    BeforePivot = 1,
    /// Before the program of `run`: the startContainer hooks run.
    BeforeExec = 2,
}

impl Barrier {
    fn from_number(number: u8) -> Option<Self> {
        [Self::BeforePivot, Self::BeforeExec].into_iter().find(|barrier| *barrier as u8 == number)
    }
}

/// A packet of the child.
#[derive(Clone, Copy)]
#[allow(clippy::large_enum_variant, reason = "lives on the stack for one send")]
pub enum Packet {
    /// Please write my id mappings, then send one byte.
    MapMe,
    /// Please do what belongs to this point, then send one byte.
    Barrier(Barrier),
    /// I wait on the start gate.
    Ready,
    /// A step failed; I am about to exit.
    Failed(Fault),
    /// A step failed that I go on without.
    Tolerated(Fault),
    /// I have made the process that becomes the program: its id, and with the packet its pidfd.
    Born(i32),
    /// Please map the ids of the source of this mount, then send one byte; with the packet its detached tree.
    MapIds(u32),
    /// I am about to attach mount number `mount` to the tree of a running container, where mountinfo will have it under
    /// `number`. Please record that, then send one byte.
    Attaching {
        /// In the plan.
        mount: u32,
        /// In mountinfo.
        number: u64,
    },
}

const LEN: usize = 14 + TEXT;

/// In a packet: the fault is not about a parameter.
const NO_PARAMETER: u16 = u16::MAX;

impl Packet {
    fn encode(&self) -> [u8; LEN] {
        let mut bytes = [0; LEN];
        match self {
            Self::MapMe => bytes[0] = 1,
            Self::Barrier(barrier) => {
                bytes[0] = 2;
                bytes[1] = *barrier as u8;
            }
            Self::Ready => bytes[0] = 3,
            Self::Born(pid) => {
                bytes[0] = 6;
                bytes[4..8].copy_from_slice(&pid.to_ne_bytes());
            }
            Self::MapIds(mount) => {
                bytes[0] = 7;
                bytes[4..8].copy_from_slice(&mount.to_ne_bytes());
            }
            Self::Attaching { mount, number } => {
                bytes[0] = 8;
                bytes[4..8].copy_from_slice(&mount.to_ne_bytes());
                bytes[8..16].copy_from_slice(&number.to_ne_bytes());
            }
            Self::Failed(fault) | Self::Tolerated(fault) => {
                bytes[0] = if matches!(self, Self::Failed(_)) { 4 } else { 5 };
                bytes[2..4].copy_from_slice(&(fault.step as u16).to_ne_bytes());
                bytes[4..8].copy_from_slice(&fault.index.to_ne_bytes());
                bytes[8..12].copy_from_slice(&fault.errno.to_ne_bytes());
                bytes[12..14].copy_from_slice(&fault.parameter.unwrap_or(NO_PARAMETER).to_ne_bytes());
                bytes[14..].copy_from_slice(&fault.text);
            }
        }
        bytes
    }

    fn decode(bytes: &[u8; LEN]) -> Option<Self> {
        let word = |at: usize| [bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]];
        match bytes[0] {
            1 => Some(Self::MapMe),
            2 => Barrier::from_number(bytes[1]).map(Self::Barrier),
            3 => Some(Self::Ready),
            6 => Some(Self::Born(i32::from_ne_bytes(word(4)))).filter(|_| i32::from_ne_bytes(word(4)) > 0),
            7 => Some(Self::MapIds(u32::from_ne_bytes(word(4)))),
            8 => {
                let number = bytes.get(8..16)?.try_into().ok()?;
                Some(Self::Attaching { mount: u32::from_ne_bytes(word(4)), number: u64::from_ne_bytes(number) })
            }
            kind @ (4 | 5) => {
                let step = Step::from_number(u16::from_ne_bytes([bytes[2], bytes[3]]))?;
                let errno = Errno::from_raw_os_error(i32::from_ne_bytes(word(8)));
                let text = &bytes[14..];
                let used = text.iter().position(|byte| *byte == 0).unwrap_or(TEXT);
                let mut fault = Fault::new(step, 0, errno).text(&text[..used]);
                fault.index = u32::from_ne_bytes(word(4));
                fault = fault.parameter(usize::from(u16::from_ne_bytes([bytes[12], bytes[13]])));
                Some(if kind == 4 { Self::Failed(fault) } else { Self::Tolerated(fault) })
            }
            _ => None,
        }
    }

    /// Sends the packet.
    ///
    /// # Errors
    /// write(2); when the parent is gone SIGPIPE ends the child, which is as it should be.
    pub fn send(&self, socket: BorrowedFd<'_>) -> Result<(), Errno> {
        let bytes = self.encode();
        rustix::io::retry_on_intr(|| rustix::io::write(socket, &bytes)).map(drop)
    }

    /// Sends the packet with a descriptor.
    ///
    /// # Errors
    /// sendmsg(2).
    pub fn send_with(&self, socket: BorrowedFd<'_>, descriptor: BorrowedFd<'_>) -> Result<(), Errno> {
        net::send_fd(socket, &self.encode(), descriptor).map(drop)
    }

    /// Receives a packet from a file or socket that carries no descriptors; `None` at end-of-file: the program was
    /// executed or the child died.
    ///
    /// # Errors
    /// read(2); EPROTO for a packet that is none of ours.
    pub fn receive(socket: BorrowedFd<'_>) -> Result<Option<Self>, Errno> {
        let mut bytes = [0; LEN];
        Self::received(rustix::io::retry_on_intr(|| rustix::io::read(socket, &mut bytes)), &bytes)
    }

    /// The same with the descriptor of a packet that has one.
    ///
    /// # Errors
    /// recvmsg(2); EPROTO for a packet that is none of ours, and for a descriptor that is missing or had no room in
    /// the table.
    pub fn receive_with(socket: BorrowedFd<'_>) -> Result<Option<(Self, Option<OwnedFd>)>, Errno> {
        let mut bytes = [0; LEN];
        let (count, descriptor) = match net::receive_fd(socket, &mut bytes) {
            // The child ended before it read our answer. The kernel says so first; what the child sent comes after.
            Err(Errno::CONNRESET) => net::receive_fd(socket, &mut bytes),
            received => received,
        }
        .map_or_else(|errno| (Err(errno), None), |(count, descriptor)| (Ok(count), descriptor));
        match Self::received(count, &bytes)? {
            Some(Self::Born(_) | Self::MapIds(_)) if descriptor.is_none() => Err(Errno::PROTO),
            packet => Ok(packet.map(|packet| (packet, descriptor))),
        }
    }

    fn received(count: Result<usize, Errno>, bytes: &[u8; LEN]) -> Result<Option<Self>, Errno> {
        match count {
            Ok(0) | Err(Errno::CONNRESET) => Ok(None),
            Ok(LEN) => Self::decode(bytes).map(Some).ok_or(Errno::PROTO),
            Ok(_) => Err(Errno::PROTO),
            Err(errno) => Err(errno),
        }
    }
}

/// The parent's answer to what the child asks for.
///
/// # Errors
/// send(2); EPIPE when the child is gone.
pub fn send_go_on(socket: BorrowedFd<'_>) -> Result<(), Errno> {
    rustix::net::send(socket, b"+", rustix::net::SendFlags::NOSIGNAL).map(drop)
}

/// Waits for the parent's answer; `false` when the parent is gone.
///
/// # Errors
/// read(2).
pub fn receive_go_on(socket: BorrowedFd<'_>) -> Result<bool, Errno> {
    let mut byte = [0; 1];
    rustix::io::retry_on_intr(|| rustix::io::read(socket, &mut byte)).map(|count| count == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_survives_the_wire() {
        let fault = Fault::new(Step::Mount, 70_000, Errno::INVAL).parameter(3).text(b"tmpfs: Bad value for 'size'");
        let Some(Packet::Failed(back)) = Packet::decode(&Packet::Failed(fault).encode()) else { panic!("not a fault") };
        assert_eq!((back.step, back.index, back.errno), (Step::Mount, 70_000, libc::EINVAL));
        assert_eq!((back.parameter, back.said()), (Some(3), &b"tmpfs: Bad value for 'size'"[..]));
        let plain = Fault::new(Step::Keyring, 7, Errno::INVAL);
        let Some(Packet::Tolerated(back)) = Packet::decode(&Packet::Tolerated(plain).encode()) else { panic!() };
        assert_eq!((back.index, back.parameter, back.said()), (7, None, &b""[..]));
    }

    #[test]
    fn a_fault_in_memory_is_one_of_the_last_steps() {
        let memory = [AtomicU64::new(0)];
        let left = || Fault::left(memory[0].load(Ordering::Acquire));
        assert!(left().is_none());
        Fault::new(Step::Exec, 70_000, Errno::NOENT).leave(&memory);
        let back = left().unwrap();
        assert_eq!((back.step, back.index, back.errno), (Step::Exec, 70_000, libc::ENOENT));
        Fault::new(Step::Mount, 1, Errno::NOENT).leave(&memory);
        assert!(left().is_none());
        assert!(
            [0, 1, u64::MAX, u64::from(Step::Exec as u16) << 48].into_iter().all(|word| Fault::left(word).is_none())
        );
    }

    #[test]
    fn a_mount_survives_the_wire() {
        let packet = Packet::Attaching { mount: 70_000, number: u64::MAX - 1 };
        let back = Packet::decode(&packet.encode());
        assert!(matches!(back, Some(Packet::Attaching { mount: 70_000, number }) if number == u64::MAX - 1));
    }

    #[test]
    fn barriers_survive_the_wire() {
        for barrier in [Barrier::BeforePivot, Barrier::BeforeExec] {
            let back = Packet::decode(&Packet::Barrier(barrier).encode());
            assert!(matches!(back, Some(Packet::Barrier(back)) if back == barrier));
        }
        assert!(
            Packet::decode(&{
                let mut bytes = [0; LEN];
                bytes[0] = 2;
                bytes
            })
            .is_none()
        );
    }

    #[test]
    fn garbage_is_refused() {
        let mut bytes = [0; LEN];
        bytes[0] = 9;
        assert!(Packet::decode(&bytes).is_none());
        bytes[0] = 4;
        bytes[2] = 0xff;
        bytes[3] = 0xff;
        assert!(Packet::decode(&bytes).is_none());
    }
}
