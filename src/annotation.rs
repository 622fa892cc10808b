//! Annotations of a config: those that tare knows, and a value by its key.
//!
//! World: plan.

use oci_spec::runtime::Spec;

/// The value of annotation `key`; `None` when the config has none of that name.
#[must_use]
pub fn annotation<'s>(spec: &'s Spec, key: &str) -> Option<&'s str> {
    spec.annotations().as_ref()?.get(key).map(String::as_str)
}

/// CRIU's configuration file for checkpoint and restore; an empty one means none.
pub const CRIU_CONFIG: &str = "org.criu.config";

/// Where crun sends init's pidfd, as --pidfd-socket does.
pub const PIDFD_RECEIVER: &str = "run.oci.pidfd_receiver";

/// An annotation that changes what tare does, or that it refuses.
#[derive(Debug)]
pub struct Honoured {
    /// A key that ends in a dot stands for all that begin so.
    pub key: &'static str,
    /// `tare features` lists it, because it changes what tare does.
    pub potentially_unsafe: bool,
}

/// The annotations that ask nothing which tare would drop, in the order of `tare features`.
pub const HONOURED: &[Honoured] = &[
    done(CRIU_CONFIG),
    done("org.systemd.property."),
    done("run.oci.delegate-cgroup"),
    refused("run.oci.handler"),
    done("run.oci.hooks.stderr"),
    done("run.oci.hooks.stdout"),
    done("run.oci.keep_original_groups"),
    done("run.oci.mount_context_type"),
    done(PIDFD_RECEIVER),
    done("run.oci.seccomp.receiver"),
    done("run.oci.seccomp_bpf_data"),
    done("run.oci.seccomp_fail_unknown_syscall"),
    done("run.oci.systemd.subgroup"),
];

const fn done(key: &'static str) -> Honoured {
    Honoured { key, potentially_unsafe: true }
}

const fn refused(key: &'static str) -> Honoured {
    Honoured { key, potentially_unsafe: false }
}
