//! A directory that behaves as resctrl does, for machines whose CPU has no RDT.
//!
//! The runtime runs in a mount namespace with the directory on /sys/fs/resctrl, under a seccomp filter that has this
//! process decide about the calls that resctrl would answer in its own way: statfs, mkdir, rmdir and write. All else
//! goes to the directory itself. What is simulated: two L3 caches with eight bits each, bandwidth in steps of 10 %, four
//! groups, monitoring. Source: Documentation/filesystems/resctrl.rst; fs/resctrl/rdtgroup.c and ctrlmondata.c of Linux.

#![allow(unsafe_code, reason = "mounts and filters between fork and exec; notifications have no safe interface")]

use std::ffi::CString;
use std::fs;
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use tempfile::TempDir;

/// Where the runtime sees it.
const MOUNT: &str = "/sys/fs/resctrl";
/// RDTGROUP_SUPER_MAGIC.
const MAGIC: u32 = 0x0765_5821;
/// Groups, the default one included.
const GROUPS: usize = 4;
const FULL: &str = "    MB:0=100;1=100\n    L3:0=ff;1=ff\n";

/// When the caller of a call that resctrl answers is killed.
pub const NEVER: usize = usize::MAX;

/// The directory, and those who answer for it.
pub struct Tree {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

struct Shared {
    directory: TempDir,
    one_at_a_time: Mutex<()>,
    over: AtomicBool,
    /// Calls that were answered.
    answered: AtomicUsize,
    /// The caller of this one is killed: before it is done if even, after it if odd.
    killed_at: AtomicUsize,
}

impl Tree {
    pub fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        for place in ["fs/cgroup", "fs/resctrl"] {
            fs::create_dir_all(directory.path().join(place)).unwrap();
        }
        let shared = Shared {
            directory,
            one_at_a_time: Mutex::new(()),
            over: AtomicBool::new(false),
            answered: AtomicUsize::new(0),
            killed_at: AtomicUsize::new(NEVER),
        };
        let tree = Self { shared: Arc::new(shared), threads: Mutex::default() };
        for (file, text) in [
            ("info/last_cmd_status", "ok\n"),
            ("info/L3/cbm_mask", "ff\n"),
            ("info/L3/min_cbm_bits", "1\n"),
            ("info/L3/num_closids", "4\n"),
            ("info/MB/bandwidth_gran", "10\n"),
            ("info/MB/delay_linear", "1\n"),
            ("info/MB/min_bandwidth", "10\n"),
            ("info/MB/num_closids", "4\n"),
            ("info/L3_MON/mon_features", "llc_occupancy\nmbm_total_bytes\nmbm_local_bytes\n"),
        ] {
            let path = tree.path(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        fill(&tree.path(""), true);
        tree
    }

    /// A file or group of it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.shared.directory.path().join("fs/resctrl").join(name)
    }

    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// Makes a group, as an administrator does.
    pub fn make(&self, name: &str, schemata: &str) {
        fs::create_dir(self.path(name)).unwrap();
        fill(&self.path(name), true);
        fs::write(self.path(name).join("schemata"), schemata).unwrap();
    }

    /// The groups, the monitoring groups in them, and their schemata.
    pub fn groups(&self) -> Vec<String> {
        let mut found = Vec::new();
        for name in std::iter::once(String::new()).chain(names(&self.path(""))) {
            if ["info", "mon_data", "mon_groups"].contains(&name.as_str()) || self.path(&name).is_file() {
                continue;
            }
            let schemata: Vec<_> = self
                .read(format!("{name}/schemata").trim_start_matches('/'))
                .lines()
                .map(|line| line.trim().to_owned())
                .collect();
            found.push(format!("{name} {}", schemata.join(" ")));
            found.extend(
                names(&self.path(&name).join("mon_groups")).into_iter().map(|own| format!("{name}/mon_groups/{own}")),
            );
        }
        found.sort();
        found
    }

    /// Whether the process is in the group.
    pub fn has(&self, group: &str, pid: i32) -> bool {
        self.read(format!("{group}/tasks").trim_start_matches('/')).lines().any(|line| line == pid.to_string())
    }

    /// Kills the runtime at one of the calls that resctrl answers; [`NEVER`] for not at all.
    pub fn kill_at(&self, point: usize) {
        self.shared.answered.store(0, Ordering::Relaxed);
        self.shared.killed_at.store(point, Ordering::Relaxed);
    }

    /// Runs the command where this is resctrl.
    pub fn mount_for(&self, command: &mut Command) {
        let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None).unwrap();
        let text = |path: PathBuf| CString::new(path.into_os_string().into_encoded_bytes()).unwrap();
        let fs = text(self.shared.directory.path().join("fs"));
        let cgroup = text(self.shared.directory.path().join("fs/cgroup"));
        // SAFETY: system calls alone, on memory that was made before the fork.
        unsafe {
            command.pre_exec(move || {
                mount_over(&fs, &cgroup)?;
                let listener = filter()?;
                let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
                let mut control = SendAncillaryBuffer::new(&mut space);
                let fds = [BorrowedFd::borrow_raw(listener)];
                control.push(SendAncillaryMessage::ScmRights(&fds));
                sendmsg(&theirs, &[IoSlice::new(b"+")], &mut control, SendFlags::empty())?;
                Ok(())
            })
        };
        let shared = Arc::clone(&self.shared);
        self.threads.lock().unwrap().push(std::thread::spawn(move || {
            if let Some(listener) = receive(&ours, &shared.over) {
                shared.serve(&listener);
            }
        }));
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::Relaxed);
        self.threads.lock().unwrap().drain(..).for_each(|thread| thread.join().unwrap());
    }
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// What the kernel makes in a new group.
fn fill(group: &Path, controls: bool) {
    fs::write(group.join("tasks"), "").unwrap();
    for (cache, bytes) in [("mon_L3_00", 4096), ("mon_L3_01", 8192)] {
        let data = group.join("mon_data").join(cache);
        fs::create_dir_all(&data).unwrap();
        fs::write(data.join("llc_occupancy"), format!("{bytes}\n")).unwrap();
        fs::write(data.join("mbm_total_bytes"), "7\n").unwrap();
        fs::write(data.join("mbm_local_bytes"), "Unavailable\n").unwrap();
    }
    if controls {
        fs::write(group.join("schemata"), FULL).unwrap();
        fs::create_dir(group.join("mon_groups")).unwrap();
    }
}

unsafe fn mount_over(fs: &CString, cgroup: &CString) -> std::io::Result<()> {
    let ok = |result: i32| if result == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) };
    let nothing = std::ptr::null();
    // SAFETY: the strings live, and end with NUL.
    unsafe {
        ok(libc::unshare(libc::CLONE_NEWNS))?;
        let private = libc::MS_REC | libc::MS_PRIVATE;
        ok(libc::mount(nothing, c"/".as_ptr(), nothing, private, nothing.cast()))?;
        let bind = libc::MS_BIND | libc::MS_REC;
        ok(libc::mount(c"/sys/fs/cgroup".as_ptr(), cgroup.as_ptr(), nothing, bind, nothing.cast()))?;
        ok(libc::mount(fs.as_ptr(), c"/sys/fs".as_ptr(), nothing, bind, nothing.cast()))
    }
}

const CALLS: [libc::c_long; 5] =
    [libc::SYS_statfs, libc::SYS_fstatfs, libc::SYS_mkdirat, libc::SYS_unlinkat, libc::SYS_write];

/// Loads the filter; the number of its listener.
unsafe fn filter() -> std::io::Result<i32> {
    let statement = |code: u32, jt: usize, k: u32| libc::sock_filter {
        code: u16::try_from(code).unwrap_or(0),
        jt: u8::try_from(jt).unwrap_or(0),
        jf: 0,
        k,
    };
    let mut program = [statement(libc::BPF_RET | libc::BPF_K, 0, libc::SECCOMP_RET_ALLOW); CALLS.len() + 3];
    program[0] = statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0);
    for (at, call) in CALLS.iter().enumerate() {
        let number = u32::try_from(*call).unwrap_or(0);
        program[at + 1] = statement(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, CALLS.len() - at, number);
    }
    program[CALLS.len() + 2] = statement(libc::BPF_RET | libc::BPF_K, 0, libc::SECCOMP_RET_USER_NOTIF);
    let length = u16::try_from(program.len()).unwrap_or(0);
    let loaded = libc::sock_fprog { len: length, filter: program.as_mut_ptr() };
    let flags = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER;
    // SAFETY: the pointer is to a live structure, which points to the program.
    let listener = unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const loaded) };
    i32::try_from(listener).ok().filter(|number| *number >= 0).ok_or_else(std::io::Error::last_os_error)
}

/// Waits for the listener; `None` if the command was never run.
fn receive(socket: &OwnedFd, over: &AtomicBool) -> Option<OwnedFd> {
    while !ready(socket)? {
        if over.load(Ordering::Relaxed) {
            return None;
        }
    }
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    recvmsg(socket, &mut [IoSliceMut::new(&mut [0])], &mut control, RecvFlags::CMSG_CLOEXEC).ok()?;
    control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    })
}

/// Whether there is something to read within 20 ms; `None` if nobody is left to write.
fn ready(descriptor: &OwnedFd) -> Option<bool> {
    let mut fds = [PollFd::new(descriptor, PollFlags::IN)];
    let soon = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
    let found = poll(&mut fds, Some(&soon)).is_ok_and(|found| found > 0);
    let events = fds[0].revents();
    if found && !events.contains(PollFlags::IN) { None } else { Some(found) }
}

/// What becomes of a call.
enum Answer {
    /// The kernel does it.
    Continue,
    /// It returns this.
    Value(i64),
    /// It fails.
    Errno(i32),
}

impl Shared {
    fn serve(&self, listener: &OwnedFd) {
        while let Some(found) = ready(listener) {
            if found {
                self.answer_one(listener);
            } else if self.over.load(Ordering::Relaxed) {
                return;
            }
        }
    }

    fn answer_one(&self, listener: &OwnedFd) {
        // SAFETY: all-zero structures are valid, and what the kernel expects.
        let mut asked: libc::seccomp_notif = unsafe { std::mem::zeroed() };
        // SAFETY: the pointer is to a live structure of the size that the request says.
        if unsafe { libc::ioctl(listener.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_RECV, &raw mut asked) } != 0 {
            return;
        }
        let answer = {
            let _one = self.one_at_a_time.lock().unwrap();
            self.decide(i32::try_from(asked.pid).unwrap(), i64::from(asked.data.nr), &asked.data.args)
        };
        let (val, error, flags) = match answer {
            Answer::Continue => (0, 0, 1),
            Answer::Value(value) => (value, 0, 0),
            Answer::Errno(errno) => (0, -errno, 0),
        };
        let mut answer = libc::seccomp_notif_resp { id: asked.id, val, error, flags };
        // SAFETY: as above. The caller may be gone.
        unsafe { libc::ioctl(listener.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_SEND, &raw mut answer) };
    }

    /// Does what resctrl does, if the call is about it.
    fn decide(&self, pid: i32, call: i64, args: &[u64; 6]) -> Answer {
        let link = |number: u64| fs::read_link(format!("/proc/{pid}/fd/{}", number & 0xffff_ffff)).unwrap_or_default();
        let (target, buffer) = match call {
            libc::SYS_statfs => (PathBuf::from(text(pid, args[0])), args[1]),
            libc::SYS_fstatfs => (link(args[0]), args[1]),
            libc::SYS_write => (link(args[0]), args[1]),
            // Relative to a directory, or of somebody else.
            _ => (link(args[0]).join(text(pid, args[1])), 0),
        };
        let Ok(below) = target.strip_prefix(MOUNT) else { return Answer::Continue };
        let point = self.answered.fetch_add(2, Ordering::Relaxed);
        let killed_at = self.killed_at.load(Ordering::Relaxed);
        if killed_at == point {
            kill(pid);
            return Answer::Errno(libc::EINTR);
        }
        let done = match call {
            libc::SYS_statfs | libc::SYS_fstatfs => statfs(pid, buffer),
            libc::SYS_mkdirat => self.mkdir(below),
            libc::SYS_unlinkat => self.rmdir(below),
            _ => self.write(below, &String::from_utf8_lossy(&memory(pid, buffer, args[2]))),
        };
        if killed_at == point + 1 {
            kill(pid);
        }
        match done {
            Ok(value) => Answer::Value(value),
            Err((errno, said)) => {
                fs::write(self.path("info/last_cmd_status"), said).unwrap();
                Answer::Errno(errno)
            }
        }
    }

    fn path(&self, below: impl AsRef<Path>) -> PathBuf {
        self.directory.path().join("fs/resctrl").join(below)
    }

    fn mkdir(&self, below: &Path) -> Result<i64, (i32, String)> {
        let group = self.path(below);
        if group.exists() {
            return Err((libc::EEXIST, "ok\n".into()));
        }
        let is_monitor = below.parent().is_some_and(|parent| parent.ends_with("mon_groups"));
        let kernels = ["info", "mon_data", "mon_groups"];
        let groups = names(&self.path("")).into_iter().filter(|name| self.path(name).is_dir());
        let groups = 1 + groups.filter(|name| !kernels.contains(&name.as_str())).count();
        if !is_monitor && groups >= GROUPS {
            return Err((libc::ENOSPC, "Out of CLOSIDs\n".into()));
        }
        if fs::create_dir(&group).is_err() {
            return Err((libc::ENOENT, "ok\n".into()));
        }
        fill(&group, !is_monitor);
        Ok(0)
    }

    fn rmdir(&self, below: &Path) -> Result<i64, (i32, String)> {
        match fs::remove_dir_all(self.path(below)) {
            Ok(()) => Ok(0),
            Err(error) => Err((error.raw_os_error().unwrap(), "ok\n".into())),
        }
    }

    fn write(&self, below: &Path, text: &str) -> Result<i64, (i32, String)> {
        let path = self.path(below);
        match below.file_name().and_then(|name| name.to_str()) {
            Some("schemata") => {
                let changed = schemata(&fs::read_to_string(&path).unwrap(), text).map_err(|why| (libc::EINVAL, why))?;
                fs::write(&path, changed).unwrap();
            }
            Some("tasks") => self.admit(below, text.trim())?,
            _ => return Err((libc::EACCES, "ok\n".into())),
        }
        Ok(i64::try_from(text.len()).unwrap())
    }

    /// A task is in one control group, and in one monitoring group of it at most.
    fn admit(&self, tasks: &Path, pid: &str) -> Result<(), (i32, String)> {
        if !Path::new("/proc").join(pid).exists() {
            return Err((libc::ESRCH, format!("No task {pid}\n")));
        }
        let has = |file: &Path| fs::read_to_string(file).is_ok_and(|text| text.lines().any(|line| line == pid));
        let group = tasks.parent().unwrap();
        if group.parent().is_some_and(|parent| parent.ends_with("mon_groups")) {
            let control = self.path(group.parent().unwrap().parent().unwrap().join("tasks"));
            if !has(&control) {
                return Err((libc::EINVAL, "Can't move task to different control group\n".into()));
            }
        } else {
            for other in
                names(&self.path("")).iter().map(|name| self.path(name).join("tasks")).chain([self.path("tasks")])
            {
                let Ok(text) = fs::read_to_string(&other) else { continue };
                let rest: String = text.lines().filter(|line| *line != pid).map(|line| format!("{line}\n")).collect();
                fs::write(&other, rest).unwrap();
            }
        }
        let file = self.path(tasks);
        let text = fs::read_to_string(&file).unwrap();
        if !has(&file) {
            fs::write(&file, format!("{text}{pid}\n")).unwrap();
        }
        Ok(())
    }
}

/// The file after a write; all lines are taken, or none.
fn schemata(before: &str, text: &str) -> Result<String, String> {
    let mut values: Vec<(String, Vec<String>)> = before
        .lines()
        .map(|line| {
            let (resource, rest) = line.trim().split_once(':').unwrap();
            (resource.to_owned(), rest.split(';').map(|part| part.split_once('=').unwrap().1.to_owned()).collect())
        })
        .collect();
    let lines = text.strip_suffix('\n').ok_or("")?;
    let mut seen = Vec::new();
    for line in lines.split('\n') {
        let (resource, rest) = line.trim().split_once(':').ok_or("Missing ':'\n")?;
        let unknown = || format!("Unknown or unsupported resource name '{resource}'\n");
        let (_, domains) = values.iter_mut().find(|(name, _)| name == resource).ok_or_else(unknown)?;
        for part in rest.split(';') {
            let (domain, value) = part.split_once('=').ok_or("Missing '=' or non-numeric domain\n")?;
            let domain: usize = domain.trim().parse().map_err(|_| "Missing '=' or non-numeric domain\n")?;
            if seen.contains(&(resource, domain)) {
                return Err(format!("Duplicate domain {domain}\n"));
            }
            seen.push((resource, domain));
            *domains.get_mut(domain).ok_or("")? = accepted(resource, value.trim())?;
        }
    }
    let line = |(resource, domains): &(String, Vec<String>)| {
        let domains: Vec<_> = domains.iter().enumerate().map(|(at, value)| format!("{at}={value}")).collect();
        format!("    {resource}:{}\n", domains.join(";"))
    };
    Ok(values.iter().map(line).collect())
}

fn accepted(resource: &str, value: &str) -> Result<String, String> {
    if resource == "MB" {
        let percent: u32 = value.parse().map_err(|_| format!("Invalid MB value {value}\n"))?;
        let is_possible = (10..=100).contains(&percent);
        return if is_possible {
            Ok(percent.next_multiple_of(10).to_string())
        } else {
            Err(format!("MB value {percent} out of range [10,100]\n"))
        };
    }
    let mask = u32::from_str_radix(value, 16).map_err(|_| format!("Non-hex character in the mask {value}\n"))?;
    if mask == 0 || mask > 0xff {
        return Err("Mask out of range\n".into());
    }
    let shifted = mask >> mask.trailing_zeros();
    if shifted & (shifted + 1) == 0 {
        Ok(format!("{mask:x}"))
    } else {
        Err(format!("The mask {value} has non-consecutive 1-bits\n"))
    }
}

fn statfs(pid: i32, buffer: u64) -> Result<i64, (i32, String)> {
    // SAFETY: an all-zero statfs is valid.
    let mut facts: libc::statfs = unsafe { std::mem::zeroed() };
    facts.f_type = MAGIC.into();
    // SAFETY: the bytes of a live structure, which has no padding that matters.
    let bytes = unsafe { std::slice::from_raw_parts((&raw const facts).cast::<u8>(), size_of::<libc::statfs>()) };
    let memory = fs::OpenOptions::new().write(true).open(format!("/proc/{pid}/mem")).unwrap();
    memory.write_all_at(bytes, buffer).unwrap();
    Ok(0)
}

fn memory(pid: i32, address: u64, length: u64) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(length).unwrap()];
    let read = fs::File::open(format!("/proc/{pid}/mem")).and_then(|memory| memory.read_at(&mut bytes, address));
    bytes.truncate(read.unwrap_or(0));
    bytes
}

/// A string of the caller's.
fn text(pid: i32, address: u64) -> String {
    // Not beyond the page, which may be the last.
    let length = 4096 - address % 4096;
    let mut bytes = memory(pid, address, length);
    if !bytes.contains(&0) {
        bytes = memory(pid, address, length + 4096);
    }
    String::from_utf8_lossy(bytes.split(|byte| *byte == 0).next().unwrap_or_default()).into_owned()
}

fn kill(pid: i32) {
    // SAFETY: kill takes numbers; the process waits for our answer.
    unsafe { libc::kill(pid, libc::SIGKILL) };
}
