//! What Docker adds to a container by default: capabilities, masks, mounts and a seccomp profile.
//!
//! World: parent. Source: moby, `daemon/pkg/oci` and `profiles/seccomp/default.json` (Apache-2.0). The conditions of the
//! profile are decided for these capabilities and for Linux 4.8 or later; the rules for processors, for this build's.

use serde_json::{Value, json};

/// All that Docker does not drop.
const CAPABILITIES: [&str; 14] = [
    "CAP_AUDIT_WRITE",
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_MKNOD",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_RAW",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
];

/// What Docker masks in addition to runc's example.
const MASKED: [&str; 2] = ["/proc/interrupts", "/sys/devices/virtual/powercap"];

/// The processors whose system calls a container may make, the native ones first. None: the native ones.
const ARCHITECTURES: &[&str] = if cfg!(target_arch = "x86_64") {
    &["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"]
} else if cfg!(target_arch = "aarch64") {
    &["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"]
} else {
    &[]
};

/// System calls of one kind of processor.
const NATIVE: &str = if cfg!(target_arch = "x86_64") {
    "arch_prctl modify_ldt"
} else if cfg!(target_arch = "x86") {
    "modify_ldt"
} else if cfg!(any(target_arch = "aarch64", target_arch = "arm")) {
    "arm_fadvise64_64 arm_sync_file_range breakpoint cacheflush set_tls sync_file_range2"
} else if cfg!(target_arch = "riscv64") {
    "riscv_flush_icache"
} else if cfg!(target_arch = "powerpc64") {
    "swapcontext sync_file_range2"
} else {
    ""
};

/// CLONE_NEW* of linux/sched.h, but for CLONE_NEWTIME, which clone(2) does not take.
const NEW_NAMESPACES: u32 = 0x7e02_0000;

/// Makes an example one of Docker's kind. `no_new_privileges` and the read-only root stay: they are stricter.
pub fn apply(config: &mut Value) {
    for set in ["bounding", "effective", "permitted"] {
        config["process"]["capabilities"][set] = json!(CAPABILITIES);
    }
    if let Some(masked) = config["linux"]["maskedPaths"].as_array_mut() {
        masked.extend(MASKED.iter().map(|path| json!(path)));
        masked.extend(throttles().into_iter().map(Value::String));
    }
    if let Some(mounts) = config["mounts"].as_array_mut() {
        for entry in mounts {
            let options: &[&str] = match entry["type"].as_str() {
                Some("proc") => &["nosuid", "noexec", "nodev"],
                Some("cgroup") => &["nosuid", "noexec", "nodev", "ro"],
                _ => continue,
            };
            entry["options"] = json!(options);
        }
    }
    config["linux"]["seccomp"] = seccomp();
}

/// The directories with which a container could tell what others do to the temperature of a processor.
fn throttles() -> Vec<String> {
    let directory = "/sys/devices/system/cpu";
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let paths = entries.map(|entry| entry.path().join("thermal_throttle")).filter(|path| path.exists());
    let mut paths: Vec<String> = paths.map(|path| path.display().to_string()).collect();
    paths.sort_unstable();
    paths
}

/// The system calls that are always allowed.
fn names() -> impl Iterator<Item = &'static str> {
    NAMES.split_whitespace().chain(NATIVE.split_whitespace())
}

fn seccomp() -> Value {
    let allow = |name: &str, argument: Value| json!({ "names": [name], "action": ALLOW, "args": [argument] });
    let compare = |value: u32, operator: &str| json!({ "index": 0, "value": value, "op": operator });
    let mut rules = vec![json!({ "names": names().collect::<Vec<_>>(), "action": ALLOW })];
    // Neither AF_ALG (38), the kernel's cryptography, nor AF_VSOCK (40), the way to the hypervisor.
    for (operator, family) in [("SCMP_CMP_LT", 38), ("SCMP_CMP_EQ", 39), ("SCMP_CMP_GT", 40)] {
        rules.push(allow("socket", compare(family, operator)));
    }
    // PER_LINUX and PER_LINUX32, with and without UNAME26; and the question which one it is.
    for personality in [0, 8, 0x2_0000, 0x2_0008, u32::MAX] {
        rules.push(allow("personality", compare(personality, "SCMP_CMP_EQ")));
    }
    let no_namespace = json!({ "index": 0, "value": NEW_NAMESPACES, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ" });
    rules.push(allow("clone", no_namespace));
    // Its flags are in memory, which a filter cannot read: C libraries fall back to clone.
    rules.push(json!({ "names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": libc::ENOSYS }));
    let mut profile = json!({ "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 1, "syscalls": rules });
    if !ARCHITECTURES.is_empty() {
        profile["architectures"] = json!(ARCHITECTURES);
    }
    profile
}

const ALLOW: &str = "SCMP_ACT_ALLOW";

/// The system calls without conditions.
const NAMES: &str = "
accept accept4 access adjtimex alarm bind brk cachestat capget capset chdir chmod chown chown32 clock_adjtime
clock_adjtime64 clock_getres clock_getres_time64 clock_gettime clock_gettime64 clock_nanosleep
clock_nanosleep_time64 close close_range connect copy_file_range creat dup dup2 dup3 epoll_create epoll_create1
epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait epoll_wait_old eventfd eventfd2 execve execveat exit
exit_group faccessat faccessat2 fadvise64 fadvise64_64 fallocate fanotify_mark fchdir fchmod fchmodat fchmodat2
fchown fchown32 fchownat fcntl fcntl64 fdatasync fgetxattr flistxattr flock fork fremovexattr fsetxattr fstat
fstat64 fstatat64 fstatfs fstatfs64 fsync ftruncate ftruncate64 futex futex_requeue futex_time64 futex_wait
futex_waitv futex_wake futimesat getcpu getcwd getdents getdents64 getegid getegid32 geteuid geteuid32 getgid
getgid32 getgroups getgroups32 getitimer getpeername getpgid getpgrp getpid getppid getpriority getrandom getresgid
getresgid32 getresuid getresuid32 getrlimit get_robust_list getrusage getsid getsockname getsockopt get_thread_area
gettid gettimeofday getuid getuid32 getxattr getxattrat inotify_add_watch inotify_init inotify_init1
inotify_rm_watch io_cancel ioctl io_destroy io_getevents io_pgetevents io_pgetevents_time64 ioprio_get ioprio_set
io_setup io_submit ipc kill landlock_add_rule landlock_create_ruleset landlock_restrict_self lchown lchown32
lgetxattr link linkat listen listmount listxattr listxattrat llistxattr _llseek lremovexattr lseek lsetxattr lstat
lstat64 madvise map_shadow_stack membarrier memfd_create memfd_secret mincore mkdir mkdirat mknod mknodat mlock
mlock2 mlockall mmap mmap2 mprotect mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedreceive_time64
mq_timedsend mq_timedsend_time64 mq_unlink mremap mseal msgctl msgget msgrcv msgsnd msync munlock munlockall munmap
name_to_handle_at nanosleep newfstatat _newselect open openat openat2 pause pidfd_open pidfd_send_signal pipe pipe2
pkey_alloc pkey_free pkey_mprotect poll ppoll ppoll_time64 prctl pread64 preadv preadv2 prlimit64 process_mrelease
pselect6 pselect6_time64 pwrite64 pwritev pwritev2 read readahead readlink readlinkat readv recv recvfrom recvmmsg
recvmmsg_time64 recvmsg remap_file_pages removexattr removexattrat rename renameat renameat2 restart_syscall
riscv_hwprobe rmdir rseq rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend
rt_sigtimedwait rt_sigtimedwait_time64 rt_tgsigqueueinfo sched_getaffinity sched_getattr sched_getparam
sched_get_priority_max sched_get_priority_min sched_getscheduler sched_rr_get_interval sched_rr_get_interval_time64
sched_setaffinity sched_setattr sched_setparam sched_setscheduler sched_yield seccomp select semctl semget semop
semtimedop semtimedop_time64 send sendfile sendfile64 sendmmsg sendmsg sendto setfsgid setfsgid32 setfsuid
setfsuid32 setgid setgid32 setgroups setgroups32 setitimer setpgid setpriority setregid setregid32 setresgid
setresgid32 setresuid setresuid32 setreuid setreuid32 setrlimit set_robust_list setsid setsockopt set_thread_area
set_tid_address setuid setuid32 setxattr setxattrat shmat shmctl shmdt shmget shutdown sigaltstack signalfd
signalfd4 sigprocmask sigreturn socketcall socketpair splice stat stat64 statfs statfs64 statmount statx symlink
symlinkat sync sync_file_range syncfs sysinfo tee tgkill time timer_create timer_delete timer_getoverrun
timer_gettime timer_gettime64 timer_settime timer_settime64 timerfd_create timerfd_gettime timerfd_gettime64
timerfd_settime timerfd_settime64 times tkill truncate truncate64 ugetrlimit umask uname unlink unlinkat uretprobe
utime utimensat utimensat_time64 utimes vfork vmsplice wait4 waitid waitpid write writev process_vm_readv
process_vm_writev ptrace chroot
";

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    fn data(text: &str) -> Value {
        serde_json::from_str(text).unwrap()
    }

    /// Each system call with its action and its condition.
    fn rules(profile: &Value) -> BTreeSet<String> {
        let rule = |rule: &Value| {
            let rest = format!("{} {} {}", rule["action"], rule["errnoRet"], rule["args"]);
            rule["names"].as_array().unwrap().iter().map(|name| format!("{name} {rest}")).collect::<Vec<_>>()
        };
        profile["syscalls"].as_array().unwrap().iter().flat_map(rule).collect()
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn the_profile_is_the_one_that_docker_hands_to_a_runtime() {
        let (ours, dockers) = (super::seccomp(), data(include_str!("../../../tests/data/docker-seccomp.json")));
        for member in ["defaultAction", "defaultErrnoRet", "architectures"] {
            assert_eq!(ours[member], dockers[member], "{member}");
        }
        let normal = |profile: &Value| -> BTreeSet<String> {
            rules(profile).into_iter().map(|rule| rule.replace(",\"valueTwo\":0", "")).collect()
        };
        assert_eq!(normal(&ours), normal(&dockers));
        assert_eq!(rules(&ours).len(), ours["syscalls"].as_array().unwrap().len() - 1 + super::names().count());
    }

    #[test]
    fn the_rest_is_what_docker_writes() {
        let dockers = data(include_str!("../../../tests/data/docker-config.json"));
        let ours = super::super::config(&super::super::Example { rootless: false, docker_default: true });
        let words = |config: &Value, pointer: &str| -> BTreeSet<String> {
            let list = config.pointer(pointer).unwrap().as_array().unwrap();
            list.iter().map(|word| word.as_str().unwrap().to_owned()).collect()
        };
        for set in ["bounding", "effective", "permitted"] {
            let pointer = format!("/process/capabilities/{set}");
            assert_eq!(words(&ours, &pointer), words(&dockers, &pointer), "{set}");
        }
        assert_eq!(words(&ours, "/linux/readonlyPaths"), words(&dockers, "/linux/readonlyPaths"));
        let mut masked = words(&ours, "/linux/maskedPaths");
        masked.retain(|path| !path.ends_with("/thermal_throttle"));
        assert_eq!(masked, words(&dockers, "/linux/maskedPaths"));
        let of_image = |mount: &&Value| mount["type"] != "bind";
        let mounts = |config: &Value| -> BTreeSet<String> {
            let list = config["mounts"].as_array().unwrap().iter().filter(of_image);
            let options = |mount: &Value| words(mount, "/options").into_iter().collect::<Vec<_>>().join(",");
            list.map(|mount| format!("{} {} {}", mount["destination"], mount["type"], options(mount))).collect()
        };
        let same_size = |text: String| text.replace("size=65536k", "size=67108864");
        assert_eq!(
            mounts(&ours).into_iter().map(same_size).collect::<BTreeSet<_>>(),
            mounts(&dockers).into_iter().map(same_size).collect()
        );
    }
}
