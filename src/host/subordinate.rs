//! The ids that /etc/subuid and /etc/subgid give to the caller, for user namespaces.
//!
//! World: parent. Source: subuid(5): lines of NAME-OR-UID:FIRST:COUNT. newuidmap(1) checks them again.

use std::path::Path;

/// A range of ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// The first id.
    pub first: u32,
    /// How many.
    pub count: u32,
}

/// The ranges of user `uid`; none when newuidmap, which alone can map them, is not installed.
pub(super) fn ranges(database: &str, uid: u32) -> Vec<Range> {
    if crate::namespaces::parent::helper("newuidmap").is_none() || !Path::new(database).exists() {
        return Vec::new();
    }
    let user = nix::unistd::User::from_uid(nix::unistd::Uid::from_raw(uid)).ok().flatten();
    let text = std::fs::read_to_string(database).unwrap_or_default();
    parse(&text, user.as_ref().map_or("", |user| &user.name), uid)
}

/// Whether newuidmap lets the user map `count` ids from `first` on: the user's `own` id, or ids in the ranges. Other
/// sources than the files (nsswitch.conf(5), `subid`) are not asked: what they have is taken to be permitted.
pub(super) fn permits(ranges: &[Range], own: u32, first: u64, count: u64) -> bool {
    if (first, count) == (own.into(), 1) || has_another_source() {
        return true;
    }
    // Ranges may lie side by side: each round follows one to its end.
    let (mut at, end) = (first, first + count);
    while at < end {
        let holds =
            |range: &&Range| (u64::from(range.first)..u64::from(range.first) + u64::from(range.count)).contains(&at);
        match ranges.iter().find(holds) {
            Some(range) => at = u64::from(range.first) + u64::from(range.count),
            None => return false,
        }
    }
    true
}

fn has_another_source() -> bool {
    let text = std::fs::read_to_string("/etc/nsswitch.conf").unwrap_or_default();
    let mut sources = text.lines().filter_map(|line| line.trim().strip_prefix("subid:"));
    sources.any(|sources| sources.split_whitespace().any(|source| source != "files"))
}

fn parse(text: &str, name: &str, uid: u32) -> Vec<Range> {
    let line = |line: &str| {
        let mut fields = line.split(':');
        let owner = fields.next()?;
        let ours = (!name.is_empty() && owner == name) || owner.parse() == Ok(uid);
        let range = Range { first: fields.next()?.parse().ok()?, count: fields.next()?.trim().parse().ok()? };
        (ours && range.count > 0).then_some(range)
    };
    text.lines().filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_belong_to_a_name_or_a_number() {
        let text = "alice:100000:65536\nbob:1:1\n1000:500000:10\nalice:x:1\nalice:7:0\n\nbroken\n";
        let range = |first, count| Range { first, count };
        assert_eq!(parse(text, "alice", 1000), [range(100_000, 65536), range(500_000, 10)]);
        assert_eq!(parse(text, "bob", 7), [range(1, 1)]);
        assert_eq!(parse(text, "", 7), []);
    }

    #[test]
    fn a_map_needs_ranges_that_hold_all_its_ids() {
        let ranges = [Range { first: 100, count: 50 }, Range { first: 150, count: 50 }, Range { first: 300, count: 1 }];
        for (first, count) in [(100, 50), (120, 80), (300, 1), (1000, 1), (5, 0)] {
            assert!(permits(&ranges, 1000, first, count), "{first} {count}");
        }
        for (first, count) in [(99, 2), (100, 101), (300, 2), (1000, 2), (1001, 1), (0, 1)] {
            assert!(!permits(&ranges, 1000, first, count), "{first} {count}");
        }
    }
}
