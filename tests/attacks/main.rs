//! The attack classes of docs/security.md, each tried on the built binary: a container, an image or a caller does what
//! led to CVEs in some runtime. The number in a test's name is the class; `scripts/attacks` prints them as a table.

#![allow(clippy::unwrap_used, clippy::print_stderr, missing_docs, reason = "a test program")]

mod added_mounts;
mod agent;
mod annotations;
mod binary;
#[path = "../host/bundle.rs"]
#[allow(dead_code, reason = "shared with the other tests of the binary")]
mod bundle;
mod caller;
mod cgroups;
mod confined_hooks;
mod descriptors;
#[path = "../faults/errors.rs"]
#[allow(dead_code, reason = "shared with the tests of faults")]
mod errors;
mod faults;
mod hooks;
mod image_files;
mod joined;
mod look;
mod masks;
mod names;
mod paths;
mod patience;
mod privileges;
mod procfs;
mod profile;
mod programs;
#[path = "../host/requests.rs"]
mod requests;
mod state;
mod stopped;
mod support;
mod tags;
#[path = "../host/trace.rs"]
#[allow(dead_code, reason = "shared with the other tests of the binary")]
mod trace;
mod trees;
mod uninterruptible;
mod window;

/// Every class has a row in docs/security.md and a test here.
#[test]
fn every_class_is_written_down_and_tried() {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/security.md")).unwrap();
    let rows = page.lines().filter_map(|line| line.strip_prefix("| ")?.split(' ').next()?.parse::<usize>().ok());
    assert!(rows.eq(1..=44), "the table has not each class once");
    let own = std::env::current_exe().unwrap();
    let listed = std::process::Command::new(own).arg("--list").output().unwrap().stdout;
    let listed = String::from_utf8(listed).unwrap();
    for class in 1..=44 {
        assert!(listed.contains(&format!("::class_{class:02}_")), "class {class} has no test");
    }
}
