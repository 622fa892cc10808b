//! Network interface flags. Source: netdevice(7).
//!
//! World: all.

use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::Errno;

/// Sets IFF_UP on the loopback interface of the network namespace that `socket` belongs to.
///
/// # Errors
/// As ioctl SIOCSIFFLAGS: EPERM without CAP_NET_ADMIN over the namespace.
pub fn set_loopback_up(socket: BorrowedFd<'_>) -> Result<(), Errno> {
    let mut name = [0; libc::IFNAMSIZ];
    name[0] = libc::c_char::from_ne_bytes(*b"l");
    name[1] = libc::c_char::from_ne_bytes(*b"o");
    let flags = libc::c_short::try_from(libc::IFF_UP | libc::IFF_RUNNING).unwrap_or(0);
    let request = libc::ifreq { ifr_name: name, ifr_ifru: libc::__c_anonymous_ifr_ifru { ifru_flags: flags } };
    // SAFETY: `request` is a live ifreq, which SIOCSIFFLAGS reads.
    let value = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS as _, &raw const request) };
    super::check(libc::c_long::from(value)).map(drop)
}
