//! The id mappings in a mount option, `idmap=uids=...;gids=...`.
//!
//! World: plan (pure). Source: crun(1), "idmap mount options".

use crate::error::{Code, Error, Result};

/// Bounds of what the kernel could take, and of the time to sort it.
const MOST_MAPPINGS: usize = 340;

/// A mapping in the words of crun, `0-1000-10`; relative to the container's user namespace with `@`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mapping {
    /// Host ids are ids of the container.
    pub relative: bool,
    /// Ids of the filesystem.
    pub container_id: u32,
    /// Ids of the host.
    pub host_id: u32,
    /// How many.
    pub size: u32,
}

/// The mappings of `idmap=uids=...;gids=...`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Mappings {
    /// `uids`.
    pub uids: Vec<Mapping>,
    /// `gids`.
    pub gids: Vec<Mapping>,
}

/// `idmap=uids=0-1-10#10-11-10;gids=0-100-10`. Source: crun(1), "idmap mount options".
pub(super) fn parse(word: &str) -> Result<Mappings> {
    let unknown = || {
        Error::new(Code::IdMappingInvalid, format!("{word:?} is not an id mapping"))
            .hint("write idmap=uids=0-1000-10;gids=0-1000-10: ids of the filesystem, ids of the host, how many")
    };
    let (_, lists) = word.split_once('=').ok_or_else(unknown)?;
    let mut mappings = Mappings::default();
    for list in lists.split(';') {
        let (list, triplets) = match list.split_once('=') {
            Some(("uids", triplets)) => (&mut mappings.uids, triplets),
            Some(("gids", triplets)) => (&mut mappings.gids, triplets),
            _ => return Err(unknown()),
        };
        for triplet in triplets.split('#') {
            list.push(mapping(triplet).ok_or_else(unknown)?);
        }
    }
    let fits = |list: &[Mapping]| (1..=MOST_MAPPINGS).contains(&list.len());
    if fits(&mappings.uids) && fits(&mappings.gids) { Ok(mappings) } else { Err(unknown()) }
}

fn mapping(triplet: &str) -> Option<Mapping> {
    let (relative, triplet) = match triplet.strip_prefix('@') {
        Some(rest) => (true, rest),
        None => (false, triplet),
    };
    let numbers: Vec<u32> = triplet.split('-').map(|number| number.parse().ok()).collect::<Option<_>>()?;
    let [container_id, host_id, size] = *numbers.as_slice() else { return None };
    Some(Mapping { relative, container_id, host_id, size })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mappings_in_the_words_of_crun() {
        let one = |relative, container_id, host_id, size| Mapping { relative, container_id, host_id, size };
        let mappings = parse("ridmap=uids=0-1-10#@10-11-10;gids=0-100-10").unwrap();
        assert_eq!(mappings.uids, [one(false, 0, 1, 10), one(true, 10, 11, 10)]);
        assert_eq!(mappings.gids, [one(false, 0, 100, 10)]);
    }
}
