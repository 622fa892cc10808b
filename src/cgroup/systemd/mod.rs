//! The systemd cgroup driver: the container's cgroup is that of a transient unit, begun and ended through D-Bus.
//!
//! World: door.
//! [`resolve`] and [`properties`] (plan) -> [`parent::make`] -> clone into the cgroup -> [`UnitName::stop`]. Only the
//! calls that are needed are here, on blocking sockets with deadlines: no message bus library, no thread.

mod address;
mod connection;
pub(crate) mod message;
pub(super) mod parent;
mod parked;
pub(crate) mod properties;
mod unit;
mod units;
pub(crate) mod value;
pub(crate) mod variant;

pub use address::Instance;
pub use parent::UnitName;
pub(super) use parked::Parked;
pub use properties::Property;
pub use unit::{Unit, resolve};
