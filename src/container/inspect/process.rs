//! The OOM score and resource limits. World: plan.

use serde_json::{Value, json};

use super::report::Entry;
use super::{Configured, Effective, Rlimit};

pub(super) fn entries(configured: &Configured<'_>, effective: Option<&Effective>) -> Vec<Entry> {
    let process = configured.spec.process().as_ref();
    let score = Entry::exact(
        "oomScoreAdj",
        json!(process.and_then(oci_spec::runtime::Process::oom_score_adj)),
        json!(effective.and_then(|effective| effective.oom_score_adj)),
    );
    let asked = asked(configured);
    let kept = effective.map(|effective| effective.rlimits.as_slice()).unwrap_or_default();
    let is_asked = |limit: &&Rlimit| asked.iter().any(|other| other.name == limit.name);
    let of_config = asked.iter().map(|limit| {
        let now = kept.iter().find(|other| other.name == limit.name);
        let entry = Entry::new(limit.name.clone(), limit.value(), now.map_or(Value::Null, Rlimit::value));
        let differs = now.is_some_and(|now| now != limit);
        entry.differs(differs, || {
            let now = now.map(Rlimit::words).unwrap_or_default();
            format!("{} is {now}, config says {}", limit.name, limit.words())
        })
    });
    let others = kept.iter().filter(|limit| !is_asked(limit));
    let others = others.map(|limit| Entry::new(limit.name.clone(), Value::Null, limit.value()));
    std::iter::once(score).chain(of_config).chain(others).collect()
}

fn asked(configured: &Configured<'_>) -> Vec<Rlimit> {
    let process = configured.spec.process().as_ref();
    let list = process.and_then(|process| process.rlimits().as_deref()).unwrap_or_default();
    let finite = |value: u64| (value != u64::MAX).then_some(value);
    list.iter()
        .map(|limit| Rlimit { name: limit.typ().to_string(), soft: finite(limit.soft()), hard: finite(limit.hard()) })
        .collect()
}

impl Rlimit {
    fn word(value: Option<u64>) -> Value {
        value.map_or_else(|| json!("unlimited"), Value::from)
    }

    fn value(&self) -> Value {
        json!({ "soft": Self::word(self.soft), "hard": Self::word(self.hard) })
    }

    fn words(&self) -> String {
        let word = |value: Option<u64>| value.map_or_else(|| "unlimited".to_owned(), |value| value.to_string());
        format!("{} (hard {})", word(self.soft), word(self.hard))
    }
}
