//! World: parent. Answers the requests of the init of a new container until it is ready.
//!
//! Order of requests: id mappings -> the sources of id-mapped mounts in the rootfs -> the barrier before pivot_root
//! (network devices, then prestart, createRuntime and createContainer hooks) -> the barrier before execve
//! (startContainer hooks of run) -> ready.

use std::os::fd::AsFd;

use super::StartMode;
use super::creation::Creation;
use super::transaction::{Guard, Transaction};
use crate::cgroup::Cgroup;
use crate::container::handover::Channels;
use crate::container::state::State;
use crate::container::status::{self, Status};
use crate::container::warning::Warn;
use crate::container::{StoredContainer, death, start_hooks};
use crate::error::{Code, Coded, Result};
use crate::hooks::{self, Place};
use crate::namespaces;
use crate::network::devices::{self, Moved};
use crate::plan::ContainerPlan;
use crate::resctrl;
use crate::rootfs;
use crate::spawn::{Child, Outcome, Request};
use crate::timings;
use crate::wire::Barrier;

/// What the answers need.
pub(super) struct Conversation<'a> {
    pub(super) plan: &'a ContainerPlan,
    pub(super) namespaces: &'a namespaces::OpenNamespaces,
    pub(super) creation: &'a mut Creation,
    pub(super) channels: &'a mut Channels,
    pub(super) resctrl: Option<&'a resctrl::Group>,
    pub(super) transaction: &'a Transaction,
}

impl Conversation<'_> {
    /// Answers init until it waits at the gate or runs the program. Returns the network devices that the container got:
    /// after the commit they belong to its network namespace.
    ///
    /// # Errors
    /// A step of init or an answer failed, or init died.
    pub(super) fn hold(
        mut self,
        init: &mut Child,
        mode: StartMode,
        cgroup: Option<&Cgroup>,
        warn: Warn<'_>,
    ) -> Result<Option<Guard<Moved>>> {
        let _span = timings::span("answer init until it is ready");
        let mut moved = None;
        let conversed = init.converse(mode != StartMode::AtGate, |init, request| match request {
            Request::Mappings => {
                namespaces::parent::write_mappings(init.pid, &self.plan.namespaces).coded(Code::IdMappingFailed)
            }
            Request::Hooks(barrier) => {
                if barrier == Barrier::BeforePivot && !self.plan.network_devices.is_empty() {
                    let devices =
                        devices::bring(&self.plan.network_devices, init.pid).coded(Code::NetworkDeviceFailed)?;
                    moved = Some(self.transaction.guard(devices));
                }
                if barrier == Barrier::BeforeExec {
                    self.delegate(init, cgroup)?;
                }
                self.creation.owe_poststop(&self.plan.hooks);
                self.run_hooks(init, barrier, warn)
            }
            Request::MapIds(mount, tree) => {
                rootfs::parent::map_ids(&self.plan.rootfs, mount, tree.as_fd(), self.namespaces.user_namespace())
                    .coded(Code::MountIdmapFailed)
            }
            // A child of the process that was admitted, but maybe cloned before that.
            Request::Born => self.resctrl.map_or(Ok(()), |group| group.admit(init.pid)).coded(Code::ResctrlFailed),
            Request::Warning(fault) => {
                warn(self.plan.explain(&fault));
                Ok(())
            }
            Request::Attaching(..) => Ok(()),
            Request::Ready => {
                if mode == StartMode::AtGate {
                    self.delegate(init, cgroup)?;
                }
                self.deliver_listener()
            }
        });
        let end = match (&conversed, mode) {
            (Ok(Outcome::Ready), StartMode::AtGate) => timings::End::AtGate,
            (Ok(Outcome::Ready), _) => timings::End::Executed,
            _ => timings::End::Failed,
        };
        timings::end_child(end, |fault| self.plan.explain(fault));
        match conversed? {
            Outcome::Ready => Ok(moved),
            Outcome::Failed(fault) => Err(self.plan.explain(&fault)),
            Outcome::Died => Err(death::explain_early(init, cgroup, death::memory_limit(self.plan))),
        }
    }

    /// init has its cgroup namespace by now, whose root stays the container's cgroup.
    fn delegate(&self, init: &Child, cgroup: Option<&Cgroup>) -> Result<()> {
        let Some((plan, cgroup)) = self.plan.cgroup.as_ref().zip(cgroup) else { return Ok(()) };
        let Some(name) = plan.delegated.as_ref() else { return Ok(()) };
        let _span = timings::span("delegate the cgroup");
        cgroup.delegate(name, init.pid, plan.owner).coded(Code::CgroupFailed)
    }

    fn run_hooks(&self, init: &Child, barrier: Barrier, warn: Warn<'_>) -> Result<()> {
        if barrier == Barrier::BeforePivot {
            return self.run_hooks_before_pivot(init);
        }
        let StoredContainer { directory, record } = &self.creation.container;
        let mut record = record.clone();
        record.pid = init.pid;
        start_hooks::run(directory, &record, init.pidfd.as_fd(), &self.plan.hooks.start_container, warn)
    }

    fn run_hooks_before_pivot(&self, init: &Child) -> Result<()> {
        let (hooks, record) = (&self.plan.hooks, self.creation.record());
        let state = |pid| State::new(record, Status::Creating).with_pid(pid).json();
        let runtime = Place::Runtime { directory: &record.bundle, init: Some(init.pidfd.as_fd()) };
        let outside = state(init.pid)?;
        hooks::run(&hooks.prestart, &outside, runtime)?;
        hooks::run(&hooks.create_runtime, &outside, runtime)?;
        if hooks.create_container.is_empty() {
            return Ok(());
        }
        let inside = Place::Container { pidfd: init.pidfd.as_fd(), namespaces: record.namespaces };
        hooks::run(&hooks.create_container, &state(status::pid_inside(init.pid)?)?, inside)
    }

    fn deliver_listener(&mut self) -> Result<()> {
        match &self.plan.program {
            Some(program) => self.channels.deliver_listener(program, self.creation.record(), None),
            None => Ok(()),
        }
    }
}
