//! The names and architectures of a recording, or of a profile that was written from one.
//!
//! World: plan.

use std::collections::BTreeSet;

use oci_spec::runtime::{LinuxSeccomp, LinuxSeccompAction as Action};

use super::seen::Seen;
use crate::seccomp::abi::Abi;
use crate::seccomp::tables;

/// The calls inside socketcall(2) and ipc(2) are the last column of the table.
const INNER: usize = 8;

/// Calls by name; a profile cannot say which architecture each is for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Calls {
    pub(super) names: BTreeSet<String>,
    /// Without the native one.
    pub(super) foreign: Vec<Abi>,
    /// Calls without a name, as text.
    pub unnamed: Vec<String>,
}

impl Calls {
    pub(super) fn seen(seen: Seen<'_>, multiplexers: bool) -> Self {
        let mut calls = Self::default();
        for abi in Abi::REACHABLE.iter().copied() {
            let numbers: Vec<u16> = seen.numbers(abi).collect();
            for number in &numbers {
                match tables::name(abi as usize, *number) {
                    Some(name) => drop(calls.names.insert(name.to_owned())),
                    None => calls.unnamed.push(unnamed(abi.audit(), abi.number(*number))),
                }
            }
            let inner = abi.inners().filter(|inner| calls.add_inner(seen, *inner, multiplexers)).count();
            if (inner > 0 || !numbers.is_empty()) && Some(abi) != Abi::NATIVE {
                calls.foreign.push(abi);
            }
        }
        calls.unnamed.extend(seen.unnamed().map(|(arch, number)| unnamed(arch, number)));
        calls
    }
}

fn unnamed(arch: u32, number: u32) -> String {
    format!("number {number} of architecture {arch:#x}")
}

impl Calls {
    /// Adds the calls inside socketcall(2) and ipc(2); whether there is one.
    fn add_inner(&mut self, seen: Seen<'_>, (multiplexer, base): (&str, u16), multiplexers: bool) -> bool {
        let mut found = false;
        for inner in (base..base + 32).filter(|inner| seen.has_inner(*inner)) {
            found = true;
            let name = tables::name(INNER, inner);
            if name.is_none() || multiplexers {
                self.names.insert(multiplexer.to_owned());
            }
            self.names.extend(name.map(str::to_owned));
        }
        found
    }

    /// What a written profile allows.
    #[must_use]
    pub fn of(profile: &LinuxSeccomp) -> Self {
        let rules = profile.syscalls().iter().flatten().filter(|rule| is_permissive(rule.action()));
        let names = rules.flat_map(|rule| rule.names().iter().cloned()).collect();
        let listed: Vec<Abi> = profile.architectures().iter().flatten().filter_map(|arch| Abi::of(*arch)).collect();
        let foreign = |abi: &Abi| Some(*abi) != Abi::NATIVE && listed.contains(abi);
        Self { names, foreign: Abi::REACHABLE.iter().copied().filter(foreign).collect(), unnamed: Vec::new() }
    }

    /// Adds all of `other`.
    pub fn unite(&mut self, other: &Self) {
        self.names.extend(other.names.iter().cloned());
        let either = |abi: &Abi| self.foreign.contains(abi) || other.foreign.contains(abi);
        self.foreign = Abi::REACHABLE.iter().copied().filter(either).collect();
    }
}

/// The call is made; the kernel may log it.
pub(super) fn is_permissive(action: Action) -> bool {
    matches!(action, Action::ScmpActAllow | Action::ScmpActLog)
}
