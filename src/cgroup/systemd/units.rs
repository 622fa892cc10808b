//! Units of systemd: started, stopped, changed. World: parent.
//!
//! Promise: a call survives a reload and a re-execution of systemd and a restart of the bus: what was lost is asked
//! again, with a deadline, and a unit that had been begun meanwhile is known by the process in it. A unit that exists
//! is never taken over: only one without processes is cleared away, once. Source: org.freedesktop.systemd1(5).

use std::time::{Duration, Instant};

use rustix::io::Errno;

use super::address::{Address, Environment, Instance, candidates};
use super::connection::{Connection, Fault, INTERFACE, OBJECT, SYSTEMD};
use super::message::Call;
use super::properties::Property;
use super::unit::Unit;
use super::value::Value;
use crate::error::{Code, Error, Result};

/// How long everything about one unit may take: systemd answers late on a machine under load.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long systemd or the bus may be away, as in `systemctl daemon-reexec`.
const ABSENCE: Duration = Duration::from_secs(20);
/// After so long without a word of a job systemd is asked whether it is still there.
const SILENCE: Duration = Duration::from_secs(3);
const JOB: &str = "org.freedesktop.systemd1.Job";
/// Between attempts.
const PAUSE: Duration = Duration::from_millis(20);

const UNIT: &str = "org.freedesktop.systemd1.Unit";
const EXISTS: &str = "org.freedesktop.systemd1.UnitExists";
const NO_SUCH: &str = "org.freedesktop.systemd1.NoSuchUnit";
/// The other side is not there for the moment.
const PASSING: [&str; 7] = [
    "org.freedesktop.DBus.Error.NoReply",
    "org.freedesktop.DBus.Error.Disconnected",
    "org.freedesktop.DBus.Error.ServiceUnknown",
    "org.freedesktop.DBus.Error.NameHasNoOwner",
    "org.freedesktop.DBus.Error.LimitsExceeded",
    "org.freedesktop.DBus.Error.Timeout",
    "System.Error.EAGAIN",
];

/// What is in the cgroup of a unit that should be new.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// No process.
    Empty,
    /// The process that the unit was to begin with.
    Ours,
    /// Other processes.
    Taken,
}

/// One systemd, connected when it is first needed.
#[derive(Debug)]
pub struct Systemd {
    instance: Instance,
    /// Where it may listen.
    addresses: Vec<Address>,
    deadline: Instant,
    /// [`SILENCE`], or less in tests.
    silence: Duration,
    /// When it went away; it may be back.
    away: Option<Instant>,
    /// Attempts that failed: the next one begins with another address.
    failures: usize,
    connection: Option<Connection>,
}

impl Systemd {
    /// For one piece of work; its deadline begins now.
    #[must_use]
    pub fn new(instance: Instance) -> Self {
        Self {
            instance,
            addresses: candidates(instance, &environment(instance)),
            deadline: Instant::now() + PATIENCE,
            silence: SILENCE,
            away: None,
            failures: 0,
            connection: None,
        }
    }

    /// For questions that shall not wait long for a systemd that is away.
    #[must_use]
    pub fn within(instance: Instance, patience: Duration) -> Self {
        Self { deadline: Instant::now() + patience, ..Self::new(instance) }
    }

    /// Where the conversation is, once there is one.
    #[must_use]
    pub fn address(&self) -> Option<&Address> {
        self.connection.as_ref().map(Connection::address)
    }

    /// Starts a transient unit, with a process if `pid` is given, and waits until it has started.
    ///
    /// # Errors
    /// systemd cannot be reached, refuses, or fails; the unit exists and `look` finds processes in it.
    pub fn start(
        &mut self,
        unit: &Unit,
        properties: &[Property],
        pid: Option<u32>,
        look: &dyn Fn() -> Result<Look>,
    ) -> Result<()> {
        let context = || format!("start unit {}", unit.name);
        let known = self.known(properties)?;
        let arguments = [
            Value::text(&unit.name),
            Value::text("replace"),
            with_process(&known, pid),
            Value::array("(sa(sv))", Vec::new()),
        ];
        let mut cleared = false;
        loop {
            match self.job("StartTransientUnit", &arguments) {
                Ok(result) if result == "done" => return Ok(()),
                Ok(result) => return Err(self.failed(context(), &result, &unit.name)),
                Err(Fault::Refused(name, text)) if name == EXISTS => match look()? {
                    // It was begun before the conversation was lost.
                    Look::Ours if self.failures > 0 => return self.wait_until_active(&unit.name),
                    Look::Empty if !cleared => {
                        self.stop(&unit.name)?;
                        cleared = true;
                    }
                    _ => {
                        let error = Error::new(Code::SystemdUnitExists, context()).detail(text).at("linux.cgroupsPath");
                        return Err(error.hint(format!("see `systemctl status {}`", unit.name)));
                    }
                },
                Err(fault) => self.endure(fault).map_err(|error| blame(error, properties).context(context()))?,
            }
        }
    }

    /// Stops a unit and has systemd forget it; one that does not exist is fine.
    ///
    /// # Errors
    /// systemd cannot be reached, refuses, or fails.
    pub fn stop(&mut self, name: &str) -> Result<()> {
        let context = || format!("stop unit {name}");
        loop {
            match self.job("StopUnit", &[Value::text(name), Value::text("replace")]) {
                Ok(result) if result == "done" => break,
                Ok(result) => return Err(self.failed(context(), &result, name)),
                Err(Fault::Refused(error, _)) if error == NO_SUCH => return Ok(()),
                Err(fault) => self.endure(fault).map_err(|error| error.context(context()))?,
            }
        }
        match self.patient_call(&main("ResetFailedUnit", &[Value::text(name)])) {
            Ok(_) => Ok(()),
            Err(Fault::Refused(error, _)) if error == NO_SUCH => Ok(()),
            Err(fault) => Err(self.explain(fault).context(format!("forget unit {name}"))),
        }
    }

    /// Changes properties of a unit until it ends or the machine does; they survive a reload of systemd.
    ///
    /// # Errors
    /// systemd cannot be reached, refuses, or fails.
    pub fn set(&mut self, name: &str, properties: &[Property]) -> Result<()> {
        let known = self.known(properties)?;
        if known.is_empty() {
            return Ok(());
        }
        let arguments = [Value::text(name), Value::Bool(true), with_process(&known, None)];
        match self.patient_call(&main("SetUnitProperties", &arguments)) {
            Ok(_) => Ok(()),
            Err(fault) => Err(blame(self.explain(fault), properties).context(format!("set properties of unit {name}"))),
        }
    }

    /// systemd's own cgroup, that of its units' root.
    ///
    /// # Errors
    /// systemd cannot be reached.
    pub fn control_group(&mut self) -> Result<String> {
        let what = "ask systemd for its cgroup";
        match self.property(OBJECT, INTERFACE, "ControlGroup") {
            Ok(Value::Text(path)) => Ok(path),
            Ok(_) => Err(Error::new(Code::SystemdFailed, what).detail("the answer is no text")),
            Err(fault) => Err(self.explain(fault).context(what)),
        }
    }

    /// Its version, as distributions write it.
    ///
    /// # Errors
    /// systemd cannot be reached.
    pub fn version(&mut self) -> Result<String> {
        match self.property(OBJECT, INTERFACE, "Version") {
            Ok(Value::Text(version)) => Ok(version),
            Ok(_) => Ok(String::new()),
            Err(fault) => Err(self.explain(fault).context("ask systemd for its version")),
        }
    }

    /// The cgroup of a unit of the sort `Scope` or `Slice`; empty when there is none.
    ///
    /// # Errors
    /// systemd cannot be reached.
    pub fn cgroup_of(&mut self, name: &str, sort: &str) -> Result<String> {
        let path = format!("{OBJECT}/unit/{}", label(name));
        match self.property(&path, &format!("{SYSTEMD}.{sort}"), "ControlGroup") {
            Ok(Value::Text(path)) => Ok(path),
            Ok(_) => Ok(String::new()),
            Err(Fault::Refused(error, _)) if error == NO_SUCH => Ok(String::new()),
            Err(fault) => Err(self.explain(fault).context(format!("ask for the cgroup of unit {name}"))),
        }
    }

    /// Those of the properties that this systemd has; it is asked for its version only where that matters.
    fn known<'p>(&mut self, properties: &'p [Property]) -> Result<Vec<&'p Property>> {
        let mut known: Vec<&Property> = properties.iter().collect();
        if properties.iter().any(|property| property.since > 0) {
            let version = leading_number(&self.version()?);
            known.retain(|property| property.since <= version);
        }
        Ok(known)
    }

    fn property(&mut self, path: &str, interface: &str, name: &str) -> std::result::Result<Value, Fault> {
        match self.patient_call(&get(path, &[Value::text(interface), Value::text(name)]))?.pop() {
            Some(Value::Variant(value)) => Ok(*value),
            _ => Err(Fault::Malformed("a property that is no variant")),
        }
    }

    fn wait_until_active(&mut self, name: &str) -> Result<()> {
        let path = format!("{OBJECT}/unit/{}", label(name));
        let context = || format!("wait for unit {name}");
        loop {
            match self.property(&path, UNIT, "ActiveState") {
                Ok(Value::Text(state)) if state == "active" => return Ok(()),
                Ok(Value::Text(state)) if state == "failed" => return Err(self.failed(context(), &state, name)),
                Ok(_) if Instant::now() < self.deadline => std::thread::sleep(PAUSE),
                Ok(_) => return Err(self.explain(Fault::Late).context(context())),
                Err(fault) => return Err(self.explain(fault).context(context())),
            }
        }
    }

    /// Calls a method that makes a job, and waits for its end; the result.
    fn job(&mut self, member: &str, arguments: &[Value]) -> std::result::Result<String, Fault> {
        let silence = self.silence;
        let connection = self.connection()?;
        let mut reply = connection.call(&main(member, arguments))?;
        let Some(Value::Path(job)) = reply.pop() else { return Err(Fault::Malformed("a reply without a job")) };
        loop {
            if let Some(result) = connection.wait_for_job(&job, silence)? {
                return Ok(result);
            }
            // The signal of its end is lost if systemd executes itself again at that moment.
            match connection.call(&get(&job, &[Value::text(JOB), Value::text("State")])) {
                Ok(_) => {}
                Err(Fault::Refused(..)) => return Err(Fault::Lost(Errno::CONNRESET)),
                Err(fault) => return Err(fault),
            }
        }
    }

    /// Calls a method that can be called again when its reply was lost.
    fn patient_call(&mut self, call: &Call<'_>) -> std::result::Result<Vec<Value>, Fault> {
        loop {
            match self.connection().and_then(|connection| connection.call(call)) {
                Err(fault) if self.is_passing(&fault) => self.pause(),
                result => return result,
            }
        }
    }

    /// Goes on after a passing fault; any other is the end.
    fn endure(&mut self, fault: Fault) -> Result<()> {
        if self.is_passing(&fault) {
            self.pause();
            return Ok(());
        }
        Err(self.explain(fault))
    }

    fn is_passing(&mut self, fault: &Fault) -> bool {
        let passing = match fault {
            Fault::Lost(_) => true,
            Fault::Refused(name, _) => PASSING.contains(&name.as_str()),
            Fault::Failed(_) | Fault::Late | Fault::Malformed(_) => false,
        };
        let now = Instant::now();
        passing && now < self.deadline && now < *self.away.get_or_insert(now) + ABSENCE
    }

    fn pause(&mut self) {
        self.connection = None;
        self.failures += 1;
        std::thread::sleep(PAUSE);
    }

    /// The open conversation, or a new one: with the first address that answers, or later the next one.
    fn connection(&mut self) -> std::result::Result<&mut Connection, Fault> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.connect()?,
        };
        Ok(self.connection.insert(connection))
    }

    fn connect(&self) -> std::result::Result<Connection, Fault> {
        let mut order: Vec<(usize, &Address)> = self.addresses.iter().enumerate().collect();
        let first = self.failures % order.len().max(1);
        order.rotate_left(first);
        let mut errors = Vec::new();
        for (number, address) in order {
            match Connection::open(address, self.deadline) {
                Ok(connection) => return Ok(connection),
                Err(errno) => errors.push((number, address.socket.shown(), errno)),
            }
        }
        errors.sort_unstable_by_key(|(number, ..)| *number);
        // Without systemd there is nothing to wait for.
        if self.instance == Instance::System && !std::path::Path::new("/run/systemd/system").is_dir() {
            return Err(Fault::Refused(ABSENT.to_owned(), tried(&errors)));
        }
        let last = errors.last().map_or(Errno::NOENT, |(.., errno)| *errno);
        let back_soon = errors.iter().any(|(.., errno)| matches!(*errno, Errno::NOENT | Errno::CONNREFUSED));
        let waited = self.away.is_some_and(|away| away.elapsed() + PAUSE >= ABSENCE);
        // A user's systemd that is not there is not on its way.
        let hopeless = self.failures == 0 && self.instance == Instance::User;
        // It may well be there, and have units of ours.
        if !back_soon && !errors.is_empty() {
            return Err(Fault::Refused(UNREACHED.to_owned(), tried(&errors)));
        }
        if !back_soon || waited || hopeless {
            return Err(Fault::Refused(ABSENT.to_owned(), tried(&errors)));
        }
        Err(Fault::Lost(last))
    }

    fn failed(&self, what: String, result: &str, name: &str) -> Error {
        let user = if self.instance == Instance::User { "--user " } else { "" };
        let hint = format!("see `journalctl {user}--unit {name}` and `systemctl {user}status {name}`");
        Error::new(Code::SystemdFailed, what).detail(format!("the job ended with {result:?}")).hint(hint)
    }

    fn explain(&self, fault: Fault) -> Error {
        let user = self.instance == Instance::User;
        let error = |what: &str| Error::new(Code::SystemdFailed, what);
        match fault {
            Fault::Refused(name, text) if name == ABSENT || name == UNREACHED => {
                let whose = if user { "the systemd of this user" } else { "systemd" };
                let hint = if user {
                    "XDG_RUNTIME_DIR or DBUS_SESSION_BUS_ADDRESS must name a session; or use the cgroupfs driver"
                } else {
                    "the systemd cgroup driver needs systemd as init; else use the cgroupfs driver"
                };
                let code = if name == ABSENT { Code::SystemdMissing } else { Code::SystemdFailed };
                Error::new(code, format!("{whose} cannot be reached")).detail(text).hint(hint)
            }
            Fault::Refused(name, text) if name.ends_with("AccessDenied") || name.ends_with("AuthorizationRequired") => {
                Error::new(Code::SystemdDenied, "systemd refuses").detail(text)
            }
            Fault::Refused(name, text) if text.is_empty() => error("systemd refuses").detail(name),
            Fault::Refused(_, text) => error("systemd refuses").detail(text),
            Fault::Lost(errno) => error("the conversation with systemd ended").errno(errno),
            Fault::Failed(errno) => error("talk to systemd").errno(errno),
            Fault::Late => error("systemd has not answered in time").errno(Errno::TIMEDOUT),
            Fault::Malformed(what) => error("systemd's answer is malformed").detail(what),
        }
    }
}

/// Names of our own for errors: nobody listens.
const ABSENT: &str = "tare.Absent";
/// We cannot even ask.
const UNREACHED: &str = "tare.Unreached";

fn tried(errors: &[(usize, String, Errno)]) -> String {
    let text = |(_, socket, errno): &(usize, String, Errno)| {
        format!("{socket}: {}", crate::error::errno_text(crate::error::Errno::raw(*errno)))
    };
    errors.iter().map(text).collect::<Vec<_>>().join(", ")
}

fn main<'a>(member: &'a str, body: &'a [Value]) -> Call<'a> {
    Call { destination: SYSTEMD, path: OBJECT, interface: INTERFACE, member, body }
}

/// Asks an object for a property; `names` are its interface and its own.
fn get<'a>(path: &'a str, names: &'a [Value]) -> Call<'a> {
    Call { destination: SYSTEMD, path, interface: "org.freedesktop.DBus.Properties", member: "Get", body: names }
}

/// Properties as D-Bus has them, with the processes that a scope begins with.
fn with_process(properties: &[&Property], pid: Option<u32>) -> Value {
    let entry = |name: &str, value: Value| Value::Struct(vec![Value::text(name), Value::Variant(Box::new(value))]);
    let mut entries: Vec<Value> =
        properties.iter().map(|property| entry(&property.name, property.value.clone())).collect();
    entries.extend(pid.map(|pid| entry("PIDs", Value::array("u", vec![Value::U32(pid)]))));
    Value::array("(sv)", entries)
}

/// systemd names the property that it does not take; when the user has asked for it, the error is the user's.
fn blame(error: Error, properties: &[Property]) -> Error {
    let text = error.to_string();
    let names = |property: &&Property| text.contains(&property.name);
    match properties
        .iter()
        .filter(|property| property.at.is_some())
        .find(names)
        .and_then(|property| property.at.clone())
    {
        Some(at) => error.at(at),
        None => error,
    }
}

fn leading_number(text: &str) -> u32 {
    let digits: String =
        text.trim_start_matches(|c: char| !c.is_ascii_digit()).chars().take_while(char::is_ascii_digit).collect();
    digits.parse().unwrap_or(0)
}

/// A name as part of an object's path: everything but letters and digits as `_2d`.
fn label(name: &str) -> String {
    let mut label = String::new();
    for (at, byte) in name.bytes().enumerate() {
        if byte.is_ascii_alphabetic() || (at > 0 && byte.is_ascii_digit()) {
            label.push(char::from(byte));
        } else {
            label.push_str(&format!("_{byte:02x}"));
        }
    }
    label
}

fn environment(instance: Instance) -> Environment {
    let text = |name| std::env::var(name).ok();
    match instance {
        Instance::System => Environment { bus: text("DBUS_SYSTEM_BUS_ADDRESS"), ..Environment::default() },
        Instance::User => Environment {
            bus: text("DBUS_SESSION_BUS_ADDRESS"),
            runtime_directory: text("XDG_RUNTIME_DIR"),
            uid: outer_uid(),
        },
    }
}

/// Our user id as the first user namespace sees it, which the session's directory is named after.
pub(super) fn outer_uid() -> u32 {
    let own = rustix::process::geteuid().as_raw();
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let ranges = map.lines().filter_map(|line| {
        let mut numbers = line.split_whitespace().filter_map(|word| word.parse::<u32>().ok());
        Some((numbers.next()?, numbers.next()?, numbers.next()?))
    });
    let mut outer = ranges.filter_map(|(inside, outside, count)| {
        let offset = own.checked_sub(inside).filter(|offset| *offset < count)?;
        outside.checked_add(offset)
    });
    outer.next().unwrap_or(own)
}

#[cfg(test)]
mod tests;
