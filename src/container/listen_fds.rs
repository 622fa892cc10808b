//! World: plan. Socket activation: the container inherits the sockets that systemd opened for tare.
//!
//! Source: sd_listen_fds(3). As in runc, their numbers start at 3, before those of --preserve-fds, and the container gets
//! LISTEN_PID=1, the pid of its program in a new pid namespace.

use crate::error::{Code, Error, Result};

/// The default of the sysctl fs.nr_open: no process can have more descriptors open.
const LIMIT: u32 = 1_048_576;

/// What the container inherits.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Activation {
    /// The number of descriptors, starting at 3, in addition to those of --preserve-fds.
    pub count: u32,
    /// Variables for the container.
    pub env: Vec<(&'static str, String)>,
}

/// Reads the protocol's environment variables through `variable`. `pid` is that of this process: variables for another
/// process are ignored.
///
/// # Errors
/// LISTEN_FDS is not a number, or is too large.
pub fn activation(variable: impl Fn(&str) -> Option<String>, pid: u32) -> Result<Activation> {
    let ours = variable("LISTEN_PID").and_then(|text| text.parse().ok()) == Some(pid);
    let Some(count) = variable("LISTEN_FDS").filter(|text| ours && !text.is_empty()) else {
        return Ok(Activation::default());
    };
    let count: u32 = count.parse().ok().filter(|count| *count <= LIMIT).ok_or_else(|| {
        Error::new(Code::EnvironmentInvalid, format!("LISTEN_FDS={count:?} is not a number of descriptors"))
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
