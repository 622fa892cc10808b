//! Every class again, with a kernel that refuses: where a system call of the runtime fails, the container is refused, or
//! it is exactly as confined as it would have been.

use std::fs;

use serde_json::json;

use crate::bundle::Bundle;
use crate::requests::CAN_FAIL;
use crate::support::{mount, only_tare, rounds, skip};
use crate::trace::{self, Aim, Blow};

/// What the program says of its own confinement.
const REPORT: &str = "{ id; cat /proc/self/status /proc/self/mountinfo /proc/self/cgroup /proc/self/limits
    ls /proc/self/fd /proc/kcore /proc/acpi; cat /proc/sys/net/ipv4/ip_forward /proc/self/oom_score_adj
    cat /proc/self/uid_map; (: </denied) && echo reached; hostname; ls -l /dev; tail -n 3 /proc/keys
    for n in cgroup ipc mnt net pid uts; do readlink /proc/self/ns/$n; done; echo over; } 2>&1";

/// Lines that differ from run to run, and numbers of namespaces, mounts and keys.
fn comparable(report: &str) -> Vec<String> {
    let noise =
        ["ctxt_switches", "Vm", "Rss", "Cpus_allowed", "Mems", "Pid:", "id:\t", "PPid", "NS", "SigQ", "Hugetlb"];
    let is_noise = |line: &&str| noise.iter().any(|word| line.contains(word)) && !line.starts_with(['U', 'G']);
    // The link is left out where access(2) does not find /proc/kcore.
    let lines = report.lines().filter(|line| !is_noise(line) && !line.ends_with("core -> /proc/kcore"));
    let words = |line: &str| line.split_whitespace().map(without_number).collect::<Vec<_>>().join(" ");
    // In which order mounts are listed depends on who opened their sources.
    let mut lines: Vec<_> = lines.map(words).collect();
    lines.sort();
    lines
}

/// Numbers of more than two digits are inodes, times and ids of mounts; but capabilities and modes count.
fn without_number(word: &str) -> String {
    if word.len() == 16 && word.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return word.to_string();
    }
    let is_number = |part: &&str| part.len() > 1 && part.bytes().all(|byte| byte.is_ascii_digit());
    let parts = word.split_inclusive(|c: char| !c.is_ascii_alphanumeric());
    parts.map(|part| if is_number(&part.trim_end_matches([':', ']', ','])) { "N" } else { part }).collect()
}

fn bundle() -> Bundle {
    let mut bundle = Bundle::script(&format!("{REPORT} >/tmp/report"));
    let rootfs = bundle.file("rootfs");
    fs::set_permissions(rootfs.join("tmp"), std::os::unix::fs::PermissionsExt::from_mode(0o1777)).unwrap();
    let mode = rustix::fs::Mode::from_raw_mode(0o666);
    let kind = rustix::fs::FileType::CharacterDevice;
    rustix::fs::mknodat(rustix::fs::CWD, rootfs.join("denied"), kind, mode, rustix::fs::makedev(1, 2)).unwrap();
    bundle.set("/process/user", json!({ "uid": 5, "gid": 6, "additionalGids": [7] }));
    bundle.set("/process/oomScoreAdj", json!(100));
    bundle.set("/process/rlimits", json!([{ "type": "RLIMIT_NOFILE", "soft": 64, "hard": 64 }]));
    bundle.set("/linux/sysctl", json!({ "net.ipv4.ip_forward": "1" }));
    bundle.set("/linux/maskedPaths", json!(["/proc/keys", "/proc/version", "/proc/acpi", "/etc/passwd"]));
    bundle.set("/linux/readonlyPaths", json!(["/proc/sys", "/etc"]));
    bundle.set("/mounts/-", mount("/sys/fs/cgroup", "cgroup", "cgroup", &["ro", "nosuid", "noexec", "nodev"]));
    bundle.set("/root/readonly", json!(true));
    bundle.set("/mounts/-", mount("/tmp", "bind", rootfs.join("tmp").to_str().unwrap(), &["rbind", "nosuid"]));
    let denied = json!([{ "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO" }]);
    bundle.set("/linux/seccomp", json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": denied }));
    bundle.write();
    bundle
}

/// Runs a command with the call at `at` failing; its exit code, and what the program reported if it ran.
fn attempt(bundle: &Bundle, args: &[&str], at: usize, blow: Blow) -> (i32, Option<Vec<String>>, Vec<u64>) {
    let report = bundle.file("rootfs/tmp/report");
    let _absent = fs::remove_file(&report);
    let traced = trace::run(bundle.command(args), Aim { at, blow, pure: false }, tempfile::tempfile().unwrap());
    if args[0] == "run" {
        bundle.tare(&["delete", "--force", &bundle.id]);
    }
    bundle.reap_orphans();
    let (code, calls) = traced.map_or((-1, Vec::new()), |traced| (traced.code, traced.calls));
    let text = fs::read_to_string(&report).ok().filter(|text| text.ends_with("over\n"));
    (code, text.map(|text| comparable(&text)), calls)
}

/// Spread over the calls: as many as there are rounds, nightly all of them.
fn weaker_after(errno: i32, command: &str) {
    if !only_tare() {
        return;
    }
    if !CAN_FAIL {
        return skip("calls can be made to fail on x86-64 alone");
    }
    let mut bundle = bundle();
    let line = format!("{REPORT} >/tmp/report");
    let id = bundle.id.clone();
    let args = if command == "run" { vec!["run", &id] } else { vec!["exec", &*id, "/bin/sh", "-c", &line] };
    if command == "exec" {
        bundle.set("/process/args", json!(["/bin/sleep", "1000"]));
        bundle.begin();
    }
    let (code, usual, calls) = attempt(&bundle, &args, usize::MAX, Blow::Count);
    let usual = usual.unwrap();
    assert_eq!(code, 0, "{usual:#?}");
    assert!(usual.contains(&"Seccomp: 2".to_string()) && usual.contains(&"CapEff: 0000000000000000".to_string()));
    // The program's own calls are not the runtime's.
    let execs: Vec<_> = (0..calls.len()).filter(|at| calls[*at] == libc::SYS_execve.cast_unsigned()).collect();
    let program = execs[execs.iter().position(|at| *at > 20).unwrap()];
    let step = (program / rounds().max(1)).max(1);
    let mut weaker = Vec::new();
    for at in (0..program).step_by(step) {
        let (code, report, _) = attempt(&bundle, &args, at, Blow::FailWith(errno));
        if let Some(report) = report.filter(|report| *report != usual) {
            let missing = |from: &[String], of: &[String]| {
                let count = |lines: &[String], line: &String| lines.iter().filter(|other| *other == line).count();
                let lost = |line: &&String| count(of, line) != count(from, line);
                from.iter().filter(lost).cloned().collect::<Vec<_>>()
            };
            let (lost, new) = (missing(&usual, &report), missing(&report, &usual));
            weaker.push(format!("call {at} ({}), exit code {code}: {lost:?} became {new:?}", calls[at]));
        } else if code == -1 {
            weaker.push(format!("call {at} ({}): hangs", calls[at]));
        }
    }
    let count = weaker.len();
    weaker.truncate(8);
    assert!(count == 0, "{count} of {program} calls:\n{}", weaker.join("\n"));
}

/// The classes of confinement: 9, 11, 12, 23 and every mask and mount.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn class_09_no_refusal_of_the_kernel_weakens_a_container() {
    weaker_after(libc::EPERM, "run");
}

/// EINVAL is what an older kernel says, and what careless code takes for "not needed here".
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn class_09_nor_does_an_older_kernel() {
    weaker_after(libc::EINVAL, "run");
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn class_09_nor_is_an_exec_weakened() {
    weaker_after(libc::EPERM, "exec");
    weaker_after(libc::EINVAL, "exec");
}
