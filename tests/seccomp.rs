//! A real kernel takes the programs and enforces them; needs no root, only no_new_privs in a forked child.
#![allow(unsafe_code, clippy::unwrap_used, reason = "tests fork")]

use std::os::fd::{AsFd, OwnedFd};

use oci_spec::runtime::LinuxSeccomp;
use rustix::fs::{CWD, Mode, mkdirat};
use rustix::io::Errno;
use tare::internals::seccomp::plan::Handover;
use tare::internals::seccomp::{SeccompPlan, child, parent, plan};

fn docker() -> SeccompPlan {
    let profile: LinuxSeccomp = serde_json::from_str(include_str!("data/docker-seccomp.json")).unwrap();
    plan(&profile).unwrap()
}

fn planned(profile: serde_json::Value) -> SeccompPlan {
    plan(&serde_json::from_value(profile).unwrap()).unwrap()
}

/// Runs `body` in a forked child with no_new_privs; its exit code, or the signal that killed it as 128 + n.
fn in_child(body: impl FnOnce() -> u8) -> i32 {
    // SAFETY: the child only makes system calls on what is there already, and leaves by _exit.
    match unsafe { libc::fork() } {
        0 => {
            rustix::thread::set_no_new_privs(true).unwrap();
            let code = body();
            // SAFETY: ends the process without running anything of the parent's.
            unsafe { libc::_exit(i32::from(code)) }
        }
        pid => {
            assert!(pid > 0);
            let mut status = 0;
            // SAFETY: `status` is a live integer.
            assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
            if libc::WIFEXITED(status) { libc::WEXITSTATUS(status) } else { 128 + libc::WTERMSIG(status) }
        }
    }
}

/// Numbers the failed expectation.
fn first_failure(expectations: &[bool]) -> u8 {
    expectations.iter().position(|met| !met).map_or(0, |at| u8::try_from(at).unwrap() + 1)
}

#[test]
fn dockers_program_is_taken_and_enforced() {
    let plan = docker();
    let directory = tempfile::tempdir().unwrap();
    let path = std::ffi::CString::new(directory.path().join("made").to_str().unwrap()).unwrap();
    let code = in_child(|| {
        let installed = matches!(child::install(&plan), Ok(None));
        // SAFETY: none of these calls touches memory: the filter answers, or the arguments are empty.
        let raw = |number: libc::c_long, first: libc::c_long| unsafe { libc::syscall(number, first, 0, 0, 0, 0) };
        let errno = || std::io::Error::last_os_error().raw_os_error();
        first_failure(&[
            installed,
            mkdirat(CWD, &path, Mode::RWXU).is_ok(),
            raw(libc::SYS_unshare, 0) == -1 && errno() == Some(libc::EPERM),
            raw(libc::SYS_clone3, 0) == -1 && errno() == Some(libc::ENOSYS),
            raw(libc::SYS_socket, libc::AF_VSOCK.into()) == -1 && errno() == Some(libc::EPERM),
            raw(600, 0) == -1 && errno() == Some(libc::ENOSYS),
            raw(libc::SYS_personality, 0xffff_ffff) >= 0,
            raw(libc::SYS_personality, 7) == -1 && errno() == Some(libc::EPERM),
        ])
    });
    assert_eq!(code, 0, "expectation number {code}");
    assert!(directory.path().join("made").is_dir());
}

#[test]
fn a_killing_rule_kills_and_a_denying_one_denies() {
    let rule = |action: &str| {
        planned(serde_json::json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{"names": ["mkdirat", "mkdir"], "action": action}],
        }))
    };
    let mkdir = |plan: &SeccompPlan| {
        in_child(|| match child::install(plan) {
            Ok(_) => u8::from(mkdirat(CWD, c"/nonexistent/x", Mode::RWXU) == Err(Errno::PERM)),
            Err(_) => 99,
        })
    };
    assert_eq!(mkdir(&rule("SCMP_ACT_KILL_PROCESS")), 128 + libc::SIGSYS);
    assert_eq!(mkdir(&rule("SCMP_ACT_TRAP")), 128 + libc::SIGSYS);
    assert_eq!(mkdir(&rule("SCMP_ACT_ERRNO")), 1);
    assert_eq!(mkdir(&rule("SCMP_ACT_LOG")), 0, "the call itself fails with ENOENT");
}

#[test]
fn every_flag_is_taken() {
    for flags in [vec![], vec!["LOG"], vec!["SPEC_ALLOW"], vec!["TSYNC"], vec!["TSYNC", "LOG", "SPEC_ALLOW"]] {
        let flags: Vec<String> = flags.iter().map(|flag| format!("SECCOMP_FILTER_FLAG_{flag}")).collect();
        let plan = planned(serde_json::json!({"defaultAction": "SCMP_ACT_ALLOW", "flags": flags}));
        assert_eq!(in_child(|| u8::from(child::install(&plan).is_err())), 0, "{flags:?}");
    }
}

fn pair() -> (OwnedFd, OwnedFd) {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
    socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap()
}

/// The child is answered by an agent that got its listener in a ContainerProcessState.
fn agent_decides(intercepted: &[&str], handover: Handover) {
    use std::io::Read;
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("agent.sock");
    let plan = planned(serde_json::json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "flags": ["SECCOMP_FILTER_FLAG_TSYNC", "SECCOMP_FILTER_FLAG_SPEC_ALLOW"],
        "listenerPath": socket,
        "listenerMetadata": "for the agent",
        "syscalls": [{"names": intercepted, "action": "SCMP_ACT_NOTIFY"}],
    }));
    let notify = plan.notify.clone().unwrap();
    assert_eq!(notify.handover, handover);
    let agent = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let (ours, theirs) = pair();
    let state = r#"{"ociVersion":"1.2.0","id":"c1","status":"creating","pid":4711,"bundle":"/b"}"#;
    let runtime = std::thread::spawn(move || {
        let listener = parent::receive_listener(ours.as_fd()).unwrap().unwrap();
        parent::send_to_agent(listener.as_fd(), &notify, state).unwrap();
    });
    let serving = std::thread::spawn(move || {
        let (mut stream, _) = agent.accept().unwrap();
        let listener = parent::receive_listener(stream.as_fd());
        let mut rest = String::new();
        stream.read_to_string(&mut rest).unwrap();
        let listener = listener.unwrap().unwrap();
        refuse_one(&listener);
        rest
    });
    let code = in_child(|| {
        let Ok(Some(listener)) = child::install(&plan) else { return 1 };
        if child::send_listener(theirs.as_fd(), listener, notify_handover(&plan)).is_err() {
            return 2;
        }
        u8::from(mkdirat(CWD, c"/nonexistent/x", Mode::RWXU) != Err(Errno::XDEV)) * 3
    });
    assert_eq!(code, 0);
    runtime.join().unwrap();
    // The first byte went with the descriptor.
    let state: serde_json::Value = serde_json::from_str(&format!("{{{}", serving.join().unwrap())).unwrap();
    assert_eq!(state["ociVersion"], "1.2.0");
    assert_eq!(state["fds"], serde_json::json!(["seccompFd"]));
    assert_eq!(state["pid"], 4711);
    assert_eq!(state["metadata"], "for the agent");
    assert_eq!(state["state"]["id"], "c1");
}

fn notify_handover(plan: &SeccompPlan) -> Handover {
    plan.notify.as_ref().map_or(Handover::Sendmsg, |notify| notify.handover)
}

/// Answers the next call with EXDEV, as an agent does.
fn refuse_one(listener: &OwnedFd) {
    use std::os::fd::AsRawFd;
    const RECEIVE: libc::c_ulong = 0xc050_2100;
    const SEND: libc::c_ulong = 0xc018_2101;
    let mut request = [0_u64; 10];
    // SAFETY: `struct seccomp_notif` has 80 bytes.
    assert_eq!(unsafe { libc::ioctl(listener.as_raw_fd(), RECEIVE as _, &raw mut request) }, 0);
    let error = u64::from((-libc::EXDEV).cast_unsigned());
    let mut response = [request[0], 0, error];
    // SAFETY: `struct seccomp_notif_resp` has 24 bytes: id, val, error and flags.
    assert_eq!(unsafe { libc::ioctl(listener.as_raw_fd(), SEND as _, &raw mut response) }, 0);
}

#[test]
fn an_agent_decides_about_a_call() {
    agent_decides(&["mkdirat"], Handover::Sendmsg);
}

#[test]
fn an_agent_may_decide_about_sendmsg_too() {
    agent_decides(&["mkdirat", "sendmsg", "sendto", "close", "connect"], Handover::Sendmmsg);
}

#[test]
fn an_agent_that_is_not_there_is_named() {
    let plan = planned(serde_json::json!({
        "defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/nonexistent/agent.sock",
        "syscalls": [{"names": ["mkdirat"], "action": "SCMP_ACT_NOTIFY"}],
    }));
    let (listener, socket) = pair();
    drop(socket);
    let error = parent::send_to_agent(listener.as_fd(), &plan.notify.unwrap(), "{}").unwrap_err();
    assert_eq!(
        error.to_string(),
        "linux.seccomp.listenerPath: send the seccomp listener to the agent at /nonexistent/agent.sock: \
         no such file or directory"
    );
    // The child ended before it sent anything.
    assert!(parent::receive_listener(listener.as_fd()).unwrap().is_none());
}
