//! Decides for every call number of every ABI what happens: the meaning of a profile, without any code yet.
//!
//! World: plan. The rules, as libseccomp under runc has them unless said otherwise:
//! - an unconditional rule wins over all others for its call; of several, the first;
//! - of conditional rules that match at once, the strictest action wins (libseccomp: undefined order);
//! - rules whose action is the default action do nothing, and unknown names are skipped;
//! - numbers above the highest one that the profile names get ENOSYS, unless the default lets calls through.

use super::abi::{ARM_PRIVATE, Abi, Multiplexed};
use super::profile::{Condition, Profile, Rule};
use super::tables;

/// What happens to a call number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Decision {
    /// No rule names it.
    Unnamed,
    /// Always this SECCOMP_RET_*.
    Return(u32),
    /// It depends on the arguments; an index into [`Decisions::chains`]. Calls with the same rules have the same one.
    Chain(u16),
}

/// Rules for one call that look at arguments; the default action where none matches.
#[derive(PartialEq, Eq)]
pub(super) struct Chain<'a> {
    /// Compare low words only.
    pub narrow: bool,
    /// Strictest first.
    pub alternatives: Vec<Alternative<'a>>,
}

/// One conditional rule.
#[derive(PartialEq, Eq)]
pub(super) struct Alternative<'a> {
    pub action: u32,
    /// The call inside socketcall(2) or ipc(2) that is meant.
    pub within: Option<Multiplexed>,
    /// All of them must hold.
    pub conditions: &'a [Condition],
}

/// Dense numbers: the ordinary calls, then the 16 private ones of arm.
const PRIVATE: usize = 640;
const DENSE: usize = PRIVATE + 16;

/// The decisions of one ABI.
pub(super) struct Section {
    pub abi: Abi,
    /// By dense number.
    calls: Vec<Decision>,
    /// The highest number that the profile names, 0 for none; private calls of arm aside.
    last: usize,
    /// Bit n: the profile names the private call n of arm.
    private: u16,
}

/// The decisions of a profile.
pub(super) struct Decisions<'a> {
    pub default: u32,
    /// In the order of `Profile::abis`.
    pub sections: Vec<Section>,
    pub chains: Vec<Chain<'a>>,
}

/// Decides a whole profile.
pub(super) fn decide<'a>(profile: &'a Profile<'_>) -> Decisions<'a> {
    let section = |abi: &Abi| Section { abi: *abi, calls: vec![Decision::Unnamed; DENSE], last: 0, private: 0 };
    let sections = profile.abis.iter().map(section).collect();
    let mut decisions = Decisions { default: profile.default, sections, chains: Vec::new() };
    for rule in &profile.rules {
        for name in rule.names {
            if let Some(call) = tables::find(name) {
                for section in &mut decisions.sections {
                    section.add(&mut decisions.chains, profile.default, rule, call);
                }
            }
        }
    }
    for chain in &mut decisions.chains {
        chain.alternatives.sort_by_key(|alternative| permissiveness(alternative.action));
    }
    decisions.share_chains();
    decisions
}

/// The kernel's own order of actions: the lowest of several filters wins.
fn permissiveness(action: u32) -> i32 {
    (action & libc::SECCOMP_RET_ACTION_FULL).cast_signed()
}

/// The call goes through, at the most with a line in the log.
fn is_permitted(action: u32) -> bool {
    permissiveness(action) >= permissiveness(libc::SECCOMP_RET_LOG)
}

impl Section {
    fn add<'a>(&mut self, chains: &mut Vec<Chain<'a>>, default: u32, rule: &'a Rule<'_>, call: &tables::Call) {
        let effective = rule.action != default;
        if let Some(number) = self.abi.direct(call) {
            let dense = self.name(number);
            if effective {
                for conditions in &rule.any_of {
                    self.decide(chains, dense, Alternative { action: rule.action, within: None, conditions });
                }
            }
        }
        if let Some(within) = self.abi.multiplexed(call) {
            let dense = self.name(within.number);
            // The arguments are behind a pointer, which no filter can follow: a rule that restricts them applies
            // to all such calls when it is as strict as the default, and to none when it would permit more.
            let blind = rule.any_of.iter().any(|conditions| self.is_always(conditions));
            if effective && (blind || permissiveness(rule.action) <= permissiveness(default)) {
                self.decide(chains, dense, Alternative { action: rule.action, within: Some(within), conditions: &[] });
            }
        }
    }

    /// Notes that the profile names a call; its dense number.
    fn name(&mut self, number: u16) -> usize {
        if number >= 0xf000 {
            self.private |= 1 << (number & 0xf);
            return PRIVATE + usize::from(number & 0xf);
        }
        let dense = usize::from(number);
        self.last = self.last.max(dense);
        dense
    }

    fn is_always(&self, conditions: &[Condition]) -> bool {
        conditions.iter().all(|condition| condition.is_trivial(self.abi.narrow()))
    }

    fn decide<'a>(&mut self, chains: &mut Vec<Chain<'a>>, dense: usize, alternative: Alternative<'a>) {
        let always = alternative.within.is_none() && self.is_always(alternative.conditions);
        let narrow = self.abi.narrow();
        let Some(decision) = self.calls.get_mut(dense) else { return };
        match *decision {
            Decision::Return(_) => {}
            _ if always => *decision = Decision::Return(alternative.action),
            Decision::Unnamed => {
                // Nine ABIs with DENSE calls each are far fewer.
                let Ok(index) = u16::try_from(chains.len()) else { return };
                *decision = Decision::Chain(index);
                chains.push(Chain { narrow, alternatives: vec![alternative] });
            }
            Decision::Chain(index) => {
                if let Some(chain) = chains.get_mut(usize::from(index)) {
                    chain.alternatives.push(alternative);
                }
            }
        }
    }

    /// What happens to numbers above all that the profile names.
    fn beyond(&self, default: u32) -> u32 {
        // An agent or a tracer decides itself about calls that it has never heard of.
        let strict = permissiveness(default) < permissiveness(libc::SECCOMP_RET_USER_NOTIF);
        if strict && self.last > 0 { libc::SECCOMP_RET_ERRNO | libc::ENOSYS.unsigned_abs() } else { default }
    }

    /// The decisions as ranges of numbers that the kernel reports: each with its first number, in order.
    pub(super) fn ranges(&self, default: u32) -> Vec<(u32, Decision)> {
        let beyond = self.beyond(default);
        let mut ranges: Vec<(u32, Decision)> = Vec::with_capacity(128);
        let mut push = |number: u32, decision: Decision, otherwise: u32| {
            let decision = if decision == Decision::Unnamed { Decision::Return(otherwise) } else { decision };
            if ranges.last().is_none_or(|(_, last)| *last != decision) {
                ranges.push((number, decision));
            }
        };
        let mut number = self.abi.number(0);
        for decision in self.calls.iter().take(self.last + 1) {
            push(number, *decision, default);
            number += 1;
        }
        push(number, Decision::Unnamed, beyond);
        if self.abi == Abi::Arm {
            let mut number = ARM_PRIVATE;
            for (offset, decision) in self.calls.iter().skip(PRIVATE).enumerate() {
                let named = self.private >> offset & 1 == 1;
                push(number, *decision, if named { default } else { beyond });
                number += 1;
            }
            push(number, Decision::Unnamed, beyond);
        }
        ranges
    }
}

impl Decisions<'_> {
    /// Calls with the same rules get the same chain, in whatever ABI they are.
    fn share_chains(&mut self) {
        let mut first: Vec<u16> = Vec::with_capacity(self.chains.len());
        let mut known: Vec<(u16, &Chain<'_>)> = Vec::new();
        for (chain, index) in self.chains.iter().zip(0..) {
            let same = known.iter().find(|(_, other)| *other == chain).map(|(index, _)| *index);
            if same.is_none() {
                known.push((index, chain));
            }
            first.push(same.unwrap_or(index));
        }
        for decision in self.sections.iter_mut().flat_map(|section| &mut section.calls) {
            if let Decision::Chain(index) = decision
                && let Some(first) = first.get(usize::from(*index))
            {
                *index = *first;
            }
        }
    }

    /// The call `name` of the native ABI goes through whatever its arguments are.
    pub(super) fn permits(&self, name: &str) -> bool {
        match self.decision(name) {
            Some(Decision::Chain(index)) => {
                let alternatives = self.chains.get(usize::from(index)).map(|chain| chain.alternatives.as_slice());
                is_permitted(self.default) && alternatives.unwrap_or_default().iter().all(|a| is_permitted(a.action))
            }
            _ => self.always(name).is_some_and(is_permitted),
        }
    }

    /// What the call `name` of the native ABI gets; `None` when that depends on its arguments.
    pub(super) fn always(&self, name: &str) -> Option<u32> {
        match self.decision(name)? {
            Decision::Return(action) => Some(action),
            Decision::Chain(_) => None,
            Decision::Unnamed => {
                let section = self.sections.first()?;
                let number = tables::find(name).and_then(|call| section.abi.direct(call))?;
                let beyond = usize::from(number) > section.last;
                Some(if beyond { section.beyond(self.default) } else { self.default })
            }
        }
    }

    fn decision(&self, name: &str) -> Option<Decision> {
        let section = self.sections.first()?;
        let number = tables::find(name).and_then(|call| section.abi.direct(call))?;
        section.calls.get(usize::from(number)).copied()
    }

    /// Every call that this machine can make is allowed: there is nothing to install.
    pub(super) fn allow_everything(&self) -> bool {
        let allowed =
            |decision: &Decision| matches!(decision, Decision::Unnamed | Decision::Return(libc::SECCOMP_RET_ALLOW));
        self.default == libc::SECCOMP_RET_ALLOW
            && Abi::REACHABLE.iter().all(|abi| {
                let section = self.sections.iter().find(|section| section.abi == *abi);
                section.is_some_and(|section| section.calls.iter().all(allowed))
            })
    }

    /// What a number gets in `abi` that is above all that the profile names; `None` for an ABI that is not listed.
    pub(super) fn beyond(&self, abi: Abi) -> Option<u32> {
        self.sections.iter().find(|section| section.abi == abi).map(|section| section.beyond(self.default))
    }
}
