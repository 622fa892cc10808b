//! World: plan. Decides whether there is a terminal, its size, and who gets its master.

use std::path::{Path, PathBuf};

use oci_spec::runtime::Process;
use rustix::termios::Winsize;

use crate::error::{Code, Error, Result};

/// What becomes of the master of the pty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// It is sent to the socket that an engine listens on.
    ConsoleSocket(PathBuf),
    /// This process keeps it and relays the caller's stdio.
    Foreground,
}

/// A terminal to be made.
#[derive(Debug, Clone)]
pub struct TerminalPlan {
    /// Who gets the master.
    pub destination: Destination,
    /// Rows and columns; `None` leaves what the kernel gives, 0 by 0.
    pub size: Option<Winsize>,
}

/// Decides on the terminal of `process`; `detach` holds for create, `run --detach` and `exec --detach`.
///
/// # Errors
/// A terminal without anyone to take it, a console socket without a terminal, a size above 65535.
pub fn plan(process: &Process, console_socket: Option<&Path>, detach: bool) -> Result<Option<TerminalPlan>> {
    if !process.terminal().unwrap_or(false) {
        return match console_socket {
            Some(_) => Err(misuse("a console socket is given, but the process has no terminal", NO_TERMINAL)),
            None => Ok(None),
        };
    }
    let destination = match (console_socket, detach) {
        (Some(path), true) => Destination::ConsoleSocket(path.to_path_buf()),
        (None, false) => Destination::Foreground,
        (None, true) => return Err(misuse("a detached process with a terminal needs a console socket", NEEDS_SOCKET)),
        (Some(_), false) => {
            return Err(misuse("a console socket is given, but the process stays in the foreground", FOREGROUND));
        }
    };
    Ok(Some(TerminalPlan { destination, size: size(process)? }))
}

const NO_TERMINAL: &str = "set process.terminal to true or leave out --console-socket";
const NEEDS_SOCKET: &str =
    "give --console-socket PATH with a listener on it, or set process.terminal to false, or do not detach";
const FOREGROUND: &str = "leave out --console-socket or add --detach";

fn misuse(what: &str, hint: &str) -> Error {
    Error::new(Code::TerminalInvalid, what).at("process.terminal").hint(hint)
}

/// consoleSize; engines write 0 by 0 for "not known".
fn size(process: &Process) -> Result<Option<Winsize>> {
    let Some(size) = process.console_size() else { return Ok(None) };
    let number = |name: &str, value: u64| {
        u16::try_from(value).map_err(|_| {
            Error::refused(
                Code::TerminalInvalid,
                format!("process.consoleSize.{name}"),
                format!("{value} exceeds 65535, the maximum for a terminal"),
            )
        })
    };
    let (ws_row, ws_col) = (number("height", size.height())?, number("width", size.width())?);
    Ok((ws_row != 0 || ws_col != 0).then_some(Winsize { ws_row, ws_col, ws_xpixel: 0, ws_ypixel: 0 }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(text: &str) -> Process {
        let whole = format!(r#"{{"user":{{"uid":0,"gid":0}},"cwd":"/","args":["sh"]{text}}}"#);
        serde_json::from_str(&whole).unwrap()
    }

    const TTY: &str = r#","terminal":true"#;

    #[test]
    fn who_gets_the_master() {
        let socket = Some(Path::new("/run/console"));
        assert!(plan(&process(""), None, true).unwrap().is_none());
        assert!(plan(&process(""), None, false).unwrap().is_none());
        let detached = plan(&process(TTY), socket, true).unwrap().unwrap();
        assert_eq!(detached.destination, Destination::ConsoleSocket("/run/console".into()));
        let foreground = plan(&process(TTY), None, false).unwrap().unwrap();
        assert_eq!(foreground.destination, Destination::Foreground);
    }

    #[test]
    fn misuse_is_explained() {
        let socket = Some(Path::new("/run/console"));
        for (text, socket, detach, expected) in [
            (TTY, None, true, "process.terminal: a detached process with a terminal needs a console socket; give"),
            (TTY, socket, false, "a console socket is given, but the process stays in the foreground; leave out"),
            ("", socket, true, "a console socket is given, but the process has no terminal; set"),
            ("", socket, false, "a console socket is given, but the process has no terminal; set"),
        ] {
            let error = plan(&process(text), socket, detach).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn sizes() {
        let size = |text: &str| {
            let process = process(&format!(r#","terminal":true,"consoleSize":{text}"#));
            plan(&process, None, false).map(|plan| plan.unwrap().size.map(|size| (size.ws_row, size.ws_col)))
        };
        assert_eq!(size(r#"{"height":10,"width":110}"#).unwrap(), Some((10, 110)));
        assert_eq!(size(r#"{"height":0,"width":0}"#).unwrap(), None);
        assert_eq!(size(r#"{"height":0,"width":80}"#).unwrap(), Some((0, 80)));
        let error = size(r#"{"height":10,"width":65536}"#).unwrap_err().to_string();
        assert_eq!(error, "process.consoleSize.width: 65536 exceeds 65535, the maximum for a terminal");
    }

    #[test]
    fn the_size_of_no_terminal_is_ignored() {
        // config.md: "Runtimes MUST ignore consoleSize if terminal is false or unset."
        let process = process(r#","consoleSize":{"height":1000000,"width":1}"#);
        assert!(plan(&process, None, false).unwrap().is_none());
    }
}
