//! Random profiles and calls: the program and the specification agree.

use oci_spec::runtime::{
    Arch, LinuxSeccomp, LinuxSeccompAction as Action, LinuxSeccompArg, LinuxSeccompArgBuilder, LinuxSeccompBuilder,
    LinuxSeccompOperator as Operator, LinuxSyscall, LinuxSyscallBuilder,
};
use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop, prop_oneof, proptest};

use super::interpreter::{Call, check, run};
use super::specification::evaluate;
use crate::seccomp::abi::Abi;
use crate::seccomp::compile::compile;
use crate::seccomp::decide::decide;
use crate::seccomp::profile::Profile;
use crate::seccomp::tables::find;

const NAMES: &[&str] = &[
    "read",
    "write",
    "open",
    "ioctl",
    "execve",
    "personality",
    "clone",
    "clone3",
    "socket",
    "sendto",
    "socketcall",
    "shmget",
    "semop",
    "ipc",
    "futex_time64",
    "renameat2",
    "set_tls",
    "cacheflush",
    "openat2",
    "mkdirat",
    "nosuchcall",
];

const VALUES: &[u64] = &[
    0,
    1,
    2,
    23,
    40,
    0xffff,
    0x1_0001,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    0x1_0000_0000,
    0x1_0000_0001,
    0x8000_0000_0000_0000,
    0xffff_ffff_0000_0000,
    u64::MAX,
];

fn value() -> impl Strategy<Value = u64> {
    prop_oneof![4 => prop::sample::select(VALUES), 1 => any::<u64>()]
}

fn action() -> impl Strategy<Value = (Action, Option<u32>)> {
    prop_oneof![
        4 => Just((Action::ScmpActAllow, None)),
        4 => prop::option::of(1..40_u32).prop_map(|errno| (Action::ScmpActErrno, errno)),
        1 => prop::option::of(0..0xffff_u32).prop_map(|data| (Action::ScmpActTrace, data)),
        1 => Just((Action::ScmpActKill, None)),
        1 => Just((Action::ScmpActKillProcess, None)),
        1 => Just((Action::ScmpActTrap, None)),
        1 => Just((Action::ScmpActLog, None)),
        1 => Just((Action::ScmpActNotify, None)),
    ]
}

fn arg() -> impl Strategy<Value = LinuxSeccompArg> {
    const OPS: &[Operator] = &[
        Operator::ScmpCmpNe,
        Operator::ScmpCmpLt,
        Operator::ScmpCmpLe,
        Operator::ScmpCmpEq,
        Operator::ScmpCmpGe,
        Operator::ScmpCmpGt,
        Operator::ScmpCmpMaskedEq,
    ];
    (0..6_usize, value(), value(), prop::sample::select(OPS)).prop_map(|(index, value, two, op)| {
        LinuxSeccompArgBuilder::default().index(index).value(value).value_two(two).op(op).build().unwrap()
    })
}

fn rule() -> impl Strategy<Value = LinuxSyscall> {
    let args = prop_oneof![Just(Vec::new()), prop::collection::vec(arg(), 1..4)];
    (prop::collection::vec(prop::sample::select(NAMES), 1..5), action(), args).prop_map(
        |(names, (action, data), args)| {
            let names: Vec<String> = names.into_iter().map(String::from).collect();
            let rule = LinuxSyscallBuilder::default().names(names).action(action).args(args);
            match data {
                Some(data) => rule.errno_ret(data).build().unwrap(),
                None => rule.build().unwrap(),
            }
        },
    )
}

/// Rules of a kind: those that differ in one value become a search.
fn similar() -> impl Strategy<Value = Vec<LinuxSyscall>> {
    let equal = prop::sample::select(&[Operator::ScmpCmpEq, Operator::ScmpCmpMaskedEq][..]);
    let mask = prop::sample::select(&[0xff_u64, u64::MAX, 0xffff_ffff, 0xff_0000_0000, 0x3_0000_0003][..]);
    let values = prop::collection::vec((value(), prop::option::weighted(0.3, arg()), action()), 1..40);
    (prop::sample::select(NAMES), 0..3_usize, equal, mask, values).prop_map(|(name, index, op, mask, values)| {
        let rule = |(value, other, (action, data)): (u64, Option<LinuxSeccompArg>, (Action, Option<u32>))| {
            let (first, two) = if op == Operator::ScmpCmpEq { (value, 0) } else { (mask, value) };
            let mut args = vec![
                LinuxSeccompArgBuilder::default().index(index).value(first).value_two(two).op(op).build().unwrap(),
            ];
            args.extend(other);
            let rule = LinuxSyscallBuilder::default().names([name.to_owned()]).action(action).args(args);
            match data {
                Some(data) => rule.errno_ret(data).build().unwrap(),
                None => rule.build().unwrap(),
            }
        };
        values.into_iter().map(rule).collect()
    })
}

pub(super) fn profile() -> impl Strategy<Value = LinuxSeccomp> {
    const ARCHS: &[Arch] = &[
        Arch::ScmpArchX86_64,
        Arch::ScmpArchX86,
        Arch::ScmpArchX32,
        Arch::ScmpArchAarch64,
        Arch::ScmpArchArm,
        Arch::ScmpArchRiscv64,
        Arch::ScmpArchPpc64le,
        Arch::ScmpArchNative,
    ];
    let archs = prop::collection::vec(prop::sample::select(ARCHS), 0..6);
    let rules = (prop::collection::vec(rule(), 0..12), prop_oneof![Just(Vec::new()), similar()])
        .prop_map(|(rules, similar)| [rules, similar].concat());
    (action(), archs, rules).prop_map(|((action, data), archs, rules)| {
        let profile = LinuxSeccompBuilder::default().default_action(action).architectures(archs).syscalls(rules);
        match data {
            Some(data) => profile.default_errno_ret(data).build().unwrap(),
            None => profile.build().unwrap(),
        }
    })
}

fn call() -> impl Strategy<Value = Call> {
    let arch = prop::sample::select(
        &[0xc000_003e, 0xc000_003e, 0x4000_0003, 0xc000_00b7, 0x4000_0028, 0xc000_00f3, 0xc000_0015, 0x1234][..],
    );
    let number = prop_oneof![
        6 => 0..480_u32,
        2 => prop::sample::select(&[0_u32, 1, 5, 56, 102, 117, 135, 257, 359, 0xf_0002, 0xf_0005, 0xf_0010, u32::MAX][..]),
        2 => (0..560_u32).prop_map(|number| 0x4000_0000 | number),
        1 => any::<u32>(),
    ];
    (arch, number, [value(), value(), value(), value(), value(), value()]).prop_map(|(arch, number, args)| Call {
        arch,
        number,
        args,
    })
}

/// A call that a rule may name, or one that none names.
pub(super) fn call_of_a_name() -> impl Strategy<Value = Call> {
    let named = (prop::sample::select(NAMES), prop::sample::select(&[Abi::X86_64, Abi::X86, Abi::X32][..]), call())
        .prop_map(|(name, abi, call)| match find(name).and_then(|numbers| abi.direct(numbers)) {
            Some(number) => Call { arch: abi.audit(), number: abi.number(number), args: call.args },
            None => call,
        });
    prop_oneof![9 => named, 1 => call()]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(150) })]
    #[test]
    fn programs_do_what_the_specification_says(
        profile in profile(), calls in prop::collection::vec(call(), 60),
    ) {
        let read = Profile::read(&profile).unwrap();
        let program = compile(&decide(&read)).unwrap();
        check(&program);
        for call in &calls {
            proptest::prop_assert_eq!(run(&program, call), evaluate(&profile, call), "{:x?}", call);
        }
        // Every call that a rule may name, and its neighbours.
        for abi in [Abi::X86_64, Abi::X32, Abi::X86, Abi::Arm] {
            for number in NAMES.iter().filter_map(|name| abi.direct(find(name)?)) {
                for number in [number.saturating_sub(1), number, number + 1].map(|number| abi.number(number)) {
                    let call = Call { arch: abi.audit(), number, args: calls[number as usize % calls.len()].args };
                    proptest::prop_assert_eq!(run(&program, &call), evaluate(&profile, &call), "{:x?}", call);
                }
            }
        }
    }
}
