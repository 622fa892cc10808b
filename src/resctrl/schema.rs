//! Compares lines of a schemata file: whether a group has the values that a config asks for. World: plan.
//!
//! The kernel prints values in another form than they are written: with padding, domains in order, masks without leading
//! zeros, and bandwidth rounded up. Source: Documentation/filesystems/resctrl.rst, "Schemata files".

/// The line of the resource that `wanted` is about, if the group has one.
pub fn of_resource<'s>(schemata: &'s str, wanted: &str) -> Option<&'s str> {
    let resource = resource(wanted)?;
    schemata.lines().map(str::trim).find(|line| self::resource(line) == Some(resource))
}

fn resource(line: &str) -> Option<&str> {
    line.split_once(':').map(|(resource, _)| resource.trim())
}

/// Whether the group has each value that `wanted` names; a domain that it does not name would not be written either.
/// `granularity`: the kernel rounds percentages of bandwidth up to a multiple of it.
pub fn matches(schemata: &str, wanted: &str, granularity: u64) -> bool {
    wanted.lines().filter(|line| !line.trim().is_empty()).all(|line| {
        let Some(present) = of_resource(schemata, line) else { return false };
        let is_bandwidth = resource(line) == Some("MB");
        domains(line).all(|(domain, value)| {
            let found = domains(present).find(|(other, _)| *other == domain);
            found.is_some_and(|(_, present)| {
                if is_bandwidth { same_bandwidth(value, present, granularity) } else { same_mask(value, present) }
            })
        })
    })
}

/// `0=f;1=ff`: numbers of domains, and their values.
fn domains(line: &str) -> impl Iterator<Item = (Option<u32>, &str)> {
    let values = line.split_once(':').map_or("", |(_, values)| values);
    values.split(';').filter(|part| !part.trim().is_empty()).map(|part| {
        let (domain, value) = part.split_once('=').unwrap_or((part, ""));
        (domain.trim().parse().ok(), value.trim())
    })
}

fn same_mask(a: &str, b: &str) -> bool {
    let mask = |text: &str| u64::from_str_radix(text.trim_start_matches("0x"), 16).ok();
    mask(a).is_some() && mask(a) == mask(b)
}

fn same_bandwidth(wanted: &str, present: &str, granularity: u64) -> bool {
    let (Ok(wanted), Ok(present)) = (wanted.parse::<u64>(), present.parse::<u64>()) else { return false };
    wanted == present || wanted.checked_next_multiple_of(granularity) == Some(present)
}
