//! Annotations of a config: a value by its key.
//!
//! World: plan.

use oci_spec::runtime::Spec;

/// The value of annotation `key`; `None` when the config has none of that name.
#[must_use]
pub fn annotation<'s>(spec: &'s Spec, key: &str) -> Option<&'s str> {
    spec.annotations().as_ref()?.get(key).map(String::as_str)
}
