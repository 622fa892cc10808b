//! What is refused, word for word.

use serde_json::{Value, json};

use super::profile;
use crate::seccomp::{check_names, plan};

fn refusal(json: Value) -> String {
    plan(&profile(json)).unwrap_err().to_string()
}

fn rule(rule: Value) -> String {
    let read = json!({"names": ["read"], "action": "SCMP_ACT_ALLOW"});
    refusal(json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [read, rule]}))
}

#[test]
fn values_are_refused_with_their_path() {
    assert_eq!(
        rule(json!({"names": ["mkdir", ""], "action": "SCMP_ACT_ALLOW"})),
        "linux.seccomp.syscalls[1].names[1]: the name of a system call is empty"
    );
    assert_eq!(
        rule(json!({"names": ["mkdir"], "action": "SCMP_ACT_ALLOW", "errnoRet": 1})),
        "linux.seccomp.syscalls[1].errnoRet: SCMP_ACT_ALLOW takes no error number"
    );
    assert_eq!(
        rule(json!({"names": ["mkdir"], "action": "SCMP_ACT_ERRNO", "errnoRet": 4096})),
        "linux.seccomp.syscalls[1].errnoRet: 4096 is above 4095, the highest number that SCMP_ACT_ERRNO takes"
    );
    assert_eq!(
        rule(json!({"names": ["mkdir"], "action": "SCMP_ACT_TRACE", "errnoRet": 65536})),
        "linux.seccomp.syscalls[1].errnoRet: 65536 is above 65535, the highest number that SCMP_ACT_TRACE takes"
    );
    assert_eq!(
        rule(json!({"names": ["mkdir"], "action": "SCMP_ACT_ALLOW", "args": [
            {"index": 5, "value": 0, "op": "SCMP_CMP_EQ"}, {"index": 6, "value": 0, "op": "SCMP_CMP_EQ"}]})),
        "linux.seccomp.syscalls[1].args[1].index: system calls have the arguments 0 to 5, not 6"
    );
    assert_eq!(
        refusal(json!({"defaultAction": "SCMP_ACT_KILL", "defaultErrnoRet": 1})),
        "linux.seccomp.defaultErrnoRet: SCMP_ACT_KILL takes no error number"
    );
}

#[test]
fn names_that_no_architecture_has_are_skipped_or_refused() {
    let profile = profile(json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [
        {"names": ["read"], "action": "SCMP_ACT_ALLOW"}, {"names": ["write", "wriite"], "action": "SCMP_ACT_ALLOW"}]}));
    assert!(plan(&profile).is_ok());
    assert_eq!(
        check_names(&profile).unwrap_err().to_string(),
        "linux.seccomp.syscalls[1].names[1]: unknown system call \"wriite\"; \
         the annotation run.oci.seccomp_fail_unknown_syscall forbids skipping it"
    );
}

#[test]
fn settings_of_the_agent_must_fit_together() {
    let notify = json!([{"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}]);
    assert_eq!(
        refusal(json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": notify})),
        "linux.seccomp.listenerPath: SCMP_ACT_NOTIFY needs the path of the agent's socket"
    );
    assert_eq!(
        refusal(json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": notify, "listenerPath": "/x".repeat(54)})),
        "linux.seccomp.listenerPath: not a path of a socket: more than 107 bytes, or a NUL"
    );
    assert_eq!(
        refusal(json!({"defaultAction": "SCMP_ACT_ALLOW", "listenerMetadata": "x"})),
        "linux.seccomp.listenerMetadata: metadata for an agent needs a listenerPath"
    );
    assert!(
        refusal(json!({"defaultAction": "SCMP_ACT_NOTIFY", "listenerPath": "/agent"}))
            .starts_with("linux.seccomp.syscalls: SCMP_ACT_NOTIFY with neither sendmsg nor sendmmsg allowed")
    );
}

#[test]
#[cfg_attr(not(target_pointer_width = "64"), ignore = "a 32-bit value takes fewer instructions")]
fn a_program_that_the_kernel_would_refuse_is_refused_before() {
    let arg = |value: u64| json!({"index": 0, "value": value << 32, "op": "SCMP_CMP_GT"});
    let rules: Vec<Value> =
        (0..1100).map(|value| json!({"names": ["ioctl"], "action": "SCMP_ACT_ALLOW", "args": [arg(value)]})).collect();
    let error = refusal(json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": rules}));
    assert!(error.starts_with("linux.seccomp.syscalls: the filter needs "), "{error}");
    assert!(error.ends_with(" instructions; the kernel accepts at most 4096; use fewer rules with args"), "{error}");
}
