//! Changes the limits of a cgroup that is in use, all of them or none. World: parent.
//!
//! Order rules: every file is read before the first is written, so that a missing one stops the change before it
//! begins and the values before can be put back; the device program goes last, because replacing it is atomic.

use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;

use super::change::{Change, Present};
use super::devices::Devices;
use super::files;
use super::limits::{IfMissing, Write};
use super::parent::{Cgroup, hand_on_what_is_needed};
use super::systemd::UnitName;
use crate::error::{Code, Context, Error, Result};
use crate::number_list;
use crate::sys::bpf;

/// A write to a file that is there, and the file's content before it; `None` for one that cannot be read.
struct Step {
    write: Write,
    before: Option<String>,
}

impl Cgroup {
    /// The values that a change can depend on.
    ///
    /// # Errors
    /// A file that is there cannot be read.
    pub fn present(&self) -> Result<Present> {
        let read = |file: &str| {
            files::read_if_there(self.directory(), file).context(|| format!("read {file} of cgroup {}", self.path()))
        };
        let number = |text: Option<String>| text.and_then(|text| text.trim().parse().ok());
        let bandwidth = read("cpu.max")?.unwrap_or_default();
        let mut bandwidth = bandwidth.split_whitespace().map(|word| word.parse().ok());
        Ok(Present {
            quota: bandwidth.next().flatten(),
            period: bandwidth.next().flatten(),
            burst: number(read("cpu.max.burst")?),
            memory_limit: number(read("memory.max")?),
            memory_usage: number(read("memory.current")?),
        })
    }

    /// Changes it, and has systemd know when it is that of `unit`. Where the kernel makes something else of a value,
    /// `warn` is told.
    ///
    /// # Errors
    /// A file is missing, the kernel refuses a value or the device program: everything is as it was then, or the
    /// error says what is not.
    pub fn change(&self, change: &Change, unit: Option<&UnitName>, warn: &mut dyn FnMut(Error)) -> Result<()> {
        self.complete_controllers(&change.writes)?;
        let steps = self.steps(&change.writes)?;
        let above = self.unit.as_ref().map_or(Ok(Vec::new()), |unit| unit.steps(&change.writes))?;
        let writes: Vec<Write> = steps.iter().map(|step| step.write.clone()).collect();
        let write_above =
            || self.unit.as_ref().map_or(Ok(()), |unit| unit.write_all(above.iter().map(|step| &step.write)));
        let devices = || change.devices.as_ref().map_or(Ok(()), |devices| self.replace_devices(devices));
        let tell = |writes: &[Write]| unit.map_or(Ok(()), |unit| unit.set_limits(writes));
        let tell = |writes: &[Write]| tell(writes).and_then(|()| self.write_bandwidth_again(writes, unit));
        let done = self.write_all(&writes).and_then(|()| write_above()).and_then(|()| tell(&writes));
        if let Err(error) = done.and_then(|()| devices()) {
            let error = match &self.unit {
                Some(unit) => unit.put_back(&above, error),
                None => error,
            };
            let error = self.put_back(&steps, error);
            let old: Vec<Write> = steps.iter().filter_map(Step::undoing).collect();
            return match tell(&old) {
                Ok(()) => Err(error),
                Err(untold) => Err(error.hint(format!("systemd still has the new values: {untold}"))),
            };
        }
        writes.iter().filter_map(|write| self.kept_otherwise(write)).for_each(warn);
        Ok(())
    }

    /// systemd has written the bandwidth too by then: rounded up, and with its own period where there is no quota.
    fn write_bandwidth_again(&self, writes: &[Write], unit: Option<&UnitName>) -> Result<()> {
        let bandwidth = writes.iter().find(|write| write.file == "cpu.max");
        let (Some(unit), Some(bandwidth)) = (unit, bandwidth) else { return Ok(()) };
        unit.await_writes()?;
        self.unit.as_deref().unwrap_or(self).write_all([bandwidth])
    }

    /// Has the cgroups above hand on what the writes need and nobody needed before, as hugetlb below systemd's slices.
    fn complete_controllers(&self, writes: &[Write]) -> Result<()> {
        let own = files::read(self.directory(), "cgroup.controllers").unwrap_or_default();
        let lacks = |write: &&Write| {
            write.controller().is_some_and(|name| !own.split_whitespace().any(|enabled| enabled == name))
        };
        let lacking: Vec<Write> = writes.iter().filter(lacks).cloned().collect();
        if lacking.is_empty() {
            return Ok(());
        }
        if let Some(unit) = &self.unit {
            unit.complete_controllers(writes)?;
            return unit.hand_on_to_init(&lacking);
        }
        let components: Vec<String> = self.path.split('/').filter(|name| !name.is_empty()).map(str::to_owned).collect();
        hand_on_what_is_needed(&super::mount()?, &components, &lacking)
    }

    fn steps(&self, writes: &[Write]) -> Result<Vec<Step>> {
        writes.iter().filter_map(|write| self.step(write).transpose()).collect()
    }

    /// Finds the file that will be written; `None` when nothing needs to be.
    fn step(&self, write: &Write) -> Result<Option<Step>> {
        let to = |file: &str, value: &str| Write {
            file: file.to_owned(),
            value: value.to_owned(),
            at: write.at.clone(),
            if_missing: IfMissing::Fail,
        };
        let write = match (self.content_before(&write.file), &write.if_missing) {
            (Ok(before), _) => return Ok(Some(Step { write: to(&write.file, &write.value), before })),
            (Err(_), IfMissing::Skip) => return Ok(None),
            (Err(_), IfMissing::Instead(file, value)) => to(file, value),
            (Err(_), IfMissing::Fail) => return Err(self.refused(write, Errno::NOENT)),
        };
        match self.content_before(&write.file) {
            Ok(before) => Ok(Some(Step { write, before })),
            Err(_) => Err(self.refused(&write, Errno::NOENT)),
        }
    }

    /// The content of a file that is there.
    fn content_before(&self, file: &str) -> std::result::Result<Option<String>, Errno> {
        match files::read(self.directory(), file) {
            Err(errno @ (Errno::NOENT | Errno::NODEV)) => Err(errno),
            // Some can be written only, memory.reclaim for example.
            result => Ok(result.ok()),
        }
    }

    /// Puts the values before back, the last first; the error, which says what could not be put back.
    fn put_back(&self, steps: &[Step], error: Error) -> Error {
        let old: Vec<(&str, String)> = steps.iter().rev().filter_map(Step::undone).collect();
        let write = |(file, value): &&(&str, String)| files::write(self.directory(), file, value).is_err();
        // Twice: a burst may need its quota first.
        let failed: Vec<_> = old.iter().filter(write).collect();
        let failed: Vec<&str> = failed.into_iter().filter(write).map(|(file, _)| *file).collect();
        if failed.is_empty() {
            return error;
        }
        error.hint(format!("the previous value could not be restored in {}", failed.join(", ")))
    }

    /// Puts the new rules in force without a moment in between.
    fn replace_devices(&self, devices: &Devices) -> Result<()> {
        let at = |error: Error| error.at("linux.resources.devices");
        // Nor may such a caller ask what is attached.
        if *devices == Devices::NotEnforcedInUserNamespace {
            return Ok(());
        }
        let old = self.device_program().context(|| "look for the device program").map_err(at)?;
        match (devices, old) {
            (Devices::Enforced(program), old) => self.attach(program, old.as_ref().map(AsFd::as_fd)),
            (Devices::AllowAll, Some(old)) => bpf::detach_device_program(self.directory(), old.as_fd())
                .context(|| "detach the device program")
                .map_err(at),
            (Devices::AllowAll | Devices::NotEnforcedInUserNamespace, _) => Ok(()),
        }
    }

    /// tare's own program; those of systemd or a device plugin stay.
    fn device_program(&self) -> std::result::Result<Option<OwnedFd>, Errno> {
        let programs = bpf::attached_device_programs(self.directory())?;
        for id in programs.ids() {
            let program = match bpf::open_program(*id) {
                // Detached meanwhile.
                Err(Errno::NOENT) => continue,
                result => result?,
            };
            if bpf::is_named_by_tare(program.as_fd())? {
                return Ok(Some(program));
            }
        }
        Ok(None)
    }

    /// What the kernel keeps when it is not what was written: whole pages, and processors that the cgroup above has.
    fn kept_otherwise(&self, write: &Write) -> Option<Error> {
        let Write { file, value, at, .. } = write;
        let warning = |what: String| Some(Error::new(Code::ConfigWarning, what).at(at.clone()));
        if matches!(file.as_str(), "cpuset.cpus" | "cpuset.mems") {
            let kept = files::read(self.directory(), &format!("{file}.effective")).ok()?;
            let (asked, kept) = (number_list::parse(value).ok()?, number_list::parse(&kept).ok()?);
            let what = if file == "cpuset.cpus" { "CPUs" } else { "memory nodes" };
            return if asked == kept {
                None
            } else {
                warning(format!("{value:?} results in {what} {}", number_list::format(&kept)))
            };
        }
        let asked: u64 = value.parse().ok()?;
        let kept: u64 = files::read(self.directory(), file).ok()?.trim().parse().ok()?;
        let page = u64::try_from(rustix::param::page_size()).unwrap_or(4096);
        let rounded = kept > 0 && asked.abs_diff(kept) < page;
        if asked == kept || rounded { None } else { warning(format!("the kernel changed {asked} to {kept}")) }
    }
}

impl Step {
    /// The write that undoes this one.
    fn undoing(&self) -> Option<Write> {
        self.undone().map(|(_, value)| Write { value, ..self.write.clone() })
    }

    /// The file and the value that undoes the write.
    fn undone(&self) -> Option<(&str, String)> {
        let Write { file, value, .. } = &self.write;
        let before = self.before.as_deref()?.trim_end();
        let restored = match file.as_str() {
            // An idle group has no weight; leaving idle resets it.
            "cpu.weight" if before == "0" => return None,
            "io.max" | "io.latency" | "io.weight" | "io.bfq.weight" | "rdma.max" | "misc.max" => {
                let key = value.split_once(' ').map_or("default", |(key, _)| key);
                line_of(before, key).map_or_else(|| unlimited(file, key, value), |line| Some(line.to_owned()))?
            }
            // Triggers go with their descriptors.
            _ if file.ends_with(".pressure") && file != "cgroup.pressure" => return None,
            // An empty write would not reach the kernel.
            _ if before.is_empty() => "\n".to_owned(),
            _ => before.lines().next().unwrap_or_default().to_owned(),
        };
        Some((file, restored))
    }
}

/// The line of a device or resource.
fn line_of<'t>(text: &'t str, key: &str) -> Option<&'t str> {
    text.lines().find(|line| line.split(' ').next() == Some(key))
}

/// What takes the line of `key` out of a file again.
fn unlimited(file: &str, key: &str, value: &str) -> Option<String> {
    let names = || value.split(' ').skip(1).filter_map(|word| word.split_once('='));
    match file {
        "io.max" | "rdma.max" => Some(names().fold(key.to_owned(), |line, (name, _)| format!("{line} {name}=max"))),
        "io.weight" | "io.bfq.weight" => Some(format!("{key} default")),
        "io.latency" => Some(format!("{key} target=0")),
        "misc.max" => Some(format!("{key} max")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn undone(file: &str, value: &str, before: &str) -> Option<String> {
        let write =
            Write { file: file.to_owned(), value: value.to_owned(), at: String::new(), if_missing: IfMissing::Fail };
        Step { write, before: Some(before.to_owned()) }.undone().map(|(_, value)| value)
    }

    #[test]
    fn a_write_is_undone_by_what_was_there() {
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(undone("memory.max", "4096", "max\n"), some("max"));
        assert_eq!(undone("cpu.max", "1000 2000", "max 100000\n"), some("max 100000"));
        assert_eq!(undone("cpuset.cpus", "1", "\n"), some("\n"));
        assert_eq!(undone("cpu.weight", "1", "0\n"), None);
        let two = "8:0 rbps=1 wbps=max riops=max wiops=max\n8:16 rbps=2 wbps=max riops=max wiops=max\n";
        assert_eq!(undone("io.max", "8:16 rbps=9", two), some("8:16 rbps=2 wbps=max riops=max wiops=max"));
        assert_eq!(undone("io.max", "8:32 rbps=9 wiops=7", two), some("8:32 rbps=max wiops=max"));
        assert_eq!(undone("io.weight", "500", "default 100\n8:0 50\n"), some("default 100"));
        assert_eq!(undone("io.weight", "8:0 60", "default 100\n8:0 50\n"), some("8:0 50"));
        assert_eq!(undone("io.weight", "8:16 60", "default 100\n8:0 50\n"), some("8:16 default"));
        assert_eq!(undone("rdma.max", "mlx4_0 hca_handle=2", ""), some("mlx4_0 hca_handle=max"));
        assert_eq!(undone("memory.pressure", "some 1 2", "some avg10=0\nfull avg10=0\n"), None);
    }
}
