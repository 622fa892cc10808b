//! Where systemd listens, as an address of D-Bus. World: plan; nothing here asks the kernel or the environment.
//!
//! Source: D-Bus specification, "Server Addresses".

/// A socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// Where.
    pub socket: Socket,
    /// A bus between us and systemd; otherwise it is systemd's own socket.
    pub bus: bool,
}

/// The name of a unix socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Socket {
    /// In the filesystem.
    Path(String),
    /// In the abstract namespace of the network namespace.
    Abstract(Vec<u8>),
}

impl Socket {
    /// As people write it.
    #[must_use]
    pub fn shown(&self) -> String {
        match self {
            Self::Path(path) => path.clone(),
            Self::Abstract(name) => format!("@{}", String::from_utf8_lossy(name)),
        }
    }
}

/// Which systemd.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Instance {
    /// pid 1.
    System,
    /// The user's own.
    User,
}

/// What the environment says.
#[derive(Debug, Default)]
pub struct Environment {
    /// `DBUS_SYSTEM_BUS_ADDRESS`, or for a user's instance `DBUS_SESSION_BUS_ADDRESS`.
    pub bus: Option<String>,
    /// `XDG_RUNTIME_DIR`.
    pub runtime_directory: Option<String>,
    /// The user's id in the initial user namespace.
    pub uid: u32,
}

/// The sockets to try, in order. systemd's own socket needs no message bus, but systemd sends every signal to everybody
/// there: a create and a delete cost it 4 to 9 ms more, against 2 to 3.5 ms of dbus-daemon (systemd 257).
#[must_use]
pub fn candidates(instance: Instance, environment: &Environment) -> Vec<Address> {
    let path = |path: String, bus| Address { socket: Socket::Path(path), bus };
    let named = environment.bus.as_deref().map(parse).unwrap_or_default();
    let named = named.into_iter().map(|socket| Address { socket, bus: true });
    let (own, bus) = match instance {
        Instance::System => ("/run/systemd/private".to_owned(), "/run/dbus/system_bus_socket".to_owned()),
        Instance::User => {
            let directory = environment.runtime_directory.as_deref().filter(|directory| !directory.is_empty());
            let directory = directory.map_or_else(|| format!("/run/user/{}", environment.uid), str::to_owned);
            (format!("{directory}/systemd/private"), format!("{directory}/bus"))
        }
    };
    let bus = path(bus, true);
    let mut all: Vec<Address> = named.filter(|address| *address != bus).collect();
    all.extend([bus, path(own, false)]);
    all
}

/// The unix sockets of an address list; other transports are not for a bus of the same machine.
fn parse(list: &str) -> Vec<Socket> {
    let entries = list.split(';').filter_map(|entry| entry.strip_prefix("unix:"));
    let sockets = entries.filter_map(|entry| {
        entry.split(',').find_map(|pair| match pair.split_once('=')? {
            ("path", path) => String::from_utf8(unescape(path)?).ok().map(Socket::Path),
            ("abstract", name) => unescape(name).map(Socket::Abstract),
            _ => None,
        })
    });
    sockets.collect()
}

/// `%2f` is `/`.
fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let (digits, after) = rest.split_at_checked(2)?;
        bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
        rest = after;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(instance: Instance, bus: Option<&str>, directory: Option<&str>) -> Vec<String> {
        let environment =
            Environment { bus: bus.map(str::to_owned), runtime_directory: directory.map(str::to_owned), uid: 1000 };
        candidates(instance, &environment).iter().map(|address| address.socket.shown()).collect()
    }

    #[test]
    fn what_the_environment_names_then_the_usual_bus_then_the_private_socket() {
        let usual = ["/run/dbus/system_bus_socket", "/run/systemd/private"];
        assert_eq!(shown(Instance::System, None, Some("/ignored")), usual);
        assert_eq!(shown(Instance::System, Some("unix:path=/run/dbus/system_bus_socket"), None), usual);
        assert_eq!(
            shown(Instance::User, Some("tcp:host=x;unix:abstract=%2ftmp%2fx,guid=00;unix:path=/y%20z"), None),
            ["@/tmp/x", "/y z", "/run/user/1000/bus", "/run/user/1000/systemd/private"]
        );
        assert_eq!(
            shown(Instance::User, Some("unix:path=%2"), Some("/run/user/7")),
            ["/run/user/7/bus", "/run/user/7/systemd/private"]
        );
        assert_eq!(shown(Instance::User, None, Some(""))[0], "/run/user/1000/bus");
    }
}
