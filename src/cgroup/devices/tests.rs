//! The program, run by a small eBPF interpreter, against the rules evaluated directly.

use oci_spec::runtime::{LinuxDeviceCgroup, LinuxDeviceCgroupBuilder, LinuxDeviceType};
use proptest::prelude::*;

use super::rules::{ALL, Mask, Rule, Table, evaluate, parse};
use super::{Devices, plan, program};
use crate::sys::bpf::Instruction;

/// Runs a program as the kernel would; panics on anything that the verifier would refuse.
fn interpret(program: &[Instruction], access: Mask, character: bool, major: u32, minor: u32) -> bool {
    let context = [u32::from(access) << 16 | if character { 2 } else { 1 }, major, minor];
    let mut registers: [Option<u64>; 11] = [None; 11];
    let mut at = 0;
    for _ in 0..program.len() {
        let Instruction { code, registers: names, offset, immediate } = program[at];
        let (to, from) = (usize::from(names & 15), usize::from(names >> 4));
        let constant = i64::from(immediate).cast_unsigned();
        let mut jump = false;
        match code {
            0x61 => {
                assert_eq!(from, 1);
                registers[to] = Some(u64::from(context[usize::try_from(offset).unwrap() / 4]));
            }
            0x18 => {
                let high = u64::from(program[at + 1].immediate.cast_unsigned());
                registers[to] = Some(u64::from(immediate.cast_unsigned()) | high << 32);
                at += 1;
            }
            0xb7 => registers[to] = Some(constant),
            0xbf => registers[to] = Some(registers[from].unwrap()),
            0x07 => registers[to] = Some(registers[to].unwrap().wrapping_add(constant)),
            0x7f => {
                assert!(registers[from].unwrap() < 64);
                registers[to] = Some(registers[to].unwrap() >> registers[from].unwrap());
            }
            0x05 => jump = true,
            0x15 => jump = registers[to].unwrap() == constant,
            0x25 => jump = registers[to].unwrap() > constant,
            0xb5 => jump = registers[to].unwrap() <= constant,
            0x45 => jump = registers[to].unwrap() & constant != 0,
            0x95 => return registers[0].unwrap() == 1,
            _ => panic!("unknown instruction {code:#x}"),
        }
        at += 1;
        if jump {
            at += usize::try_from(offset).expect("jumps go forward");
        }
    }
    panic!("the program does not end");
}

/// Every instruction can be reached, else the kernel refuses the program.
fn assert_reachable(program: &[Instruction]) {
    let mut reached = vec![false; program.len()];
    reached[0] = true;
    let mut at = 0;
    while at < program.len() {
        let Instruction { code, offset, .. } = program[at];
        let next = at + if code == 0x18 { 2 } else { 1 };
        if reached[at] {
            if matches!(code, 0x05 | 0x15 | 0x25 | 0xb5 | 0x45) {
                reached[next + usize::try_from(offset).unwrap()] = true;
            }
            if !matches!(code, 0x05 | 0x95) {
                reached[next] = true;
            }
        }
        assert!(reached[at], "instruction {at} is unreachable in {program:?}");
        at = next;
    }
}

fn rule(allow: bool, typ: Option<LinuxDeviceType>, major: i64, minor: i64, access: &str) -> LinuxDeviceCgroup {
    let builder = LinuxDeviceCgroupBuilder::default().allow(allow).access(access);
    let builder = if let Some(typ) = typ { builder.typ(typ) } else { builder };
    builder.major(major).minor(minor).build().unwrap()
}

fn check(rules: &[LinuxDeviceCgroup]) {
    let parsed = parse(rules, "devices").unwrap();
    let table = Table::new(&parsed);
    if table.allows_all() {
        return;
    }
    let program = program::assemble(&table).unwrap();
    assert_reachable(&program);
    let near = |numbers: Vec<Option<u32>>| {
        let mut near: Vec<u32> = numbers
            .into_iter()
            .flatten()
            .flat_map(|n| [n.saturating_sub(1), n, n + 1])
            .chain([0, 63, 64, 4095])
            .collect();
        near.sort_unstable();
        near.dedup();
        near
    };
    let majors = near(parsed.iter().map(|rule| rule.major).collect());
    let minors = near(parsed.iter().map(|rule| rule.minor).collect());
    for (major, minor) in majors.iter().flat_map(|major| minors.iter().map(move |minor| (*major, *minor))) {
        for character in [false, true] {
            let mask = evaluate(&parsed, character, major, minor);
            for access in 1..=ALL {
                let allowed = interpret(&program, access, character, major, minor);
                assert_eq!(allowed, access & !mask == 0, "{character} {major}:{minor} access {access} mask {mask}");
            }
        }
    }
}

fn docker() -> Vec<LinuxDeviceCgroup> {
    let character = Some(LinuxDeviceType::C);
    let mut rules = vec![rule(false, None, -1, -1, "rwm")];
    rules.extend([(1, 5), (1, 3), (1, 9), (1, 8), (5, 0), (5, 1)].map(|(a, b)| rule(true, character, a, b, "rwm")));
    rules.push(rule(false, character, 10, 229, "rwm"));
    rules
}

#[test]
fn dockers_rules_take_few_instructions_and_branches() {
    check(&docker());
    let Devices::Enforced(program) = plan(&docker(), "devices", false).unwrap() else { panic!("no program") };
    let branches = program.iter().filter(|i| matches!(i.code, 0x15 | 0x25 | 0xb5 | 0x45)).count();
    assert!(program.len() <= 26 && branches <= 11, "{} instructions, {branches} branches", program.len());
}

#[test]
fn a_rule_for_everything_does_not_take_the_defaults_away_but_a_rule_by_number_does() {
    let mut rules = vec![rule(false, None, -1, -1, "rwm"), rule(false, Some(LinuxDeviceType::C), 1, 3, "w")];
    let mask = |rules: &[LinuxDeviceCgroup], minor| evaluate(&parse(rules, "devices").unwrap(), true, 1, minor);
    assert_eq!((mask(&rules, 3), mask(&rules, 5)), (3, ALL));
    rules.push(rule(false, None, -1, -1, "rwm"));
    assert_eq!(mask(&rules, 3), ALL);
    assert_eq!((mask(&[], 3), mask(&[], 4)), (ALL, 1), "without rules only the defaults are allowed");
}

#[test]
fn allowing_everything_needs_no_program() {
    let everything = [rule(false, None, -1, -1, "rwm"), rule(true, Some(LinuxDeviceType::A), -1, -1, "rwm")];
    assert_eq!(plan(&everything, "devices", false).unwrap(), Devices::AllowAll);
    assert_eq!(plan(&docker(), "devices", true).unwrap(), Devices::NotEnforcedInUserNamespace);
}

#[test]
fn a_hole_in_a_wildcard_is_a_hole() {
    check(&[rule(true, None, -1, -1, "rwm"), rule(false, Some(LinuxDeviceType::B), 8, -1, "w")]);
    check(&[rule(true, Some(LinuxDeviceType::C), -1, 229, "rw"), rule(false, Some(LinuxDeviceType::C), 10, 229, "r")]);
    let disks: Vec<_> = (0..200).step_by(2).map(|n| rule(true, Some(LinuxDeviceType::B), 8, n, "r")).collect();
    check(&disks);
}

#[test]
fn a_letter_that_does_not_exist_allows_nothing_and_denies_everything() {
    let plan =
        |allow, access| plan(&[rule(true, None, -1, -1, "rwm"), rule(allow, None, 8, 3, access)], "at", false).unwrap();
    assert_eq!(plan(true, "rwa"), plan(true, "rw"));
    assert_eq!(plan(true, "a"), Devices::AllowAll);
    assert_eq!(plan(false, "ra"), plan(false, "rwm"));
    let allowed = |access| super::plan(&[rule(true, None, 8, 3, access)], "at", false).unwrap();
    assert_eq!(allowed("rx"), allowed("r"));
}

#[test]
fn rules_that_do_not_exist_are_named() {
    let text = |rule| plan(&[rule], "linux.resources.devices", true).unwrap_err().to_string();
    assert_eq!(text(rule(true, None, 1, 3, "")), "linux.resources.devices[0].access: is empty; use letters of rwm");
    assert_eq!(
        text(rule(true, None, -2, 3, "r")),
        "linux.resources.devices[0].major: -2 is not a device number (0 to 4095, or -1 for any)"
    );
    assert_eq!(
        text(rule(true, Some(LinuxDeviceType::P), 1, 3, "r")),
        "linux.resources.devices[0].type: \"p\" is a FIFO, which device rules do not cover; use a, b or c"
    );
}

fn any_rule() -> impl Strategy<Value = Rule> {
    let number = |range: std::ops::Range<u32>| proptest::option::of(range);
    (any::<bool>(), 1..4_u8, number(0..6), number(55..70), 1..=ALL).prop_map(|(allow, types, major, minor, access)| {
        Rule { allow, block: types & 1 != 0, character: types & 2 != 0, major, minor, access }
    })
}

proptest! {
    #[test]
    fn the_program_decides_as_the_rules_do(rules in proptest::collection::vec(any_rule(), 0..12)) {
        let table = Table::new(&rules);
        if !table.allows_all() {
            let program = program::assemble(&table).unwrap();
            assert_reachable(&program);
            for (major, minor) in (0..7).flat_map(|major| (53..72).map(move |minor| (major, minor))) {
                for character in [false, true] {
                    let mask = evaluate(&rules, character, major, minor);
                    for access in 1..=ALL {
                        prop_assert_eq!(interpret(&program, access, character, major, minor), access & !mask == 0);
                    }
                }
            }
        }
    }
}
