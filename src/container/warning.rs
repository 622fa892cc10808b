//! World: parent. Warnings: problems that do not stop a command.

use crate::error::Error;

/// Takes warnings; the command line logs them.
pub type Warn<'a> = &'a mut dyn FnMut(Error);
