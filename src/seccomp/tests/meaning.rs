//! The meaning of profiles, case by case.

use serde_json::{Value, json};

use super::interpreter::{Call, run};
use super::{profile, refusing};
use crate::seccomp::plan;
use crate::seccomp::plan::Handover;

const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
const EPERM: u32 = libc::SECCOMP_RET_ERRNO | 1;
const ENOSYS: u32 = libc::SECCOMP_RET_ERRNO | 38;
const KILL: u32 = libc::SECCOMP_RET_KILL_THREAD;
const X86_64: u32 = 0xc000_003e;
const X86: u32 = 0x4000_0003;
const AARCH64: u32 = 0xc000_00b7;
const ARM: u32 = 0x4000_0028;

fn answer(profile: &oci_spec::runtime::LinuxSeccomp, arch: u32, number: u32, args: &[u64]) -> u32 {
    let mut all = [0; 6];
    all[..args.len()].copy_from_slice(args);
    run(&plan(profile).unwrap().program, &Call { arch, number, args: all })
}

fn arg(index: u32, op: &str, value: u64) -> Value {
    json!({"index": index, "value": value, "op": op})
}

#[test]
fn every_action_has_its_value() {
    let cases = [
        ("SCMP_ACT_KILL", json!(null), 0),
        ("SCMP_ACT_KILL_THREAD", json!(null), 0),
        ("SCMP_ACT_KILL_PROCESS", json!(null), 0x8000_0000),
        ("SCMP_ACT_TRAP", json!(null), 0x0003_0000),
        ("SCMP_ACT_ERRNO", json!(5), 0x0005_0005),
        ("SCMP_ACT_ERRNO", json!(0), 0x0005_0000),
        ("SCMP_ACT_TRACE", json!(null), 0x7ff0_0001),
        ("SCMP_ACT_TRACE", json!(0xffff), 0x7ff0_ffff),
        ("SCMP_ACT_LOG", json!(null), 0x7ffc_0000),
        ("SCMP_ACT_ALLOW", json!(null), 0x7fff_0000),
        ("SCMP_ACT_NOTIFY", json!(null), 0x7fc0_0000),
    ];
    for (action, data, value) in cases {
        let mut rules =
            json!([{"names": ["mkdir"], "action": action}, {"names": ["sendmsg"], "action": "SCMP_ACT_ALLOW"}]);
        if !data.is_null() {
            rules[0]["errnoRet"] = data;
        }
        let mut profile = refusing(rules);
        profile.set_listener_path(Some("/agent.sock".into()));
        assert_eq!(answer(&profile, X86_64, 83, &[]), value, "{action}");
    }
}

#[test]
#[cfg_attr(target_arch = "x86", ignore = "the native architecture is one that the profile does not list")]
fn architectures_that_are_not_listed_kill_and_the_native_one_is_always_listed() {
    let profile = profile(json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_ARM"],
    }));
    assert_eq!(answer(&profile, X86, 3, &[]), KILL);
    assert_eq!(answer(&profile, X86_64, 0x4000_0001, &[]), KILL, "x32 is an architecture of its own");
    assert_eq!(answer(&profile, X86_64, u32::MAX, &[]), ALLOW, "but -1 is how tracers skip calls");
    assert_eq!(answer(&profile, ARM, 3, &[]), ALLOW);
    assert_eq!(answer(&profile, crate::seccomp::abi::Abi::NATIVE.unwrap().audit(), 3, &[]), ALLOW);
}

#[test]
fn newer_calls_than_the_profile_names_get_enosys_unless_calls_pass_by_default() {
    let mut profile = refusing(json!([{"names": ["mkdirat", "nosuchcall"], "action": "SCMP_ACT_ERRNO"}]));
    assert_eq!(answer(&profile, X86_64, 258, &[]), EPERM);
    assert_eq!(answer(&profile, X86_64, 0, &[]), EPERM);
    assert_eq!(answer(&profile, X86_64, 259, &[]), ENOSYS);
    assert_eq!(answer(&profile, X86_64, 0x4000_0000 | 258, &[]), EPERM);
    assert_eq!(answer(&profile, X86_64, 0x4000_0000 | 259, &[]), ENOSYS);
    assert_eq!(answer(&profile, AARCH64, 34, &[]), EPERM);
    assert_eq!(answer(&profile, AARCH64, 35, &[]), ENOSYS);
    for (action, value) in [("KILL", ENOSYS), ("TRAP", ENOSYS), ("TRACE", 0x7ff0_0001), ("LOG", 0x7ffc_0000)] {
        profile.set_default_action(serde_json::from_value(json!(format!("SCMP_ACT_{action}"))).unwrap());
        assert_eq!(answer(&profile, X86_64, 259, &[]), value, "{action}");
    }
}

#[test]
fn a_profile_that_names_nothing_has_no_newest_call() {
    assert_eq!(answer(&refusing(json!([])), X86_64, 10_000, &[]), EPERM);
}

#[test]
fn private_calls_of_arm_do_not_make_every_number_old() {
    let profile = refusing(json!([{"names": ["read", "set_tls"], "action": "SCMP_ACT_ALLOW"}]));
    assert_eq!(answer(&profile, ARM, 0xf_0005, &[]), ALLOW);
    assert_eq!(answer(&profile, ARM, 3, &[]), ALLOW);
    assert_eq!(answer(&profile, ARM, 2, &[]), EPERM);
    assert_eq!(answer(&profile, ARM, 4, &[]), ENOSYS);
    assert_eq!(answer(&profile, ARM, 0xf_0002, &[]), ENOSYS);
}

#[test]
fn conditions_on_different_arguments_must_all_hold_and_on_the_same_any() {
    let both = json!([{"names": ["mkdir"], "action": "SCMP_ACT_ALLOW",
        "args": [arg(0, "SCMP_CMP_EQ", 1), arg(1, "SCMP_CMP_GE", 0x1_0000_0000)]}]);
    assert_eq!(answer(&refusing(both.clone()), X86_64, 83, &[1, 0x1_0000_0000]), ALLOW);
    assert_eq!(answer(&refusing(both.clone()), X86_64, 83, &[2, 0x1_0000_0000]), EPERM);
    assert_eq!(answer(&refusing(both), X86_64, 83, &[1, 0xffff_ffff]), EPERM);
    let any = json!([{"names": ["mkdir"], "action": "SCMP_ACT_ALLOW",
        "args": [arg(0, "SCMP_CMP_EQ", 1), arg(0, "SCMP_CMP_EQ", 2), arg(1, "SCMP_CMP_EQ", 7)]}]);
    for (args, value) in [([1, 0], ALLOW), ([2, 0], ALLOW), ([3, 7], ALLOW), ([3, 8], EPERM)] {
        assert_eq!(answer(&refusing(any.clone()), X86_64, 83, &args), value, "{args:?}");
    }
}

#[test]
fn narrow_architectures_compare_the_low_word() {
    let rules =
        json!([{"names": ["mkdir"], "action": "SCMP_ACT_ALLOW", "args": [arg(0, "SCMP_CMP_EQ", 0x1_0000_0007)]}]);
    assert_eq!(answer(&refusing(rules.clone()), X86, 39, &[7]), ALLOW);
    assert_eq!(answer(&refusing(rules.clone()), X86_64, 0x4000_0000 | 83, &[7]), ALLOW);
    assert_eq!(answer(&refusing(rules), X86_64, 83, &[7]), EPERM);
    let masked = json!([{"names": ["mkdir"], "action": "SCMP_ACT_ALLOW",
        "args": [{"index": 0, "value": 0xff_0000_0000_u64, "valueTwo": 0x1_0000_0000_u64, "op": "SCMP_CMP_MASKED_EQ"}]}]);
    assert_eq!(answer(&refusing(masked.clone()), X86, 39, &[7]), ALLOW, "no bit of the mask is left");
    assert_eq!(answer(&refusing(masked), X86_64, 83, &[7]), EPERM);
}

#[test]
fn a_rule_without_conditions_wins_and_of_several_the_first() {
    let strict = json!({"names": ["mkdir"], "action": "SCMP_ACT_KILL", "args": [arg(0, "SCMP_CMP_EQ", 1)]});
    let allow = json!({"names": ["mkdir"], "action": "SCMP_ACT_ALLOW"});
    let log = json!({"names": ["mkdir"], "action": "SCMP_ACT_LOG"});
    let same = json!({"names": ["mkdir"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1});
    for rules in [json!([strict, allow]), json!([allow, strict]), json!([allow, log]), json!([same, allow])] {
        assert_eq!(answer(&refusing(rules.clone()), X86_64, 83, &[1]), ALLOW, "{rules}");
    }
}

#[test]
fn of_conditional_rules_that_match_the_strictest_wins_in_any_order() {
    let rule = |action: &str, index: u32| json!({"names": ["mkdir"], "action": action, "args": [arg(index, "SCMP_CMP_EQ", 1)]});
    let rules = [rule("SCMP_ACT_ALLOW", 0), rule("SCMP_ACT_TRAP", 1), rule("SCMP_ACT_LOG", 2)];
    for order in [[0, 1, 2], [2, 1, 0], [1, 0, 2]] {
        let profile = refusing(json!(order.map(|i: usize| rules[i].clone())));
        assert_eq!(answer(&profile, X86_64, 83, &[1, 1, 1]), libc::SECCOMP_RET_TRAP);
        assert_eq!(answer(&profile, X86_64, 83, &[1, 0, 1]), libc::SECCOMP_RET_LOG);
        assert_eq!(answer(&profile, X86_64, 83, &[1, 0, 0]), ALLOW);
        assert_eq!(answer(&profile, X86_64, 83, &[0, 0, 0]), EPERM);
    }
}

#[test]
fn socketcall_and_ipc_follow_the_calls_inside_them() {
    let profile = refusing(json!([{"names": ["bind", "shmget"], "action": "SCMP_ACT_ALLOW"}]));
    assert_eq!(answer(&profile, X86, 102, &[2]), ALLOW, "bind");
    assert_eq!(answer(&profile, X86, 102, &[1]), EPERM, "socket");
    assert_eq!(answer(&profile, X86, 117, &[23]), ALLOW, "shmget");
    assert_eq!(answer(&profile, X86, 117, &[0x1_0017]), ALLOW, "shmget, version 1: the kernel ignores these bits");
    assert_eq!(answer(&profile, X86, 117, &[24]), EPERM, "shmctl");
}

#[test]
fn conditions_that_socketcall_hides_never_permit_and_always_refuse() {
    let families = |action: &str| json!([{"names": ["socket"], "action": action, "args": [arg(0, "SCMP_CMP_EQ", 40)]}]);
    assert_eq!(answer(&refusing(families("SCMP_ACT_ALLOW")), X86, 359, &[40]), ALLOW);
    assert_eq!(answer(&refusing(families("SCMP_ACT_ALLOW")), X86, 102, &[1]), EPERM);
    let mut open = refusing(families("SCMP_ACT_ERRNO"));
    open.set_default_action(oci_spec::runtime::LinuxSeccompAction::ScmpActAllow);
    assert_eq!(answer(&open, X86, 359, &[39]), ALLOW);
    assert_eq!(answer(&open, X86, 102, &[1]), EPERM, "the family is not visible");
    assert_eq!(answer(&open, X86, 102, &[2]), ALLOW, "bind");
}

#[test]
fn nothing_is_installed_where_everything_is_allowed() {
    let everything =
        |archs: Value| plan(&profile(json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": archs}))).unwrap();
    let all = json!(["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32", "SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"]);
    assert!(everything(all).empty);
    #[cfg(target_arch = "x86_64")]
    assert!(!everything(json!([])).empty, "other architectures are killed");
}

#[test]
fn flags_are_spec_allow_or_what_is_listed() {
    let flags = |flags: Value| {
        let mut json = json!({"defaultAction": "SCMP_ACT_ERRNO"});
        if !flags.is_null() {
            json["flags"] = flags;
        }
        plan(&profile(json)).unwrap().flags
    };
    assert_eq!(flags(json!(null)), 4);
    assert_eq!(flags(json!([])), 0);
    // How to wait for an agent that is not there.
    assert_eq!(flags(json!(["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"])), 0);
    assert_eq!(flags(json!(["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_TSYNC"])), 2 | 1 | 16);
}

#[test]
fn architectures_that_are_never_met_change_nothing() {
    let with = |architectures: Value| {
        let rules = json!([{"names": ["read"], "action": "SCMP_ACT_ALLOW"}]);
        let profile = json!({"defaultAction": "SCMP_ACT_ERRNO", "architectures": architectures, "syscalls": rules});
        plan(&self::profile(profile)).unwrap().program
    };
    let own = with(json!(["SCMP_ARCH_NATIVE"]));
    assert_eq!(with(json!(["SCMP_ARCH_NATIVE", "SCMP_ARCH_SH", "SCMP_ARCH_MIPSEL", "SCMP_ARCH_S390X"])), own);
}

#[test]
fn an_agent_needs_one_call_that_it_does_not_decide_about() {
    let with = |rules: Value| {
        let json = json!({"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/agent.sock", "listenerMetadata": "x",
            "flags": ["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"], "syscalls": rules});
        plan(&profile(json))
    };
    let planned = with(json!([{"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}])).unwrap();
    let notify = planned.notify.unwrap();
    assert_eq!(planned.flags, 8 | 32);
    assert_eq!((notify.path.to_str(), notify.metadata.as_str()), (Some("/agent.sock"), "x"));
    assert_eq!(notify.handover, Handover::Sendmsg);
    let planned = with(json!([{"names": ["sendmsg", "sendto", "close"], "action": "SCMP_ACT_NOTIFY"}])).unwrap();
    assert_eq!(planned.notify.unwrap().handover, Handover::Sendmmsg);
    let error = with(json!([{"names": ["sendmsg", "sendmmsg"], "action": "SCMP_ACT_NOTIFY"}])).unwrap_err();
    assert_eq!(
        error.to_string(),
        "linux.seccomp.syscalls: SCMP_ACT_NOTIFY with neither sendmsg nor sendmmsg allowed; \
         allow one of them: the listener is sent to the agent after the filter is in place"
    );
}

#[test]
fn many_rules_fit_and_mean_what_they_say() {
    const VALUE: u64 = 1_000_000;
    let archs = json!(["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"]);
    let with = |calls: &[&str], count: u64, second: &dyn Fn(u64) -> Option<Value>| {
        let rule = |call: &&str, i: u64| {
            let mut args = vec![arg(0, "SCMP_CMP_EQ", VALUE + i * 7)];
            args.extend(second(i));
            json!({"names": [call], "action": "SCMP_ACT_ERRNO", "args": args})
        };
        let rules: Vec<Value> = calls.iter().flat_map(|call| (0..count).map(move |i| rule(call, i))).collect();
        profile(json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": archs, "syscalls": rules}))
    };
    let size = |profile| plan(profile).unwrap().program.len();
    let personality = with(&["personality"], 700, &|_| None);
    assert!(size(&personality) < 1100, "{}", size(&personality));
    for (arch, number, wide) in [(X86_64, 135, true), (X86, 136, false), (X86_64, 0x4000_0000 | 135, false)] {
        for i in [0, 1, 349, 350, 699] {
            let value = VALUE + i * 7;
            assert_eq!(answer(&personality, arch, number, &[value]), EPERM, "{arch:x} {i}");
            assert_eq!(answer(&personality, arch, number, &[value + 1]), ALLOW, "{arch:x} {i}");
            let high = if wide { ALLOW } else { EPERM };
            assert_eq!(answer(&personality, arch, number, &[value | 1 << 32]), high, "{arch:x} {i}");
        }
        assert_eq!(answer(&personality, arch, number, &[VALUE + 700 * 7]), ALLOW);
    }
    let five = ["personality", "getpriority", "setpriority", "ioprio_get", "ioprio_set"];
    let five = with(&five, 164, &|_| None);
    assert!(size(&five) < 400, "{}", size(&five));
    // The same second condition for all is written once.
    let both = with(&["ioctl"], 700, &|_| Some(arg(1, "SCMP_CMP_NE", 3)));
    assert!(size(&both) < 2100, "{}", size(&both));
    assert_eq!(answer(&both, X86_64, 16, &[VALUE, 4]), EPERM);
    assert_eq!(answer(&both, X86_64, 16, &[VALUE, 3]), ALLOW);
    // The argument that differs may be any.
    let other = with(&["ioctl"], 300, &|i| Some(arg(1, "SCMP_CMP_EQ", i)));
    assert_eq!(answer(&other, X86_64, 16, &[VALUE + 7, 1]), EPERM);
    assert_eq!(answer(&other, X86_64, 16, &[VALUE + 7, 2]), ALLOW);
}
