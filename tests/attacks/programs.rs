//! Programs for the inside of containers that a shell cannot do: too fast, or without a single system call too many.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use crate::bundle::{Bundle, copy_program};

/// Compiles `programs/NAME.c` once, with the cc of this machine and a static C library.
fn compiled(name: &'static str) -> PathBuf {
    static DONE: Mutex<Option<HashMap<&'static str, PathBuf>>> = Mutex::new(None);
    let mut done = DONE.lock().unwrap();
    let done = done.get_or_insert_default();
    if let Some(path) = done.get(name) {
        return path.clone();
    }
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/attacks/programs/{name}.c"));
    let path = std::env::temp_dir().join(format!("program-{}-{name}", std::process::id()));
    let bare: &[&str] = if ["quit", "stay"].contains(&name) { &["-nostdlib"] } else { &[] };
    let mut compiler = Command::new("cc");
    compiler.args(["-O2", "-static", "-o"]).arg(&path).arg(&source).args(bare);
    let output = compiler.output().unwrap();
    assert!(output.status.success(), "{name}.c: {}", String::from_utf8_lossy(&output.stderr));
    done.insert(name, path.clone());
    path
}

/// Puts the program of that name into an image as /NAME.
pub fn bring(bundle: &Bundle, name: &'static str) {
    copy_program(&compiled(name), &bundle.file("rootfs").join(name));
}
