//! The compiler of the crate `seccompiler` on profiles that it can express: one action, x86_64, all arguments 64 bits.

use std::collections::BTreeMap;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule, TargetArch,
};
use serde_json::json;

use super::interpreter::{Call, run};
use super::profile;
use crate::seccomp::plan;

fn theirs(rules: BTreeMap<i64, Vec<SeccompRule>>) -> BpfProgram {
    let (otherwise, action) = (SeccompAction::KillProcess, SeccompAction::Allow);
    SeccompFilter::new(rules, otherwise, action, TargetArch::x86_64).unwrap().try_into().unwrap()
}

#[test]
fn agrees_with_seccompiler_on_one_action() {
    let ops = [
        ("SCMP_CMP_NE", SeccompCmpOp::Ne),
        ("SCMP_CMP_LT", SeccompCmpOp::Lt),
        ("SCMP_CMP_LE", SeccompCmpOp::Le),
        ("SCMP_CMP_EQ", SeccompCmpOp::Eq),
        ("SCMP_CMP_GE", SeccompCmpOp::Ge),
        ("SCMP_CMP_GT", SeccompCmpOp::Gt),
        ("SCMP_CMP_MASKED_EQ", SeccompCmpOp::MaskedEq(0xff_0000_ff00)),
    ];
    let values = [0, 5, 0x12_0000_3400, 0xffff_ffff, 0x1_0000_0000, u64::MAX];
    for (name, op) in ops {
        for value in values {
            let masked = name == "SCMP_CMP_MASKED_EQ";
            let (first, second) = if masked { (0xff_0000_ff00, value & 0xff_0000_ff00) } else { (value, 0) };
            let ours = plan(&profile(json!({
                "defaultAction": "SCMP_ACT_KILL_PROCESS",
                "syscalls": [
                    {"names": ["read"], "action": "SCMP_ACT_ALLOW"},
                    {"names": ["ioctl"], "action": "SCMP_ACT_ALLOW", "args": [
                        {"index": 2, "value": first, "valueTwo": second, "op": name},
                        {"index": 5, "value": 9, "op": "SCMP_CMP_EQ"},
                    ]},
                    {"names": ["rseq_slice_yield"], "action": "SCMP_ACT_ALLOW"},
                ],
            })))
            .unwrap();
            let condition =
                |index, op, value| SeccompCondition::new(index, SeccompCmpArgLen::Qword, op, value).unwrap();
            let both = SeccompRule::new(vec![
                condition(2, op.clone(), if masked { second } else { value }),
                condition(5, SeccompCmpOp::Eq, 9),
            ]);
            let theirs = theirs(BTreeMap::from([(0, vec![]), (16, vec![both.unwrap()]), (471, vec![])]));
            for number in [0, 1, 15, 16, 17, 470, 471] {
                for third in values {
                    for sixth in [9, 0x1_0000_0009] {
                        let call = Call { arch: 0xc000_003e, number, args: [0, 0, third, 0, 0, sixth] };
                        assert_eq!(run(&ours.program, &call), run(&theirs, &call), "{name} {value:#x} {call:x?}");
                    }
                }
            }
        }
    }
}
