//! The stable code for each step of the child. World: plan.
//!
//! Rooms word the errors; a room that knows more than the step gives its error a code of its own.

use crate::error::Code;
use crate::wire::Step;

/// What has failed when `step` has.
pub(super) fn code(step: Step) -> Code {
    match step {
        Step::Clone => Code::CloneFailed,
        Step::JoinNamespace | Step::TimeNamespace | Step::CgroupNamespace | Step::Hostname | Step::Domainname => {
            Code::NamespaceFailed
        }
        Step::IdMappings => Code::IdMappingFailed,
        Step::Loopback => Code::NetworkDeviceFailed,
        Step::Rootfs | Step::ReadonlyRootfs | Step::RootPropagation => Code::RootfsFailed,
        Step::MountTarget => Code::MountDestinationFailed,
        Step::MountSource => Code::MountSourceFailed,
        Step::Propagation
        | Step::Mount
        | Step::MountAttributes
        | Step::MountPropagation
        | Step::CopyUp
        | Step::PrivateProc => Code::MountFailed,
        Step::Unmount => Code::UnmountFailed,
        Step::DevDirectory | Step::Device | Step::DevLink => Code::DeviceFailed,
        Step::Terminal | Step::Console => Code::TerminalFailed,
        Step::PivotRoot | Step::DetachOldRoot => Code::PivotRootFailed,
        Step::Sysctl => Code::SysctlFailed,
        Step::MaskedPath | Step::ReadonlyPath => Code::MaskedPathFailed,
        Step::OomScoreAdj
        | Step::Rlimit
        | Step::Scheduler
        | Step::IoPriority
        | Step::MemoryPolicy
        | Step::Personality
        | Step::CpuAffinity
        | Step::Keyring
        | Step::NoNewPrivileges => Code::ProcessAttributeFailed,
        Step::Label => Code::LabelFailed,
        Step::WorkingDirectory => Code::CwdFailed,
        Step::BecomeRoot | Step::StdioOwner | Step::Groups | Step::Gid | Step::Uid | Step::VerifyCredentials => {
            Code::CredentialsFailed
        }
        Step::BoundingCapabilities | Step::Capabilities | Step::AmbientCapabilities => Code::CapabilityFailed,
        Step::Seccomp | Step::SeccompNotify => Code::SeccompFailed,
        Step::FindProgram | Step::Exec => Code::ExecutableFailed,
        Step::Pidfd | Step::Session | Step::Hooks | Step::CloseDescriptors | Step::StartGate => Code::SystemCallFailed,
    }
}
