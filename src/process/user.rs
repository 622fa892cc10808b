//! Who the process is: ids of the config, of `exec --user`, and the home directory of a uid.
//!
//! World: plan (pure), but for `home.rs`, which the parent calls with a descriptor of the rootfs. Ids are
//! numbers throughout; 4294967295 is refused everywhere, since setresuid(-1) means "leave it" (root, that is).

#[path = "home.rs"]
mod home;

use oci_spec::runtime::User;

pub use home::{DEFAULT_HOME, home, home_in};

use super::ProcessFacts;
use super::plan::path;
use crate::error::{Code, Error, Result};

/// NGROUPS_MAX.
const MOST_GROUPS: usize = 65536;
/// runc's default for every process.
const DEFAULT_UMASK: u32 = 0o022;

/// The ids of the process.
pub(super) struct Planned {
    pub uid: u32,
    pub gid: u32,
    pub groups: Vec<u32>,
    pub umask: u32,
}

/// Checks `process.user`.
pub(super) fn plan(user: &User, facts: &ProcessFacts<'_>) -> Result<Planned> {
    let here = |field: &str| path(facts.at, &format!("user.{field}"));
    check_id(user.uid(), || here("uid"))?;
    check_id(user.gid(), || here("gid"))?;
    let groups = if facts.keep_groups { Vec::new() } else { user.additional_gids().clone().unwrap_or_default() };
    for (i, group) in groups.iter().enumerate() {
        check_id(*group, || here(&format!("additionalGids[{i}]")))?;
    }
    if groups.len() > MOST_GROUPS {
        let what = format!("{} groups exceed the kernel's limit, {MOST_GROUPS}", groups.len());
        return Err(Error::refused(Code::UserInvalid, here("additionalGids"), what));
    }
    if !groups.is_empty() && !facts.set_groups {
        let what = "cannot set any additional groups in a rootless container";
        let error = Error::refused(Code::GroupsUnsupported, here("additionalGids"), what);
        return Err(
            error.hint("setgroups(2) is denied in a user namespace whose gid map was written without privilege")
        );
    }
    let umask = user.umask().unwrap_or(DEFAULT_UMASK);
    if umask > 0o777 {
        return Err(Error::refused(
            Code::UserInvalid,
            here("umask"),
            format!("{umask} (octal {umask:o}) is above 511 (octal 777)"),
        ));
    }
    Ok(Planned { uid: user.uid(), gid: user.gid(), groups, umask })
}

fn check_id(id: u32, at: impl FnOnce() -> String) -> Result<()> {
    if id == u32::MAX {
        return Err(Error::refused(Code::UserInvalid, at(), "4294967295 is not an id: ids go from 0 to 4294967294"));
    }
    Ok(())
}

/// What `exec --user` asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Requested {
    /// The user id.
    pub uid: u32,
    /// The group id, when one is given; otherwise the configured one stays.
    pub gid: Option<u32>,
}

/// Reads `UID` or `UID:GID`.
///
/// # Errors
/// Everything that is not one or two decimal numbers from 0 to 4294967294: signs, names, blanks, rests.
pub fn parse(text: &str) -> Result<Requested> {
    let (uid, gid) = match text.split_once(':') {
        Some((uid, gid)) => (uid, Some(gid)),
        None => (text, None),
    };
    let id = |word: &str, name: &str| parse_id(word).ok_or_else(|| refuse(text, word, name));
    Ok(Requested { uid: id(uid, "uid")?, gid: gid.map(|gid| id(gid, "gid")).transpose()? })
}

/// Digits alone: `u32::from_str` would take a plus sign.
fn parse_id(word: &str) -> Option<u32> {
    let digits = !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit());
    word.parse().ok().filter(|id| digits && *id != u32::MAX)
}

fn refuse(text: &str, word: &str, name: &str) -> Error {
    let what = format!("invalid user {text:?}: {word:?} is not a {name}");
    Error::new(Code::UserInvalid, what).hint("give UID or UID:GID, numbers from 0 to 4294967294")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::plan::plan;
    use super::super::plan::tests::{FACTS, planned, process, refusal};
    use super::*;

    #[test]
    fn refuses_ids_that_are_none() {
        let max = u32::MAX;
        let cases = [
            (json!({"user": {"uid": max, "gid": 0}}), "process.user.uid: 4294967295 is not an id"),
            (json!({"user": {"uid": 0, "gid": max}}), "process.user.gid: 4294967295 is not an id"),
            (
                json!({"user": {"uid": 0, "gid": 0, "additionalGids": [1, max]}}),
                "process.user.additionalGids[1]: 4294967295 is not an id",
            ),
            (
                json!({"user": {"uid": 0, "gid": 0, "umask": 512}}),
                "process.user.umask: 512 (octal 1000) is above 511 (octal 777)",
            ),
        ];
        for (changes, expected) in cases {
            let refusal = refusal(changes);
            assert!(refusal.starts_with(expected), "{refusal}");
        }
    }

    #[test]
    fn groups_need_setgroups() {
        let facts = ProcessFacts { set_groups: false, ..FACTS };
        assert!(plan(&process(json!({})), None, &facts).is_ok());
        let asked = process(json!({"user": {"uid": 0, "gid": 0, "additionalGids": [5]}}));
        let refused = plan(&asked, None, &facts).unwrap_err();
        assert_eq!(refused.path(), Some("process.user.additionalGids"));
        assert!(refused.to_string().contains("cannot set any additional groups in a rootless container"));
    }

    #[test]
    fn groups_of_the_caller_may_stay() {
        let facts = ProcessFacts { keep_groups: true, ..FACTS };
        let asked = process(json!({"user": {"uid": 0, "gid": 0, "additionalGids": [5]}}));
        let plan = plan(&asked, None, &facts).unwrap();
        assert_eq!((plan.groups.len(), plan.set_groups), (0, false));
    }

    #[test]
    fn the_umask_is_022_unless_given() {
        assert_eq!(planned(json!({})).umask, 0o022);
        assert_eq!(planned(json!({"user": {"uid": 0, "gid": 0, "umask": 0}})).umask, 0);
    }

    #[test]
    fn requested_users_are_numbers() {
        assert_eq!(parse("1000").unwrap(), Requested { uid: 1000, gid: None });
        assert_eq!(parse("0:4294967294").unwrap(), Requested { uid: 0, gid: Some(4_294_967_294) });
        let hostile = [
            "",
            "-1",
            "+1",
            "4294967295",
            "4294967296",
            "12abc",
            ":5",
            "5:",
            ":",
            "5:-1",
            "1:2:3",
            " 1",
            "1 ",
            "root",
            "0x0",
            "1.0",
            "18446744073709551616",
        ];
        for text in hostile {
            assert!(parse(text).is_err(), "{text:?}");
        }
        assert_eq!(
            parse("12abc").unwrap_err().to_string(),
            "invalid user \"12abc\": \"12abc\" is not a uid; give UID or UID:GID, numbers from 0 to 4294967294"
        );
    }
}
