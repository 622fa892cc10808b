//! The systemd driver where systemd is init: many containers at once, units that last.
//!
//! `tests/vm/systemd` has what systemd and the kernel are told, tests/faults the deaths and failures.

use std::process::Command;

use crate::bundle::{Bundle, LIMIT, eventually, is_tare};

fn with_systemd() -> Option<Bundle> {
    if !is_tare() {
        eprintln!("skipped: a promise of tare's; TARE_BIN names another build of it");
        return None;
    }
    let mut bundle = Bundle::script("sleep 100");
    if !bundle.use_systemd() {
        return None;
    }
    bundle.write();
    Some(bundle)
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn a_container_that_ends_by_itself_leaves_no_unit() {
    let Some(bundle) = with_systemd() else { return };
    bundle.on("create").silent();
    let pid = bundle.pid();
    rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), rustix::process::Signal::KILL).unwrap();
    eventually("a stopped container", || {
        bundle.reap_orphans();
        bundle.status() == "stopped"
    });
    bundle.on("delete").silent();
    bundle.assert_nothing_left();
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn many_containers_at_once() {
    let bundles: Option<Vec<Bundle>> = (0..24).map(|_| with_systemd()).collect();
    let Some(bundles) = bundles else { return };
    std::thread::scope(|scope| {
        for bundle in &bundles {
            scope.spawn(move || {
                for _ in 0..3 {
                    bundle.on("create").silent();
                    bundle.on("start").silent();
                    bundle.tare(&["delete", "--force", &bundle.id]).silent();
                }
            });
        }
    });
    bundles.iter().for_each(Bundle::assert_nothing_left);
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn one_name_for_two_containers_at_once() {
    // Two ids, one unit: the second is refused while the first is there, and the first is not harmed.
    let (Some(one), Some(mut two)) = (with_systemd(), with_systemd()) else { return };
    two.set("/linux/cgroupsPath", serde_json::json!(format!(":host:{}", one.name)));
    two.write();
    one.begin();
    let line = two.on("create").refused();
    assert!(line.starts_with("linux.cgroupsPath: ") && line.contains(&one.unit()), "{line}");
    assert_eq!(one.status(), "running");
    one.tare(&["delete", "--force", &one.id]).silent();
    two.begin();
    two.tare(&["delete", "--force", &two.id]).silent();
    one.assert_nothing_left();
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn systemd_that_does_not_answer_is_named() {
    // Without its sockets, in a mount namespace of our own.
    let Some(bundle) = with_systemd() else { return };
    let hide = "mount --bind /dev/null /run/systemd/private && mount --bind /dev/null /run/dbus/system_bus_socket";
    let command = bundle.command(&["create", &bundle.id]);
    let mut words = vec!["--mount".into(), "sh".into(), "-c".into(), format!("{hide} && exec \"$@\"").into()];
    words.extend(["sh".into(), command.get_program().to_owned()]);
    words.extend(command.get_args().map(std::ffi::OsStr::to_owned));
    let begun = std::time::Instant::now();
    let output = Command::new("unshare").args(words).current_dir(bundle.path()).output().unwrap();
    let line = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{line}");
    assert!(line.contains("systemd cannot be reached (/run/dbus/system_bus_socket: connection refused, "), "{line}");
    assert!(begun.elapsed() < LIMIT, "{:?}", begun.elapsed());
    bundle.assert_nothing_left();
}
