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
}
