//! The rest of `linux.resources`: pids, hugepageLimits, rdma, network, unified. World: plan.

use std::collections::HashMap;

use oci_spec::runtime::{LinuxHugepageLimit, LinuxNetwork, LinuxRdma, LinuxResources};

use super::Write;
use super::convert::or_max;
use crate::error::{Code, Error, Result};

/// Files of the core that are safe to set; the others move, stop or kill processes, which is tare's part.
const CORE_FILES: [&str; 3] = ["cgroup.max.depth", "cgroup.max.descendants", "cgroup.pressure"];

/// Bytes of a file's name at the most. Source: linux/limits.h.
const NAME_MAX: usize = 255;

pub fn plan(resources: &LinuxResources, at: &str, writes: &mut Vec<Write>) -> Result<()> {
    if let Some(pids) = resources.pids() {
        writes.push(pids_limit(pids.limit(), format!("{at}.pids.limit")));
    }
    for (i, limit) in resources.hugepage_limits().iter().flatten().enumerate() {
        hugepages(limit, &format!("{at}.hugepageLimits[{i}]"), writes)?;
    }
    if let Some(network) = resources.network() {
        refuse_network(network, &format!("{at}.network"))?;
    }
    for (device, limit) in sorted(resources.rdma().as_ref()) {
        rdma(device, limit, &format!("{at}.rdma"), writes)?;
    }
    for (file, value) in sorted(resources.unified().as_ref()) {
        unified(file, value, &format!("{at}.unified"), writes)?;
    }
    Ok(())
}

/// A map in an order that does not change from run to run.
fn sorted<V>(map: Option<&HashMap<String, V>>) -> Vec<(&String, &V)> {
    let mut entries: Vec<_> = map.into_iter().flatten().collect();
    entries.sort_unstable_by_key(|(key, _)| *key);
    entries
}

/// Negative is no limit. Zero tasks would keep init itself out of its cgroup; like runc, tare
/// lets init in and no further task, which is what systemd does with 0 too.
fn pids_limit(limit: i64, at: String) -> Write {
    match limit {
        ..0 => Write::new(at, "pids.max", "max").or_skip(),
        limit => Write::new(at, "pids.max", limit.max(1)),
    }
}

/// The spec demands the limit on reservations too where the kernel has it (Linux 5.7).
fn hugepages(limit: &LinuxHugepageLimit, at: &str, writes: &mut Vec<Write>) -> Result<()> {
    let size = limit.page_size();
    if !is_page_size(size) {
        return Err(Error::refused(
            Code::CgroupLimitInvalid,
            format!("{at}.pageSize"),
            format!("{size:?} is not a page size"),
        )
        .hint("write it like 64KB, 2MB or 1GB"));
    }
    if limit.limit() < -1 {
        return Err(Error::refused(
            Code::CgroupLimitInvalid,
            format!("{at}.limit"),
            format!("{} is negative", limit.limit()),
        ));
    }
    let value = or_max(limit.limit());
    let unlimited = limit.limit() == -1;
    writes.push(Write::new(format!("{at}.limit"), format!("hugetlb.{size}.max"), &value).or_skip_if(unlimited));
    writes.push(Write::new(format!("{at}.limit"), format!("hugetlb.{size}.rsvd.max"), &value).or_skip());
    Ok(())
}

fn is_page_size(size: &str) -> bool {
    let digits = size.strip_suffix("KB").or_else(|| size.strip_suffix("MB")).or_else(|| size.strip_suffix("GB"));
    digits.is_some_and(|digits| {
        !digits.is_empty()
            && digits.len() <= 6
            && !digits.starts_with('0')
            && digits.bytes().all(|b| b.is_ascii_digit())
    })
}

fn refuse_network(network: &LinuxNetwork, at: &str) -> Result<()> {
    if network.class_id().is_some_and(|class| class != 0) {
        return Err(Error::refused(
            Code::CgroupLimitUnsupported,
            format!("{at}.classID"),
            "cgroup v2 has no network classes",
        )
        .hint("match the cgroup itself in nftables or tc"));
    }
    if network.priorities().as_ref().is_some_and(|priorities| !priorities.is_empty()) {
        return Err(Error::refused(
            Code::CgroupLimitUnsupported,
            format!("{at}.priorities"),
            "cgroup v2 has no network priorities",
        ));
    }
    Ok(())
}

fn rdma(device: &str, limit: &LinuxRdma, at: &str, writes: &mut Vec<Write>) -> Result<()> {
    let at = format!("{at}.{device}");
    if device.is_empty() || device.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(Error::refused(Code::CgroupLimitInvalid, at, "is not the name of an RDMA device"));
    }
    let handles = limit.hca_handles().map(|count| format!(" hca_handle={count}")).unwrap_or_default();
    let objects = limit.hca_objects().map(|count| format!(" hca_object={count}")).unwrap_or_default();
    if !(handles.is_empty() && objects.is_empty()) {
        writes.push(Write::new(at, "rdma.max", format!("{device}{handles}{objects}")));
    }
    Ok(())
}

/// Several lines are several writes, because most files take one line at a time.
fn unified(file: &str, value: &str, at: &str, writes: &mut Vec<Write>) -> Result<()> {
    let at = format!("{at}[{file:?}]");
    let well_formed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let two_words = file.contains('.') && !file.split('.').any(str::is_empty);
    if !file.chars().all(well_formed) || !two_words || file.len() > NAME_MAX {
        return Err(Error::refused(Code::CgroupLimitInvalid, at, "is not a file of a cgroup")
            .hint("write it as CONTROLLER.FILE"));
    }
    if file.starts_with("cgroup.") && !CORE_FILES.contains(&file) {
        return Err(Error::refused(Code::CgroupLimitInvalid, at, "only tare writes this file")
            .hint(format!("of cgroup.*, {} can be set", CORE_FILES.join(", "))));
    }
    if value.trim().is_empty() {
        return Err(Error::refused(Code::CgroupLimitInvalid, at, "is empty; an empty write does not reach the kernel"));
    }
    if value.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t')) {
        return Err(Error::refused(
            Code::CgroupLimitInvalid,
            at,
            "has a control character, which no cgroup file accepts",
        ));
    }
    let lines = value.lines().filter(|line| !line.trim().is_empty());
    writes.extend(lines.map(|line| Write::new(at.clone(), file, line)));
    Ok(())
}
