//! World: plan. Socket activation: sockets that systemd opened are handed through to the container.
//!
//! Source: sd_listen_fds(3). As runc does: they are numbered from 3 on, before those of --preserve-fds, and the
//! container is told LISTEN_PID=1, which is its pid in a pid namespace of its own.

use crate::error::{Error, ErrorKind, Result};

/// More than any process may have open by default (fs.nr_open).
const LIMIT: u32 = 1_048_576;

/// What create and run pass on.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Activation {
    /// Descriptors 3, 4, ... that the container inherits besides those of --preserve-fds.
    pub count: u32,
    /// Variables for the container.
    pub env: Vec<(&'static str, String)>,
}

/// Reads the protocol's `variable`s of this process, whose pid is `pid`; nothing is passed on when they are for
/// another process.
///
/// # Errors
/// LISTEN_FDS is no number, or absurdly large.
pub fn activation(variable: impl Fn(&str) -> Option<String>, pid: u32) -> Result<Activation> {
    let ours = variable("LISTEN_PID").and_then(|text| text.parse().ok()) == Some(pid);
    let Some(count) = variable("LISTEN_FDS").filter(|text| ours && !text.is_empty()) else {
        return Ok(Activation::default());
    };
    let count: u32 = count.parse().ok().filter(|count| *count <= LIMIT).ok_or_else(|| {
        Error::new(ErrorKind::InvalidConfig, format!("LISTEN_FDS={count:?} is not a number of descriptors"))
    })?;
    if count == 0 {
        return Ok(Activation::default());
    }
    let mut env = vec![("LISTEN_FDS", count.to_string()), ("LISTEN_PID", "1".to_string())];
    env.extend(variable("LISTEN_FDNAMES").map(|names| ("LISTEN_FDNAMES", names)));
    Ok(Activation { count, env })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(variables: &[(&str, &str)]) -> Result<Activation> {
        let find = |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_string());
        activation(find, 42)
    }

    #[test]
    fn sockets_for_us_are_passed_on() {
        let two = of(&[("LISTEN_PID", "42"), ("LISTEN_FDS", "2"), ("LISTEN_FDNAMES", "a:b")]).unwrap();
        assert_eq!(two.count, 2);
        let env = [("LISTEN_FDS", "2"), ("LISTEN_PID", "1"), ("LISTEN_FDNAMES", "a:b")];
        assert_eq!(two.env, env.map(|(name, value)| (name, value.to_string())));
    }

    #[test]
    fn nothing_else_is() {
        for variables in [
            &[][..],
            &[("LISTEN_FDS", "2")],
            &[("LISTEN_PID", "41"), ("LISTEN_FDS", "2")],
            &[("LISTEN_PID", "x"), ("LISTEN_FDS", "2")],
            &[("LISTEN_PID", "42"), ("LISTEN_FDS", "0")],
            &[("LISTEN_PID", "42"), ("LISTEN_FDS", "")],
            &[("LISTEN_PID", "42")],
        ] {
            assert_eq!(of(variables).unwrap(), Activation::default(), "{variables:?}");
        }
        for count in ["-1", "two", "4294967296", "2000000"] {
            let error = of(&[("LISTEN_PID", "42"), ("LISTEN_FDS", count)]).unwrap_err().to_string();
            assert_eq!(error, format!("LISTEN_FDS={count:?} is not a number of descriptors"));
        }
    }
}
