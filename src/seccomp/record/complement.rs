//! The conditions under which no rule of a list matches.
//!
//! World: plan. A rule of a profile is a conjunction over different arguments, so not every complement can be written.

use oci_spec::runtime::{
    LinuxSeccompArg as Arg, LinuxSeccompArgBuilder, LinuxSeccompOperator as Operator, LinuxSyscall,
};

/// More rules than these for one call are not written.
const MOST: usize = 64;

/// Lists of conditions, one of which holds exactly when no rule matches; `None` if rules cannot say that.
pub(super) fn complement(rules: &[&LinuxSyscall]) -> Option<Vec<Vec<Arg>>> {
    let mut found: Vec<Vec<Arg>> = vec![Vec::new()];
    for conditions in rules.iter().flat_map(|rule| any_of(rule)) {
        let negated = conditions.iter().map(negate).collect::<Option<Vec<_>>>()?.concat();
        let mut next = Vec::new();
        for list in &found {
            for condition in &negated {
                next.push(with(list, *condition)?);
            }
        }
        found = next;
        if found.len() > MOST {
            return None;
        }
    }
    Some(found)
}

/// The rule matches when all conditions of one of these do. As soon as one argument has two conditions, any will do.
fn any_of(rule: &LinuxSyscall) -> Vec<Vec<Arg>> {
    let all = rule.args().clone().unwrap_or_default();
    let repeated = all.iter().any(|one| all.iter().filter(|other| one.index() == other.index()).count() > 1);
    if repeated { all.into_iter().map(|condition| vec![condition]).collect() } else { vec![all] }
}

/// Both, unless one argument would have two conditions.
fn with(list: &[Arg], condition: Arg) -> Option<Vec<Arg>> {
    match list.iter().find(|other| other.index() == condition.index()) {
        Some(same) if *same == condition => Some(list.to_vec()),
        Some(_) => None,
        None => Some([list, &[condition]].concat()),
    }
}

/// Conditions, one of which holds exactly when this one does not.
fn negate(condition: &Arg) -> Option<Vec<Arg>> {
    let make = |op, value, two: Option<u64>| {
        let condition = LinuxSeccompArgBuilder::default().index(condition.index()).value(value).op(op);
        match two {
            Some(two) => condition.value_two(two).build().ok(),
            None => condition.build().ok(),
        }
    };
    let op = match condition.op() {
        Operator::ScmpCmpEq => Operator::ScmpCmpNe,
        Operator::ScmpCmpNe => Operator::ScmpCmpEq,
        Operator::ScmpCmpLt => Operator::ScmpCmpGe,
        Operator::ScmpCmpGe => Operator::ScmpCmpLt,
        Operator::ScmpCmpLe => Operator::ScmpCmpGt,
        Operator::ScmpCmpGt => Operator::ScmpCmpLe,
        // One bit is not as it should be. In an architecture of 32 bits a condition on a higher bit is always true.
        Operator::ScmpCmpMaskedEq if condition.value() > u64::from(u32::MAX) => return None,
        Operator::ScmpCmpMaskedEq => {
            let two = condition.value_two().unwrap_or(0);
            let bits = (0..32).map(|bit| 1_u64 << bit).filter(|bit| condition.value() & bit != 0);
            return bits.map(|bit| make(Operator::ScmpCmpMaskedEq, bit, Some(!two & bit))).collect();
        }
    };
    make(op, condition.value(), None).map(|condition| vec![condition])
}
