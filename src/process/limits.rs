//! Resource limits and the OOM score.
//!
//! World: plan (pure).

use oci_spec::runtime::{PosixRlimit, PosixRlimitType as Type};
use rustix::process::Resource;

use super::plan::path;
use crate::error::{Code, Error, Result};

/// One resource limit; `None` is infinity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rlimit {
    /// Which resource.
    pub resource: Resource,
    /// The two values.
    pub value: rustix::process::Rlimit,
}

/// RLIM_INFINITY of the 64-bit interface.
const INFINITY: u64 = u64::MAX;

/// Lowest and highest oom_score_adj of the kernel.
const OOM_SCORE_ADJ: std::ops::RangeInclusive<i32> = -1000..=1000;

/// The limits in their order.
///
/// # Errors
/// A soft limit above its hard limit; the same type twice (the spec demands an error).
pub(super) fn plan(rlimits: &[PosixRlimit], at: &str) -> Result<Vec<Rlimit>> {
    let here = |i: usize, field: &str| path(at, &format!("rlimits[{i}]{field}"));
    for (i, rlimit) in rlimits.iter().enumerate() {
        let typ = rlimit.typ();
        if rlimits[..i].iter().any(|earlier| earlier.typ() == typ) {
            return Err(Error::refused(Code::RlimitInvalid, here(i, ".type"), format!("{typ} is given twice")));
        }
        if rlimit.soft() > rlimit.hard() {
            let what = format!("the soft limit {} of {typ} is above its hard limit {}", rlimit.soft(), rlimit.hard());
            return Err(Error::refused(Code::RlimitInvalid, here(i, ".soft"), what));
        }
    }
    let finite = |value| (value != INFINITY).then_some(value);
    let rlimit = |limit: &PosixRlimit| Rlimit {
        resource: resource(limit.typ()),
        value: rustix::process::Rlimit { current: finite(limit.soft()), maximum: finite(limit.hard()) },
    };
    Ok(rlimits.iter().map(rlimit).collect())
}

impl super::ProcessPlan {
    /// The limit of open files that the program gets if the config names none.
    pub fn keep_open_files(&mut self, value: rustix::process::Rlimit) {
        if self.rlimits.iter().all(|limit| limit.resource != Resource::Nofile) {
            self.rlimits.push(Rlimit { resource: Resource::Nofile, value });
        }
    }
}

fn resource(typ: Type) -> Resource {
    match typ {
        Type::RlimitCpu => Resource::Cpu,
        Type::RlimitFsize => Resource::Fsize,
        Type::RlimitData => Resource::Data,
        Type::RlimitStack => Resource::Stack,
        Type::RlimitCore => Resource::Core,
        Type::RlimitRss => Resource::Rss,
        Type::RlimitNproc => Resource::Nproc,
        Type::RlimitNofile => Resource::Nofile,
        Type::RlimitMemlock => Resource::Memlock,
        Type::RlimitAs => Resource::As,
        Type::RlimitLocks => Resource::Locks,
        Type::RlimitSigpending => Resource::Sigpending,
        Type::RlimitMsgqueue => Resource::Msgqueue,
        Type::RlimitNice => Resource::Nice,
        Type::RlimitRtprio => Resource::Rtprio,
        Type::RlimitRttime => Resource::Rttime,
    }
}

/// The text for /proc/PID/oom_score_adj.
///
/// # Errors
/// A value out of range.
pub(super) fn oom_score_adj(value: Option<i32>, at: &str) -> Result<Option<Vec<u8>>> {
    let Some(value) = value else { return Ok(None) };
    if !OOM_SCORE_ADJ.contains(&value) {
        return Err(Error::refused(
            Code::ProcessAttributeInvalid,
            path(at, "oomScoreAdj"),
            format!("{value} is not between -1000 and 1000"),
        ));
    }
    Ok(Some(value.to_string().into_bytes()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::plan::tests::{planned, refusal};
    use super::*;

    #[test]
    fn names_become_resources_and_infinity_none() {
        let plan = planned(json!({"rlimits": [
            {"type": "RLIMIT_NOFILE", "soft": 10, "hard": u64::MAX}, {"type": "RLIMIT_RTTIME", "soft": 1, "hard": 2}]}));
        assert_eq!(plan.rlimits[0].resource, Resource::Nofile);
        assert_eq!(plan.rlimits[0].value.current, Some(10));
        assert_eq!(plan.rlimits[0].value.maximum, None);
        assert_eq!(plan.rlimits[1].resource, Resource::Rttime);
    }

    #[test]
    fn refuses_with_path_and_reason() {
        let nofile = |soft: u64, hard: u64| json!({"type": "RLIMIT_NOFILE", "soft": soft, "hard": hard});
        let cases = [
            (
                json!({"rlimits": [nofile(10, 1)]}),
                "process.rlimits[0].soft: the soft limit 10 of RLIMIT_NOFILE is above its hard limit 1",
            ),
            (json!({"rlimits": [nofile(1, 1), nofile(1, 1)]}), "process.rlimits[1].type: RLIMIT_NOFILE is given twice"),
            (json!({"oomScoreAdj": 1001}), "process.oomScoreAdj: 1001 is not between -1000 and 1000"),
        ];
        for (changes, expected) in cases {
            assert_eq!(refusal(changes), expected);
        }
    }

    #[test]
    fn the_oom_score_is_text() {
        assert_eq!(planned(json!({"oomScoreAdj": -500})).oom_score_adj.as_deref(), Some(b"-500".as_slice()));
        assert_eq!(planned(json!({})).oom_score_adj, None);
    }
}
