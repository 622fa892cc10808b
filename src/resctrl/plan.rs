//! `linux.intelRdt` as the name of a resctrl group and lines for its schemata file. World: plan.
//!
//! Promise: the name is one component that leads to a group, never to a file or directory of the kernel's.
//! Order rule: `l3CacheSchema`, `memBwSchema`, then `schemata`, each in a write of its own: the kernel refuses a second
//! value for a domain in one write ("Duplicate domain"), but the specification lets `schemata` override the others.

use oci_spec::runtime::{LinuxIntelRdt, Spec};

use crate::error::{Code, Error, Result};

const AT: &str = "linux.intelRdt";
/// NAME_MAX.
const LONGEST: usize = 255;
/// Directories of the kernel's in the root of resctrl. Source: Documentation/filesystems/resctrl.rst.
const OF_THE_KERNEL: &[&str] = &["info", "mon_groups", "mon_data"];

/// What the plan needs to know.
#[derive(Debug, Clone, Copy)]
pub struct ResctrlFacts<'a> {
    /// The container's id.
    pub id: &'a str,
    /// Where resctrl is mounted.
    pub root: &'a Result<String>,
}

/// One element for the schemata file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// JSON path.
    pub at: String,
    /// What is written, without the newline at its end.
    pub text: String,
    /// A group that exists must have this value already.
    pub compared: bool,
}

/// The group of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResctrlPlan {
    /// Where resctrl is mounted.
    pub root: String,
    /// The group's name; `None` for the default group, which is the root itself.
    pub group: Option<String>,
    /// `closID` names it, so it outlives the container.
    pub named: bool,
    /// What is written to its schemata file, in order.
    pub lines: Vec<Line>,
    /// The name of the monitoring group in it, if there is to be one.
    pub monitor: Option<String>,
}

impl ResctrlPlan {
    /// Whether the group has to be there already.
    #[must_use]
    pub fn must_exist(&self) -> bool {
        self.named && self.lines.is_empty()
    }

    /// JSON path of what names the group.
    #[must_use]
    pub fn at(&self) -> &'static str {
        if self.named { "linux.intelRdt.closID" } else { AT }
    }
}

/// The group; `None` if the config has no `intelRdt`, or an object that asks for nothing on a host without resctrl: as
/// with runc, its group would limit and measure nothing.
///
/// # Errors
/// A name or a line that cannot be used; resctrl is not mounted.
pub fn plan(spec: &Spec, facts: &ResctrlFacts<'_>) -> Result<Option<ResctrlPlan>> {
    let Some(rdt) = spec.linux().as_ref().and_then(|linux| linux.intel_rdt().as_ref()) else { return Ok(None) };
    let closid = given(rdt.clos_id());
    let group = match closid {
        Some("/") => None,
        Some(name) => Some(check_name(name, "linux.intelRdt.closID")?),
        None => Some(check_name(facts.id, AT).map_err(|error| error.hint("set linux.intelRdt.closID"))?),
    };
    let lines = lines(rdt)?;
    let monitor = (rdt.enable_monitoring() == &Some(true)).then(|| facts.id.to_owned());
    let asks_for_nothing = closid.is_none() && lines.is_empty() && monitor.is_none();
    if facts.root.is_err() && asks_for_nothing {
        return Ok(None);
    }
    let root = facts.root.clone().map_err(|error| error.at(AT))?;
    Ok(Some(ResctrlPlan { root, group, named: closid.is_some(), lines, monitor }))
}

/// As in Go, an empty string is none.
fn given(text: &Option<String>) -> Option<&str> {
    text.as_deref().filter(|text| !text.is_empty())
}

fn check_name(name: &str, at: &str) -> Result<String> {
    let shown: String = name.chars().take(40).collect();
    let refuse = |why: &str| {
        Err(Error::refused(Code::ResctrlInvalid, at, format!("{shown:?} cannot be the name of a resctrl group: {why}")))
    };
    if matches!(name, "." | "..") || name.contains('/') || name.chars().any(char::is_control) {
        return refuse("it must be one component of a path");
    }
    if name.len() > LONGEST {
        return refuse("it has more than 255 bytes");
    }
    if OF_THE_KERNEL.contains(&name) {
        return refuse("resctrl has a directory of its own there");
    }
    Ok(name.to_owned())
}

fn lines(rdt: &LinuxIntelRdt) -> Result<Vec<Line>> {
    let mut lines = Vec::new();
    if let Some(text) = given(rdt.l3_cache_schema()) {
        lines.push(line("l3CacheSchema", text)?);
    }
    if let Some(text) = given(rdt.mem_bw_schema()) {
        lines.push(line("memBwSchema", text)?);
    }
    for (index, text) in rdt.schemata().iter().flatten().enumerate().filter(|(_, text)| !text.is_empty()) {
        let at = format!("{AT}.schemata[{index}]");
        if text.contains(['\n', '\0']) {
            return Err(
                Error::refused(Code::ResctrlInvalid, at, "an element is one line").hint("add an element for each line")
            );
        }
        lines.push(Line { at, text: text.clone(), compared: false });
    }
    Ok(lines)
}

/// The value of `l3CacheSchema` or `memBwSchema`.
///
/// # Errors
/// It cannot be one.
pub fn line(key: &str, text: &str) -> Result<Line> {
    let at = format!("{AT}.{key}");
    if text.contains('\0') {
        return Err(Error::refused(Code::NulCharacter, at, "contains a NUL byte"));
    }
    // `l3CacheSchema` only should start with L3: and have one line.
    if key == "memBwSchema" && (!text.starts_with("MB:") || text.contains('\n')) {
        return Err(Error::refused(
            Code::ResctrlInvalid,
            at,
            format!("{text:?} is not one line that starts with \"MB:\""),
        ));
    }
    Ok(Line { at, text: text.trim_end_matches('\n').to_owned(), compared: true })
}
