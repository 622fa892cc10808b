//! World: plan. A plan in plain words, section by section in the order in which create and start carry it out.
//!
//! Promise: the same plan gives the same words. Values of the config stand here as they are: whoever shows them escapes
//! what a terminal would obey.

mod container;
mod program;
mod tree;

use oci_spec::runtime::Spec;
use serde_json::{Map, Value};

use super::ContainerPlan;

/// What create and start would do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanSummary {
    /// In the order in which they are carried out; those in which nothing is done are left out.
    pub sections: Vec<PlanSection>,
}

/// One part of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanSection {
    /// Its name: `namespaces`, `cgroup`, `mounts`.
    pub name: &'static str,
    /// What is done, a line each.
    pub steps: Vec<String>,
}

impl PlanSummary {
    /// An object: the steps of each section by its name.
    #[must_use]
    pub fn json(&self) -> Value {
        let member = |section: &PlanSection| (section.name.to_owned(), Value::from(section.steps.clone()));
        Value::Object(self.sections.iter().map(member).collect::<Map<_, _>>())
    }
}

/// Words the plan that was made of `spec`.
#[must_use]
pub fn summary(spec: &Spec, plan: &ContainerPlan) -> PlanSummary {
    let hooks = &plan.hooks;
    let program = plan.program.as_ref();
    let sections = [
        ("resctrl", container::resctrl(plan.resctrl.as_ref())),
        ("cgroup", container::cgroup(plan.cgroup.as_ref())),
        ("device rules", container::device_rules(spec, plan.cgroup.as_ref())),
        ("namespaces", container::namespaces(&plan.namespaces)),
        ("rootfs", tree::rootfs(&plan.rootfs)),
        ("mounts", plan.rootfs.mounts.iter().map(tree::mount).collect()),
        ("devices", plan.rootfs.devices.nodes.iter().map(tree::device).collect()),
        ("network devices", container::network_devices(&plan.network_devices)),
        (
            "hooks before pivot_root",
            container::hooks(&[&hooks.prestart, &hooks.create_runtime, &hooks.create_container]),
        ),
        ("sysctls", container::sysctls(&plan.namespaces)),
        ("masked paths", tree::paths(&plan.rootfs.masked_paths)),
        ("read-only paths", tree::paths(&plan.rootfs.readonly_paths)),
        ("process", program.map(program::process).unwrap_or_default()),
        ("capabilities", program.map(program::capabilities).unwrap_or_default()),
        ("hooks of start", container::hooks(&[&hooks.start_container])),
        ("seccomp", program.map(|program| program::seccomp(spec, program)).unwrap_or_default()),
        ("program", program.map(program::command).unwrap_or_default()),
        ("hooks after start", container::hooks(&[&hooks.poststart])),
        ("hooks after delete", container::hooks(&[&hooks.poststop])),
    ];
    let section = |(name, steps): (&'static str, Vec<String>)| PlanSection { name, steps };
    PlanSummary { sections: sections.into_iter().map(section).filter(|section| !section.steps.is_empty()).collect() }
}

/// Text of the config, or of the host, which need not be UTF-8.
fn text(string: &std::ffi::CStr) -> String {
    string.to_string_lossy().into_owned()
}

/// `one` item, or several.
fn count(number: usize, one: &str) -> String {
    format!("{number} {one}{}", if number == 1 { "" } else { "s" })
}
