//! Makes the resctrl group of a container and puts its processes there. World: parent.
//!
//! Order rules: the schemata before the first process, so that no process runs with the values of the default group; the
//! control group's tasks file before that of the monitoring group, which takes only tasks of its control group.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::Mode;
use rustix::io::Errno;

use super::plan::{Line, ResctrlPlan};
use super::recorded::Recorded;
use super::root::{Root, not_mounted, open_directory, read, write};
use super::schema;
use crate::error::{Code, Context, Error, Result};

const SCHEMATA: &str = "schemata";
const MON_GROUPS: &str = "mon_groups";
const GROUP_MODE: u32 = 0o755;

/// What there was before the container.
#[derive(Debug)]
pub struct Looked {
    root: Root,
    /// The group, if it exists.
    group: Option<OwnedFd>,
}

/// Looks at the group, before anything of the container exists.
///
/// # Errors
/// The group does not exist and has to, or has other values; its monitoring group exists.
pub fn look(plan: &ResctrlPlan) -> Result<Looked> {
    let root = Root::open(&plan.root)?.ok_or_else(|| not_mounted().at(plan.at()))?;
    look_below(root, plan)
}

pub(super) fn look_below(root: Root, plan: &ResctrlPlan) -> Result<Looked> {
    let group = root.group(plan.group.as_deref()).map_err(|error| error.at(plan.at()))?;
    match &group {
        None if plan.must_exist() => {
            let what = format!("there is no {}", root.shown(plan.group.as_deref()));
            return Err(Error::refused(Code::ResctrlGroupMissing, plan.at(), what)
                .hint("create it first, or set the schemata that it is to have"));
        }
        Some(directory) => check(&root, directory.as_fd(), plan)?,
        None => {}
    }
    Ok(Looked { root, group })
}

/// Whether the container can share a group that exists.
fn check(root: &Root, group: BorrowedFd<'_>, plan: &ResctrlPlan) -> Result<()> {
    if let Some(monitor) = &plan.monitor
        && open_directory(group, &format!("{MON_GROUPS}/{monitor}")).is_ok()
    {
        let what = format!("there is a monitoring group {monitor:?} in {}", root.shown(plan.group.as_deref()));
        return Err(Error::new(Code::ResctrlGroupExists, what)
            .at("linux.intelRdt.enableMonitoring")
            .hint("it belongs to another container, or is to be removed"));
    }
    let compared: Vec<&Line> = plan.lines.iter().filter(|line| line.compared).collect();
    if compared.is_empty() {
        return Ok(());
    }
    let present =
        read(group, SCHEMATA).context(|| format!("read the schemata of {}", root.shown(plan.group.as_deref())))?;
    let granularity = root.number("info/MB/bandwidth_gran").filter(|number| *number > 0).unwrap_or(1);
    match compared.iter().find(|line| !schema::matches(&present, &line.text, granularity)) {
        None => Ok(()),
        Some(line) => {
            let found = schema::of_resource(&present, &line.text).unwrap_or("nothing of this resource");
            let what = format!("{} exists and has {found}, not {}", root.shown(plan.group.as_deref()), line.text);
            Err(Error::refused(Code::ResctrlInvalid, &line.at, what)
                .hint("choose another closID, or omit the schema to use the group as it is"))
        }
    }
}

impl Looked {
    /// What the record says before the group is made.
    #[must_use]
    pub fn recorded(&self, plan: &ResctrlPlan) -> Recorded {
        Recorded {
            root: plan.root.clone(),
            group: plan.group.clone(),
            made: self.group.is_none(),
            named: plan.named,
            inode: None,
            monitor: plan.monitor.clone(),
        }
    }
}

/// A group that is open.
#[derive(Debug)]
pub struct Group {
    root: Root,
    directory: OwnedFd,
    monitor: Option<OwnedFd>,
    /// What a group that existed had before tare wrote to it.
    before: Option<String>,
    /// As the record has it.
    recorded: Recorded,
}

/// Makes the group, or takes the one that exists.
///
/// # Errors
/// The kernel refuses; the group that somebody made meanwhile has other values.
pub fn make(plan: &ResctrlPlan, looked: Looked) -> Result<Group> {
    let mut recorded = looked.recorded(plan);
    // Only the record knows yet that there is to be a monitoring group.
    recorded.monitor = None;
    let Looked { root, group } = looked;
    let name = plan.group.as_deref();
    let directory = match (group, name) {
        (Some(directory), _) => directory,
        (None, None) => return Err(not_mounted().at(plan.at())),
        (None, Some(new)) => match rustix::fs::mkdirat(root.directory(), new, Mode::from_raw_mode(GROUP_MODE)) {
            Ok(()) => opened(&root, name)?,
            Err(Errno::EXIST) => {
                recorded.made = false;
                let directory = opened(&root, name)?;
                check(&root, directory.as_fd(), plan)?;
                directory
            }
            Err(errno) => return Err(root.refused(format!("create {}", root.shown(name)), errno).at(plan.at())),
        },
    };
    let facts = rustix::fs::fstat(&directory).context(|| format!("stat {}", root.shown(name)))?;
    recorded.inode = Some(facts.st_ino);
    Ok(Group { root, directory, monitor: None, before: None, recorded })
}

fn opened(root: &Root, name: Option<&str>) -> Result<OwnedFd> {
    root.group(name)?
        .ok_or_else(|| Error::system(format!("open {}", root.shown(name)), Errno::NOENT).coded(Code::ResctrlFailed))
}

impl Group {
    pub(super) fn new(root: Root, directory: OwnedFd, monitor: Option<OwnedFd>, recorded: Recorded) -> Self {
        Self { root, directory, monitor, before: None, recorded }
    }

    /// What the record has to say about it.
    #[must_use]
    pub fn recorded(&self) -> &Recorded {
        &self.recorded
    }

    pub(super) fn directory(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }

    /// The monitoring group, or the group itself if there is none.
    pub(super) fn monitored(&self) -> BorrowedFd<'_> {
        self.monitor.as_ref().unwrap_or(&self.directory).as_fd()
    }

    pub(super) fn root(&self) -> &Root {
        &self.root
    }

    pub(super) fn shown(&self) -> String {
        self.root.shown(self.recorded.group.as_deref())
    }

    /// Writes the schemata and makes the monitoring group.
    ///
    /// # Errors
    /// The kernel refuses a value, or another group.
    pub fn set_up(&mut self, plan: &ResctrlPlan) -> Result<()> {
        self.write_lines(&plan.lines)?;
        let Some(monitor) = &plan.monitor else { return Ok(()) };
        let at = "linux.intelRdt.enableMonitoring";
        let path = format!("{MON_GROUPS}/{monitor}");
        let group = self.shown();
        let what = || format!("create monitoring group {monitor:?} in {group}");
        match rustix::fs::mkdirat(&self.directory, &path, Mode::from_raw_mode(GROUP_MODE)) {
            Ok(()) => self.recorded.monitor = Some(monitor.clone()),
            Err(Errno::NOENT) => {
                let error = self.root.refused(what(), Errno::NOENT).at(at);
                return Err(error.hint("this CPU has no monitoring of RDT, or the kernel has it disabled"));
            }
            Err(errno) => return Err(self.root.refused(what(), errno).at(at)),
        }
        self.monitor = Some(open_directory(self.directory(), &path).context(what)?);
        Ok(())
    }

    /// Writes lines to the schemata file; what it had is put back by [`Self::put_back`].
    ///
    /// # Errors
    /// The kernel refuses a value.
    pub fn write_lines(&mut self, lines: &[Line]) -> Result<()> {
        if lines.is_empty() {
            return Ok(());
        }
        let before = read(self.directory(), SCHEMATA).context(|| format!("read the schemata of {}", self.shown()))?;
        self.before = Some(before);
        lines.iter().try_for_each(|line| self.write_line(line))
    }

    fn write_line(&self, line: &Line) -> Result<()> {
        write(self.directory(), SCHEMATA, &format!("{}\n", line.text)).map_err(|errno| {
            let what = format!("write {:?} to the schemata of {}", line.text, self.shown());
            let error = self.root.refused(what, errno).at(&line.at);
            if errno == Errno::INVAL { error.hint(self.root.schema_hint()) } else { error }
        })
    }

    /// Puts the schemata back that the group had before [`Self::write_lines`].
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn put_back(&self) -> Result<()> {
        let Some(before) = &self.before else { return Ok(()) };
        write(self.directory(), SCHEMATA, before)
            .map_err(|errno| self.root.refused(format!("put back the schemata of {}", self.shown()), errno))
    }

    /// Moves a process to the group and to its monitoring group. It is not an error if the process has ended: whoever waits for it
    /// will see that.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn admit(&self, pid: i32) -> Result<()> {
        for directory in [Some(&self.directory), self.monitor.as_ref()].into_iter().flatten() {
            match write(directory.as_fd(), "tasks", &pid.to_string()) {
                Ok(()) | Err(Errno::SRCH) => {}
                Err(errno) => {
                    let what = format!("move process {pid} to {}", self.shown());
                    return Err(self.root.refused(what, errno).at("linux.intelRdt"));
                }
            }
        }
        Ok(())
    }

    /// Undoes what [`make`] and [`Self::set_up`] did.
    ///
    /// # Errors
    /// Something stays.
    pub fn undo(&self) -> Result<()> {
        if !self.recorded.made {
            self.put_back()?;
        }
        self.recorded.remove_below(&self.root, false)
    }
}
