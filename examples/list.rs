//! Lists the containers of a state root: `list [ROOT]`.

#![allow(clippy::print_stdout, reason = "a program")]

use tare::Runtime;

fn main() -> tare::Result<()> {
    let root = std::env::args_os().nth(1).map_or_else(Runtime::default_root, Into::into);
    for state in Runtime::new(root).states()? {
        println!("{:20} {:8} {:7} {}", state.id, state.status, state.pid, state.bundle.display());
    }
    Ok(())
}
