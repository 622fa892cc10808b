//! Clocks by a system call. Source: clock_gettime(2).
//!
//! World: all.
//! A command asks for the time once; finding the function in the vDSO would cost 20 times the call (2 us, four page
//! faults). Only measured commands (`--timings`) ask more often.

#[cfg(target_pointer_width = "64")]
const GETTIME: libc::c_long = libc::SYS_clock_gettime;
/// clock_gettime64, which libc does not name for each of them: the numbers above 402 are the same everywhere.
#[cfg(target_pointer_width = "32")]
const GETTIME: libc::c_long = 403;

/// Seconds and nanoseconds since 1970.
#[must_use]
pub fn real() -> (i64, i64) {
    let [seconds, nanoseconds] = read(libc::CLOCK_REALTIME);
    (seconds, nanoseconds)
}

/// Nanoseconds since 1970.
#[must_use]
pub fn real_nanoseconds() -> u64 {
    nanoseconds(libc::CLOCK_REALTIME)
}

/// Nanoseconds since the system was booted, or since another time in a time namespace.
#[must_use]
pub fn monotonic_nanoseconds() -> u64 {
    nanoseconds(libc::CLOCK_MONOTONIC)
}

fn nanoseconds(clock: libc::clockid_t) -> u64 {
    let [seconds, nanoseconds] = read(clock).map(i64::cast_unsigned);
    seconds.wrapping_mul(1_000_000_000).wrapping_add(nanoseconds)
}

fn read(clock: libc::clockid_t) -> [i64; 2] {
    // struct __kernel_timespec, which is the same everywhere.
    let mut now = [0_i64; 2];
    // SAFETY: `now` is what the kernel writes for these clocks, which always exist.
    unsafe { libc::syscall(GETTIME, clock, &raw mut now) };
    now
}
