//! The systemd cgroup driver: the container's cgroup is that of a transient unit, begun and ended through D-Bus.
//!
//! World: door.
//! [`resolve`] and [`properties`] (plan) -> [`parent::make`] -> clone into the cgroup -> [`UnitName::stop`]. Only the
//! calls that are needed are here, on blocking sockets with deadlines: no message bus library, no thread.

pub mod address;
mod connection;
pub mod message;
pub(super) mod parent;
pub mod properties;
pub mod report;
pub mod unit;
mod units;
pub mod value;
pub mod variant;

pub use parent::UnitName;
pub use properties::Property;
pub use unit::{Unit, resolve};
