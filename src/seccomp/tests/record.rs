//! Recordings: what is reported, what is written, and that it is never weaker than the profile in force.

use std::sync::atomic::AtomicU64;

use oci_spec::runtime::{Arch, LinuxSeccomp, LinuxSeccompAction as Action};
use proptest::prelude::{ProptestConfig, Strategy, prop, proptest};
use serde_json::{Value, json};

use super::interpreter::{Call, check, run};
use super::random;
use super::{docker, profile, refusing};
use crate::seccomp::abi::Abi;
use crate::seccomp::compile::compile;
use crate::seccomp::decide::decide;
use crate::seccomp::profile::Profile;
use crate::seccomp::record::{self, Calls, written};
use crate::seccomp::tables::{find, known};

const MARK: [u32; 3] = [0x0102_0304, 0x0506_0708, 0x090a_0b0c];
const NATIVE: Abi = Abi::NATIVE.unwrap();

fn compiled(profile: &LinuxSeccomp) -> Vec<seccompiler::sock_filter> {
    compile(&decide(&Profile::read(profile).unwrap())).unwrap()
}

fn seen(in_force: Option<&LinuxSeccomp>, made: &[Call]) -> Calls {
    let page: Vec<AtomicU64> = (0..512).map(|_| AtomicU64::new(0)).collect();
    made.iter().for_each(|call| record::note(&page, call.arch, call.number, call.args[0]));
    record::seen(&page, in_force.is_some_and(record::refuses_by_default))
}

fn permits(action: u32) -> bool {
    (libc::SECCOMP_RET_LOG..=libc::SECCOMP_RET_ALLOW).contains(&action)
}

fn native(name: &str, args: [u64; 6]) -> Call {
    Call { arch: NATIVE.audit(), number: NATIVE.number(NATIVE.direct(find(name).unwrap()).unwrap()), args }
}

fn plain(name: &str) -> Call {
    native(name, [0; 6])
}

#[test]
fn what_the_profile_refuses_is_not_reported() {
    // openat2 is newer than all others: what is newer than the profile would get ENOSYS.
    let profile = refusing(json!([
        { "names": ["read", "openat2"], "action": "SCMP_ACT_ALLOW" },
        { "names": ["write"], "action": "SCMP_ACT_LOG" },
        { "names": ["close"], "action": "SCMP_ACT_KILL_PROCESS" },
        { "names": ["ptrace"], "action": "SCMP_ACT_TRACE" },
    ]));
    let plan = record::plan(Some(&profile), MARK).unwrap();
    check(&plan.program);
    let answer = |call: &Call| run(&plan.program, call);
    for (name, expected) in [
        ("read", libc::SECCOMP_RET_USER_NOTIF),
        ("write", libc::SECCOMP_RET_USER_NOTIF),
        ("mkdirat", libc::SECCOMP_RET_ERRNO | 1),
        ("sendmsg", libc::SECCOMP_RET_ERRNO | 1),
        ("close", libc::SECCOMP_RET_KILL_PROCESS),
        ("ptrace", libc::SECCOMP_RET_TRACE | 1),
    ] {
        assert_eq!(answer(&plain(name)), expected, "{name}");
        let marked = native(name, [3, 0, 0, MARK[0].into(), MARK[1].into(), MARK[2].into()]);
        let exempt = ["sendmsg", "close"].contains(&name);
        assert_eq!(answer(&marked), if exempt { libc::SECCOMP_RET_ALLOW } else { expected }, "marked {name}");
    }
    for at in 3..6 {
        let mut half = native("sendmsg", [3, 0, 0, MARK[0].into(), MARK[1].into(), MARK[2].into()]);
        half.args[at] ^= 1;
        assert_eq!(answer(&half), libc::SECCOMP_RET_ERRNO | 1);
    }
    let none = record::plan(None, MARK).unwrap();
    check(&none.program);
    assert_eq!(run(&none.program, &plain("read")), libc::SECCOMP_RET_USER_NOTIF);
    assert_eq!(run(&none.program, &Call { arch: 0x1234, ..plain("read") }), libc::SECCOMP_RET_USER_NOTIF);
}

#[test]
fn an_agents_profile_is_not_recorded() {
    let mut profile = refusing(json!([{ "names": ["read"], "action": "SCMP_ACT_NOTIFY" }]));
    let refusal = |profile: &LinuxSeccomp| record::plan(Some(profile), MARK).unwrap_err().to_string();
    let line = "linux.seccomp: a profile with SCMP_ACT_NOTIFY cannot be recorded: \
                a process can have only one seccomp listener";
    assert_eq!(refusal(&profile), line);
    profile.set_syscalls(None).set_default_action(Action::ScmpActNotify);
    assert_eq!(refusal(&profile), line);
}

fn rules(in_force: Option<&LinuxSeccomp>, made: &[Call]) -> Value {
    serde_json::to_value(written(in_force, &seen(in_force, made)).profile).unwrap()
}

#[test]
fn without_a_profile_in_force_the_names_are_all() {
    let (socket, architectures) = if cfg!(target_arch = "x86_64") {
        let socketcall = Call { arch: Abi::X86.audit(), number: 102, args: [1, 0, 0, 0, 0, 0] };
        (socketcall, json!(["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"]))
    } else {
        (plain("socket"), json!([NATIVE.arch()]))
    };
    let made = [plain("read"), plain("openat"), socket];
    let mut names = vec!["execve", "exit", "exit_group", "openat", "read", "restart_syscall", "rt_sigreturn"];
    // The ABIs of 32-bit x86 and arm alone have it.
    if cfg!(any(target_arch = "x86_64", target_arch = "x86", target_arch = "arm")) {
        names.push("sigreturn");
    }
    names.push("socket");
    assert_eq!(
        rules(None, &made),
        json!({
            "defaultAction": "SCMP_ACT_ERRNO",
            "architectures": architectures,
            "syscalls": [{ "names": names, "action": "SCMP_ACT_ALLOW" }],
        })
    );
}

#[test]
fn the_rules_in_force_are_kept_for_recorded_names() {
    let vsock = json!([{ "index": 0, "value": 40, "op": "SCMP_CMP_NE" }]);
    let in_force = refusing(json!([
        { "names": ["read", "mkdir", "exit"], "action": "SCMP_ACT_ALLOW" },
        { "names": ["socket", "bind"], "action": "SCMP_ACT_ALLOW", "args": vsock },
        { "names": ["clone3", "bpf"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38 },
    ]));
    let found = rules(Some(&in_force), &[plain("read"), plain("socket")]);
    assert_eq!(found["architectures"], json!([NATIVE.arch()]));
    assert_eq!(
        found["syscalls"],
        json!([
            { "names": ["read", "exit"], "action": "SCMP_ACT_ALLOW" },
            { "names": ["socket"], "action": "SCMP_ACT_ALLOW", "args": vsock },
            { "names": ["clone3", "bpf"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38 },
        ])
    );
}

#[test]
#[cfg_attr(not(target_arch = "x86_64"), ignore = "the calls are those of amd64")]
fn a_default_that_allows_becomes_rules() {
    let condition = |op: &str, value: u64| json!([{ "index": 0, "value": value, "op": op }]);
    let in_force = profile(json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
        { "names": ["mkdir"], "action": "SCMP_ACT_KILL_PROCESS" },
        { "names": ["socket"], "action": "SCMP_ACT_KILL", "args": condition("SCMP_CMP_EQ", 40) },
        { "names": ["write"], "action": "SCMP_ACT_LOG" },
        { "names": ["dup2"], "action": "SCMP_ACT_KILL", "args": condition("SCMP_CMP_GT", 7) },
        { "names": ["dup2"], "action": "SCMP_ACT_KILL", "args": condition("SCMP_CMP_LT", 3) },
    ]}));
    let made = ["read", "socket", "write", "dup2"].map(plain);
    let found = written(Some(&in_force), &seen(Some(&in_force), &made));
    assert_eq!(found.left_out, ["dup2"]);
    let found = serde_json::to_value(found.profile).unwrap();
    assert_eq!(found["defaultAction"], "SCMP_ACT_ERRNO");
    let rule = |name: &str| {
        let rules = found["syscalls"].as_array().unwrap().iter();
        let rules = rules.filter(|rule| rule["names"].as_array().unwrap().contains(&json!(name)));
        rules.map(|rule| json!([rule["action"], rule["args"]])).collect::<Vec<_>>()
    };
    assert_eq!(rule("mkdir"), [json!(["SCMP_ACT_KILL_PROCESS", null])]);
    assert_eq!(
        rule("socket"),
        [
            json!(["SCMP_ACT_KILL", condition("SCMP_CMP_EQ", 40)]),
            json!(["SCMP_ACT_ALLOW", condition("SCMP_CMP_NE", 40)]),
        ]
    );
    assert_eq!(rule("write"), [json!(["SCMP_ACT_LOG", null])]);
    assert_eq!(rule("read"), [json!(["SCMP_ACT_ALLOW", null])]);
}

/// semop(2) of i386.
#[cfg(target_arch = "x86_64")]
const IPC: Call = Call { arch: 0x4000_0003, number: 117, args: [1, 0, 0, 0, 0, 0] };

#[test]
#[cfg(target_arch = "x86_64")]
fn a_log_of_what_contains_a_call_stays() {
    let in_force =
        profile(json!({ "defaultAction": "SCMP_ACT_ERRNO", "architectures": ["SCMP_ARCH_X86"], "syscalls": [
            { "names": ["semop", "open"], "action": "SCMP_ACT_ALLOW" },
            { "names": ["ipc"], "action": "SCMP_ACT_LOG" },
        ]}));
    let found = written(Some(&in_force), &seen(Some(&in_force), &[IPC])).profile;
    assert_eq!(run(&compiled(&in_force), &IPC), libc::SECCOMP_RET_LOG);
    assert_eq!(run(&compiled(&found), &IPC), libc::SECCOMP_RET_LOG);
    assert!(!serde_json::to_string(&found).unwrap().contains("open"));
}

#[test]
#[cfg(target_arch = "x86_64")]
fn rules_that_contradict_each_other_inside_ipc_allow_nothing() {
    let in_force =
        profile(json!({ "defaultAction": "SCMP_ACT_TRACE", "architectures": ["SCMP_ARCH_X86"], "syscalls": [
            { "names": ["semop"], "action": "SCMP_ACT_ALLOW" },
            { "names": ["semop"], "action": "SCMP_ACT_KILL" },
        ]}));
    let found = written(Some(&in_force), &seen(Some(&in_force), &[plain("semop"), IPC]));
    assert_eq!(found.left_out, ["semop"]);
    assert_eq!(run(&compiled(&in_force), &IPC), libc::SECCOMP_RET_KILL_THREAD);
    assert_eq!(run(&compiled(&found.profile), &IPC), libc::SECCOMP_RET_KILL_THREAD);
}

#[test]
fn every_number_that_the_machine_has_is_named() {
    for abi in Abi::REACHABLE.iter().copied() {
        for name in known() {
            let Some(number) = abi.direct(find(name).unwrap()) else { continue };
            // Not a call inside the multiplexers.
            let call = Call { arch: abi.audit(), number: abi.number(number), args: [0; 6] };
            let calls = seen(None, &[call]);
            let found = serde_json::to_value(written(None, &calls).profile).unwrap();
            assert!(found["syscalls"][0]["names"].as_array().unwrap().contains(&json!(name)), "{name} of {abi:?}");
            assert!(calls.unnamed.is_empty());
        }
    }
    let odd = [
        Call { arch: NATIVE.audit(), number: 600, args: [0; 6] },
        Call { arch: 0x1234, number: u32::MAX, args: [0; 6] },
    ];
    let unnamed = [
        format!("number 600 of architecture 0x{:x}", NATIVE.audit()),
        "number 4294967295 of architecture 0x1234".to_string(),
    ];
    assert_eq!(seen(None, &[odd[0], odd[1], odd[0]]).unnamed, unnamed);
}

#[test]
#[cfg_attr(not(target_arch = "x86_64"), ignore = "the calls are those of amd64")]
fn docker_stays_docker() {
    let in_force = docker();
    let every: Vec<Call> = (0..470).map(|number| Call { arch: NATIVE.audit(), number, args: [0; 6] }).collect();
    let found = written(Some(&in_force), &seen(Some(&in_force), &every)).profile;
    assert_eq!(found.architectures().as_deref(), Some(&[Arch::ScmpArchX86_64][..]));
    let (before, after) = (compiled(&in_force), compiled(&found));
    for call in &every {
        assert_eq!(run(&before, call), run(&after, call), "{}", call.number);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]
    #[test]
    fn the_written_profile_allows_what_was_recorded_and_no_more_than_before(
        in_force in prop::option::of(random::profile()).prop_map(without_agent),
        tried in prop::collection::vec(random::call_of_a_name(), 20),
        others in prop::collection::vec(random::call_of_a_name(), 40),
    ) {
        let in_force = in_force.as_ref();
        let reporting = record::plan(in_force, MARK).unwrap().program;
        check(&reporting);
        let is_made = |call: &&Call| run(&reporting, call) == libc::SECCOMP_RET_USER_NOTIF;
        let made: Vec<Call> = tried.iter().filter(is_made).copied().collect();
        let calls = seen(in_force, &made);
        let found = written(in_force, &calls);
        let (program, before) = (compiled(&found.profile), in_force.map(compiled));
        for call in tried.iter().chain(&others) {
            let before = before.as_ref().map_or(libc::SECCOMP_RET_ALLOW, |program| run(program, call));
            let after = run(&program, call);
            proptest::prop_assert!(
                !permits(after) || after <= before && permits(before),
                "{:x?}: {:#x} became {:#x} of {:?}", call, before, after, in_force,
            );
        }
        if found.left_out.is_empty() && calls.unnamed.is_empty() {
            for call in made.iter().filter(|call| call.arch == NATIVE.audit()) {
                proptest::prop_assert!(permits(run(&program, call)), "{:x?} of {:?}", call, in_force);
            }
        }
        // A second run adds, and takes nothing away.
        proptest::prop_assert_eq!(&written(in_force, &Calls::of(&found.profile)).profile, &found.profile);
    }
}

/// Agents are refused.
fn without_agent(profile: Option<LinuxSeccomp>) -> Option<LinuxSeccomp> {
    let mut profile = profile?;
    if profile.default_action() == Action::ScmpActNotify {
        profile.set_default_action(Action::ScmpActAllow);
    }
    let mut rules = profile.syscalls().clone().unwrap_or_default();
    rules.retain(|rule| rule.action() != Action::ScmpActNotify);
    profile.set_syscalls(Some(rules));
    Some(profile)
}
