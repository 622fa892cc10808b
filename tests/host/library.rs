//! The library's face, as programs of others use it: examples/, and what a caller gets that forgets to be protected.

use std::path::PathBuf;
use std::process::Command;

use tare::{CreateOptions, ErrorKind, ExecOptions, RunOptions, Runtime};

use crate::bundle::{Bundle, Done, finish, is_tare};

/// An example that was built with this test.
fn example(name: &str) -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let path = own.parent().unwrap().with_file_name("examples").join(name);
    assert!(path.exists(), "{}: build it with `cargo build --examples`", path.display());
    path
}

/// Runs an example with the state root of `bundle`.
fn run(bundle: &Bundle, name: &str, argument: &std::path::Path) -> Done {
    let mut command = Command::new(example(name));
    command.arg(argument).env("XDG_RUNTIME_DIR", bundle.root()).env("USER", "tester").current_dir(bundle.path());
    finish(command)
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn a_container_is_supervised() {
    let bundle = Bundle::new();
    if !is_tare() {
        return eprintln!("skipped: the library is tare's");
    }
    let output = run(&bundle, "supervise", &bundle.path().join("rootfs")).good();
    let lines: Vec<_> = output.lines().collect();
    assert!(lines.len() == 3 && lines[0] == "entered", "{output}");
    assert!(lines[1].starts_with("exec ended with 7; 1 process, "), "{output}");
    assert!(lines[2].starts_with("{\"type\":\"exit\"") || lines[2] == "it has ended", "{output}");
    bundle.assert_nothing_left();
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn a_container_runs_in_the_foreground() {
    let bundle = Bundle::script("echo hello; exit 5");
    if !is_tare() {
        return eprintln!("skipped: the library is tare's");
    }
    bundle.write();
    let done = run(&bundle, "run_container", bundle.path());
    assert_eq!((done.code, &*done.stdout, &*done.stderr), (5, "hello\n", ""));
    bundle.assert_nothing_left();
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn containers_are_listed() {
    let bundle = Bundle::script("sleep 1000");
    if !is_tare() {
        return eprintln!("skipped: the library is tare's");
    }
    bundle.begin();
    let output = run(&bundle, "list", &bundle.root()).good();
    let words: Vec<_> = output.split_whitespace().collect();
    assert_eq!(words[..3], [&*bundle.id, "running", &*bundle.pid().to_string()]);
    bundle.tare(&["delete", "--force", &bundle.id]).silent();
    bundle.assert_nothing_left();
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn a_caller_that_is_not_protected_enters_no_container() {
    let bundle = Bundle::script("true");
    if !is_tare() {
        return eprintln!("skipped: the library is tare's");
    }
    bundle.write();
    let runtime = Runtime::new(bundle.root());
    let described = tare::Bundle::new(bundle.path());
    let options = CreateOptions::default();
    let errors = [
        runtime.create(&bundle.id, &described, &options).map(drop).unwrap_err(),
        runtime.run(&bundle.id, &described, &options, RunOptions::default()).map(drop).unwrap_err(),
        runtime.container(&bundle.id).exec(&ExecOptions::new(["true"])).map(drop).unwrap_err(),
    ];
    for error in errors {
        assert_eq!(error.kind(), ErrorKind::Unprotected, "{error}");
        assert!(error.to_string().ends_with("; call tare::protect at the start of main"), "{error}");
    }
    bundle.assert_nothing_left();
}
