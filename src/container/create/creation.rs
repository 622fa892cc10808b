//! World: parent. A container in creation, and how each part of it is undone.
//!
//! The record is on disk before anything that it names exists, and is removed after all of that is gone. So if tare is
//! killed in between, `delete --force` can remove the container from the record alone.

use std::os::fd::AsFd;

use super::transaction::{Guard, Transaction, Undo};
use crate::cgroup::{self, Cgroup, Tag};
use crate::container::record::{Phase, Record};
use crate::container::store::{Directory, Store};
use crate::container::{StoredContainer, delete, saved_config, status};
use crate::error::{Code, Coded, ErrorKind, Result};
use crate::hooks;
use crate::host::Host;
use crate::network::devices::Moved;
use crate::resctrl::{self, ResctrlPlan};
use crate::spawn::Child;
use crate::timings;

/// A container in creation: its state directory and its record.
pub(in crate::container) struct Creation {
    pub(in crate::container) store: Store,
    pub(in crate::container) container: StoredContainer,
    /// The hooks to run if the creation fails; none before the first hook has started.
    poststop: hooks::HookPlan,
}

impl Creation {
    /// Takes the id of the record: creates and locks its directory, which is empty yet.
    ///
    /// # Errors
    /// The id is taken.
    pub(super) fn take_id(store: Store, record: Record) -> Result<Self> {
        let _span = timings::span("create the state directory");
        let directory = store.create(&record.id)?;
        Ok(Self { store, container: StoredContainer { directory, record }, poststop: hooks::HookPlan::default() })
    }

    pub(super) fn directory(&self) -> &Directory {
        &self.container.directory
    }

    pub(super) fn record(&self) -> &Record {
        &self.container.record
    }

    /// Writes the record, and the copy of config.json that later commands read.
    pub(super) fn write_first(&self, config: &[u8]) -> Result<()> {
        let _span = timings::span("write the record and the config");
        self.write_record()?;
        self.directory().replace(saved_config::FILE, config)
    }

    pub(super) fn write_record(&self) -> Result<()> {
        self.record().write(self.directory())
    }

    /// Records the mount of a container that has no mount namespace, before the mount is visible.
    pub(super) fn record_mount(&mut self, mount: u64) -> Result<()> {
        self.container.record.root_mount = Some(mount);
        self.write_record()
    }

    /// Takes the pid of init into the record.
    pub(super) fn set_init(&mut self, child: &Child) -> Result<()> {
        let record = &mut self.container.record;
        record.pid = child.pid;
        record.start_time = status::process_facts(child.pid)?.map_or(0, |facts| facts.start_time);
        // Root can always compare the start time: /proc hides no process from it. In a /proc of another pid namespace, no
        // pid would mean anything.
        if record.owner != 0 {
            record.pidfd_inode = crate::sys::pidfd::inode(child.pidfd.as_fd());
        }
        Ok(())
    }

    /// Records that the container is created.
    pub(super) fn record_created(&mut self) -> Result<()> {
        let _span = timings::span("record that the container is created");
        self.container.record.phase = Phase::Created;
        self.write_record()
    }

    /// A hook starts: from now on the poststop hooks of `plan` run if the creation fails.
    pub(super) fn owe_poststop(&mut self, plan: &hooks::HookPlan) {
        self.poststop = hooks::HookPlan { poststop: plan.poststop.clone(), ..hooks::HookPlan::default() };
    }

    /// Creates the resctrl group with its values, if the config asks for one.
    pub(super) fn create_resctrl(
        &mut self,
        plan: Option<&ResctrlPlan>,
        looked: Option<resctrl::Looked>,
        transaction: &Transaction,
    ) -> Result<Option<Guard<CreatedResctrl>>> {
        let Some((plan, looked)) = plan.zip(looked) else { return Ok(None) };
        let _span = timings::span("create the resctrl group");
        let mut guard =
            transaction.guard(CreatedResctrl { group: resctrl::make(plan, looked).coded(Code::ResctrlFailed)? });
        let recorded = &mut self.container.record.resctrl;
        let was_made = |recorded: &Option<resctrl::Recorded>| recorded.as_ref().is_some_and(|recorded| recorded.made);
        let planned = was_made(recorded);
        let monitor = plan.monitor.clone();
        *recorded = Some(resctrl::Recorded { monitor, ..guard.group.recorded().clone() });
        if planned != was_made(recorded) {
            // Another command has made it meanwhile.
            self.write_record()?;
        }
        guard.group.set_up(plan).coded(Code::ResctrlFailed)?;
        Ok(Some(guard))
    }

    /// Creates the cgroup and, with the systemd driver, its unit, unless cgroups are disabled.
    pub(super) fn create_cgroup(
        &mut self,
        plan: Option<&cgroup::CgroupPlan>,
        host: &Host,
        transaction: &Transaction,
    ) -> Result<Option<Guard<CreatedCgroup>>> {
        let Some(plan) = plan else { return Ok(None) };
        let _span = timings::span("create the cgroup");
        let StoredContainer { directory, record } = &mut self.container;
        let tag = delete::tag(directory)?;
        let cgroup = Cgroup::create(plan, host.hierarchy()?, &tag).coded(Code::CgroupFailed).inspect_err(|error| {
            // systemd may have started the unit. Other kinds of error mean that the cgroup or unit is another
            // container's, or that there is no systemd.
            if record.unit.is_some() && error.kind() == ErrorKind::System {
                transaction.note(delete::remove_unfinished(directory, record));
            }
        })?;
        let unit = record.unit.is_some().then(|| (record.clone(), tag));
        let guard = transaction.guard(CreatedCgroup { cgroup, unit });
        record.cgroup_inode = Some(guard.cgroup.inode()?);
        if let Some(owner) = plan.owner {
            guard.cgroup.hand_over(owner).coded(Code::CgroupFailed)?;
        }
        Ok(Some(guard))
    }
}

/// The resctrl group of a container in creation.
pub(super) struct CreatedResctrl {
    pub(super) group: resctrl::Group,
}

/// When no process is left in it.
impl Undo for CreatedResctrl {
    fn undo(&mut self, transaction: &Transaction) {
        transaction.note(self.group.undo());
    }
}

/// The cgroup of a container in creation.
pub(super) struct CreatedCgroup {
    pub(super) cgroup: Cgroup,
    /// The record that names the unit, and the tag of the cgroup.
    unit: Option<(Record, Tag)>,
}

/// Kills what is left in the cgroup: descendants of init, or of hooks.
impl Undo for CreatedCgroup {
    fn undo(&mut self, transaction: &Transaction) {
        let removed = delete::remove_cgroup(self.cgroup.whole());
        transaction.note(match &self.unit {
            Some((record, tag)) => removed.and_then(|()| delete::stop_unit(record, || Ok(tag.clone()))),
            None => removed,
        });
    }
}

/// Its pid namespace ends with it.
impl Undo for Child {
    fn undo(&mut self, _: &Transaction) {
        let _span = timings::span("kill init");
        self.kill_and_reap();
    }
}

/// While the network namespace exists, that is before init is killed.
impl Undo for Moved {
    fn undo(&mut self, transaction: &Transaction) {
        if let Err(lost) = self.take_back() {
            transaction.warn(lost);
        }
    }
}

/// The last to be undone: poststop hooks run when no process is left, and the record is removed only if everything that it
/// names is gone.
impl Undo for Creation {
    fn undo(&mut self, transaction: &Transaction) {
        let _span = timings::span("remove what was created");
        let StoredContainer { directory, record } = &self.container;
        transaction.note(delete::detach_mounts(record));
        if !self.poststop.is_empty() {
            delete::poststop(&self.poststop, record, &mut |warning| transaction.warn(warning));
        }
        if !transaction.left_something() {
            transaction.note(self.store.remove(directory));
        }
    }
}
