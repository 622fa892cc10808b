//! Class 42: annotations that some runtime gives a meaning to: what they ask for is done, or it is said that it is not.

use std::fs;

use serde_json::json;

use crate::bundle::{Bundle, finish, is_tare};
use crate::support::{only_tare, skip};

/// Annotations of runc and crun, each with a value that asks for something which can hardly be done here. To do as if
/// nothing was asked is the one thing that is wrong. Sources: runc's docs/systemd.md and docs/checkpoint; crun.1.
const ASKED: &[(&str, &str)] = &[
    ("run.oci.handler", "wasm-of-nobody"),
    ("run.oci.pidfd_receiver", "/nowhere/pidfd.sock"),
    ("run.oci.seccomp_bpf_data", "not base64"),
    ("run.oci.seccomp.receiver", "/nowhere/seccomp.sock"),
    ("run.oci.seccomp.plugins", "/nowhere/plugin.so"),
    ("run.oci.mount_context_type", "nonsense"),
    ("run.oci.hooks.stdout", "/nowhere/stdout"),
    ("run.oci.hooks.stderr", "/nowhere/stderr"),
    ("run.oci.systemd.force_cgroup_v1", "/sys/fs/cgroup/systemd"),
    ("module.wasm.image/variant", "compat"),
    ("krun.cpus", "2"),
    ("krun.ram_mib", "512"),
    ("krun.gpu_flags", "1"),
    ("krun.nested_virt", "1"),
    ("krun.variant", "sev"),
    ("krun.use_passt", "1"),
    ("org.systemd.property.TimeoutStopUSec", "no number"),
];

/// To know the annotations of all peers is a promise of tare's own.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn class_42_no_annotation_is_dropped_silently() {
    if !only_tare() {
        return;
    }
    let mut silent = Vec::new();
    for (key, value) in ASKED {
        for command in ["run", "create"] {
            let mut bundle = Bundle::new();
            bundle.set("/annotations", json!({ *key: value }));
            // Without a hook nothing has an output.
            bundle.set("/hooks", json!({ "createRuntime": [{ "path": "/bin/true", "args": ["true"] }] })).write();
            let done = bundle.on(command);
            let lines: Vec<_> = done.stderr.lines().filter(|line| line.contains(key)).collect();
            if lines.len() != 1 || done.stderr.lines().count() != 1 {
                silent.push(format!("{command} with {key}={value}: {} {:?}", done.code, done.stderr));
            }
            bundle.tare(&["delete", "--force", &bundle.id]);
            bundle.reap_orphans();
            bundle.assert_nothing_left();
        }
    }
    assert!(silent.is_empty(), "no one line about what was asked:\n{}", silent.join("\n"));
}

/// Those that can be honoured are, and are worth no line.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn class_42_annotations_that_are_honoured() {
    let mut bundle = Bundle::new();
    let [out, err] = ["hook-out", "hook-err"].map(|name| bundle.file(name));
    let hook = json!({ "path": "/bin/sh", "args": ["sh", "-c", "echo says; echo warns >&2"] });
    bundle.set("/hooks", json!({ "createRuntime": [hook] }));
    bundle.set(
        "/annotations",
        json!({
            "run.oci.hooks.stdout": out.display().to_string(),
            "run.oci.hooks.stderr": err.display().to_string(),
            "run.oci.delegate-cgroup": "",
            "org.example.anything": "is nobody's business",
            "io.kubernetes.cri.container-type": "container",
        }),
    );
    bundle.run().silent();
    if !is_tare() && !out.exists() {
        return skip("this runtime has no annotations for the output of hooks");
    }
    assert_eq!(fs::read_to_string(out).unwrap(), "says\n");
    assert_eq!(fs::read_to_string(err).unwrap(), "warns\n");
}

/// A call that no table knows is skipped with a profile, unless this forbids it; and filter flags come along.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn class_42_seccomp_by_annotation() {
    let mut bundle = Bundle::new();
    bundle.set("/annotations", json!({ "run.oci.seccomp_fail_unknown_syscall": "1" }));
    let rule = json!({ "names": ["call_of_tomorrow"], "action": "SCMP_ACT_ERRNO" });
    bundle.set("/linux/seccomp", json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule] })).write();
    let done = finish(bundle.command(&["run", &bundle.id]));
    if !is_tare() && done.code == 0 {
        return skip("this runtime skips system calls that it does not know");
    }
    assert!(done.code != 0 && done.stderr.contains("call_of_tomorrow"), "{done:?}");
}

/// base64 of instructions, by hand.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let four = |three: &[u8]| {
        let bits = (0..3).fold(0, |bits, at| bits << 8 | usize::from(*three.get(at).unwrap_or(&0)));
        let digit = |at: usize| if at > three.len() { '=' } else { char::from(DIGITS[bits >> (18 - 6 * at) & 63]) };
        [0, 1, 2, 3].map(digit)
    };
    bytes.chunks(3).flat_map(four).collect()
}

/// A ready-made filter holds for init and for exec, and takes the place of the profile.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn class_42_a_ready_made_seccomp_filter() {
    if !only_tare() || !cfg!(target_arch = "x86_64") {
        return;
    }
    let mut bundle = Bundle::script("mkdir /tmp/a; echo $? > /tmp/done; sleep 1000");
    // ld nr; jeq mkdir, errno; jeq mkdirat, errno; ret allow; ret errno(EPERM).
    let code = |code: u16, jt: u8, k: u32| [&code.to_ne_bytes()[..], &[jt, 0], &k.to_ne_bytes()].concat();
    let filter =
        [code(0x20, 0, 0), code(0x15, 2, 83), code(0x15, 1, 258), code(6, 0, 0x7fff_0000), code(6, 0, 0x5_0001)];
    bundle.set("/annotations", json!({ "run.oci.seccomp_bpf_data": base64(&filter.concat()) }));
    bundle.set("/linux/seccomp", json!({ "defaultAction": "SCMP_ACT_KILL_PROCESS" }));
    bundle.begin();
    assert_eq!(bundle.wait_file("tmp/done"), "1\n");
    let done = bundle.exec("mkdir /tmp/b; grep Seccomp: /proc/self/status");
    assert!(done.stderr.contains("Operation not permitted") && done.stdout.ends_with("\t2\n"), "{done:?}");
    // The kernel does not take every program: nothing is run without it.
    let mut bundle = Bundle::script("echo ran");
    bundle.set("/annotations", json!({ "run.oci.seccomp_bpf_data": base64(&code(0x20, 0, 0)) })).write();
    let line = bundle.on("run").refused();
    assert!(line.starts_with("annotations[\"run.oci.seccomp_bpf_data\"]: "), "{line}");
    bundle.assert_nothing_left();
}

/// init's pidfd goes to who asks for it by annotation.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn class_42_a_receiver_of_the_pidfd() {
    if !only_tare() {
        return;
    }
    let mut bundle = Bundle::script("sleep 1000");
    let path = bundle.file("receiver");
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    bundle.set("/annotations", json!({ "run.oci.pidfd_receiver": path.display().to_string() }));
    bundle.begin();
    let (mut socket, _) = listener.accept().unwrap();
    let mut payload = String::new();
    std::io::Read::read_to_string(&mut socket, &mut payload).unwrap();
    assert_eq!(payload, "standard");
}
